//! What several runs come to.

use serde::Serialize;

/// Median, lowest and highest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (half, odd) = (values.len() / 2, values.len() % 2 == 1);
        let median = if odd { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Self { median, low: values[0], high: values[values.len() - 1] }
    }

    /// Of the ratios within each round: what slows a whole round falls out.
    pub(crate) fn of_ratios(these: &[f64], to_those: &[f64]) -> Self {
        Self::of(these.iter().zip(to_those).map(|(this, that)| this / that))
    }
}

/// An order for a round, the same for the same seed (SplitMix64).
pub(crate) struct Shuffler(pub(crate) u64);

impl Shuffler {
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
