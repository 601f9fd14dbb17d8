//! The commits on their way: which request is next, what is sent of it again, and what of a last one is worth another try.

use std::collections::VecDeque;
use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode;
use tracing::warn;

use crate::consume::command::{Commit, CommitEntry, Metadata};
use crate::consume::error::{CommitFailure, commit_failure};
use crate::consume::state::{Board, Counters};
use crate::ids::{Epoch, TopicPartition};
use crate::offsets::memory::{self, Packing};

/// The requests that are not answered: the one that librdkafka has, and those behind it.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    in_flight: Option<Commit>,
    waiting: VecDeque<Commit>,
}

/// What the answers to a last commit ask for.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Refused in a way that may pass: to be sent again.
    pub(super) refused: Vec<CommitEntry>,
    /// Some of it was refused for good: what it held is repeated by the next owner.
    pub(super) given_up: bool,
}

impl Outbox {
    pub(super) fn push(&mut self, commit: Commit) {
        self.waiting.push_back(commit);
    }

    /// The next request, unless one is under way; without the partitions that are no longer in the epoch it was built for.
    pub(super) fn take_next(&mut self, mut is_current: impl FnMut(usize, Epoch) -> bool) -> Option<Commit> {
        if self.in_flight.is_some() {
            return None;
        }
        let mut commit = self.waiting.pop_front()?;
        commit.entries.retain(|entry| is_current(entry.slot, entry.epoch));
        Some(commit)
    }

    /// librdkafka has it.
    pub(super) fn sent(&mut self, commit: Commit) {
        self.in_flight = Some(commit);
    }

    /// The request under way is answered.
    pub(super) fn take_in_flight(&mut self) -> Option<Commit> {
        self.in_flight.take()
    }

    /// Notes what became of a request's partitions, and learns from it how much metadata the cluster takes. Gives the request back once all of
    /// it is answered. What was refused for its metadata is sent again first, with less, so that the offset gets through.
    pub(super) fn settle(
        &mut self,
        mut commit: Commit,
        result: impl Fn(&TopicPartition) -> Option<RDKafkaErrorCode>,
        board: &Board,
    ) -> Option<Commit> {
        let mut again = Vec::new();
        for entry in std::mem::take(&mut commit.entries) {
            let code = result(&entry.partition);
            match code.and_then(|code| lighter(&entry, code, board)) {
                Some(lighter) => again.push(lighter),
                None => {
                    if let (None, Some(metadata), Some(cluster)) = (code, &entry.metadata, board.cluster.get()) {
                        cluster.limit.with(|limit| limit.accept(metadata.packing, metadata.length()));
                    }
                    commit.answered.push((entry, code));
                }
            }
        }
        if again.is_empty() {
            return Some(commit);
        }
        commit.entries = again;
        self.waiting.push_front(commit);
        None
    }
}

impl Verdict {
    pub(super) fn of(answered: &[(CommitEntry, Option<RDKafkaErrorCode>)]) -> Self {
        let mut verdict = Self::default();
        for (entry, code) in answered {
            match code.map(commit_failure) {
                None => {}
                Some(CommitFailure::Retry | CommitFailure::Hold) => verdict.refused.push(entry.clone()),
                Some(CommitFailure::Superseded | CommitFailure::Fatal) => verdict.given_up = true,
            }
        }
        verdict
    }
}

/// The entry with less metadata, if that may be why it was refused.
fn lighter(entry: &CommitEntry, code: RDKafkaErrorCode, board: &Board) -> Option<CommitEntry> {
    use RDKafkaErrorCode as E;
    let metadata = entry.metadata.as_ref()?;
    let (packing, length) = (metadata.packing, metadata.length());
    let next = match code {
        E::OffsetMetadataTooLarge => board.cluster.get().and_then(|cluster| {
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
    Counters::add(&board.counters.metadata_refused, 1);
    let metadata = next.and_then(|(packing, length)| shortened(metadata, packing, length));
    Some(CommitEntry { metadata, halved: true, ..entry.clone() })
}

fn shortened(metadata: &Metadata, packing: Packing, length: usize) -> Option<Metadata> {
    let memory = memory::decode(metadata.text.as_bytes()).ok()?;
    let text: Arc<str> = memory.shortened(packing, length)?.into();
    Some(Metadata { packing, text })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::consume::control::Budget;
    use crate::consume::membership::Membership;
    use crate::consume::state::Cluster;
    use crate::consume::wake::Wake;
    use crate::ids::{NextOffset, Offset};
    use crate::offsets::FinishedRange;
    use crate::offsets::limit::ClusterLimit;
    use crate::offsets::memory::{LogIdentity, decode, encode};

    fn board() -> Board {
        let board = Board::new(Membership::default(), Budget::unbounded(Arc::new(Wake::new())));
        board.cluster.set(Cluster { id: "c".to_owned(), limit: ClusterLimit::default() }).unwrap();
        board
    }

    fn limit(board: &Board) -> Option<(Packing, usize)> {
        board.cluster.get().unwrap().limit.with(|limit| limit.next())
    }

    fn entry(slot: usize, epoch: u64) -> CommitEntry {
        CommitEntry::plain(slot, Epoch(epoch), TopicPartition::new("t", slot as i32), NextOffset(0))
    }

    /// With every third record remembered, which takes some hundred characters.
    fn remembering() -> CommitEntry {
        let finished = (5..3000).step_by(3).map(|offset| FinishedRange { first: Offset(offset), last: Offset(offset) });
        let log = LogIdentity::of("c", "t", None, 0);
        let text = encode(NextOffset(0), finished, log, Packing::Dense, 4095).unwrap();
        CommitEntry { metadata: Some(Metadata { packing: Packing::Dense, text: text.into() }), ..entry(0, 1) }
    }

    fn length(entry: &CommitEntry) -> usize {
        entry.metadata.as_ref().map_or(0, Metadata::length)
    }

    #[test]
    fn partitions_whose_epoch_has_ended_drop_out_of_the_requests_that_wait() {
        let mut outbox = Outbox::default();
        outbox.push(Commit::new(1, vec![entry(0, 1), entry(1, 2), entry(2, 3)]));
        let next = outbox.take_next(|slot, epoch| (slot, epoch) != (1, Epoch(2))).unwrap();
        assert_eq!(next.entries.iter().map(|entry| entry.slot).collect::<Vec<_>>(), [0, 2]);
        outbox.sent(next);
        outbox.push(Commit::new(2, vec![entry(0, 1)]));
        assert!(outbox.take_next(|_, _| true).is_none(), "one at a time");
        assert_eq!(outbox.take_in_flight().unwrap().id, 1);
        assert_eq!(outbox.take_next(|_, _| true).unwrap().id, 2);
    }

    #[test]
    fn metadata_that_is_too_long_teaches_the_limit_and_is_sent_again_first_with_less() {
        let (mut outbox, board, first) = (Outbox::default(), board(), remembering());
        outbox.push(Commit::new(2, vec![entry(1, 1)]));
        let sent = Commit::new(1, vec![first.clone(), entry(2, 1)]);
        let too_long = |partition: &TopicPartition| {
            (partition.partition.0 == 0).then_some(RDKafkaErrorCode::OffsetMetadataTooLarge)
        };
        assert!(outbox.settle(sent, too_long, &board).is_none(), "it is not answered yet");
        assert_eq!(limit(&board), Some((Packing::Base64, length(&first))), "what was refused is known");
        let again = outbox.take_next(|_, _| true).unwrap();
        assert_eq!((again.id, again.entries.len(), again.answered.len()), (1, 1, 1));
        let text = again.entries[0].text();
        assert!((24..=length(&first)).contains(&text.len()), "{}", text.len());
        assert!(!decode(text.as_bytes()).unwrap().finished.is_empty());
        assert_eq!(outbox.settle(again, |_| None, &board).unwrap().answered.len(), 2);
        assert_eq!(board.counters.snapshot().metadata_refused, 1);
    }

    #[test]
    fn metadata_that_is_stored_teaches_the_limit_too() {
        let (mut outbox, board, entry) = (Outbox::default(), board(), remembering());
        let long = length(&entry);
        board.cluster.get().unwrap().limit.with(|limit| limit.refuse(Packing::Dense, 2 * long));
        board.cluster.get().unwrap().limit.with(|limit| limit.refuse(Packing::Base64, 2 * long));
        assert_eq!(limit(&board), Some((Packing::Dense, long)), "half of what was refused");
        outbox.settle(Commit::new(1, vec![entry]), |_| None, &board).unwrap();
        assert_eq!(limit(&board), Some((Packing::Dense, long + long / 2)), "half way between the two");
    }

    #[test]
    fn a_request_that_is_refused_whole_is_sent_with_half_the_metadata_then_without_and_teaches_nothing() {
        let (mut outbox, board, first) = (Outbox::default(), board(), remembering());
        let mut commit = Commit::new(1, vec![first.clone()]);
        let mut lengths = Vec::new();
        loop {
            match outbox.settle(commit, |_| Some(RDKafkaErrorCode::Unknown), &board) {
                Some(answered) => break assert_eq!(answered.answered.len(), 1),
                None => commit = outbox.take_next(|_, _| true).unwrap(),
            }
            lengths.push(length(&commit.entries[0]));
        }
        assert!((1..=length(&first) / 2).contains(&lengths[0]), "{lengths:?}");
        assert_eq!(lengths[1..], [0]);
        assert_eq!(limit(&board), Some((Packing::Dense, 4095)));
    }

    #[test]
    fn of_a_last_commit_what_may_pass_is_sent_again_and_what_is_anothers_is_given_up() {
        use RDKafkaErrorCode as E;
        let of = |codes: &[Option<E>]| {
            let answered: Vec<_> = codes.iter().zip(0..).map(|(code, slot)| (entry(slot, 1), *code)).collect();
            let Verdict { refused, given_up } = Verdict::of(&answered);
            (refused.iter().map(|entry| entry.slot).collect::<Vec<_>>(), given_up)
        };
        assert_eq!(of(&[None, None]), (vec![], false));
        assert_eq!(of(&[None, Some(E::RebalanceInProgress), Some(E::RequestTimedOut)]), (vec![1, 2], false));
        for gone in [E::IllegalGeneration, E::UnknownMemberId, E::FencedMemberEpoch, E::GroupAuthorizationFailed] {
            assert_eq!(of(&[None, Some(gone)]), (vec![], true), "{gone:?}");
            assert_eq!(of(&[Some(gone), Some(E::RebalanceInProgress)]), (vec![1], true), "{gone:?}");
        }
    }
}
