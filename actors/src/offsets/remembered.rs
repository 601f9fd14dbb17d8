//! Finished records that lie above a partition's committed offset: remembered from one owner to the next, and skipped by it.

use std::iter;
use std::sync::Arc;

use super::FinishedRange;
use crate::ids::{NextOffset, Offset};

/// Runs of finished records in rising order, as an epoch begins with them. Most begin with none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Remembered(Option<Arc<[FinishedRange]>>);

impl Remembered {
    pub(crate) fn new(runs: impl IntoIterator<Item = FinishedRange>) -> Self {
        let runs: Arc<[_]> = runs.into_iter().collect();
        Self((!runs.is_empty()).then_some(runs))
    }

    pub(crate) fn runs(&self) -> &[FinishedRange] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Those runs, and the parts of runs, that lie at `base` or above.
    pub(crate) fn from(&self, base: NextOffset) -> impl Iterator<Item = FinishedRange> {
        let runs = self.runs();
        let above = runs.partition_point(|run| run.last.0 < base.0);
        runs[above..].iter().map(move |run| FinishedRange { first: run.first.max(Offset(base.0)), last: run.last })
    }

    /// To ask of one record after the other, in rising order.
    pub(crate) fn skip(&self) -> Skip {
        Skip { runs: self.0.clone(), at: 0 }
    }
}

/// Tells of rising offsets whether they are remembered as finished.
#[derive(Debug)]
pub(crate) struct Skip {
    runs: Option<Arc<[FinishedRange]>>,
    at: usize,
}

impl Skip {
    /// Whether there is nothing to skip from here on.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.runs.is_none()
    }

    /// Whether the record at `offset`, above all that were asked before, is finished.
    pub(crate) fn holds(&mut self, offset: Offset) -> bool {
        let Some(runs) = &self.runs else { return false };
        while let Some(run) = runs.get(self.at) {
            if offset <= run.last {
                return offset >= run.first;
            }
            self.at += 1;
        }
        self.runs = None;
        false
    }
}

/// The union of two rising lists of runs: rising, without overlap. Runs that touch become one.
pub(crate) fn union(
    left: impl Iterator<Item = FinishedRange>,
    right: impl Iterator<Item = FinishedRange>,
) -> impl Iterator<Item = FinishedRange> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    let mut next = move || match (left.peek(), right.peek()) {
        (Some(l), Some(r)) if r.first < l.first => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    };
    let mut held = next();
    iter::from_fn(move || {
        let mut run = held?;
        loop {
            held = next();
            match held {
                Some(other) if other.first.0 <= run.last.0.saturating_add(1) => run.last = run.last.max(other.last),
                _ => return Some(run),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn runs(offsets: &BTreeSet<i64>) -> Vec<FinishedRange> {
        let mut runs: Vec<FinishedRange> = Vec::new();
        for offset in offsets.iter().map(|offset| Offset(*offset)) {
            match runs.last_mut() {
                Some(run) if run.last.next().0 == offset.0 => run.last = offset,
                _ => runs.push(FinishedRange { first: offset, last: offset }),
            }
        }
        runs
    }

    fn sets() -> impl Strategy<Value = BTreeSet<i64>> {
        prop::collection::btree_set(0..200_i64, 0..100)
    }

    proptest! {
        #[test]
        fn the_union_holds_what_either_holds(left in sets(), right in sets()) {
            let both: BTreeSet<_> = left.union(&right).copied().collect();
            let united: Vec<_> = union(runs(&left).into_iter(), runs(&right).into_iter()).collect();
            prop_assert_eq!(united, runs(&both));
        }

        #[test]
        fn a_skip_tells_of_rising_offsets_whether_they_are_held(set in sets(), asked in sets()) {
            let mut skip = Remembered::new(runs(&set)).skip();
            for offset in asked {
                prop_assert_eq!(skip.holds(Offset(offset)), set.contains(&offset));
            }
        }

        #[test]
        fn what_lies_below_a_base_is_left_out(set in sets(), base in 0..200_i64) {
            let above: BTreeSet<_> = set.range(base..).copied().collect();
            prop_assert_eq!(Remembered::new(runs(&set)).from(NextOffset(base)).collect::<Vec<_>>(), runs(&above));
        }
    }
}
