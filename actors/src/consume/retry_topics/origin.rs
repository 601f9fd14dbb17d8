//! What a record of a retry topic tells of itself, by headers: where it comes from, how often it was tried, and when it is due.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::consume::dead_letters::envelope::{ATTEMPTS, DEAD_LETTER_HEADERS, OFFSET, PARTITION, TIMESTAMP, TOPIC};
use crate::consume::record::Record;
use crate::ids::{Offset, PartitionId};

/// The header of a record in a retry topic that says when it is due, in milliseconds since the Unix epoch, as text. It has the
/// [headers of a dead letter](DEAD_LETTER_HEADERS) beside.
pub const RETRY_DUE_HEADER: &str = "__troupe.retry.due";

/// Where a record of a [retry topic](crate::consume::ConsumerBuilder::retry_topics) comes from: see [`Record::origin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin<'a> {
    /// The topic that it was first read from.
    pub topic: &'a str,
    /// The partition there.
    pub partition: PartitionId,
    /// Its offset there.
    pub offset: Offset,
    /// Its timestamp there, milliseconds since the Unix epoch; `None` where it had none.
    pub timestamp: Option<i64>,
}

/// What the engine wrote into the headers of a record of a retry topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Past<'a> {
    pub(crate) origin: Origin<'a>,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// When it is due, milliseconds since the Unix epoch.
    pub(crate) due: i64,
}

impl<'a> Past<'a> {
    /// Of the last story that the headers tell: earlier ones are of earlier lives. `None`: they are not the engine's.
    fn read(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Option<Self> {
        let (mut topic, mut partition, mut offset, mut timestamp, mut attempts, mut due) = Default::default();
        for (name, value) in headers {
            let text = value.and_then(|value| std::str::from_utf8(value).ok());
            match name {
                TOPIC => {
                    topic = text;
                    (partition, offset, timestamp, attempts, due) = Default::default();
                }
                PARTITION => partition = number::<i32>(text),
                OFFSET => offset = number::<i64>(text),
                TIMESTAMP => timestamp = number(text),
                ATTEMPTS => attempts = number(text),
                RETRY_DUE_HEADER => due = number(text),
                _ => {}
            }
        }
        let origin = Origin { topic: topic?, partition: PartitionId(partition?), offset: Offset(offset?), timestamp };
        Some(Self { origin, attempts: attempts.unwrap_or(0), due: due? })
    }
}

fn number<N: std::str::FromStr>(text: Option<&str>) -> Option<N> {
    text?.parse().ok()
}

impl Record {
    /// `None` for a record that was read from no retry topic, or that the engine did not write there.
    pub(crate) fn past(&self) -> Option<Past<'_>> {
        if self.chunk.waits_since.is_some() { Past::read(self.headers()) } else { None }
    }

    /// The headers that it had before the engine wrote it to a retry topic.
    pub(crate) fn own_headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        // The story begins with the topic.
        let told = self
            .past()
            .and_then(|_| self.headers().map(|(name, _)| name).enumerate().filter(|(_, name)| *name == TOPIC).last());
        let from = told.map_or(usize::MAX, |(at, _)| at);
        let is_ours = |name: &str| DEAD_LETTER_HEADERS.contains(&name) || name == RETRY_DUE_HEADER;
        self.headers().enumerate().filter(move |(at, (name, _))| *at < from || !is_ours(name)).map(|(_, header)| header)
    }
}

/// For how long a record waits that is due then, if it waits `delay` at most: however the clocks differ, and whatever the header says.
pub(crate) fn wait(due: i64, now: i64, delay: Duration) -> Duration {
    Duration::from_millis(u64::try_from(due.saturating_sub(now)).unwrap_or(0)).min(delay)
}

/// When a record is due that is to wait for `delay`.
pub(crate) fn due(now: i64, delay: Duration) -> i64 {
    now.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}

/// Now, in milliseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<'a>(headers: &[(&'a str, &'a str)]) -> Option<Past<'a>> {
        Past::read(headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))))
    }

    const STORY: [(&str, &str); 5] =
        [(TOPIC, "orders"), (PARTITION, "3"), (OFFSET, "7"), (ATTEMPTS, "2"), (RETRY_DUE_HEADER, "5000")];

    #[test]
    fn the_last_story_counts_and_takes_nothing_from_one_before_it() {
        let origin = Origin { topic: "orders", partition: PartitionId(3), offset: Offset(7), timestamp: None };
        let past = Past { origin, attempts: 2, due: 5000 };
        assert_eq!(read(&STORY), Some(past));
        let earlier = [(TOPIC, "bills"), (PARTITION, "9"), (TIMESTAMP, "11"), (ATTEMPTS, "99")];
        assert_eq!(read(&[&earlier[..], &STORY[..]].concat()), Some(past));
        let stamped = [&STORY[..], &[(TIMESTAMP, "12")]].concat();
        assert_eq!(read(&stamped).and_then(|past| past.origin.timestamp), Some(12));
    }

    #[test]
    fn a_record_that_tells_no_whole_story_is_not_the_engines() {
        for without in [TOPIC, PARTITION, OFFSET, RETRY_DUE_HEADER] {
            let headers: Vec<_> = STORY.into_iter().filter(|(name, _)| *name != without).collect();
            assert_eq!(read(&headers), None, "{without}");
        }
        let spoilt = STORY.map(|(name, value)| if name == OFFSET { (name, "x") } else { (name, value) });
        assert_eq!(read(&spoilt), None);
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_delay_and_none_ends_before_its_time(
            due in any::<i64>(),
            now in any::<i64>(),
            delay in 1..1_000_000_u64,
        ) {
            let waits = wait(due, now, Duration::from_millis(delay));
            prop_assert!(waits <= Duration::from_millis(delay));
            let early = i128::from(due) - i128::from(now);
            prop_assert_eq!(waits.as_millis() as i128, early.clamp(0, i128::from(delay)));
        }

        #[test]
        fn a_record_waits_for_its_delay_where_the_clocks_agree(now in 0..1_i64 << 50, delay in 1..1_000_000_u64, passed in 0..2_000_000_u64) {
            let delay = Duration::from_millis(delay);
            let left = wait(super::due(now, delay), now + passed as i64, delay);
            prop_assert_eq!(left, delay.saturating_sub(Duration::from_millis(passed)));
        }
    }
}
