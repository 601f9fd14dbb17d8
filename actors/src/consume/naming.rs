//! Names the records that take long: which, where, at which attempt, and for how long. What decides is pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::consume::state::Board;
use crate::ids::TopicPartition;

/// Lines logged at one look, at most.
const LINES: usize = 10;

/// After how long what is named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamingLimits {
    /// A record in its handler, or at the watermark.
    pub(crate) record: Duration,
    /// A thread that a handler keeps.
    pub(crate) thread: Duration,
}

impl Default for NamingLimits {
    fn default() -> Self {
        Self { record: Duration::from_secs(60), thread: Duration::from_secs(5) }
    }
}

/// What is with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Plight {
    InHandler,
    /// It holds the watermark, and is in a handler, or not.
    HoldsWatermark {
        in_handler: bool,
    },
    KeepsThread,
}

/// A record that has something the matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) partition: TopicPartition,
    pub(crate) plight: Plight,
    pub(crate) offset: i64,
    pub(crate) attempt: u32,
    pub(crate) age: Duration,
    /// The other partitions of the thread that it keeps.
    pub(crate) waiting: Vec<TopicPartition>,
}

/// Each is named when it is past its limit, and again whenever that has taken twice as long.
#[derive(Debug)]
pub(crate) struct Namer {
    limits: NamingLimits,
    /// Its age when it was named last.
    named: HashMap<(TopicPartition, Plight, i64), Duration>,
}

impl Namer {
    pub(crate) fn new(limits: NamingLimits) -> Self {
        Self { limits, named: HashMap::new() }
    }

    /// Of all that were seen, those to be named now, oldest first, and how many more there are.
    fn due(&mut self, seen: Vec<Named>) -> (Vec<Named>, usize) {
        let before = std::mem::take(&mut self.named);
        let mut due = Vec::new();
        for each in seen {
            let limit = if each.plight == Plight::KeepsThread { self.limits.thread } else { self.limits.record };
            if each.age < limit {
                continue;
            }
            let key = (each.partition.clone(), each.plight, each.offset);
            let last = before.get(&key).copied().filter(|last| each.age < 2 * *last);
            self.named.insert(key, last.unwrap_or(each.age));
            if last.is_none() {
                due.push(each);
            }
        }
        due.sort_by_key(|each| std::cmp::Reverse(each.age));
        let more = due.len().saturating_sub(LINES);
        due.truncate(LINES);
        (due, more)
    }

    /// Looks, and logs.
    pub(crate) fn look(&mut self, board: &Board, now: Instant) {
        let (due, more) = self.due(board.sample(now));
        for Named { partition, plight, offset, attempt, age, waiting } in due {
            let (topic, partition, age_ms) = (&*partition.topic, partition.partition.0, age.as_millis() as u64);
            match plight {
                Plight::InHandler => {
                    warn!(topic, partition, offset, attempt, age_ms, "a handler has had this record for long");
                }
                Plight::HoldsWatermark { in_handler } => warn!(
                    topic,
                    partition,
                    offset,
                    attempt,
                    age_ms,
                    in_handler,
                    "this record holds the watermark: nothing above it can be committed"
                ),
                Plight::KeepsThread => {
                    let waiting: Vec<_> = waiting.iter().map(ToString::to_string).collect();
                    let waiting = waiting.join(", ");
                    warn!(
                        topic,
                        partition,
                        offset,
                        attempt,
                        age_ms,
                        waiting,
                        "the handler of this record keeps its thread: the other partitions there wait; it should await, not block"
                    );
                }
            }
        }
        if more > 0 {
            warn!(more, "records take long, beside those named");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(offset: i64, plight: Plight, seconds: u64) -> Named {
        let age = Duration::from_secs(seconds);
        Named { partition: TopicPartition::new("t", 0), plight, offset, attempt: 1, age, waiting: Vec::new() }
    }

    #[test]
    fn a_record_is_named_past_its_limit_and_again_when_it_has_taken_twice_as_long() {
        let mut namer = Namer::new(NamingLimits::default());
        let named = |seconds: &u64| namer.due(vec![seen(7, Plight::InHandler, *seconds)]).0.len() == 1;
        let ages: Vec<_> = (0..600).filter(named).collect();
        assert_eq!(ages, [60, 120, 240, 480]);
    }

    #[test]
    fn a_thread_is_named_sooner_and_each_plight_of_a_record_for_itself() {
        let mut namer = Namer::new(NamingLimits::default());
        let all = |seconds| {
            [Plight::InHandler, Plight::HoldsWatermark { in_handler: true }, Plight::KeepsThread]
                .map(|plight| seen(7, plight, seconds))
                .to_vec()
        };
        let plights = |named: Vec<Named>| named.iter().map(|named| named.plight).collect::<Vec<_>>();
        assert_eq!(plights(namer.due(all(5)).0), [Plight::KeepsThread]);
        assert_eq!(namer.due(all(61)).0.len(), 3);
        assert_eq!(namer.due(all(62)).0, []);
        assert_eq!(namer.due(Vec::new()).0, []);
        assert_eq!(namer.due(all(63)).0.len(), 3, "what was gone meanwhile is new");
    }

    #[test]
    fn of_many_the_oldest_are_named_and_the_others_counted_once() {
        let mut namer = Namer::new(NamingLimits::default());
        let many = || (0..1000).map(|offset| seen(offset, Plight::InHandler, 100 - offset as u64 % 10)).collect();
        let (named, more) = namer.due(many());
        assert_eq!((named.len(), more), (LINES, 990));
        assert!(named.iter().all(|named| named.age == Duration::from_secs(100)));
        assert_eq!(namer.due(many()), (Vec::new(), 0));
    }
}
