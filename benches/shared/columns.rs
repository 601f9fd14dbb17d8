//! Figures in columns, and beside their targets.

use crate::stats::Spread;

pub(crate) const MEGABYTE: f64 = 1e6;

/// How wide each is.
pub(crate) struct Columns {
    pub(crate) median: usize,
    pub(crate) range: usize,
    /// What a target is of.
    pub(crate) what: usize,
    pub(crate) target: usize,
}

impl Columns {
    /// Median, lowest and highest, in this unit.
    pub(crate) fn cell(&self, spread: Spread, unit: f64, digits: usize) -> String {
        let [median, low, high] = [spread.median, spread.low, spread.high].map(|value| value / unit);
        let range = format!("({low:.digits$} to {high:.digits$})");
        let (width, wide) = (self.median, self.range);
        format!("{median:>width$.digits$} {range:<wide$}")
    }

    pub(crate) fn at_least(&self, what: &str, figure: Spread, target: f64) {
        self.verdict(what, figure, "at least", target, figure.median >= target);
    }

    pub(crate) fn at_most(&self, what: &str, figure: Spread, target: f64) {
        self.verdict(what, figure, "at most", target, figure.median <= target);
    }

    pub(crate) fn verdict(&self, what: &str, figure: Spread, bound: &str, target: f64, is_met: bool) {
        let met = if is_met { "met" } else { "MISSED" };
        let (width, wide) = (self.what, self.target);
        println!("  {what:<width$}{} {bound:>8} {target:<wide$} {met}", self.cell(figure, 1.0, 2));
    }
}
