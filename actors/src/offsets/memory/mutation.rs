//! What must hold for whatever bytes a broker hands back: the body of the fuzz target, and of the seeded mutations.

use super::text::seal;
use super::{Packing, decode};

/// Decodes `bytes` as they are, and once more as what lies below a checksum that is right.
///
/// # Panics
/// When decoding does, and when what decodes is not the same after it is encoded again.
pub(crate) fn fuzz_one(bytes: &[u8]) {
    survives(bytes);
    for packing in [Packing::Dense, Packing::Base64] {
        let sealed = seal(packing, |out| bytes.iter().for_each(|byte| out.put(u64::from(*byte), 8)));
        survives(sealed.as_bytes());
    }
}

fn survives(text: &[u8]) {
    let Ok(memory) = decode(text) else {
        return;
    };
    let rising = memory.finished.windows(2).all(|pair| pair[0].last.0 + 1 < pair[1].first.0);
    let whole = memory.finished.iter().all(|range| memory.base.0 <= range.first.0 && range.first <= range.last);
    assert!(rising && whole, "{memory:?} is not in order");
    for packing in [Packing::Dense, Packing::Base64] {
        let again = memory.shortened(packing, usize::MAX);
        assert_eq!(again.map(|text| decode(text.as_bytes())), Some(Ok(memory.clone())));
    }
}
