//! What commits may cost the coordinator: how much goes into one request, and how much is written per second.

use std::time::{Duration, Instant};

/// The most bytes of one commit request. A coordinator writes a request as one record batch, of about 1 MiB at most, and refuses it whole
/// beyond (measured on 4.3.1: 80 partitions with 12 KB of metadata each pass, 90 do not).
pub(crate) const REQUEST_BYTES: usize = 512 * 1024;
/// What an offset costs beside the group's and the topic's name and its metadata: the rest of key and value, and their record's head.
const ENTRY_BYTES: usize = 64;

/// Bytes that one partition's commit takes in the coordinator's log.
pub(crate) fn entry_bytes(group: &str, topic: &str, metadata: &str) -> usize {
    ENTRY_BYTES + group.len() + topic.len() + metadata.len()
}

/// Spreads entries over requests of at most [`REQUEST_BYTES`], in their order.
pub(crate) fn requests<T>(entries: Vec<T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut requests: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for entry in entries {
        let cost = bytes(&entry);
        match requests.last_mut() {
            Some(request) if cost <= room => request.push(entry),
            _ => {
                requests.push(vec![entry]);
                room = REQUEST_BYTES;
            }
        }
        room = room.saturating_sub(cost);
    }
    requests
}

/// Keeps commits within a rate of bytes: what one round wrote has to be paid off before the next.
#[derive(Debug)]
pub(crate) struct CommitBudget {
    bytes_per_second: u64,
    paid_off: Instant,
    /// How long the last round takes to be paid off.
    pause: Duration,
}

impl CommitBudget {
    pub(crate) fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid_off: now, pause: Duration::ZERO }
    }

    /// How long another round has to wait; `None` when it may be sent.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.paid_off.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// A round of so many bytes is sent. The member's share of the group's rate is that of its partitions, `owned` of `total`.
    pub(crate) fn spend(&mut self, bytes: usize, owned: usize, total: usize, now: Instant) {
        let (owned, total) = (owned.max(1) as f64, total.max(owned).max(1) as f64);
        let rate = self.bytes_per_second as f64 * owned / total;
        self.pause = Duration::try_from_secs_f64(bytes as f64 / rate).unwrap_or(Duration::from_secs(3600));
        self.paid_off = now + self.pause;
    }

    /// The time from one round to the next, where the rate asks for that much.
    pub(crate) fn pause(&self) -> Duration {
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn requests_keep_the_order_hold_everything_and_stay_small(costs in prop::collection::vec(1..60_000_usize, 0..200)) {
            let split = requests(costs.clone(), |cost| *cost);
            prop_assert_eq!(split.concat(), costs);
            for request in &split {
                prop_assert!(request.iter().sum::<usize>() <= REQUEST_BYTES && !request.is_empty());
            }
            // No two neighbours fit into one.
            for pair in split.windows(2) {
                prop_assert!(pair[0].iter().sum::<usize>() + pair[1][0] > REQUEST_BYTES);
            }
        }
    }

    #[test]
    fn an_entry_too_large_for_any_request_gets_one_of_its_own() {
        assert_eq!(
            requests(vec![10, REQUEST_BYTES + 1, 10], |cost| *cost),
            [vec![10], vec![REQUEST_BYTES + 1], vec![10]]
        );
    }

    #[test]
    fn a_round_is_paid_off_at_the_member_s_share_of_the_rate() {
        let now = Instant::now();
        let mut budget = CommitBudget::new(1 << 20, now);
        assert_eq!(budget.wait(now), None);
        budget.spend(1 << 20, 10, 40, now);
        assert_eq!(budget.pause(), Duration::from_secs(4));
        assert_eq!(budget.wait(now + Duration::from_millis(3999)), Some(Duration::from_millis(1)));
        assert_eq!(budget.wait(now + Duration::from_secs(4)), None);
        budget.spend(100, 1, 0, now + Duration::from_secs(4));
        assert!(budget.pause() < Duration::from_millis(1));
    }
}
