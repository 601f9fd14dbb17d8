//! Dead letters: records that nobody could process, written to a topic of their own, so that the others behind them go on.
//!
//! [`DeadLetters`] says which topic and what follows where it cannot be written. [`envelope`] is what is written, [`limits`] when there are too
//! many, [`letterbox`] who writes them, [`producer`] by what, [`late`] what is known of those that nobody waits for; [`remedy`] tells what to do where
//! that fails.

mod check;
pub(crate) mod envelope;
mod late;
pub(crate) mod letterbox;
pub(crate) mod limits;
mod producer;
pub(crate) mod remedy;

use std::fmt;

use crate::consume::error::ConsumerError;
use crate::consume::properties::configuration;
#[allow(unused_imports)]
use crate::consume::{Cause, ConsumerBuilder, Outcome};
use crate::secret;

pub use envelope::DEAD_LETTER_HEADERS;
pub(crate) use letterbox::Letterbox;
pub(crate) use limits::Limits;

/// What becomes of a record that is to go to the dead letters, or to a [retry topic](ConsumerBuilder::retry_topics), and cannot be written
/// there. It is neither committed nor lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDeadLetterFailure {
    /// It is tried again, after pauses that double from 100 ms up to 10 s, for as long as it takes. Meanwhile it holds its key (or its partition)
    /// and the watermark, and log and [state](crate::consume::DeadLetterState::trouble) say what to do.
    #[default]
    Block,
    /// The engine drains, commits, and ends with [`ConsumerError::DeadLetterRefused`], which names the record and the topic.
    Stop,
}

/// Where records go that cannot be processed: see [`ConsumerBuilder::dead_letters`].
///
/// ```
/// use troupe_actors::consume::{DeadLetters, OnDeadLetterFailure};
///
/// let letters = DeadLetters::to("orders.dead-letters")
///     .on_failure(OnDeadLetterFailure::Stop)
///     .max_in_a_row(20);
/// # let _ = letters;
/// ```
#[derive(Clone, PartialEq)]
#[must_use = "it does nothing until it is given to a builder"]
pub struct DeadLetters {
    /// `None`: nowhere.
    pub(crate) topic: Option<String>,
    pub(crate) on_failure: OnDeadLetterFailure,
    pub(crate) limits: Limits,
    properties: Vec<(String, String)>,
}

impl DeadLetters {
    /// To this topic. It has to exist, and best has as many partitions as the topic that is read: then a record lands, by its key, in the
    /// partition of the same number.
    pub fn to(topic: impl Into<String>) -> Self {
        Self::perhaps_to(Some(topic.into()))
    }

    /// For a configuration, which may have none.
    #[doc(hidden)]
    pub fn perhaps_to(topic: Option<String>) -> Self {
        Self { topic, on_failure: OnDeadLetterFailure::default(), limits: Limits::default(), properties: Vec::new() }
    }

    /// What becomes of a record that cannot be written there. Default: [`OnDeadLetterFailure::Block`].
    pub fn on_failure(mut self, policy: OnDeadLetterFailure) -> Self {
        self.on_failure = policy;
        self
    }

    /// Dead letters that one partition may have in a row, with no other record between them; the engine ends with
    /// [`ConsumerError::DeadLetterLimit`] at the record that would be one more, which is not committed. Default: 100. `u32::MAX`: as many as
    /// come.
    ///
    /// Records that leave for a [retry topic](ConsumerBuilder::retry_topics) count as well, those that leave one do not. Each partition counts for
    /// itself, from the start of its epoch: a deploy that fails at everything writes so many records of each
    /// partition at most.
    pub fn max_in_a_row(mut self, records: u32) -> Self {
        self.limits.in_a_row = records;
        self
    }

    /// The share of dead letters among the last `of` records of a partition, from 0 to 1, that may not be exceeded; the engine ends as with
    /// [`max_in_a_row`](Self::max_in_a_row). Default: half of the last 1,000. A share of 1 bounds nothing.
    ///
    /// A partition that has finished fewer than `of` records is judged as if the ones before had gone well.
    pub fn max_ratio(mut self, ratio: f64, of: u32) -> Self {
        (self.limits.ratio, self.limits.window) = (ratio, of);
        self
    }

    /// A property of librdkafka's for the producer that writes them. It has the consumer's addresses, security, client id and network
    /// properties, is idempotent, and waits for all in-sync replicas. A record that is not confirmed within `message.timeout.ms`, here 60 s,
    /// could not be written.
    ///
    /// Where a topic's `max.message.bytes` is below `batch.size`, librdkafka's 1,000,000, set `batch.size` no higher. Else a request of many letters
    /// is refused, and each of them is sent again alone.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// `retries`: there are retry topics, for which policy and limits are too.
    pub(crate) fn check(&self, retries: bool) -> Result<(), ConsumerError> {
        let Limits { in_a_row, ratio, window } = self.limits;
        let reason = if self.topic.is_none() && !retries && *self != Self::perhaps_to(None) {
            "a limit or a policy is set for dead letters, and no topic (dead_letter_topic)"
        } else if self.topic.as_deref() == Some("") {
            "the dead-letter topic has no name"
        } else if !(0.0..=1.0).contains(&ratio) {
            "the share of dead letters must be from 0 to 1"
        } else if window == 0 || in_a_row == 0 {
            "the limits of dead letters must be above 0: a record that may not go there needs no dead-letter topic"
        } else {
            return Ok(());
        };
        Err(configuration(reason.to_owned()))
    }
}

/// Values of secret properties are not shown.
impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<_> =
            self.properties.iter().map(|(name, value)| (name, secret::shown(name, value))).collect();
        f.debug_struct("DeadLetters")
            .field("topic", &self.topic)
            .field("on_failure", &self.on_failure)
            .field("limits", &self.limits)
            .field("properties", &properties)
            .finish()
    }
}
