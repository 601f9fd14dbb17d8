//! What every input format comes to: rows to send.

use std::borrow::Cow;

use kafka_troupe::ProducerRecord;

use super::csv::CsvRows;
use super::json::JsonRows;
use super::lines::LineRows;
use super::records::RecordRows;
use super::split::BadInput;
use crate::cli::record_json::ReadHeader;

/// A record to send, and where it stood. It borrows what it can from the input's buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// The line it begins in, counted from 1.
    pub(super) line: u64,
    pub(super) partition: Option<i32>,
    pub(super) timestamp: Option<i64>,
    pub(super) key: Option<Cow<'a, [u8]>>,
    pub(super) value: Option<Cow<'a, [u8]>>,
    pub(super) headers: Vec<ReadHeader<'a>>,
}

impl Row<'_> {
    /// Nothing, at a line.
    pub(super) fn at(line: u64) -> Self {
        Self { line, partition: None, timestamp: None, key: None, value: None, headers: Vec::new() }
    }

    /// Key and value, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, |key| key.len()) + self.value.as_ref().map_or(0, |value| value.len())
    }

    pub(super) fn record<'r>(&'r self, topic: &'r str) -> ProducerRecord<'r> {
        let mut record = ProducerRecord::to(topic);
        if let Some(key) = &self.key {
            record = record.key(&**key);
        }
        if let Some(value) = &self.value {
            record = record.value(&**value);
        }
        if let Some(partition) = self.partition {
            record = record.partition(partition);
        }
        if let Some(timestamp) = self.timestamp {
            record = record.timestamp(timestamp);
        }
        for (name, value) in &self.headers {
            record = match value {
                Some(value) => record.header(&**name, &**value),
                None => record.null_header(&**name),
            };
        }
        record
    }
}

/// The rows of an input, by its format.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub(super) enum Rows {
    Lines(LineRows),
    Csv(CsvRows),
    Json(JsonRows),
    Records(RecordRows),
}

impl Rows {
    /// The next row; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, BadInput> {
        match self {
            Self::Lines(rows) => rows.next(),
            Self::Csv(rows) => rows.next(),
            Self::Json(rows) => rows.next(),
            Self::Records(rows) => rows.next(),
        }
    }
}
