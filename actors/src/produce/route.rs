//! A topic as one `PartitionerActor` sees it: its partition count, once known, and the batches that wait for it. Pure, but for the handle it keeps.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::native::NativeTopic;
use super::partition_counts::NoPartitions;
use super::sticky::Sticky;
use crate::ids::PartitionId;

/// See the module. `B` is a batch, `H` librdkafka's handle of the topic.
pub(super) struct Route<B, H = NativeTopic> {
    pub(super) name: Arc<str>,
    pub(super) known: Option<(H, NonZeroU32)>,
    /// By the time at which each began to wait.
    waiting: VecDeque<(Instant, B)>,
    /// Why there is no count yet.
    pub(super) last_answer: NoPartitions,
    /// Where its records go that may go anywhere.
    pub(super) sticky: Sticky,
    turn: u32,
}

impl<B, H> Route<B, H> {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            known: None,
            waiting: VecDeque::new(),
            last_answer: NoPartitions::NoAnswer,
            sticky: Sticky::default(),
            turn: 0,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn wait(&mut self, batch: B, now: Instant) {
        self.waiting.push_back((now, batch));
    }

    /// The batches that waited, in order, once the count is known.
    pub(super) fn take_waiting(&mut self) -> impl Iterator<Item = B> + use<B, H> {
        let waiting = if self.known.is_some() { std::mem::take(&mut self.waiting) } else { VecDeque::new() };
        waiting.into_iter().map(|(_, batch)| batch)
    }

    /// The batches that have waited for `timeout`, and in how long to look again if others wait on.
    pub(super) fn expire(&mut self, now: Instant, timeout: Duration) -> (Vec<B>, Option<Duration>) {
        let mut expired = Vec::new();
        while let Some((since, _)) = self.waiting.front() {
            let waited = now.saturating_duration_since(*since);
            if waited < timeout {
                return (expired, Some(timeout - waited));
            }
            expired.extend(self.waiting.pop_front().map(|(_, batch)| batch));
        }
        (expired, None)
    }

    /// The partition whose turn it is.
    pub(super) fn next_in_turn(&mut self, partitions: NonZeroU32) -> PartitionId {
        self.turn = (self.turn + 1) % partitions.get();
        // Kafka counts partitions in an i32.
        PartitionId(self.turn as i32)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn batches_expire_in_turn_and_only_when_they_have_waited_long_enough() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut route = Route::<_, ()>::new("t".into());
        route.wait('a', at(0));
        route.wait('b', at(3));
        let ten = Duration::from_secs(10);
        assert_eq!(route.expire(at(9), ten), (vec![], Some(Duration::from_secs(1))));
        assert_eq!(route.expire(at(10), ten), (vec!['a'], Some(Duration::from_secs(3))));
        assert_eq!(route.expire(at(20), ten), (vec!['b'], None));
    }

    #[test]
    fn batches_leave_in_order_once_the_count_is_known() {
        let mut route = Route::<_, ()>::new("t".into());
        route.wait('a', Instant::now());
        route.wait('b', Instant::now());
        assert_eq!(route.take_waiting().count(), 0);
        assert!(route.is_waiting());
        route.known = Some(((), NonZeroU32::MIN));
        assert!(route.take_waiting().eq(['a', 'b']));
        assert!(!route.is_waiting());
    }
}
