//! Where each partition of a group is reset to.

use std::collections::BTreeMap;

use kafka_troupe::ids::TopicPartition;

use crate::cli::group::{Log, Offsets, Position};

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Earliest,
    Latest,
    /// Where the group is; without a commit, the log's end.
    Current,
    Offset(i64),
    Shift(i64),
    /// The first record with this timestamp or a later one, in milliseconds since the Unix epoch.
    Time(i64),
    Given(BTreeMap<TopicPartition, i64>),
}

/// What is to become of a partition's commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) partition: TopicPartition,
    pub(super) current: Option<i64>,
    /// Within the log: from its start to its end.
    pub(super) new: i64,
    /// Why that is not what was asked for.
    pub(super) note: Option<String>,
}

/// The plan for these partitions; `by_time` holds the answers where the target is a time.
///
/// # Errors
/// What stands against it, per partition. Then nothing is to be reset: half a reset is none.
pub(super) fn plan(target: &Target, positions: &[Position], by_time: &Offsets) -> Result<Vec<Planned>, Vec<String>> {
    let (mut planned, mut against) = (Vec::new(), Vec::new());
    for position in positions {
        match place(target, position, by_time) {
            Ok((new, note)) => {
                let (partition, current) = (position.partition.clone(), position.committed);
                planned.push(Planned { partition, current, new, note });
            }
            Err(why) => against.push(format!("{}: {why}", position.partition)),
        }
    }
    if against.is_empty() { Ok(planned) } else { Err(against) }
}

fn place(target: &Target, position: &Position, by_time: &Offsets) -> Result<(i64, Option<String>), String> {
    let (start, end) = match &position.log {
        Log::Edges { start, end } => (*start, *end),
        Log::Gone(why) | Log::Unknown(why) => return Err(why.clone()),
    };
    let wanted = match target {
        Target::Earliest => start,
        Target::Latest => end,
        Target::Offset(offset) => *offset,
        Target::Current => match position.committed {
            Some(committed) => committed,
            None => return Ok((end, Some("no commit, so the log's end".to_owned()))),
        },
        Target::Shift(by) => position.committed.ok_or("it has no commit to shift")?.saturating_add(*by),
        Target::Time(_) => match by_time.get(&position.partition) {
            Some(Ok(-1)) => return Ok((end, Some("no record is as late, so the log's end".to_owned()))),
            Some(Ok(offset)) => *offset,
            Some(Err(why)) => return Err(why.clone()),
            None => return Err("the leader does not answer".to_owned()),
        },
        Target::Given(offsets) => *offsets.get(&position.partition).ok_or("the file does not name it")?,
    };
    Ok(match wanted {
        _ if wanted > end => (end, Some(format!("{wanted} is beyond the log's end"))),
        _ if wanted < start => (start, Some(format!("{wanted} is below the log's start"))),
        _ => (wanted, None),
    })
}

impl Planned {
    /// How far it moves: forward, or back where that is negative.
    pub(super) fn change(&self) -> Option<i64> {
        self.current.map(|current| self.new.saturating_sub(current))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::group::position;

    /// Where a partition is reset to that is at 50 of a log from 10 to 100.
    fn new(target: &Target) -> (i64, Option<String>) {
        place(target, &position(0, Some(50), 10, 100), &Offsets::new()).unwrap_or_default()
    }

    #[test]
    fn every_target_has_its_place() {
        assert_eq!(new(&Target::Earliest), (10, None));
        assert_eq!(new(&Target::Latest), (100, None));
        assert_eq!(new(&Target::Current), (50, None));
        assert_eq!(new(&Target::Offset(70)), (70, None));
        assert_eq!(new(&Target::Shift(-7)), (43, None));
        assert_eq!(new(&Target::Shift(7)), (57, None));
        assert_eq!(new(&Target::Given([(TopicPartition::new("t", 0), 33)].into())), (33, None));
    }

    #[test]
    fn the_edges_themselves_are_within_and_what_is_outside_is_told() {
        assert_eq!(new(&Target::Offset(10)), (10, None));
        assert_eq!(new(&Target::Offset(100)), (100, None));
        assert_eq!(new(&Target::Offset(101)), (100, Some("101 is beyond the log's end".to_owned())));
        assert_eq!(new(&Target::Offset(9)), (10, Some("9 is below the log's start".to_owned())));
        assert_eq!(new(&Target::Shift(i64::MAX)).0, 100);
        assert_eq!(new(&Target::Shift(i64::MIN)).0, 10);
    }

    #[test]
    fn a_time_is_the_first_record_as_late_and_without_one_the_logs_end() {
        let at = |answer| {
            let by_time = Offsets::from([(TopicPartition::new("t", 0), answer)]);
            place(&Target::Time(1), &position(0, None, 10, 100), &by_time)
        };
        assert_eq!(at(Ok(42)), Ok((42, None)));
        assert!(matches!(at(Ok(-1)), Ok((100, Some(note))) if note.contains("no record is as late")));
        assert!(at(Err("no".to_owned())).is_err());
    }

    #[test]
    fn without_a_commit_nothing_is_shifted_and_the_current_place_is_the_logs_end() {
        let uncommitted = position(3, None, 10, 100);
        assert_eq!(
            plan(&Target::Shift(1), &[position(0, Some(20), 10, 100), uncommitted.clone()], &Offsets::new()),
            Err(vec!["t-3: it has no commit to shift".to_owned()])
        );
        let planned = plan(&Target::Current, &[uncommitted], &Offsets::new()).unwrap_or_default();
        assert_eq!((planned[0].new, planned[0].change()), (100, None));
    }

    #[test]
    fn one_partition_that_cannot_be_reset_keeps_all_from_it() {
        let positions = [position(0, Some(1), 0, 9), position(1, Some(1), 0, 9).unknown("no leader")];
        assert_eq!(plan(&Target::Earliest, &positions, &Offsets::new()), Err(vec!["t-1: no leader".to_owned()]));
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_the_new_offset_lies_within_the_log(
            committed in proptest::option::of(0..200_i64),
            start in 0..100_i64,
            length in 0..100_i64,
            number in any::<i64>(),
            which in 0..5,
        ) {
            let end = start + length;
            let target = match which {
                0 => Target::Earliest,
                1 => Target::Latest,
                2 => Target::Current,
                3 => Target::Offset(number),
                _ => Target::Shift(number),
            };
            if let Ok(planned) = plan(&target, &[position(0, committed, start, end)], &Offsets::new()) {
                let planned = &planned[0];
                prop_assert!((start..=end).contains(&planned.new));
                prop_assert_eq!(planned.change(), committed.map(|committed| planned.new - committed));
                if target == Target::Offset(number) {
                    prop_assert_eq!(planned.note.is_none(), planned.new == number);
                }
            } else {
                prop_assert!(committed.is_none() && which == 4);
            }
        }
    }
}
