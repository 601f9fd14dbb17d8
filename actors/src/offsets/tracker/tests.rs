#![allow(clippy::unwrap_used)]

use actix::dev::channel::channel;
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::oneshot;

use super::*;
use crate::consume::command::{CommitEntry, Metadata};
use crate::consume::commit::CommitError;
use crate::consume::control::Credits;
use crate::consume::membership::Membership;
use crate::consume::record::ChunkBuilder;
use crate::consume::start::StartPosition;
use crate::consume::state::Cluster;
use crate::consume::wake::Wake;
use crate::ids::{NextOffset, Offset, TopicPartition};
use crate::offsets::limit::ClusterLimit;
use crate::offsets::memory::{Packing, decode};
use crate::offsets::remembered::Remembered;
use crate::offsets::{Finished, FinishedRange, Tile, TileProgress};

struct Stage {
    tracker: OffsetTracker,
    commands: crossbeam_channel::Receiver<PollerCommand>,
    wake: Arc<Wake>,
    now: Instant,
}

impl Stage {
    fn new() -> Self {
        Self::of(Membership::default(), CommitWhen::default())
    }

    fn of(membership: Membership, when: CommitWhen) -> Self {
        let (sender, commands) = crossbeam_channel::unbounded();
        let wake = Arc::new(Wake::new());
        let (port, board) = (PollerPort::new(sender, Arc::clone(&wake)), Arc::new(Board::new(membership)));
        // Nobody listens: what is told to the supervisor is not looked at here.
        let supervisor = Addr::new(channel(1).0);
        let policy = CommitPolicy { when, awaited: false };
        let options =
            TrackerOptions { policy, commit_rate: 1 << 20, group: "g".to_owned(), callback: None, listened: false };
        let tracker = OffsetTracker::new(port, supervisor, board, options);
        Self { tracker, commands, wake, now: Instant::now() }
    }

    fn begin(&mut self, epoch: u64) -> Arc<ControlCell> {
        self.begin_in(0, epoch, StartPosition::at(TopicPartition::new("t", 0), NextOffset(0)))
    }

    /// Where a person wants it; the group may be further.
    fn begin_chosen(&mut self, epoch: u64, position: i64) -> Arc<ControlCell> {
        let start = StartPosition::at(TopicPartition::new("t", 0), NextOffset(position));
        self.begin_in(0, epoch, StartPosition { chosen: true, ..start })
    }

    fn begin_in(&mut self, slot: usize, epoch: u64, start: StartPosition) -> Arc<ControlCell> {
        let credits = Credits { records: 10, bytes: 1000 };
        let cell = Arc::new(ControlCell::new(start, Epoch(epoch), slot, credits, Arc::clone(&self.wake)));
        self.tracker.begin(Arc::clone(&cell));
        cell
    }

    fn report(&mut self, epoch: u64, to: i64) {
        self.report_in(0, epoch, 0..to);
    }

    fn report_in(&mut self, slot: usize, epoch: u64, offsets: std::ops::Range<i64>) {
        let tile = Tile::new(NextOffset(offsets.start), NextOffset(offsets.end));
        let records = (offsets.end - offsets.start) as u32;
        let progress = TileProgress { tile, records, offsets: None, finished: Finished::All };
        self.tracker.record(ChunkProgress { slot, epoch: Epoch(epoch), progress, commit: false });
    }

    /// What the poller is given to commit by now.
    fn sent(&mut self) -> Option<(u64, i64)> {
        let entries = self.sent_entries();
        entries.first().map(|entry| (entry.epoch.0, entry.next.0))
    }

    fn sent_entries(&mut self) -> Vec<CommitEntry> {
        match self.commands.try_recv() {
            Ok(PollerCommand::Commit(commit)) => commit.entries,
            _ => Vec::new(),
        }
    }

    /// What the next commit says of the partition, an interval later.
    fn commit(&mut self) -> Option<(u64, i64)> {
        self.now += Duration::from_millis(200);
        self.tracker.look(self.now);
        self.sent()
    }

    /// Answers the last commit.
    fn answer(&mut self, epoch: u64, next: i64, code: Option<RDKafkaErrorCode>) {
        let partition = TopicPartition::new("t", 0);
        let entry = CommitEntry::plain(0, Epoch(epoch), partition, NextOffset(next));
        self.answer_all(vec![(entry, code)]);
    }

    fn answer_all(&mut self, results: Vec<(CommitEntry, Option<RDKafkaErrorCode>)>) {
        let id = self.tracker.last_id;
        self.tracker.answered(id, results, self.now);
    }

    /// The only partition's drain, at whose end the listener has its turn.
    fn drain(&mut self, epoch: u64) {
        self.tracker.options.listened = true;
        let stays = vec![(0, Epoch(epoch))];
        self.tracker.drains.push(Drain { id: 7, stays, waiting: BTreeSet::new(), sealed: false });
        self.tracker.on_drained(0);
    }

    /// How far the listener is told that the partition is finished.
    fn told(&mut self) -> Option<i64> {
        match self.commands.try_recv() {
            Ok(PollerCommand::Drained { id: 7, finished }) => Some(finished[0].1.0),
            _ => None,
        }
    }

    /// What the last commit says after the listener's turn.
    fn last(&mut self, last: LastCommit) -> Option<i64> {
        self.tracker.end_drain(0, last);
        match self.commands.try_recv() {
            Ok(PollerCommand::DrainEnded { id: 7, commits }) => Some(commits.first()?.entries[0].next.0),
            _ => panic!("the drain ends"),
        }
    }

    fn given(offset: i64) -> LastCommit {
        LastCommit::Made(vec![(TopicPartition::new("t", 0), NextOffset(offset))])
    }

    fn ask(&mut self, what: Asked) -> oneshot::Receiver<Result<(), CommitError>> {
        let (answer, answered) = oneshot::channel();
        self.tracker.commit_now(CommitNow { what, answer }, self.now);
        answered
    }

    fn ask_for(&mut self, offset: i64, past_watermark: bool) -> oneshot::Receiver<Result<(), CommitError>> {
        let offsets = vec![(TopicPartition::new("t", 0), NextOffset(offset))];
        self.ask(Asked::Offsets { offsets, past_watermark })
    }
}

#[test]
fn a_late_report_of_an_old_epoch_changes_nothing() {
    let mut stage = Stage::new();
    stage.begin(1);
    let cell = stage.begin(2);
    stage.report(1, 7);
    assert_eq!((cell.watermark(), stage.commit()), (NextOffset(0), None));
    assert_eq!(stage.tracker.board.counters.snapshot().fenced_reports, 1);
    stage.report(2, 3);
    assert_eq!(stage.commit(), Some((2, 3)));
}

#[test]
fn a_standalone_engine_follows_the_watermark_and_commits_nothing() {
    let mut stage = Stage::of(Membership::Standalone, CommitWhen::default());
    let cell = stage.begin(1);
    stage.report(1, 3);
    assert_eq!((cell.watermark(), stage.commit()), (NextOffset(3), None));
    let mut answer = stage.ask(Asked::Finished);
    assert_eq!(answer.try_recv(), Ok(Err(CommitError::NotKept)));
}

#[test]
fn a_commit_that_failed_is_built_again_with_what_was_finished_since() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 3);
    assert_eq!(stage.commit(), Some((1, 3)));
    assert_eq!(stage.commit(), None, "one round in flight at a time");
    stage.answer(1, 3, Some(RDKafkaErrorCode::RequestTimedOut));
    assert_eq!(stage.sent(), None, "not at once");
    assert_eq!(stage.commit(), Some((1, 3)));
}

#[test]
fn an_answer_that_comes_after_its_epoch_says_nothing_of_the_next_one() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 7);
    assert_eq!(stage.commit(), Some((1, 7)));
    let cell = stage.begin(2);
    stage.answer(1, 7, None);
    assert_eq!(cell.committed(), None);
    stage.report(2, 3);
    assert_eq!(stage.commit(), Some((2, 3)));
}

#[test]
fn nothing_is_committed_between_the_refusal_of_a_lost_membership_and_the_next_rebalance() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 3);
    assert_eq!(stage.commit(), Some((1, 3)));
    stage.answer(1, 3, Some(RDKafkaErrorCode::IllegalGeneration));
    assert_eq!(stage.commit(), None);
    stage.begin(2);
    stage.report(2, 3);
    assert_eq!(stage.commit(), Some((2, 3)));
}

#[test]
fn where_the_app_commits_nothing_is_committed_until_it_says_so_and_then_what_it_said() {
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    stage.begin(1);
    stage.report(1, 10);
    assert_eq!(stage.commit(), None);
    let mut answer = stage.ask_for(4, false);
    assert_eq!(stage.sent(), Some((1, 4)));
    assert!(answer.try_recv().is_err(), "not answered yet");
    stage.answer(1, 4, None);
    assert_eq!(answer.try_recv(), Ok(Ok(())));
    assert_eq!(stage.commit(), None);
    let mut answer = stage.ask(Asked::Finished);
    assert_eq!(stage.sent(), Some((1, 10)));
    stage.answer(1, 10, Some(RDKafkaErrorCode::RequestTimedOut));
    assert_eq!(stage.commit(), Some((1, 10)), "all that was asked for is asked for still");
    stage.answer(1, 10, None);
    assert_eq!(answer.try_recv(), Ok(Ok(())));
    assert!(stage.tracker.last_commits(&[(0, Epoch(1))], &BTreeSet::new()).is_empty());
}

#[test]
fn an_offset_past_the_watermark_or_below_what_is_committed_is_refused() {
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    stage.begin(1);
    stage.report(1, 10);
    let (partition, offset) = (TopicPartition::new("t", 0), NextOffset(11));
    let past = CommitError::PastWatermark { partition: partition.clone(), offset, watermark: NextOffset(10) };
    assert_eq!(stage.ask_for(11, false).try_recv(), Ok(Err(past)));
    let mut told = stage.ask_for(11, true);
    assert_eq!(stage.sent(), Some((1, 11)));
    let mut entry = CommitEntry::plain(0, Epoch(1), partition.clone(), NextOffset(11));
    entry.past_watermark = true;
    stage.tracker.answered(stage.tracker.last_id, vec![(entry, None)], stage.now);
    assert_eq!(told.try_recv(), Ok(Ok(())));
    let below = CommitError::BelowCommitted { partition, offset: NextOffset(10), committed: NextOffset(11) };
    assert_eq!(stage.ask_for(10, false).try_recv(), Ok(Err(below)));
    let elsewhere = vec![(TopicPartition::new("t", 1), NextOffset(1))];
    let mut answer = stage.ask(Asked::Offsets { offsets: elsewhere, past_watermark: false });
    assert!(matches!(answer.try_recv(), Ok(Err(CommitError::NotAssigned { .. }))));
}

#[test]
fn who_waits_for_a_commit_is_told_when_the_partition_goes_first() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 3);
    let mut answer = stage.ask(Asked::Finished);
    assert_eq!(stage.sent(), Some((1, 3)));
    stage.begin(2);
    stage.answer(1, 3, Some(RDKafkaErrorCode::UnknownMemberId));
    assert!(matches!(answer.try_recv(), Ok(Err(CommitError::NotAssigned { .. }))));
}

#[test]
fn a_round_by_records_or_chunks_is_sent_when_a_worker_says_so_and_not_before() {
    let mut stage = Stage::of(Membership::default(), CommitWhen::Records(3));
    stage.begin(1);
    stage.report(1, 3);
    assert_eq!(stage.commit(), None);
    stage.tracker.wanted = true;
    assert_eq!(stage.commit(), Some((1, 3)));
}

#[test]
fn what_is_finished_after_the_listener_was_told_how_far_it_is_does_not_count() {
    let mut stage = Stage::new();
    let cell = stage.begin(1);
    stage.report(1, 3);
    stage.drain(1);
    assert_eq!(stage.told(), Some(3));
    stage.report(1, 9);
    assert_eq!((cell.watermark(), stage.last(LastCommit::Made(Offsets::new()))), (NextOffset(3), Some(3)));
    assert_eq!(stage.tracker.board.counters.snapshot().fenced_reports, 1);
}

#[test]
fn nothing_is_committed_while_the_listener_has_its_turn_but_what_it_asks_for() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 9);
    stage.drain(1);
    assert_eq!((stage.told(), stage.commit()), (Some(9), None));
    let mut answer = stage.ask_for(4, false);
    assert_eq!(stage.sent(), Some((1, 4)));
    stage.answer(1, 4, None);
    assert_eq!((answer.try_recv(), stage.commit()), (Ok(Ok(())), None));
    let mut answer = stage.ask(Asked::Finished);
    assert_eq!(stage.sent(), Some((1, 9)));
    stage.answer(1, 9, None);
    assert_eq!(answer.try_recv(), Ok(Ok(())));
    assert_eq!(stage.last(LastCommit::Made(Offsets::new())), None, "it is committed already");
}

#[test]
fn a_listener_that_failed_holds_back_the_last_commit_but_for_what_was_asked_for() {
    for when in [CommitWhen::default(), CommitWhen::Manual] {
        for (asked, committed) in [(None, None), (Some(2), Some(2))] {
            let mut stage = Stage::of(Membership::default(), when);
            stage.begin(1);
            stage.report(1, 9);
            stage.drain(1);
            assert_eq!(stage.told(), Some(9));
            if let Some(asked) = asked {
                drop(stage.ask_for(asked, false));
                stage.sent();
            }
            assert_eq!(stage.last(LastCommit::HeldBack), committed, "{when:?}");
        }
    }
}

#[test]
fn the_last_commit_says_what_the_listener_gave_and_never_past_what_is_finished() {
    for when in [CommitWhen::default(), CommitWhen::Manual] {
        for (given, committed) in [(5, 5), (9, 9), (30, 9)] {
            let mut stage = Stage::of(Membership::default(), when);
            stage.begin(1);
            stage.report(1, 9);
            stage.drain(1);
            assert_eq!(stage.told(), Some(9));
            assert_eq!(stage.last(Stage::given(given)), Some(committed), "{when:?}");
        }
    }
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    stage.begin(1);
    stage.report(1, 9);
    stage.drain(1);
    stage.told();
    assert_eq!(stage.last(LastCommit::Made(Offsets::new())), None, "the app commits, and asked for nothing");
}

#[test]
fn a_start_that_a_person_chose_is_committed_once_whatever_the_group_has() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 7);
    assert_eq!(stage.commit(), Some((1, 7)));
    stage.answer(1, 7, None);
    let cell = stage.begin_chosen(2, 3);
    assert_eq!(stage.commit(), Some((2, 3)), "below what was committed in the epoch before");
    stage.answer(2, 3, Some(RDKafkaErrorCode::RequestTimedOut));
    assert_eq!(stage.commit(), Some((2, 3)), "until it is");
    stage.answer(2, 3, None);
    assert_eq!((cell.committed(), stage.commit()), (Some(NextOffset(3)), None), "and not again");
}

#[test]
fn a_start_that_a_person_chose_is_committed_at_once_by_count_and_by_the_app_when_it_says_so() {
    let mut stage = Stage::of(Membership::default(), CommitWhen::Records(1000));
    stage.begin_chosen(1, 3);
    assert_eq!(stage.commit(), Some((1, 3)));
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    stage.begin_chosen(1, 3);
    assert_eq!(stage.commit(), None);
    let mut answer = stage.ask(Asked::Finished);
    assert_eq!(stage.sent(), Some((1, 3)));
    assert!(answer.try_recv().is_err(), "not yet");
    stage.answer(1, 3, None);
    assert_eq!(answer.try_recv(), Ok(Ok(())));
}

#[test]
fn a_start_that_a_person_chose_is_among_the_last_commits_of_a_drain() {
    let mut stage = Stage::new();
    stage.begin_chosen(1, 3);
    let commits = stage.tracker.last_commits(&[(0, Epoch(1))], &Default::default());
    assert_eq!(commits[0].entries[0].next, NextOffset(3));
}

#[test]
fn who_waits_for_a_commit_of_an_epoch_that_is_replaced_is_told_so() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 7);
    let mut answer = stage.ask(Asked::Finished);
    stage.tracker.tell_moved(0, Epoch(1));
    let (partition, offset) = (TopicPartition::new("t", 0), NextOffset(7));
    assert_eq!(answer.try_recv(), Ok(Err(CommitError::Moved { partition, offset })));
}

#[test]
fn what_an_ended_epoch_is_refused_does_not_hold_the_commits_of_the_next() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 3);
    assert_eq!(stage.commit(), Some((1, 3)));
    stage.begin(2);
    stage.answer(1, 3, Some(RDKafkaErrorCode::IllegalGeneration));
    stage.report(2, 3);
    assert_eq!(stage.commit(), Some((2, 3)));
}

#[test]
fn a_commit_past_the_watermark_is_not_taken_back_by_what_is_remembered_above_it() {
    let mut stage = Stage::new();
    let run = FinishedRange { first: Offset(50), last: Offset(59) };
    let start = StartPosition::at(TopicPartition::new("t", 0), NextOffset(0));
    stage.begin_in(0, 1, StartPosition { remembered: Remembered::new([run]), ..start });
    stage.report_in(0, 1, 0..10);
    let _told = stage.ask_for(30, true);
    let entries = stage.sent_entries();
    assert_eq!(entries[0].next, NextOffset(30));
    stage.answer_all(entries.into_iter().map(|entry| (entry, None)).collect());
    stage.report_in(0, 1, 10..11);
    assert_eq!(stage.commit(), None);
    assert!(stage.tracker.last_commits(&[(0, Epoch(1))], &Default::default()).is_empty());
    stage.report_in(0, 1, 11..31);
    assert_eq!(stage.commit(), Some((1, 31)));
}

#[test]
fn an_epoch_that_begins_above_or_below_what_is_committed_goes_on_from_what_is_committed() {
    let at = |position, committed| StartPosition {
        committed: Some(NextOffset(committed)),
        ..StartPosition::at(TopicPartition::new("t", 0), NextOffset(position))
    };
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    // A worker died when 60 were finished and 50 committed.
    stage.begin_in(0, 1, at(60, 50));
    let _told = stage.ask_for(55, false);
    assert_eq!(stage.sent(), Some((1, 55)), "it is not committed yet");
    // And one of a partition that was committed past its watermark.
    stage.begin_in(0, 2, at(10, 30));
    stage.answer(1, 55, None);
    let below = CommitError::BelowCommitted {
        partition: TopicPartition::new("t", 0),
        offset: NextOffset(20),
        committed: NextOffset(30),
    };
    assert_eq!(stage.ask_for(20, true).try_recv(), Ok(Err(below)));
}

#[test]
fn an_offset_at_which_nothing_is_finished_yet_is_committed_when_the_app_asks_for_it() {
    let mut stage = Stage::new();
    stage.begin(1);
    let mut answer = stage.ask_for(0, false);
    assert_eq!(stage.sent(), Some((1, 0)));
    stage.answer(1, 0, None);
    assert_eq!(answer.try_recv(), Ok(Ok(())));
    assert_eq!((stage.ask_for(0, false).try_recv(), stage.commit()), (Ok(Ok(())), None), "it is committed already");
}

#[test]
fn what_finishes_after_the_app_asked_is_not_committed_though_its_commit_has_to_be_repeated() {
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    for (slot, epoch) in [(0, 1), (1, 2)] {
        stage.begin_in(slot, epoch, StartPosition::at(TopicPartition::new("t", slot as i32), NextOffset(0)));
        stage.report_in(slot, epoch, 0..10);
    }
    let mut answer = stage.ask(Asked::Finished);
    for _ in 0..3 {
        let entries = stage.sent_entries();
        assert!(entries.iter().all(|entry| entry.next == NextOffset(10)), "{entries:?}");
        let failed = |slot| (slot == 0).then_some(RDKafkaErrorCode::RequestTimedOut);
        stage.answer_all(entries.into_iter().map(|entry| (entry.clone(), failed(entry.slot))).collect());
        (0..2).for_each(|slot| stage.report_in(slot, slot as u64 + 1, 10..20));
        stage.now += Duration::from_secs(2);
        stage.tracker.look(stage.now);
    }
    assert_eq!(stage.sent(), Some((1, 10)));
    stage.answer(1, 10, None);
    assert_eq!(answer.try_recv(), Ok(Ok(())));
    assert_eq!(stage.commit(), None);
}

#[test]
fn what_the_app_asked_for_and_was_not_answered_is_among_the_last_commits() {
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    stage.begin(1);
    stage.report(1, 10);
    let _answer = stage.ask(Asked::Finished);
    assert_eq!(stage.sent(), Some((1, 10)));
    let commits = stage.tracker.last_commits(&[(0, Epoch(1))], &Default::default());
    assert_eq!(commits[0].entries[0].next, NextOffset(10));
}

#[test]
fn a_commit_asked_for_while_a_partition_is_given_up_is_answered_by_its_last_one() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 3);
    stage.tracker.drains.push(Drain { id: 1, stays: vec![(0, Epoch(1))], waiting: BTreeSet::new(), sealed: false });
    stage.tracker.end_drain(0, LastCommit::Made(Offsets::new()));
    let mut answer = stage.ask(Asked::Finished);
    assert!(answer.try_recv().is_err(), "nothing is stored yet");
    stage.answer(1, 3, None);
    assert_eq!(answer.try_recv(), Ok(Ok(())));
}

#[test]
fn a_request_of_which_nothing_was_sent_is_no_commit() {
    let mut stage = Stage::new();
    stage.answer_all(Vec::new());
    assert_eq!(stage.tracker.board.counters.snapshot().commits, 0);
}

#[test]
fn who_no_longer_waits_for_a_commit_is_forgotten() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 3);
    (0..100).for_each(|_| drop(stage.ask(Asked::Finished)));
    stage.answer(1, 3, Some(RDKafkaErrorCode::RequestTimedOut));
    assert!(stage.tracker.waiters.is_empty());
}

#[test]
fn a_round_waits_until_the_one_before_is_paid_off() {
    let mut stage = Stage::new();
    // An offset of this group and topic takes 66 bytes, and the member has one partition of two.
    stage.tracker.budget = CommitBudget::new(200, stage.now);
    stage.tracker.board.topic_partitions.store(2, std::sync::atomic::Ordering::Relaxed);
    stage.begin(1);
    stage.report(1, 3);
    assert_eq!(stage.commit(), Some((1, 3)));
    stage.answer(1, 3, None);
    assert_eq!(stage.tracker.board.snapshot(stage.now).commits.paused_ms, 660);
    stage.report_in(0, 1, 3..6);
    assert_eq!([stage.commit(), stage.commit(), stage.commit()], [None; 3]);
    assert_eq!(stage.commit(), Some((1, 6)));
}

#[test]
fn an_epoch_that_ends_frees_who_waits_for_it_and_the_commits_that_were_held() {
    let mut stage = Stage::new();
    stage.begin_in(0, 1, StartPosition::at(TopicPartition::new("t", 0), NextOffset(0)));
    stage.begin_in(1, 2, StartPosition::at(TopicPartition::new("t", 1), NextOffset(0)));
    (0..2).for_each(|slot| stage.report_in(slot, slot as u64 + 1, 0..3));
    let mut answer = stage.ask(Asked::Finished);
    let refused = stage.sent_entries().into_iter().map(|entry| (entry, Some(RDKafkaErrorCode::RebalanceInProgress)));
    stage.answer_all(refused.collect());
    assert_eq!(stage.commit(), None);
    assert!(answer.try_recv().is_err());
    stage.tracker.handle(EpochsEnded(vec![(0, Epoch(1))]), &mut Context::new());
    assert!(matches!(answer.try_recv(), Ok(Err(CommitError::NotAssigned { .. }))));
    assert_eq!(stage.commit(), Some((2, 3)));
}

#[test]
fn a_drain_that_ends_while_a_handler_holds_a_record_commits_those_before_it() {
    let mut stage = Stage::new();
    let cell = stage.begin(1);
    let mut chunk = ChunkBuilder::new(10, 1000, 10, 1);
    (0..10).for_each(|offset| chunk.push(offset, 0, None, None));
    let tile = Tile::new(NextOffset(0), NextOffset(10));
    assert!(cell.take_in_hand(&Arc::new(chunk.finish(
        cell.partition.clone(),
        cell.epoch,
        tile,
        cell.revoking.clone()
    ))));
    cell.handler_holds(7, 1);
    stage.tracker.drains.push(Drain { id: 1, stays: vec![(0, Epoch(1))], waiting: BTreeSet::new(), sealed: false });
    stage.tracker.end_drain(0, LastCommit::Made(Offsets::new()));
    match stage.commands.try_recv() {
        Ok(PollerCommand::DrainEnded { commits, .. }) => assert_eq!(commits[0].entries[0].next, NextOffset(7)),
        _ => panic!("the drain has not ended"),
    }
}

#[test]
fn a_commit_ends_at_the_lowest_unfinished_record_and_remembers_once_what_is_finished_above() {
    let mut stage = Stage::new();
    let cluster = Cluster { id: "c".to_owned(), limit: ClusterLimit::default() };
    stage.tracker.board.cluster.set(cluster).unwrap();
    stage.begin(1);
    let tile = Tile::new(NextOffset(0), NextOffset(10));
    for (bits, next, finished) in [(0b1_0000, 0, (4, 4)), (0b11_0000, 0, (4, 5)), (0b11_0011, 2, (4, 5))] {
        let progress = TileProgress { tile, records: 10, offsets: None, finished: Finished::Bitmap([bits].into()) };
        stage.tracker.record(ChunkProgress { slot: 0, epoch: Epoch(1), progress, commit: false });
        stage.now += Duration::from_millis(200);
        stage.tracker.look(stage.now);
        let entries = stage.sent_entries();
        let memory = decode(entries[0].text().as_bytes()).unwrap();
        let finished = FinishedRange { first: Offset(finished.0), last: Offset(finished.1) };
        assert_eq!(
            (entries[0].next, memory.base, memory.finished),
            (NextOffset(next), NextOffset(next), vec![finished])
        );
        stage.answer_all(entries.into_iter().map(|entry| (entry, None)).collect());
        assert_eq!(stage.commit(), None, "the same is not committed again");
    }
}

#[test]
fn of_two_offsets_that_the_app_asked_for_the_higher_one_is_committed_whichever_came_first() {
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    stage.begin(1);
    stage.report(1, 10);
    let (mut higher, mut lower) = (stage.ask_for(7, false), stage.ask_for(4, false));
    assert_eq!(stage.sent(), Some((1, 7)));
    stage.answer(1, 7, Some(RDKafkaErrorCode::RequestTimedOut));
    assert_eq!(stage.commit(), Some((1, 7)));
    stage.answer(1, 7, None);
    assert_eq!((higher.try_recv(), lower.try_recv()), (Ok(Ok(())), Ok(Ok(()))));
}

#[test]
fn a_round_too_large_for_one_request_is_sent_in_several() {
    let mut stage = Stage::new();
    let text: Arc<str> = "m".repeat(200_000).into();
    let entries = (0..5).map(|slot| CommitEntry {
        metadata: Some(Metadata { packing: Packing::Base64, text: Arc::clone(&text) }),
        ..CommitEntry::plain(slot, Epoch(1), TopicPartition::new("t", slot as i32), NextOffset(1))
    });
    let commits = stage.tracker.requests(entries.collect());
    assert_eq!(commits.iter().map(|commit| commit.entries.len()).collect::<Vec<_>>(), [2, 2, 1]);
}
