//! Commits on their way: one request in flight, each answered to the tracker that built it.

use std::collections::HashMap;
use std::time::Instant;

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};
use tracing::warn;

use super::Poller;
use super::outbox::Verdict;
use crate::consume::command::{Commit, CommitEntry};
use crate::consume::state::{Board, Counters};
use crate::ids::TopicPartition;
use crate::invariants::At;
use crate::offsets::budget::entry_bytes;
use crate::offsets::tracker::CommitAnswered;

impl Poller {
    /// Sends the next commit if none is in flight, without the partitions that are no longer in the epoch it was built for.
    pub(super) fn submit_next(&mut self, now: Instant) {
        while let Some(commit) = self.outbox.take_next(|slot, epoch| self.slots.may_commit(slot, epoch)) {
            check_owned(&self.board, &commit.entries);
            let sent = match list(&commit.entries) {
                _ if commit.entries.is_empty() => Ok(None),
                None => Err(RDKafkaErrorCode::InvalidArgument),
                Some(list) => self.commit_queue.submit(&list).map(Some),
            };
            match sent {
                Ok(Some(())) => {
                    let bytes = commit
                        .entries
                        .iter()
                        .map(|entry| entry_bytes(&self.options.group, &entry.partition.topic, entry.text()) as u64);
                    Counters::add(&self.board.counters.commit_bytes, bytes.sum());
                    self.outbox.sent(commit);
                }
                Ok(None) => self.on_answer(commit, |_| None, now),
                Err(code) => self.on_answer(commit, |_| Some(code), now),
            }
        }
    }

    pub(super) fn serve_commits(&mut self, now: Instant) {
        while let Some(answer) = self.commit_queue.poll() {
            if let Some(commit) = self.outbox.take_in_flight() {
                let own: HashMap<_, _> = answer.partitions.into_iter().collect();
                let result = |partition: &TopicPartition| own.get(partition).copied().flatten().or(answer.error);
                self.on_answer(commit, result, now);
            }
            self.submit_next(now);
        }
    }

    fn on_answer(
        &mut self,
        commit: Commit,
        result: impl Fn(&TopicPartition) -> Option<RDKafkaErrorCode>,
        now: Instant,
    ) {
        // What librdkafka only calls fatal has a cause.
        let fatal = || self.consumer.client().fatal_error().map(|(cause, _)| cause);
        let result = |partition: &TopicPartition| match result(partition) {
            Some(RDKafkaErrorCode::Fatal) => fatal().or(Some(RDKafkaErrorCode::Fatal)),
            code => code,
        };
        if let Some(commit) = self.outbox.settle(commit, result, &self.board) {
            self.answer_commit(commit, now);
        }
    }

    /// Tells the tracker what became of each partition, and the revocation, if this was one of its last commits, what to send again.
    fn answer_commit(&mut self, commit: Commit, now: Instant) {
        let Commit { id, answered, .. } = commit;
        for (entry, _) in answered.iter().filter(|(_, code)| code.is_none()) {
            self.slots.note_committed(entry.slot, entry.next);
        }
        let verdict = Verdict::of(&answered);
        self.tell_tracker(CommitAnswered { id, results: answered });
        self.on_commit_answered(id, verdict, now);
    }

    /// Where librdkafka commits by itself, the state shows what it has committed.
    pub(super) fn note_client_commits(&mut self) {
        for (partition, next) in self.consumer.context().take_committed() {
            if let Some(stay) = self.slots.assigned(&partition).and_then(|slot| self.slots.get_mut(slot)) {
                stay.cell.set_committed(next);
            }
        }
    }

    /// Gives librdkafka what its own commits are to say.
    pub(super) fn store(&self, entries: &[CommitEntry]) {
        if let Some(list) = list(entries)
            && let Err(error) = rdkafka::consumer::Consumer::store_offsets(&*self.consumer, &list)
        {
            warn!(%error, "offsets were not stored for the client's commits");
        }
    }
}

/// I4 at the last moment, by the table that everyone reads, and not by the slots that the request was made from.
fn check_owned(board: &Board, entries: &[CommitEntry]) {
    for entry in entries {
        let owned = board.partitions.get(&entry.partition).map(|cell| cell.epoch);
        let at = At { partition: &entry.partition, epoch: entry.epoch };
        board.invariants.commits_owned(at, entry.next, owned);
    }
}

/// `None` for an entry that librdkafka cannot hold.
fn list(entries: &[CommitEntry]) -> Option<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(entries.len());
    for entry in entries {
        let (topic, partition) = (&*entry.partition.topic, entry.partition.partition.0);
        list.add_partition_offset(topic, partition, ListOffset::Offset(entry.next.0)).ok()?;
        if let Some(metadata) = &entry.metadata {
            list.find_partition(topic, partition)?.set_metadata(&*metadata.text);
        }
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::consume::control::tests::cell;
    use crate::ids::{Epoch, NextOffset};

    #[test]
    fn what_is_sent_for_a_partition_that_is_gone_or_in_another_epoch_is_a_breach() {
        let (board, cell) = (Board::counting(), Arc::new(cell()));
        let entry = |epoch| CommitEntry::plain(0, epoch, cell.partition.clone(), NextOffset(3));
        let (current, other) = (entry(cell.epoch), entry(Epoch(7)));
        let breaches = |entry: &CommitEntry| {
            check_owned(&board, std::slice::from_ref(entry));
            board.invariants.snapshot().commits_owned
        };
        assert_eq!(breaches(&current), 1, "nobody has it");
        board.partitions.insert(cell.partition.clone(), Arc::clone(&cell));
        assert_eq!((breaches(&current), breaches(&other)), (1, 2));
    }
}
