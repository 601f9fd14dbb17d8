//! Records that workers are still at though nobody waits for the answer any more: their partition was given up, or the worker is being killed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_troupe::ids::TopicPartition;
use tokio_util::sync::CancellationToken;

/// By partition, so that the next record of one waits for them: the order holds across epochs, and nobody is at one record twice at once.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    by_partition: Mutex<HashMap<TopicPartition, Vec<CancellationToken>>>,
    /// How many there are. Looked at without the lock: usually none.
    count: AtomicUsize,
}

/// One of them; dropped when no worker is at it any more.
#[derive(Debug)]
pub(super) struct Remains {
    all: Arc<LeftBehind>,
    partition: TopicPartition,
    over: CancellationToken,
}

impl LeftBehind {
    fn by_partition(&self) -> MutexGuard<'_, HashMap<TopicPartition, Vec<CancellationToken>>> {
        self.by_partition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(self: &Arc<Self>, partition: &TopicPartition) -> Remains {
        let over = CancellationToken::new();
        self.by_partition().entry(partition.clone()).or_default().push(over.clone());
        self.count.fetch_add(1, Ordering::AcqRel);
        Remains { all: Arc::clone(self), partition: partition.clone(), over }
    }

    /// Waits until none of the partition are left.
    pub(super) async fn over(&self, partition: &TopicPartition) {
        while self.count.load(Ordering::Acquire) > 0 {
            let Some(one) = self.by_partition().get(partition).and_then(|all| all.first().cloned()) else { return };
            one.cancelled().await;
        }
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        let mut by_partition = self.all.by_partition();
        if let Some(all) = by_partition.get_mut(&self.partition) {
            // Equal are those that are cancelled together, so it is found by being cancelled.
            self.over.cancel();
            all.retain(|each| !each.is_cancelled());
            if all.is_empty() {
                by_partition.remove(&self.partition);
            }
        }
        self.all.count.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_partition_waits_for_all_of_its_own_and_for_no_others() {
        let all = Arc::new(LeftBehind::default());
        let (one, other) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
        let is_over = |partition| all.over(partition).now_or_never().is_some();
        let (first, second) = (all.begin(&one), all.begin(&one));
        assert_eq!((is_over(&one), is_over(&other)), (false, true));
        drop(second);
        assert!(!is_over(&one));
        drop(first);
        assert!(is_over(&one));
        assert!(all.by_partition().is_empty());
    }
}
