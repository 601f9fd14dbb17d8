//! Records as `troupe consume --json` prints them: key, value, headers and timestamp as they were.

use super::row::Row;
use super::split::{BadInput, Splitter};
use crate::cli::record_json;

/// See the module.
pub(super) struct RecordRows {
    splitter: Splitter,
    keep_partitions: bool,
    /// A timestamp was met that cannot be restored.
    warned: bool,
}

impl RecordRows {
    pub(super) fn new(splitter: Splitter, keep_partitions: bool, from_line: u64) -> Self {
        let mut splitter = splitter.without_blanks(|line| line.trim_ascii().is_empty());
        splitter.skip_to(from_line);
        Self { splitter, keep_partitions, warned: false }
    }

    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, BadInput> {
        let Some(stretch) = self.splitter.next_line()? else {
            return Ok(None);
        };
        let line = stretch.line;
        let record =
            record_json::read(stretch.bytes).map_err(|error| BadInput { line, what: format!("no record: {error}") })?;
        let partition = record.partition.filter(|_| self.keep_partitions);
        if self.keep_partitions && partition.is_none() {
            return Err(BadInput { line, what: "it names no partition to keep".to_owned() });
        }
        // librdkafka takes 0 for none, and negative ones mean none to Kafka.
        if record.timestamp.is_some_and(|timestamp| timestamp <= 0) && !self.warned {
            self.warned = true;
            tracing::warn!(
                "line {line}: a timestamp of 1970 or before cannot be kept; such records get the time of sending"
            );
        }
        let timestamp = record.timestamp.filter(|timestamp| *timestamp > 0);
        let (key, value, headers) = (record.key, record.value, record.headers);
        Ok(Some(Row { line, partition, timestamp, key, value, headers }))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::super::split::tests::trickle;
    use super::*;

    #[test]
    fn the_partition_is_kept_only_if_that_is_asked_for() {
        let input = b"{\"partition\":3,\"timestamp\":7,\"key\":\"k\",\"value\":null}\n\n{\"value\":\"v\"}\n";
        let mut rows = RecordRows::new(trickle(input, 9), false, 1);
        let row = rows.next().unwrap().unwrap();
        assert_eq!((row.line, row.partition, row.timestamp), (1, None, Some(7)));
        assert_eq!((row.key.as_deref(), row.value.as_deref()), (Some(&b"k"[..]), None));
        assert_eq!(rows.next().unwrap().unwrap().line, 3);

        let mut rows = RecordRows::new(trickle(input, 9), true, 1);
        assert_eq!(rows.next().unwrap().unwrap().partition, Some(3));
        assert_eq!(rows.next().unwrap_err().to_string(), "line 3: it names no partition to keep");
    }
}
