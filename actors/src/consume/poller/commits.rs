//! Commits on their way: one request in flight, each answered to the tracker that built it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};
use tracing::warn;

use super::Poller;
use crate::consume::command::{Commit, CommitEntry, Metadata};
use crate::consume::error::{CommitFailure, commit_failure};
use crate::consume::state::Counters;
use crate::ids::TopicPartition;
use crate::invariants::At;
use crate::offsets::memory;
use crate::offsets::tracker::CommitAnswered;

impl Poller {
    /// Sends the next commit if none is in flight, without the partitions that are no longer in the epoch it was built for.
    pub(super) fn submit_next(&mut self, now: Instant) {
        while self.commit_in_flight.is_none() {
            let Some(mut commit) = self.commits_waiting.pop_front() else {
                return;
            };
            commit.entries.retain(|entry| self.slots.in_epoch(entry.slot, entry.epoch).is_some());
            for entry in &commit.entries {
                let owned = self.slots.in_epoch(entry.slot, entry.epoch).map(|stay| stay.cell.epoch);
                let at = At { partition: &entry.partition, epoch: entry.epoch };
                self.board.invariants.commits_owned(at, entry.next, owned);
            }
            let sent = match list(&commit.entries) {
                _ if commit.entries.is_empty() => Ok(None),
                None => Err(RDKafkaErrorCode::InvalidArgument),
                Some(list) => self.commit_queue.submit(&list).map(Some),
            };
            match sent {
                Ok(Some(())) => self.commit_in_flight = Some(commit),
                Ok(None) => self.on_answer(commit, |_| None, now),
                Err(code) => self.on_answer(commit, |_| Some(code), now),
            }
        }
    }

    pub(super) fn serve_commits(&mut self, now: Instant) {
        while let Some(answer) = self.commit_queue.poll() {
            if let Some(commit) = self.commit_in_flight.take() {
                let own: HashMap<_, _> = answer.partitions.into_iter().collect();
                let result = |partition: &TopicPartition| own.get(partition).copied().flatten().or(answer.error);
                self.on_answer(commit, result, now);
            }
            self.submit_next(now);
        }
    }

    /// What was refused for its metadata is sent again with less, so that the offset gets through; the rest is answered.
    fn on_answer(
        &mut self,
        mut commit: Commit,
        result: impl Fn(&TopicPartition) -> Option<RDKafkaErrorCode>,
        now: Instant,
    ) {
        let mut again = Vec::new();
        for entry in std::mem::take(&mut commit.entries) {
            let code = result(&entry.partition).map(|code| self.behind_fatal(code));
            match code.and_then(|code| self.lighter(&entry, code)) {
                Some(lighter) => again.push(lighter),
                None => commit.answered.push((entry, code)),
            }
        }
        if again.is_empty() {
            self.answer_commit(commit, now);
        } else {
            commit.entries = again;
            self.commits_waiting.push_front(commit);
        }
    }

    /// What librdkafka only calls fatal has a cause.
    fn behind_fatal(&self, code: RDKafkaErrorCode) -> RDKafkaErrorCode {
        match code {
            RDKafkaErrorCode::Fatal => self.consumer.client().fatal_error().map_or(code, |(cause, _)| cause),
            code => code,
        }
    }

    /// The entry with less metadata, if that may be why it was refused.
    fn lighter(&self, entry: &CommitEntry, code: RDKafkaErrorCode) -> Option<CommitEntry> {
        use RDKafkaErrorCode as E;
        let metadata = entry.metadata.as_ref()?;
        let (packing, length) = (metadata.packing, metadata.length());
        let next = match code {
            E::OffsetMetadataTooLarge => self.board.cluster.get().and_then(|cluster| {
                cluster.limit.with(|limit| {
                    limit.refuse(packing, length);
                    limit.next()
                })
            }),
            // A request that is too large for the coordinator is refused whole: with UNKNOWN by Apache Kafka 4.3.1.
            E::Unknown | E::MessageSizeTooLarge | E::MessageBatchTooLarge | E::InvalidCommitOffsetSize => {
                (!entry.halved).then_some((packing, length / 2))
            }
            _ => return None,
        };
        let (topic, partition, offset) = (&*entry.partition.topic, entry.partition.partition.0, entry.next.0);
        warn!(topic, partition, offset, length, error = %code, "a commit is sent again with less metadata");
        Counters::add(&self.board.counters.metadata_refused, 1);
        let metadata = next.and_then(|(packing, length)| shortened(metadata, packing, length));
        Some(CommitEntry { metadata, halved: true, ..entry.clone() })
    }

    /// Tells the tracker what became of each partition, and the revocation, if this was one of its last commits, what to send again.
    fn answer_commit(&mut self, commit: Commit, now: Instant) {
        let Commit { id, answered, .. } = commit;
        for (entry, _) in answered.iter().filter(|(_, code)| code.is_none()) {
            self.slots.note_committed(entry.slot, entry.next);
            if let (Some(metadata), Some(cluster)) = (&entry.metadata, self.board.cluster.get()) {
                cluster.limit.with(|limit| limit.accept(metadata.packing, metadata.length()));
            }
        }
        let again = |(_, code): &&(CommitEntry, Option<_>)| {
            code.is_some_and(|code| matches!(commit_failure(code), CommitFailure::Retry | CommitFailure::Hold))
        };
        let confirmed = answered.iter().all(|(_, code)| code.is_none());
        let refused = answered.iter().filter(again).map(|(entry, _)| entry.clone()).collect();
        self.tell_tracker(CommitAnswered { id, results: answered });
        self.on_commit_answered(id, confirmed, refused, now);
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

fn shortened(metadata: &Metadata, packing: memory::Packing, length: usize) -> Option<Metadata> {
    let memory = memory::decode(metadata.text.as_bytes()).ok()?;
    let text: Arc<str> = memory.shortened(packing, length)?.into();
    Some(Metadata { packing, text })
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
