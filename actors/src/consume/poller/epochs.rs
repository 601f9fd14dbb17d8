//! Epochs of assigned partitions: how they begin, and begin anew elsewhere in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};
use tracing::{info, warn};

use super::Poller;
use crate::consume::assignment::{Anew, Stay};
use crate::consume::control::ControlCell;
use crate::consume::guard::PositionGuard;
use crate::consume::native::PartitionQueue;
use crate::consume::retry_topics::arrivals::Arrivals;
use crate::consume::start::StartPosition;
use crate::consume::supervisor::StartWorker;
use crate::ids::{Epoch, NextOffset, TopicPartition};
use crate::offsets::remembered::Remembered;
use crate::offsets::tracker::{CloseLedger, EpochDrained, EpochReplaced, EpochStarted};

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
            self.tell_tracker(CloseLedger { slot, epoch, rewound: false });
        }
    }

    /// A ledger was closed because its epoch cannot go on: the next one begins where the ledger stands, unless a person wants it elsewhere.
    pub(super) fn on_ledger_closed(
        &mut self,
        slot: usize,
        epoch: Epoch,
        watermark: NextOffset,
        remembered: Remembered,
    ) {
        let target = self.seeks.target(slot);
        let Some(stay) = self.slots.in_epoch(slot, epoch) else { return };
        if let Some(target) = target {
            return self.seek_to(slot, target);
        }
        if let Some(lost) = stay.begin_anew(watermark, remembered) {
            self.note_lost(slot, lost);
        }
        self.reposition(slot);
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
        if self.rebalance.is_asked() || self.rebalance.is_draining(slot) || self.rebalance.is_stopping() {
            return;
        }
        let Some(stay) = self.slots.get_mut(slot) else { return };
        let Some(Anew { position, remembered, rewound }) = stay.reposition.clone() else { return };
        let (partition, old, known_id) = (stay.cell.partition.clone(), Arc::clone(&stay.cell), stay.topic_id);
        let number = partition.partition.0;
        if let Err(error) = self.move_to(&partition, position) {
            let Some(stay) = self.slots.get_mut(slot) else { return };
            warn!(topic = %partition.topic, partition = number, offset = position.0, %error, "a seek failed and is tried again");
            stay.cell.set_last_error(format!("seek to {position}: {error}"));
            return;
        }
        let sought = self.seeks.holds(slot);
        let goes_on = !(rewound || sought);
        self.tell_tracker(EpochReplaced { slot, epoch: old.epoch, goes_on });
        // A seek may have the group's offset go back; whatever else begins anew goes on from what is committed.
        let committed = old.committed().filter(|committed| !(rewound || sought) || *committed <= position);
        let chosen = sought || (old.chosen && old.committed().is_none());
        let topic_id = if rewound { None } else { known_id };
        let start = StartPosition { partition, position, committed, remembered, chosen, topic_id };
        let cell = self.new_epoch(start, slot);
        if rewound {
            // A guard that sees a log go back does not know whether it is another topic's.
            self.identities.ask_soon(Instant::now());
        }
        if let Some(stay) = self.slots.get_mut(slot) {
            stay.reposition = None;
            stay.guard = PositionGuard::new(position);
            stay.arrivals = Arrivals::default();
            stay.handed_out = 0;
            stay.topic_id = topic_id;
            stay.cell = Arc::clone(&cell);
            cell.set_paused(stay.paused);
        }
        self.begin(Arc::clone(&cell));
        if sought && self.board.membership.stores() {
            self.store_start(&cell);
        }
        self.seeks.begun(slot, position);
    }

    fn move_to(&self, partition: &TopicPartition, position: NextOffset) -> KafkaResult<()> {
        let number = partition.partition.0;
        let sought = self.consumer.seek(&partition.topic, number, ListOffset::Offset(position.0), SEEK);
        // librdkafka fetches a partition no longer whose offset was out of range, and cannot seek in it: assign it again.
        sought.or_else(|_| self.assign_again(partition, position))
    }

    fn assign_again(&self, partition: &TopicPartition, position: NextOffset) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        let cooperative = matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        if cooperative || !self.board.membership.is_member() {
            list.add_partition_offset(&partition.topic, partition.partition.0, ListOffset::Offset(position.0))?;
            self.consumer.incremental_unassign(&list)?;
            return self.consumer.incremental_assign(&list);
        }
        for (_, stay) in self.slots.iter() {
            let each = &stay.cell.partition;
            let position = if each == partition { position } else { stay.guard.expected() };
            list.add_partition_offset(&each.topic, each.partition.0, ListOffset::Offset(position.0))?;
        }
        self.consumer.assign(&list)
    }

    fn new_epoch(&mut self, start: StartPosition, slot: usize) -> Arc<ControlCell> {
        self.last_epoch += 1;
        let (epoch, budget) = (Epoch(self.last_epoch), Arc::clone(&self.board.budget));
        Arc::new(ControlCell::new(start, epoch, slot, self.options.memory.per_partition, budget))
    }

    /// Puts a partition that has just been assigned into its slot, and has a worker started.
    pub(super) fn admit(&mut self, mut start: StartPosition, slot: usize, queue: PartitionQueue) {
        let position = start.position;
        // Sent back on purpose: its commits follow it there.
        start.committed = start.committed.filter(|committed| *committed <= position);
        let cell = self.new_epoch(start, slot);
        self.slots.put(
            slot,
            Stay {
                cell: Arc::clone(&cell),
                queue,
                guard: PositionGuard::new(position),
                arrivals: Arrivals::default(),
                handed_out: 0,
                worker: None,
                rewound: None,
                lost: None,
                reposition: None,
                paused: false,
                topic_id: cell.topic_id(),
                astray: false,
                average: 128,
            },
        );
        self.identities.ask_soon(Instant::now());
        self.begin(cell);
    }

    fn begin(&self, cell: Arc<ControlCell>) {
        info!(topic = %cell.partition.topic, partition = cell.partition.partition.0, epoch = cell.epoch.0, offset = cell.start.0, remembered_runs = cell.remembered.runs().len(), "a partition starts");
        self.board.partitions.insert(cell.partition.clone(), Arc::clone(&cell));
        self.tell_tracker(EpochStarted(Arc::clone(&cell)));
        self.supervisor.do_send(StartWorker(cell));
    }
}
