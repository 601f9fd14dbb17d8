//! How long a group took to get over what was done to it, and what was repeated for it.

use serde::Serialize;

use super::faults::Blow;

/// Fewer records behind than these are no sign of anything.
const FEW: u64 = 10;
/// Of this many looks before a fault, the one furthest behind says what is usual.
const BEFORE: usize = 100;

/// What came of one fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Recovered {
    pub(crate) fault: Blow,
    /// Number of the member, from 1.
    pub(crate) member: u16,
    /// Since the beginning of the load.
    pub(crate) at_ms: u64,
    /// From the fault until all partitions were shared out among the members again.
    pub(crate) shared_out_after_ms: Option<u64>,
    /// From the fault until they were, and no more records waited than before it.
    pub(crate) recovered_after_ms: Option<u64>,
    /// Confirmed records that were not handled, at the worst.
    pub(crate) most_behind: u64,
    /// Records handled a second time, from this fault to the next one or the end.
    pub(crate) repeated: u64,
}

/// Microseconds of the slowest recovery; `None` without faults, and where one was missed or not recovered from.
pub(crate) fn slowest(found: &[Recovered], faults: usize) -> Option<u64> {
    let took = found.iter().map(|it| it.recovered_after_ms.map(|millis| millis * 1_000)).collect::<Option<Vec<_>>>()?;
    took.into_iter().max().filter(|_| found.len() == faults)
}

/// Follows the group from look to look.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    before: std::collections::VecDeque<u64>,
    usual: u64,
    repeated_before: u64,
    found: Vec<Recovered>,
    /// At each fault and each recovery, since the beginning of the load: when, and how many records were behind.
    looks: Vec<(u64, u64)>,
}

/// What can be seen of the run at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// Since the beginning of the load.
    pub(crate) at_ms: u64,
    /// Confirmed and not handled.
    pub(crate) behind: u64,
    /// Each partition has one member, and each member a partition.
    pub(crate) shared_out: bool,
    /// Records handled more than once, so far.
    pub(crate) repeated: u64,
}

impl Recovery {
    pub(crate) fn struck(&mut self, fault: Blow, member: u16, look: Look) {
        // Where the last one is not over, what was usual before it still is.
        if self.found.last().is_none_or(|last| last.recovered_after_ms.is_some()) {
            self.usual = self.before.iter().copied().max().unwrap_or_default().max(FEW);
        }
        self.looks.push((look.at_ms, look.behind));
        self.before.clear();
        self.repeated_before = look.repeated;
        self.found.push(Recovered {
            fault,
            member,
            at_ms: look.at_ms,
            shared_out_after_ms: None,
            recovered_after_ms: None,
            most_behind: look.behind,
            repeated: 0,
        });
    }

    pub(crate) fn looked(&mut self, look: Look) {
        if let Some(last) = self.found.last_mut() {
            let after = look.at_ms.saturating_sub(last.at_ms);
            last.repeated = look.repeated.saturating_sub(self.repeated_before);
            if last.recovered_after_ms.is_none() {
                last.most_behind = last.most_behind.max(look.behind);
                if look.shared_out {
                    last.shared_out_after_ms.get_or_insert(after);
                    if look.behind <= self.usual {
                        last.recovered_after_ms = Some(after);
                        self.looks.push((look.at_ms, look.behind));
                    }
                }
                return;
            }
        }
        if self.before.len() == BEFORE {
            self.before.pop_front();
        }
        self.before.push_back(look.behind);
    }

    /// What came of the faults; and at each fault and each recovery, since the beginning of the load in milliseconds, how many records were behind.
    pub(crate) fn found(self) -> (Vec<Recovered>, Vec<(u64, u64)>) {
        (self.found, self.looks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at_ms: u64, behind: u64, shared_out: bool) -> Look {
        Look { at_ms, behind, shared_out, repeated: 0 }
    }

    #[test]
    fn a_group_is_over_a_fault_when_all_is_shared_out_and_no_more_waits_than_before() {
        let mut recovery = Recovery::default();
        (0..50).for_each(|at| recovery.looked(look(at * 20, 30 + at % 3, true)));
        recovery.struck(Blow::Kill, 1, look(1_000, 31, false));
        recovery.looked(look(1_020, 5, false));
        recovery.looked(look(2_000, 900, false));
        recovery.looked(look(3_000, 1_900, true));
        recovery.looked(look(3_500, 33, true));
        assert_eq!(recovery.found.last().and_then(|last| last.recovered_after_ms), None);
        recovery.looked(Look { repeated: 7, ..look(3_600, 32, true) });
        recovery.looked(Look { repeated: 9, ..look(3_700, 5_000, true) });
        let kill = Recovered {
            fault: Blow::Kill,
            member: 1,
            at_ms: 1_000,
            shared_out_after_ms: Some(2_000),
            recovered_after_ms: Some(2_600),
            most_behind: 1_900,
            repeated: 9,
        };
        let (found, looks) = recovery.found();
        assert_eq!(looks, [(1_000, 31), (3_600, 32)]);
        assert_eq!(found, [kill]);
        assert_eq!((slowest(&found, 1), slowest(&found, 2), slowest(&[], 0)), (Some(2_600_000), None, None));
    }

    #[test]
    fn a_fault_before_the_last_is_over_leaves_that_open_and_what_is_usual_as_it_was() {
        let mut recovery = Recovery::default();
        recovery.looked(look(0, 100, true));
        recovery.struck(Blow::Leave, 1, look(20, 100, false));
        recovery.looked(Look { repeated: 3, ..look(40, 4_000, false) });
        recovery.struck(Blow::Join, 3, Look { repeated: 3, ..look(60, 5_000, false) });
        recovery.looked(Look { repeated: 5, ..look(80, 101, true) });
        recovery.looked(Look { repeated: 5, ..look(100, 100, true) });
        let (found, looks) = recovery.found();
        assert_eq!(looks, [(20, 100), (60, 5_000), (100, 100)]);
        assert_eq!(slowest(&found, 2), None);
        assert_eq!((found[0].recovered_after_ms, found[0].repeated), (None, 3));
        assert_eq!(
            (found[1].shared_out_after_ms, found[1].recovered_after_ms, found[1].repeated),
            (Some(20), Some(40), 2)
        );
    }

    #[test]
    fn a_few_records_are_usual() {
        let mut recovery = Recovery::default();
        recovery.struck(Blow::Join, 2, look(0, 0, true));
        recovery.looked(look(20, FEW, true));
        assert_eq!(recovery.found().0[0].recovered_after_ms, Some(20));
    }
}
