//! A record as a test makes it up.

use std::sync::Arc;

use crate::consume::control::ControlCell;
use crate::consume::record::{ChunkBuilder, Record};
use crate::ids::NextOffset;
use crate::offsets::Tile;

/// A record for a [`HandlerTest`](super::HandlerTest). Without key, value, headers or timestamp unless it is given them.
#[derive(Debug, Clone, Default)]
pub struct TestRecord {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
}

impl TestRecord {
    /// With this value.
    pub fn value(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// With a null value.
    pub fn tombstone() -> Self {
        Self::default()
    }

    /// With this key; otherwise it is null.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// With this header, behind those that it has.
    pub fn header(mut self, name: impl Into<String>, value: Option<&[u8]>) -> Self {
        self.headers.push((name.into(), value.map(<[u8]>::to_vec)));
        self
    }

    /// With this timestamp, in milliseconds since the Unix epoch; otherwise it has none.
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    pub(super) fn at(&self, cell: &ControlCell, position: NextOffset) -> Record {
        let mut chunk = ChunkBuilder::new(1, 1, 1, 0);
        chunk.push(position.0, self.timestamp.unwrap_or(-1), self.key.as_deref(), self.value.as_deref());
        for (name, value) in &self.headers {
            chunk.push_header(name.as_bytes(), value.as_deref());
        }
        let tile = Tile::new(position, NextOffset(position.0 + 1));
        let chunk = chunk.finish(cell.partition.clone(), cell.epoch, tile, cell.revoking.clone());
        Record { chunk: Arc::new(chunk), position: 0, attempt: 1, failed: 0 }
    }
}
