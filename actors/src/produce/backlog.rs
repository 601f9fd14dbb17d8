//! What librdkafka's full queue refused, in order, and what came after it. Pure.
//!
//! The bound of that queue is the client's, not a partition's: while anything waits here, nothing may be produced before it. So order is kept in
//! every partition.

use std::collections::VecDeque;

/// What became of an item that was offered.
#[derive(Debug)]
pub(super) enum Fit<T> {
    /// Taken whole, or answered.
    All,
    /// The queue is full: these remain, in order, with at least one of them.
    Rest(Vec<T>),
}

/// First in, first out; see the module.
#[derive(Debug)]
pub(super) struct Backlog<T>(VecDeque<T>);

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Backlog<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Produces `item` now, or keeps it behind what waits already.
    pub(super) fn offer(&mut self, item: T, produce: impl FnMut(T) -> Fit<T>) {
        self.0.push_back(item);
        if self.0.len() == 1 {
            self.retry(produce);
        }
    }

    /// Produces what waits, until the queue is full again.
    pub(super) fn retry(&mut self, mut produce: impl FnMut(T) -> Fit<T>) {
        while let Some(item) = self.0.pop_front() {
            if let Fit::Rest(rest) = produce(item) {
                for item in rest.into_iter().rev() {
                    self.0.push_front(item);
                }
                return;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A batch is split by partition when it is first produced, as the `PartitionerActor` does.
    enum Item {
        Batch(Vec<(u8, usize)>),
        Part(u8, Vec<usize>),
    }

    /// A queue with `room`; what it took.
    struct Library {
        room: usize,
        taken: Vec<(u8, usize)>,
    }

    impl Library {
        fn produce(&mut self, item: Item) -> Fit<Item> {
            let parts: Vec<(u8, Vec<usize>)> = match item {
                Item::Part(partition, records) => vec![(partition, records)],
                Item::Batch(records) => {
                    let mut parts = BTreeMap::<u8, Vec<usize>>::new();
                    for (partition, record) in records {
                        parts.entry(partition).or_default().push(record);
                    }
                    parts.into_iter().collect()
                }
            };
            let mut rest = Vec::new();
            for (partition, mut records) in parts {
                let fits = self.room.min(records.len());
                self.room -= fits;
                self.taken.extend(records.drain(..fits).map(|record| (partition, record)));
                if !records.is_empty() {
                    rest.push(Item::Part(partition, records));
                }
            }
            if rest.is_empty() { Fit::All } else { Fit::Rest(rest) }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_full_queue_refuses_each_partition_keeps_its_order(
            batches in prop::collection::vec((prop::collection::vec(0..4_u8, 1..20), 0..30_usize, any::<bool>()), 1..30),
        ) {
            let mut backlog = Backlog::default();
            let mut library = Library { room: 0, taken: Vec::new() };
            let mut sent = 0;
            let mut offered = Vec::new();
            for (partitions, room, retries) in batches {
                library.room += room;
                if retries {
                    backlog.retry(|item| library.produce(item));
                }
                let batch: Vec<_> = partitions.into_iter().map(|partition| {
                    sent += 1;
                    (partition, sent)
                }).collect();
                offered.extend(batch.clone());
                backlog.offer(Item::Batch(batch), |item| library.produce(item));
            }
            library.room = usize::MAX;
            backlog.retry(|item| library.produce(item));
            prop_assert!(backlog.is_empty());
            for partition in 0..4 {
                let of = |records: &[(u8, usize)]| -> Vec<usize> {
                    records.iter().filter(|(p, _)| *p == partition).map(|(_, n)| *n).collect()
                };
                prop_assert_eq!(of(&library.taken), of(&offered));
            }
        }
    }
}
