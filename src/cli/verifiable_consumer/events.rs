//! The protocol's events, field for field and in the order that Kafka's own tool writes them.

use serde::Serialize;

/// One line of stdout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// Milliseconds since the Unix epoch.
    pub(super) timestamp: u64,
    #[serde(flatten)]
    pub(super) event: Event,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub(super) enum Event {
    StartupComplete,
    /// Since Kafka 4.3.
    ShutdownRequested,
    ShutdownComplete,
    PartitionsAssigned {
        partitions: Vec<Partition>,
    },
    PartitionsRevoked {
        partitions: Vec<Partition>,
    },
    RecordData {
        key: Option<String>,
        value: Option<String>,
        #[serde(flatten)]
        at: Partition,
        offset: i64,
    },
    RecordsConsumed {
        count: u64,
        partitions: Vec<Consumed>,
    },
    OffsetsCommitted {
        offsets: Vec<Committed>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        success: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) partition: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Consumed {
    #[serde(flatten)]
    pub(super) at: Partition,
    pub(super) count: u64,
    pub(super) min_offset: i64,
    pub(super) max_offset: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Committed {
    #[serde(flatten)]
    pub(super) at: Partition,
    pub(super) offset: i64,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    fn line(event: Event) -> String {
        serde_json::to_string(&Line { timestamp: 7, event }).unwrap()
    }

    fn at() -> Partition {
        Partition { topic: "t".to_owned(), partition: 3 }
    }

    #[test]
    fn events_are_written_as_kafkas_own_tool_writes_them() {
        assert_eq!(line(Event::StartupComplete), r#"{"timestamp":7,"name":"startup_complete"}"#);
        assert_eq!(
            line(Event::PartitionsAssigned { partitions: vec![at()] }),
            r#"{"timestamp":7,"name":"partitions_assigned","partitions":[{"topic":"t","partition":3}]}"#
        );
        assert_eq!(
            line(Event::PartitionsRevoked { partitions: Vec::new() }),
            r#"{"timestamp":7,"name":"partitions_revoked","partitions":[]}"#
        );
        let consumed = Consumed { at: at(), count: 2, min_offset: 5, max_offset: 6 };
        assert_eq!(
            line(Event::RecordsConsumed { count: 2, partitions: vec![consumed] }),
            r#"{"timestamp":7,"name":"records_consumed","count":2,"partitions":[{"topic":"t","partition":3,"count":2,"minOffset":5,"maxOffset":6}]}"#
        );
        assert_eq!(
            line(Event::RecordData { key: None, value: Some("v".to_owned()), at: at(), offset: 5 }),
            r#"{"timestamp":7,"name":"record_data","key":null,"value":"v","topic":"t","partition":3,"offset":5}"#
        );
        let offsets = || vec![Committed { at: at(), offset: 7 }];
        assert_eq!(
            line(Event::OffsetsCommitted { offsets: offsets(), error: None, success: true }),
            r#"{"timestamp":7,"name":"offsets_committed","offsets":[{"topic":"t","partition":3,"offset":7}],"success":true}"#
        );
        assert!(
            line(Event::OffsetsCommitted { offsets: offsets(), error: Some("no".to_owned()), success: false })
                .contains(r#""error":"no","success":false"#)
        );
    }
}
