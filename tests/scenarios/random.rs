//! Chance that can be had again.

use crate::fixture::since_1970;

/// A small generator (SplitMix64): the seed is printed, and taken back from `TROUPE_SEED`.
pub struct Random(u64);

impl Random {
    pub fn seeded() -> Self {
        let seed = std::env::var("TROUPE_SEED").map_or_else(|_| since_1970() as u64, |seed| seed.parse().unwrap());
        println!("TROUPE_SEED={seed}");
        Self(seed)
    }

    pub fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as i64
    }
}
