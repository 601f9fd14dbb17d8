//! The protocol's events, field for field and in the order that Kafka's own tool writes them.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_troupe::produce::SendError;
use serde::Serialize;

/// One line of stdout.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Line {
    /// Milliseconds since the Unix epoch.
    timestamp: u64,
    #[serde(flatten)]
    event: Event,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub(super) enum Event {
    StartupComplete,
    ProducerSendSuccess {
        key: Option<String>,
        value: String,
        /// -1 where no broker told it, as Java has it.
        offset: i64,
        topic: String,
        partition: i32,
    },
    ProducerSendError {
        topic: String,
        key: Option<String>,
        value: String,
        exception: String,
        message: String,
    },
    ShutdownComplete,
    ToolData {
        sent: u64,
        acked: u64,
        target_throughput: i64,
        avg_throughput: f64,
    },
}

/// Writes an event's line. A reader that has gone away misses the rest: the producer goes on until it is told to end, as Java's does.
pub(super) fn tell(event: Event) {
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    let line = serde_json::to_string(&Line { timestamp, event }).unwrap_or_default();
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}

/// The class that Java's producer would have thrown, as its tool writes it.
pub(super) fn exception(error: &SendError) -> String {
    let (package, class) = match error {
        SendError::TooLarge { .. } => ("org.apache.kafka.common.errors", "RecordTooLargeException"),
        SendError::InvalidTopic { .. } => ("org.apache.kafka.common.errors", "InvalidTopicException"),
        SendError::TimedOut { .. } | SendError::UnknownTopic { .. } => {
            ("org.apache.kafka.common.errors", "TimeoutException")
        }
        SendError::Rejected { error, .. } if error.code() == 29 => {
            ("org.apache.kafka.common.errors", "TopicAuthorizationException")
        }
        SendError::Closed { .. } | SendError::Abandoned { .. } => ("java.lang", "IllegalStateException"),
        _ => ("org.apache.kafka.common", "KafkaException"),
    };
    format!("class {package}.{class}")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn events_are_written_as_kafkas_own_tool_writes_them() {
        let line = |event| serde_json::to_string(&Line { timestamp: 7, event }).unwrap();
        assert_eq!(line(Event::StartupComplete), r#"{"timestamp":7,"name":"startup_complete"}"#);
        let tool = Event::ToolData { sent: 3, acked: 2, target_throughput: -1, avg_throughput: 1.5 };
        assert_eq!(
            line(tool),
            r#"{"timestamp":7,"name":"tool_data","sent":3,"acked":2,"target_throughput":-1,"avg_throughput":1.5}"#
        );
    }
}
