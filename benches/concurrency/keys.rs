//! Which keys records have.

use serde::{Deserialize, Serialize};

/// How often each key comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Keys {
    /// So many keys, each as often as any other.
    Uniform(u64),
    /// So many keys, the second half as often as the first, the third a third as often, and so on (Zipf with exponent 1).
    Zipf(u64),
}

impl Keys {
    /// The key of each record by its number: the same in every process.
    pub(crate) fn draw(self) -> Drawn {
        let weights = match self {
            Self::Uniform(_) => Vec::new(),
            Self::Zipf(keys) => {
                let mut sum = 0.0;
                (1..=keys)
                    .map(|rank| {
                        sum += 1.0 / rank as f64;
                        sum
                    })
                    .collect()
            }
        };
        Drawn { keys: self, weights }
    }

    /// The share of all records that the hottest key has.
    pub(crate) fn hottest(self) -> f64 {
        match self {
            Self::Uniform(keys) => 1.0 / keys as f64,
            Self::Zipf(keys) => 1.0 / (1..=keys).map(|rank| 1.0 / rank as f64).sum::<f64>(),
        }
    }
}

/// See [`Keys::draw`].
#[derive(Debug)]
pub(crate) struct Drawn {
    keys: Keys,
    /// Of Zipf: the weights of the keys up to each one.
    weights: Vec<f64>,
}

impl Drawn {
    /// The hottest is 0.
    pub(crate) fn key(&self, number: u64) -> u64 {
        let random = mixed(number);
        match self.keys {
            Keys::Uniform(keys) => random % keys,
            Keys::Zipf(_) => {
                // 53 bits are what a float holds exactly, so this lies in [0, 1).
                let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
                let sought = share * self.weights[self.weights.len() - 1];
                self.weights.partition_point(|weight| *weight <= sought) as u64
            }
        }
    }
}

/// SplitMix64's value at this place of its sequence.
fn mixed(at: u64) -> u64 {
    let mut mixed = at.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
