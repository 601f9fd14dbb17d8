use std::collections::VecDeque;

use super::latencies::Latencies;
use super::ledger::Place;

/// Of so many records one is timed until it is committed.
const ONE_OF: u64 = 16;
/// So many of a partition may wait for that. Those beyond are not timed.
const WAITING: usize = 1 << 16;
/// So many commits of a partition are remembered.
const REMEMBERED: usize = 1 << 10;

/// What members were told to be committed, and when.
#[derive(Debug)]
pub(crate) struct Commits(Vec<OfPartition>);

#[derive(Debug, Default)]
struct OfPartition {
    /// Offsets that are handled and not committed, and since when.
    waiting: Vec<(u64, u64)>,
    /// When it was known that all below an offset is committed; both ascend.
    known: VecDeque<(u64, u64)>,
}

impl Commits {
    pub(crate) fn new(partitions: u32) -> Self {
        Self((0..partitions).map(|_| OfPartition::default()).collect())
    }

    /// A handler is through with a record of the load.
    pub(crate) fn handled(&mut self, place: Place, now: u64) {
        if place.offset.is_multiple_of(ONE_OF)
            && let Some(of) = self.0.get_mut(place.partition as usize).filter(|of| of.waiting.len() < WAITING)
        {
            of.waiting.push((place.offset, now));
        }
    }

    /// All below `next` is committed.
    pub(crate) fn confirmed(&mut self, partition: u32, next: u64, now: u64, lag: &mut Latencies) {
        let Some(of) = self.0.get_mut(partition as usize) else { return };
        of.waiting.retain(|(offset, since)| {
            let waits = *offset >= next;
            if !waits {
                lag.record(now.saturating_sub(*since));
            }
            waits
        });
        if of.known.back().is_none_or(|(at, known)| *at <= now && *known < next) {
            if of.known.len() == REMEMBERED {
                of.known.pop_front();
            }
            of.known.push_back((now, next));
        }
    }

    /// Up to where a partition was known to be committed at that time; 0 where that is not remembered.
    pub(crate) fn known_at(&self, partition: u32, at: u64) -> u64 {
        let of = self.0.get(partition as usize);
        of.and_then(|of| of.known.iter().rfind(|(known, _)| *known <= at)).map_or(0, |(_, next)| *next)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    fn at(offset: u64) -> Place {
        Place { partition: 0, offset }
    }

    #[test]
    fn one_of_sixteen_is_timed_from_its_end_to_its_commit() {
        let (mut commits, mut lag) = (Commits::new(1), Latencies::new().unwrap());
        (0..48).for_each(|offset| commits.handled(at(offset), 10_000 * offset));
        commits.confirmed(0, 32, 500_000, &mut lag);
        let summary = lag.summary().unwrap();
        // Offsets 0 and 16; 32 still waits.
        assert_eq!((summary.count, summary.min), (2, 340));
        commits.confirmed(0, 33, 600_000, &mut lag);
        assert_eq!(lag.summary().unwrap().count, 3);
        commits.confirmed(0, 48, 700_000, &mut lag);
        assert_eq!(lag.summary().unwrap().count, 3);
    }

    #[test]
    fn it_is_remembered_what_was_known_to_be_committed_at_a_time() {
        let (mut commits, mut lag) = (Commits::new(1), Latencies::new().unwrap());
        commits.confirmed(0, 5, 100, &mut lag);
        commits.confirmed(0, 9, 200, &mut lag);
        // Told late, by another member.
        commits.confirmed(0, 7, 300, &mut lag);
        assert_eq!([99, 100, 199, 200, 900].map(|at| commits.known_at(0, at)), [0, 5, 5, 9, 9]);
        assert_eq!(commits.known_at(1, 900), 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut commits, mut lag) = (Commits::new(1), Latencies::new().unwrap());
        (0..ONE_OF * (WAITING as u64 + 9)).for_each(|offset| commits.handled(at(offset), 0));
        (1..=REMEMBERED as u64 + 9).for_each(|next| commits.confirmed(0, next, next, &mut lag));
        assert_eq!(commits.0[0].known.len(), REMEMBERED);
        assert_eq!(commits.known_at(0, 5), 0);
        commits.confirmed(0, u64::MAX, 9_999, &mut lag);
        assert_eq!(lag.summary().unwrap().count, WAITING as u64);
    }
}
