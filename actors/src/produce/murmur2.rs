//! The hash by which Java's producer places keys. Pure.

use std::num::NonZeroU32;

use crate::ids::PartitionId;

/// `(murmur2(key) & 0x7fffffff) % partitions`, as Java's `BuiltInPartitioner` computes it.
pub fn partition_of_key(key: &[u8], partitions: NonZeroU32) -> PartitionId {
    // Both operands of the remainder are below 2^31 (Kafka counts partitions in an i32), so the cast keeps the value.
    PartitionId(((murmur2(key) & 0x7fff_ffff) % partitions.get()) as i32)
}

/// Kafka's murmur2: 32 bits, its own seed, equal to `org.apache.kafka.common.utils.Utils.murmur2` (whose result is the same bits, signed).
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    // The length enters modulo 2^32, as Java's int does.
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        for (place, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partitions(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    /// The values of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_equals_javas_golden_values() {
        let golden: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in golden {
            assert_eq!(murmur2(key) as i32, hash, "{key:?}");
        }
    }

    /// Java's text, statement by statement, with its signed integers: what the function above is held against.
    fn java_murmur2(data: &[u8]) -> i32 {
        let length = data.len() as i32;
        let seed = 0x9747_b28c_u32 as i32;
        let m = 0x5bd1_e995;
        let r = 24;
        let mut h = seed ^ length;
        let length4 = length / 4;
        for i in 0..length4 {
            let i4 = (i * 4) as usize;
            let mut k = (i32::from(data[i4]) & 0xff)
                + ((i32::from(data[i4 + 1]) & 0xff) << 8)
                + ((i32::from(data[i4 + 2]) & 0xff) << 16)
                + ((i32::from(data[i4 + 3]) & 0xff) << 24);
            k = k.wrapping_mul(m);
            k ^= ((k as u32) >> r) as i32;
            k = k.wrapping_mul(m);
            h = h.wrapping_mul(m);
            h ^= k;
        }
        let end = (length & !3) as usize;
        let rest = length % 4;
        if rest == 3 {
            h ^= (i32::from(data[end + 2]) & 0xff) << 16;
        }
        if rest >= 2 {
            h ^= (i32::from(data[end + 1]) & 0xff) << 8;
        }
        if rest >= 1 {
            h ^= i32::from(data[end]) & 0xff;
            h = h.wrapping_mul(m);
        }
        h ^= ((h as u32) >> 13) as i32;
        h = h.wrapping_mul(m);
        h ^= ((h as u32) >> 15) as i32;
        h
    }

    proptest! {
        #[test]
        fn murmur2_equals_javas_text_for_any_key(key in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(murmur2(&key) as i32, java_murmur2(&key));
        }

        #[test]
        fn a_key_has_one_partition_and_it_exists(key in proptest::collection::vec(any::<u8>(), 0..50), n in 1_u32..10_000) {
            let picked = partition_of_key(&key, partitions(n));
            prop_assert!((0..n as i32).contains(&picked.0));
            prop_assert_eq!(picked, partition_of_key(&key, partitions(n)));
            prop_assert_eq!(i64::from(picked.0), i64::from(java_murmur2(&key) & 0x7fff_ffff) % i64::from(n));
        }
    }
}
