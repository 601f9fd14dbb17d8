//! Commits on their way: one in flight, each answered to the tracker that built it.

use std::collections::HashMap;
use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};

use super::Poller;
use crate::consume::command::{Commit, CommitEntry};
use crate::consume::error::{CommitFailure, commit_failure};
use crate::ids::TopicPartition;
use crate::invariants::At;
use crate::offsets::tracker::CommitAnswered;

impl Poller {
    /// Sends the next commit if none is in flight, without the partitions that are no longer in the epoch it was built for.
    pub(super) fn submit_next(&mut self, now: Instant) {
        while self.commit_in_flight.is_none() {
            let Some(mut commit) = self.commits_waiting.pop_front() else {
                return;
            };
            commit.entries.retain(|entry| self.slots.in_epoch(entry.slot, entry.epoch).is_some());
            let mut list = TopicPartitionList::with_capacity(commit.entries.len());
            let mut listed = Ok(());
            for entry in &commit.entries {
                let owned = self.slots.in_epoch(entry.slot, entry.epoch).map(|stay| stay.cell.epoch);
                let at = At { partition: &entry.partition, epoch: entry.epoch };
                self.board.invariants.commits_owned(at, entry.next, owned);
                listed = listed.and(list.add_partition_offset(
                    &entry.partition.topic,
                    entry.partition.partition.0,
                    ListOffset::Offset(entry.next.0),
                ));
            }
            let sent = match listed {
                _ if commit.entries.is_empty() => Ok(None),
                Err(_) => Err(RDKafkaErrorCode::InvalidArgument),
                Ok(()) => self.commit_queue.submit(&list).map(Some),
            };
            match sent {
                Ok(Some(())) => self.commit_in_flight = Some(commit),
                Ok(None) => self.answer_commit(commit, |_| None, now),
                Err(code) => self.answer_commit(commit, |_| Some(code), now),
            }
        }
    }

    pub(super) fn serve_commits(&mut self, now: Instant) {
        while let Some(answer) = self.commit_queue.poll() {
            if let Some(commit) = self.commit_in_flight.take() {
                let own: HashMap<_, _> = answer.partitions.into_iter().collect();
                let result = |partition: &TopicPartition| own.get(partition).copied().flatten().or(answer.error);
                self.answer_commit(commit, result, now);
            }
            self.submit_next(now);
        }
    }

    /// Tells the tracker what became of each partition, and the revocation, if this was its last commit, what to send again.
    fn answer_commit(
        &mut self,
        commit: Commit,
        result: impl Fn(&TopicPartition) -> Option<RDKafkaErrorCode>,
        now: Instant,
    ) {
        let results: Vec<_> = commit.entries.into_iter().map(|entry| (result(&entry.partition), entry)).collect();
        for (_, entry) in results.iter().filter(|(code, _)| code.is_none()) {
            self.slots.note_committed(entry.slot, entry.next);
        }
        let again = |(code, _): &&(Option<_>, CommitEntry)| {
            code.is_some_and(|code| matches!(commit_failure(code), CommitFailure::Retry | CommitFailure::Hold))
        };
        let confirmed = results.iter().all(|(code, _)| code.is_none());
        let refused = results.iter().filter(again).map(|(_, entry)| entry.clone()).collect();
        self.tell_tracker(CommitAnswered {
            id: commit.id,
            results: results.into_iter().map(|(code, entry)| (entry, code)).collect(),
        });
        self.on_commit_answered(commit.id, confirmed, refused, now);
    }
}
