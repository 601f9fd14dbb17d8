//! Pause and resume: the gate of flow control, in a person's hand.
//!
//! A paused partition's queue is not drained. So librdkafka fills it up to its limit and fetches that partition no further, as with one that has
//! no credits; its own pause is never called, for it throws away what was fetched. The poller polls on: the group does not notice.

use tracing::info;

use super::Poller;
use crate::consume::seek::Partitions;

impl Poller {
    /// Of partitions that are not assigned nothing is remembered.
    pub(super) fn pause(&mut self, partitions: &Partitions, paused: bool) {
        let slots: Vec<_> = match partitions {
            Partitions::All => self.slots.iter().map(|(slot, _)| slot).collect(),
            Partitions::These(these) => these.iter().filter_map(|each| self.slots.assigned(each)).collect(),
        };
        for slot in slots {
            let Some(stay) = self.slots.get_mut(slot).filter(|stay| stay.paused != paused) else { continue };
            stay.paused = paused;
            stay.cell.set_paused(paused);
            // The wake-ups that came meanwhile are spent.
            self.wake.slot(slot);
            let partition = &stay.cell.partition;
            info!(topic = %partition.topic, partition = partition.partition.0, paused, "a person's pause");
        }
    }
}
