//! How much is buffered, and what is said of what takes long.

use std::time::Duration;

use super::ConsumerBuilder;
#[allow(unused_imports)]
use crate::consume::ConsumerHandle;

impl ConsumerBuilder {
    /// Records handed out and not finished, per partition, at most. Default: 8,192. A partition at its bound is not fetched; others are.
    pub fn max_buffered_records(mut self, records: u64) -> Self {
        self.credits.records = records;
        self
    }

    /// Bytes of records handed out and not finished, per partition, with 40 more for each record and 12 for each header; passed by at most one
    /// record. Default: 4 MiB. Those of up to 512 records (or 256 KiB) are one piece of memory, and count until the last of these is finished:
    /// dozens of handlers at once, of which some take far longer than others, may need more.
    pub fn max_buffered_bytes(mut self, bytes: u64) -> Self {
        self.credits.bytes = bytes;
        self
    }

    /// Records handed out and not finished, in all partitions together, at most. Default: 1,000,000. Where they are used up, a partition that has
    /// none still gets a chunk of 512 (or of 256 KiB), one after the other, so that a few slow partitions keep no other from going on.
    pub fn max_total_buffered_records(mut self, records: u64) -> Self {
        self.total_credits.records = records;
        self
    }

    /// Bytes of records handed out and not finished, in all partitions together, counted and passed like the
    /// [records](Self::max_total_buffered_records). Default: 256 MiB.
    pub fn max_total_buffered_bytes(mut self, bytes: u64) -> Self {
        self.total_credits.bytes = bytes;
        self
    }

    /// A warning is logged when an assignment could buffer more than this many bytes in all, what librdkafka fetches ahead included. Default:
    /// 1 GiB. It limits nothing: by default each partition can take about 15 MiB of librdkafka's (see `queued.max.messages.kbytes` and
    /// `queued.min.messages`), and what the engine hands out comes on top.
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = bytes;
        self
    }

    /// For how long a handler may hold a record, or a record the watermark, before it is named in the log and the
    /// [state](ConsumerHandle::state), with its attempt and age. Default: 60 s. In the log it is named again when that has taken twice as long. It
    /// changes nothing: a record that takes long may still end well.
    pub fn slow_record_after(mut self, limit: Duration) -> Self {
        self.naming.record = limit;
        self
    }

    /// For how long a handler may keep its thread, computing or waiting without `await`, before it is named with its record and the partitions
    /// that wait for the thread. Default: 5 s. Ages are sampled every half second.
    pub fn blocked_thread_after(mut self, limit: Duration) -> Self {
        self.naming.thread = limit;
        self
    }
}
