//! How a batch is put together. Pure.

use std::time::Instant;

use crate::consume::batch::BatchBounds;

/// The batch that waits for more.
#[derive(Debug)]
pub(crate) struct Forming<T> {
    bounds: BatchBounds,
    records: Vec<T>,
    bytes: usize,
    /// Of its first record.
    since: Option<Instant>,
}

impl<T> Forming<T> {
    pub(crate) fn new(bounds: BatchBounds) -> Self {
        Self { bounds, records: Vec::new(), bytes: 0, since: None }
    }

    /// Adds a record of so many bytes. The clock is looked at once a batch.
    pub(crate) fn add(&mut self, record: T, bytes: usize, clock: impl FnOnce() -> Instant) {
        self.since.get_or_insert_with(clock);
        self.records.push(record);
        self.bytes += bytes;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records.len() >= self.bounds.records || (self.bytes >= self.bounds.bytes && !self.records.is_empty())
    }

    pub(crate) fn records(&self) -> &[T] {
        &self.records
    }

    /// When it has waited for as long as it may.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since.checked_add(self.bounds.linger).unwrap_or(since))
    }

    pub(crate) fn take(&mut self) -> Vec<T> {
        (self.bytes, self.since) = (0, None);
        std::mem::take(&mut self.records)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_batch_is_full_by_count_or_with_the_record_that_reaches_its_bytes() {
        let bounds = BatchBounds::default().records(3).bytes(100).linger(Duration::from_secs(1));
        let (mut forming, now) = (Forming::new(bounds), Instant::now());
        assert_eq!((forming.due(), forming.is_full()), (None, false));
        forming.add(1, 0, || now);
        forming.add(2, 0, || panic!("one look at the clock a batch"));
        assert!(!forming.is_full());
        assert_eq!(forming.due(), Some(now + Duration::from_secs(1)));
        forming.add(3, 0, || now);
        assert!(forming.is_full());
        assert_eq!(forming.take(), [1, 2, 3]);
        forming.add(4, 99, || now);
        assert!(!forming.is_full());
        forming.add(5, 1000, || now);
        assert!(forming.is_full());
        assert_eq!((forming.take(), forming.due()), (vec![4, 5], None));
    }
}
