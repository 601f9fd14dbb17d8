//! Commits on their way: one in flight, each answered to the tracker that built it.

use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};

use super::Poller;
use crate::consume::command::Commit;
use crate::ids::TopicPartition;
use crate::invariants::At;
use crate::offsets::tracker::CommitAnswered;

impl Poller {
    /// Sends the next commit if none is in flight, without the partitions that are no longer in the epoch it was built for.
    pub(super) fn submit_next(&mut self) {
        while self.commit_in_flight.is_none() {
            let Some(mut commit) = self.commits_waiting.pop_front() else {
                return;
            };
            commit
                .entries
                .retain(|entry| self.slots.in_epoch(entry.slot, entry.epoch).is_some());
            let mut list = TopicPartitionList::with_capacity(commit.entries.len());
            let mut listed = Ok(());
            for entry in &commit.entries {
                let owned = self.slots.in_epoch(entry.slot, entry.epoch).map(|stay| stay.cell.epoch);
                let at = At {
                    partition: &entry.partition,
                    epoch: entry.epoch,
                };
                self.board.invariants.commits_owned(at, entry.next, owned);
                listed = listed.and(list.add_partition_offset(
                    &entry.partition.topic,
                    entry.partition.partition.0,
                    ListOffset::Offset(entry.next.0),
                ));
            }
            let sent = match listed {
                _ if commit.entries.is_empty() => Ok(()),
                Err(_) => Err(RDKafkaErrorCode::InvalidArgument),
                Ok(()) => self.commit_queue.submit(&list),
            };
            match sent {
                Ok(()) if commit.entries.is_empty() => self.answer_commit(commit, |_| None),
                Ok(()) => self.commit_in_flight = Some(commit),
                Err(code) => self.answer_commit(commit, |_| Some(code)),
            }
        }
    }

    pub(super) fn serve_commits(&mut self, now: Instant) {
        while let Some(answer) = self.commit_queue.poll() {
            let Some(commit) = self.commit_in_flight.take() else {
                continue;
            };
            let id = commit.id;
            self.answer_commit(commit, |partition| {
                let own = answer.partitions.iter().find(|(each, _)| each == partition);
                own.map_or(answer.error, |(_, code)| code.or(answer.error))
            });
            self.on_commit_answered(id, now);
            self.submit_next();
        }
    }

    fn answer_commit(&self, commit: Commit, result: impl Fn(&TopicPartition) -> Option<RDKafkaErrorCode>) {
        let results = commit.entries.into_iter().map(|entry| {
            let result = result(&entry.partition);
            (entry, result)
        });
        self.tell_tracker(CommitAnswered {
            id: commit.id,
            results: results.collect(),
        });
    }
}
