//! Whether the largest record that there may be is taken: one that is not fails whatever the load.

use super::keys::KeyText;

/// What a producer takes unless `message.max.bytes` says otherwise: librdkafka's default.
const MESSAGE_MAX_BYTES: usize = 1_000_000;
/// What librdkafka counts for a record beside key, value and headers, at most (`RD_KAFKAP_MESSAGE_V2_MAX_OVERHEAD`).
const RECORD_HEAD: usize = 36;
/// What a batch begins with, which a topic's limit is for.
const BATCH_HEAD: usize = 61;

/// The largest record of a run, in bytes, with all but what its batch begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Largest(usize);

impl Largest {
    /// Of so many bytes of value and headers, with or without a key.
    pub(crate) fn of(bytes: usize, keyed: bool) -> Self {
        Self(bytes + if keyed { KeyText::LEN } else { 0 } + RECORD_HEAD)
    }

    /// The `message.max.bytes` of a producer for a topic whose `max.message.bytes` is `of_topic`. One that compresses makes batches of what there was
    /// before, and takes the largest record whatever the topic does: that may take what becomes of it.
    pub(crate) fn producers_limit(self, of_topic: u64, compresses: bool) -> u64 {
        if compresses { of_topic.max(self.0 as u64) } else { of_topic }
    }

    /// Whether a producer takes it, whose `message.max.bytes` is `limit`, or the default.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(crate) fn fits_producer(self, limit: Option<usize>) -> Result<(), String> {
        let (Self(most), limit) = (self, limit.unwrap_or(MESSAGE_MAX_BYTES));
        if most <= limit {
            return Ok(());
        }
        Err(format!(
            "the largest record has {most} bytes, with key and head, and the producer's message.max.bytes is {limit}: make the records smaller, \
             or raise that with -X message.max.bytes={most}, and the broker's own limit with it"
        ))
    }

    /// Whether a topic takes it, uncompressed, whose `max.message.bytes` is `limit`.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(crate) fn fits_topic(self, topic: &str, limit: usize) -> Result<(), String> {
        let most = self.0 + BATCH_HEAD;
        if most <= limit {
            return Ok(());
        }
        Err(format!(
            "the largest record has {most} bytes in a batch of its own, and the max.message.bytes of topic {topic} is {limit}: make the records \
             smaller, or raise that to {most}"
        ))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::super::sizes::Content;
    use super::*;

    #[test]
    fn the_largest_record_has_to_fit_what_a_producer_takes() {
        assert!(Largest::of(1_000_000 - 36, false).fits_producer(None).is_ok());
        assert!(Largest::of(1_000_000 - 36 - 11, true).fits_producer(None).is_ok());
        let told = Largest::of(1_000_000 - 36, true).fits_producer(None).unwrap_err();
        assert!(told.contains("1000011 bytes") && told.contains("message.max.bytes=1000011"), "{told}");
        assert!(Largest::of(10_000_000, true).fits_producer(Some(20_000_000)).is_ok());
        let largest = |sizes: &str| Largest::of(Content::Filler(sizes.parse().unwrap()).bounds().1, true);
        assert!(largest("uniform:100:2000").fits_producer(Some(2_000)).is_err());
        assert!(largest("lognormal:300:2").fits_producer(None).is_ok());
    }

    #[test]
    fn a_producer_that_compresses_takes_more_than_the_topic() {
        let largest = Largest::of(5_000, false);
        assert_eq!([2_000, 9_000].map(|topic| largest.producers_limit(topic, false)), [2_000, 9_000]);
        assert_eq!([2_000, 9_000].map(|topic| largest.producers_limit(topic, true)), [5_036, 9_000]);
    }

    #[test]
    fn a_topic_counts_what_the_batch_begins_with_too() {
        assert!(Largest::of(2_000 - 36 - 61, false).fits_topic("t", 2_000).is_ok());
        let told = Largest::of(2_000 - 36 - 60, false).fits_topic("t", 2_000).unwrap_err();
        assert!(told.contains("2001 bytes") && told.contains("topic t is 2000"), "{told}");
    }
}
