//! Epochs of assigned partitions: how they begin, and begin anew elsewhere in the log.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::Offset as ListOffset;
use tracing::{info, warn};

use super::Poller;
use crate::consume::assignment::Stay;
use crate::consume::control::ControlCell;
use crate::consume::guard::PositionGuard;
use crate::consume::native::PartitionQueue;
use crate::consume::supervisor::StartWorker;
use crate::ids::{Epoch, NextOffset, TopicPartition};
use crate::offsets::tracker::{CloseLedger, EpochDrained, EpochStarted, EpochsEnded};

/// The bound on a seek: it is local to librdkafka and takes microseconds.
const SEEK: Duration = Duration::from_secs(1);

impl Poller {
    /// A worker that nobody told to end. In a drain it counts as drained: it will report nothing more.
    pub(super) fn on_worker_died(&mut self, slot: usize, epoch: Epoch) {
        let Some(stay) = self.slots.in_epoch(slot, epoch) else {
            return;
        };
        stay.worker = None;
        stay.cell.fence();
        if self.rebalance.is_draining(slot) {
            self.tell_tracker(EpochDrained { slot, epoch });
        } else {
            self.tell_tracker(CloseLedger { slot, epoch });
        }
    }

    pub(super) fn retry_repositions(&mut self) {
        let waiting: Vec<_> =
            self.slots.iter().filter(|(_, stay)| stay.reposition.is_some()).map(|(slot, _)| slot).collect();
        for slot in waiting {
            self.reposition(slot);
        }
    }

    /// Seeks, and begins a new epoch there. What does not succeed is tried again; until then the partition is not drained.
    pub(super) fn reposition(&mut self, slot: usize) {
        if self.rebalance.is_draining(slot) || self.rebalance.is_stopping() {
            return;
        }
        let Some(stay) = self.slots.get_mut(slot) else { return };
        let Some(position) = stay.reposition else { return };
        let (partition, old) = (stay.cell.partition.clone(), Arc::clone(&stay.cell));
        let number = partition.partition.0;
        if let Err(error) = self.consumer.seek(&partition.topic, number, ListOffset::Offset(position.0), SEEK) {
            warn!(topic = %partition.topic, partition = number, offset = position.0, %error, "a seek failed and is tried again");
            stay.cell.set_last_error(format!("seek to {position}: {error}"));
            return;
        }
        self.tell_tracker(EpochsEnded(vec![(slot, old.epoch)]));
        let cell =
            self.new_epoch(partition, slot, position, old.committed().filter(|committed| *committed <= position));
        if let Some(stay) = self.slots.get_mut(slot) {
            stay.reposition = None;
            stay.guard = PositionGuard::new(position);
            stay.cell = Arc::clone(&cell);
        }
        self.begin(cell);
    }

    fn new_epoch(
        &mut self,
        partition: TopicPartition,
        slot: usize,
        start: NextOffset,
        committed: Option<NextOffset>,
    ) -> Arc<ControlCell> {
        self.last_epoch += 1;
        let (epoch, wake) = (Epoch(self.last_epoch), Arc::clone(&self.wake));
        Arc::new(ControlCell::new(partition, epoch, slot, start, committed, self.options.credits, wake))
    }

    /// Puts a partition that has just been assigned into its slot, and has a worker started.
    pub(super) fn admit(
        &mut self,
        partition: TopicPartition,
        slot: usize,
        queue: PartitionQueue,
        start: NextOffset,
        committed: Option<NextOffset>,
    ) {
        let cell = self.new_epoch(partition, slot, start, committed);
        self.slots.put(
            slot,
            Stay {
                cell: Arc::clone(&cell),
                queue,
                guard: PositionGuard::new(start),
                worker: None,
                rewound: None,
                reposition: None,
                average: 128,
            },
        );
        self.begin(cell);
    }

    fn begin(&self, cell: Arc<ControlCell>) {
        info!(topic = %cell.partition.topic, partition = cell.partition.partition.0, epoch = cell.epoch.0, offset = cell.start.0, "a partition starts");
        self.board.partitions.insert(cell.partition.clone(), Arc::clone(&cell));
        self.tell_tracker(EpochStarted(Arc::clone(&cell)));
        self.supervisor.do_send(StartWorker(cell));
    }
}
