//! The listener's turn in a drain: the ledgers stand still while it is told how far they came, and its word decides their last commits.

use std::collections::BTreeSet;

use actix::{Context, Handler};
use tracing::{debug, warn};

use super::epoch::AskedOffset;
use super::{EndDrain, LastCommit, OffsetTracker};
use crate::consume::command::PollerCommand;
use crate::consume::listener::Offsets;
use crate::ids::Epoch;

impl OffsetTracker {
    /// A handler that returns late must not move the watermark any more: the listener would not know of what it left to be stored.
    pub(super) fn seal_drain(&mut self, at: usize) {
        let drain = &mut self.drains[at];
        drain.sealed = true;
        let (id, stays) = (drain.id, drain.stays.clone());
        let mut finished = Vec::with_capacity(stays.len());
        for (slot, epoch) in stays {
            if self.current(slot, epoch).is_some() {
                self.look_in_hand(slot);
            }
            if let Some(tracked) = self.current(slot, epoch) {
                tracked.sealed = true;
                finished.push((slot, tracked.ledger.watermark()));
            }
        }
        self.poller.send(PollerCommand::Drained { id, finished });
    }

    /// The slots of which only what the app asks for is committed last: those whose offset was given, or all.
    pub(super) fn heed(&mut self, last: LastCommit, stays: &[(usize, Epoch)]) -> BTreeSet<usize> {
        match last {
            LastCommit::HeldBack => stays.iter().map(|(slot, _)| *slot).collect(),
            LastCommit::Made(offsets) => self.ask_for_given(offsets, stays),
        }
    }

    fn ask_for_given(&mut self, offsets: Offsets, stays: &[(usize, Epoch)]) -> BTreeSet<usize> {
        let mut given = BTreeSet::new();
        for (partition, offset) in offsets {
            let open = self.epochs.iter_mut().flatten().filter(|tracked| !tracked.closed);
            let mut ends = open.filter(|tracked| stays.contains(&(tracked.cell.slot, tracked.cell.epoch)));
            let (topic, number) = (&*partition.topic, partition.partition.0);
            let Some(tracked) = ends.find(|tracked| tracked.cell.partition == partition) else {
                warn!(
                    topic,
                    partition = number,
                    offset = offset.0,
                    "the listener gave an offset of a partition that is not being given up: it is left"
                );
                continue;
            };
            given.insert(tracked.cell.slot);
            let watermark = tracked.ledger.watermark();
            if offset > watermark {
                warn!(
                    topic,
                    partition = number,
                    offset = offset.0,
                    watermark = watermark.0,
                    "the listener gave an offset past an unfinished record: the last commit goes no further than that"
                );
            }
            let next = offset.min(watermark);
            if next < tracked.confirmed || tracked.committed.is_some_and(|committed| next <= committed) {
                debug!(topic, partition = number, offset = next.0, "what the listener gave is committed already");
            } else {
                tracked.ask(AskedOffset { next, past_watermark: false, remember: false });
            }
        }
        given
    }
}

impl Handler<EndDrain> for OffsetTracker {
    type Result = ();

    fn handle(&mut self, EndDrain { id, last }: EndDrain, _: &mut Context<Self>) {
        if let Some(at) = self.drains.iter().position(|drain| drain.id == id) {
            self.end_drain(at, last);
        }
    }
}
