//! Latencies phase by phase, in bounded memory however many phases a load has.

use std::collections::BTreeMap;

use hdrhistogram::CreationError;

use super::families::FromIntended;
use super::latencies::Latencies;

/// Phases that have a histogram at hand. A record of another one costs a fold, so there is room for those that a border mixes.
const OPEN: usize = 4;

/// What is written down record by record, each under the phase of its intended time.
#[derive(Debug)]
pub(crate) struct ByPhase {
    empty: Latencies,
    /// The one that was opened last is the last.
    open: Vec<(usize, Latencies)>,
    folded: BTreeMap<usize, Kept>,
}

/// Latencies in as little memory as they need: microseconds as the histogram has them, and how many records took so long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(BTreeMap<u64, u64>);

/// Adds what came of each phase since it was last taken.
pub(crate) fn add_by_phase(to: &mut FromIntended<BTreeMap<usize, Kept>>, came: &FromIntended<BTreeMap<usize, Kept>>) {
    for (of, (_, came)) in to.each_mut().zip(came.each()) {
        came.iter().for_each(|(phase, kept)| of.entry(*phase).or_default().merge(kept));
    }
}

impl ByPhase {
    /// # Errors
    /// As [`Latencies::new`].
    pub(crate) fn new() -> Result<Self, CreationError> {
        Ok(Self { empty: Latencies::new()?, open: Vec::with_capacity(OPEN), folded: BTreeMap::new() })
    }

    pub(crate) fn record(&mut self, phase: usize, nanoseconds: u64) {
        match self.open.iter_mut().find(|(it, _)| *it == phase) {
            Some((_, latencies)) => latencies.record(nanoseconds),
            None => self.open(phase).record(nanoseconds),
        }
    }

    #[cold]
    fn open(&mut self, phase: usize) -> &mut Latencies {
        if self.open.len() == OPEN {
            let (folded, latencies) = self.open.remove(0);
            self.folded.entry(folded).or_default().add(&latencies);
        }
        self.open.push((phase, self.empty.clone()));
        let last = self.open.len() - 1;
        &mut self.open[last].1
    }

    /// Takes what there is, as a whole and by phase, and begins anew.
    pub(crate) fn take(&mut self) -> (Latencies, BTreeMap<usize, Kept>) {
        let whole = self.whole();
        let mut phases = std::mem::take(&mut self.folded);
        for (phase, latencies) in self.open.drain(..) {
            phases.entry(phase).or_default().add(&latencies);
        }
        (whole, phases)
    }

    /// Of all phases; `None` where there are none.
    #[cfg(test)]
    pub(crate) fn summary(&self) -> Option<super::latencies::Summary> {
        self.whole().summary()
    }

    fn whole(&self) -> Latencies {
        let mut whole = self.empty.clone();
        self.open.iter().for_each(|(_, latencies)| whole.add(latencies));
        self.folded.values().for_each(|kept| kept.add_to(&mut whole));
        whole
    }
}

impl Kept {
    pub(crate) fn add(&mut self, latencies: &Latencies) {
        for it in latencies.histogram().iter_recorded() {
            *self.0.entry(it.value_iterated_to()).or_default() += it.count_at_value();
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (micros, count) in &other.0 {
            *self.0.entry(*micros).or_default() += count;
        }
    }

    fn add_to(&self, latencies: &mut Latencies) {
        self.0.iter().for_each(|(micros, count)| latencies.record_many(*micros, *count));
    }

    /// As a histogram again.
    ///
    /// # Errors
    /// As [`Latencies::new`].
    pub(crate) fn latencies(&self) -> Result<Latencies, CreationError> {
        let mut latencies = Latencies::new()?;
        self.add_to(&mut latencies);
        Ok(latencies)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn each_phase_gets_what_a_histogram_of_its_own_would_have_and_nothing_is_left_over(
            records in proptest::collection::vec((0_usize..9, 0_u64..200_000_000_000, any::<bool>()), 1..60),
        ) {
            let (mut by_phase, mut kept) = (ByPhase::new().unwrap(), BTreeMap::<usize, Kept>::new());
            let mut whole = Latencies::new().unwrap();
            let mut wanted: BTreeMap<usize, Latencies> = BTreeMap::new();
            let mut take = |by_phase: &mut ByPhase| {
                let (latencies, phases) = by_phase.take();
                whole.add(&latencies);
                phases.iter().for_each(|(phase, it)| kept.entry(*phase).or_default().merge(it));
            };
            for (phase, nanoseconds, taken) in records {
                by_phase.record(phase, nanoseconds);
                wanted.entry(phase).or_insert_with(|| Latencies::new().unwrap()).record(nanoseconds);
                if taken {
                    take(&mut by_phase);
                }
                prop_assert!(by_phase.open.len() <= OPEN);
            }
            take(&mut by_phase);
            prop_assert_eq!(by_phase.summary(), None);
            let found: Vec<_> = kept.iter().map(|(phase, it)| (*phase, it.latencies().unwrap().summary())).collect();
            let single: Vec<_> = wanted.iter().map(|(phase, it)| (*phase, it.summary())).collect();
            prop_assert_eq!(found, single);
            let mut sum = Latencies::new().unwrap();
            wanted.values().for_each(|it| sum.add(it));
            prop_assert_eq!(whole.summary(), sum.summary());
        }
    }
}
