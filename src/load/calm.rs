//! The stretches of a load in which no fault is to blame for what piles up.

use super::backlog::{Backlog, Rate, Trend};
use super::recovery::Recovered;

/// Before the first fault, and from the recovery from the last one to the end of the load; without faults, all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calm {
    /// On the run's clock.
    stretches: Vec<(u64, u64)>,
    recovered: bool,
}

/// Why nobody can say whether handlers kept up in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unjudged {
    /// The group was not over its last fault when the load ended.
    NotRecovered,
    /// It was, and the load ended too soon after that.
    TooSoon,
}

impl Calm {
    /// Of a load that lasted from `start` to `end` with these faults.
    pub(crate) fn of(faults: &[Recovered], start: u64, end: u64) -> Self {
        let at = |millis: u64| start + millis * 1_000_000;
        let (Some(first), Some(last)) = (faults.first(), faults.last()) else {
            return Self { stretches: vec![(start, end)], recovered: true };
        };
        let again = last.recovered_after_ms.map(|after| at(last.at_ms + after)).filter(|again| *again < end);
        let before = (start, at(first.at_ms).min(end));
        Self {
            stretches: [before].into_iter().chain(again.map(|again| (again, end))).collect(),
            recovered: again.is_some(),
        }
    }

    /// Whether a backlog grew in one of them, as far as it lies between these times.
    pub(crate) fn grew(&self, backlog: &Backlog, from: u64, until: u64, rate: Rate) -> bool {
        self.stretches.iter().any(|(start, end)| {
            let (start, end) = ((*start).max(from), (*end).min(until));
            start < end && backlog.grew(start, end, backlog.at(end), rate)
        })
    }

    /// What is behind the last fault has to be judged: what was before the first says nothing of the group that is left.
    pub(crate) fn unjudged(&self, backlog: &Backlog, rate: Rate) -> Option<Unjudged> {
        let (start, end) = *self.stretches.last()?;
        match backlog.trend(start, end, backlog.at(end), rate) {
            _ if !self.recovered => Some(Unjudged::NotRecovered),
            Trend::TooShort if self.stretches.len() > 1 => Some(Unjudged::TooSoon),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::Blow;
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 2 * SECOND;
    const END: u64 = 22 * SECOND;
    const RATE: Rate = Rate::Steady(1_000.0);

    fn fault(at: u64, recovered: Option<u64>) -> Recovered {
        Recovered {
            fault: Blow::Join,
            member: 2,
            at_ms: at * 1_000,
            shared_out_after_ms: recovered.map(|it| it * 1_000),
            recovered_after_ms: recovered.map(|it| it * 1_000),
            most_behind: 0,
            repeated: 0,
        }
    }

    /// So many records behind at each second of the load.
    fn backlog(behind: impl Fn(u64) -> u64) -> Backlog {
        let mut backlog = Backlog::default();
        (0..=20).for_each(|second| backlog.sampled(START + second * SECOND, behind(second)));
        backlog
    }

    fn judged(faults: &[Recovered], behind: impl Fn(u64) -> u64) -> (bool, Option<Unjudged>) {
        let (calm, backlog) = (Calm::of(faults, START, END), backlog(behind));
        (calm.grew(&backlog, START, END, RATE), calm.unjudged(&backlog, RATE))
    }

    #[test]
    fn without_faults_it_is_the_whole_load() {
        assert_eq!(judged(&[], |_| 5), (false, None));
        assert_eq!(judged(&[], |second| second * 100), (true, None));
        assert_eq!(Calm::of(&[], START, START + 1).unjudged(&Backlog::default(), RATE), None);
    }

    #[test]
    fn what_piles_up_behind_a_fault_is_no_saturation_before_it_and_after_the_recovery_it_is() {
        let faults = [fault(6, None), fault(8, Some(4))];
        // It grows from the first fault to the last one's recovery, and is gone a second later.
        let piled = |second: u64| if (6..13).contains(&second) { (second - 6) * 1_000 } else { 5 };
        assert_eq!(judged(&faults, piled), (false, None));
        assert_eq!(judged(&faults, |second| second.min(6) * 200), (true, None));
        assert_eq!(judged(&faults, |second| second.saturating_sub(12) * 200), (true, None));
    }

    #[test]
    fn a_group_that_has_not_recovered_within_the_load_is_not_judged() {
        assert_eq!(judged(&[fault(0, None)], |second| second * 500), (false, Some(Unjudged::NotRecovered)));
        assert_eq!(judged(&[fault(5, Some(15))], |_| 5), (false, Some(Unjudged::NotRecovered)));
        assert_eq!(judged(&[fault(5, Some(3)), fault(19, None)], |_| 5).1, Some(Unjudged::NotRecovered));
        // A second says nothing.
        assert_eq!(judged(&[fault(5, Some(14))], |_| 5), (false, Some(Unjudged::TooSoon)));
        // Nor does what was before a fault in the first moment, which needs no judgement.
        assert_eq!(judged(&[fault(0, Some(3))], |_| 5), (false, None));
    }

    #[test]
    fn a_stretch_counts_as_far_as_it_lies_in_a_phase() {
        let (calm, backlog) = (Calm::of(&[fault(12, Some(2))], START, END), backlog(|second| second.min(10) * 200));
        assert!(calm.grew(&backlog, START, START + 10 * SECOND, RATE));
        assert!(!calm.grew(&backlog, START + 10 * SECOND, END, RATE));
    }

    #[test]
    fn a_stretch_after_a_fault_begins_with_what_was_seen_at_the_recovery() {
        let calm = Calm::of(&[fault(6, Some(4))], START, END);
        // Just before it was far behind, from where all that is left of the load looks like a way down; and from then on it grows.
        let behind = |second: u64| if second < 10 { 9_000 } else { (second - 10) * 100 };
        let (mut seen, shortly) = (Backlog::default(), 10 * SECOND + SECOND / 2);
        (0..=20).for_each(|second| seen.sampled(START + second * SECOND + SECOND / 2, behind(second)));
        assert!(!calm.grew(&seen, START + 7 * SECOND, END, RATE));
        seen.seen(START + 10 * SECOND, 0);
        assert!(calm.grew(&seen, START + 7 * SECOND, END, RATE));
        assert_eq!((seen.at(START + 10 * SECOND), seen.at(START + shortly)), (0, 0));
    }
}
