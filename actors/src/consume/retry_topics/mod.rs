//! Retry topics: where records wait that have failed, so that those behind them go on.
//!
//! [`RetryTopics`] says which topics, and for how long a record waits in each. [`origin`] is what such a record tells of itself, [`arrivals`] what
//! the log does. They are written by the [letterbox](super::dead_letters), and read like any other topic; [the order core](crate::order) holds each
//! record back until it is due.

pub(crate) mod arrivals;
pub(crate) mod origin;

use std::collections::HashSet;
use std::time::Duration;

#[allow(unused_imports)]
use crate::consume::ConsumerBuilder;
use crate::consume::error::ConsumerError;
use crate::consume::properties::configuration;

pub use origin::{Origin, RETRY_DUE_HEADER};

/// A longer delay is taken for a mistake.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Topics in which records that have failed wait until they are tried again: see [`ConsumerBuilder::retry_topics`].
///
/// ```
/// use std::time::Duration;
/// use troupe_actors::consume::RetryTopics;
///
/// let retries = RetryTopics::new([
///     ("orders.retry-10s", Duration::from_secs(10)),
///     ("orders.retry-5m", Duration::from_secs(300)),
/// ]);
/// # let _ = retries;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "it does nothing until it is given to a builder"]
pub struct RetryTopics {
    steps: Vec<RetryStep>,
}

/// One topic, and for how long each of its records waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetryStep {
    pub(crate) topic: String,
    pub(crate) delay: Duration,
}

impl RetryTopics {
    /// These topics, one after the other, and for how long a record waits in each, from 1 ms to a year, in whole milliseconds. None: as if they
    /// were not set.
    ///
    /// Their retention has to be longer than the delay and whatever outage there may be, and they must not be compacted. Each group needs topics
    /// of its own: what is in them is tried by whoever reads them. Take none away before it is empty, for then nobody reads it.
    pub fn new<T: Into<String>>(steps: impl IntoIterator<Item = (T, Duration)>) -> Self {
        Self { steps: steps.into_iter().map(|(topic, delay)| RetryStep { topic: topic.into(), delay }).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.topic.as_str())
    }

    /// For how long records of this topic wait; `None`: it is no retry topic.
    pub(crate) fn delay_of(&self, topic: &str) -> Option<Duration> {
        self.steps.iter().find(|step| step.topic == topic).map(|step| step.delay)
    }

    /// Where a record of this topic goes next: to the first of them, if it comes from none of them. `None`: it has been in the last.
    pub(crate) fn after(&self, topic: &str) -> Option<&RetryStep> {
        let next = self.steps.iter().position(|step| step.topic == topic).map_or(0, |at| at + 1);
        self.steps.get(next)
    }

    pub(crate) fn check(&self) -> Result<(), ConsumerError> {
        let mut seen = HashSet::new();
        for RetryStep { topic, delay } in &self.steps {
            let reason = if topic.is_empty() || topic.contains('\0') {
                "the name of a retry topic is empty or holds a NUL".to_owned()
            } else if topic.starts_with('^') {
                format!("the retry topic {topic} is a pattern: each is one topic, for records are written to it")
            } else if delay.as_millis() == 0 {
                format!("the records of the retry topic {topic} would not wait: use retry_pause for pauses below 1 ms")
            } else if *delay > LONGEST {
                format!("the records of the retry topic {topic} would wait for longer than a year")
            } else if !seen.insert(topic) {
                format!("the retry topic {topic} is named twice: each delay needs a topic of its own")
            } else {
                continue;
            };
            return Err(configuration(reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn topics(names: &[&str]) -> RetryTopics {
        RetryTopics::new(names.iter().zip(1..).map(|(name, seconds)| (*name, Duration::from_secs(seconds))))
    }

    #[test]
    fn a_record_goes_through_the_steps_in_turn_and_then_to_none() {
        let retries = topics(&["a", "b"]);
        let after = |topic| retries.after(topic).map(|step| step.topic.as_str());
        assert_eq!(["orders", "a", "b"].map(after), [Some("a"), Some("b"), None]);
        assert_eq!(["orders", "b"].map(|topic| retries.delay_of(topic)), [None, Some(Duration::from_secs(2))]);
        assert_eq!(RetryTopics::default().after("orders"), None);
    }

    #[test]
    fn each_step_is_a_topic_of_its_own_in_which_records_wait() {
        assert_eq!(topics(&["a", "b"]).check(), Ok(()));
        let refused = |retries: RetryTopics| retries.check().map_err(|error| error.to_string()).unwrap_err();
        assert!(refused(topics(&["a", "b", "a"])).contains("a is named twice"));
        assert!(refused(topics(&["a", ""])).contains("is empty"));
        assert!(refused(topics(&["^a"])).contains("is a pattern"));
        assert!(refused(RetryTopics::new([("a", Duration::from_micros(999))])).contains("would not wait"));
        assert!(refused(RetryTopics::new([("a", Duration::MAX)])).contains("longer than a year"));
    }
}
