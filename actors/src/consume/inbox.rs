//! The chunks that wait for a worker's pump.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::consume::record::RecordChunk;

/// Filled by the worker actor, emptied by its pump, which may run on another runtime. Bounded by the partition's credits.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    chunks: Mutex<VecDeque<Arc<RecordChunk>>>,
}

impl Inbox {
    pub(crate) fn push(&self, chunk: Arc<RecordChunk>) {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner).push_back(chunk);
    }

    pub(crate) fn pop(&self) -> Option<Arc<RecordChunk>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
