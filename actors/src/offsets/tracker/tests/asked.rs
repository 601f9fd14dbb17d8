//! Commits that the app asks for, and who waits for them.

use super::*;

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

impl Stage {
    fn close(&mut self, epoch: u64, rewound: bool) {
        let close = CloseLedger { slot: 0, epoch: Epoch(epoch), rewound };
        self.tracker.handle(close, &mut Context::new());
        assert!(rewound || matches!(self.commands.try_recv(), Ok(PollerCommand::LedgerClosed { .. })));
    }

    fn replace(&mut self, epoch: u64, goes_on: bool) {
        self.tracker.handle(EpochReplaced { slot: 0, epoch: Epoch(epoch), goes_on }, &mut Context::new());
    }

    /// The worker of epoch 1 died at `watermark`.
    fn succeed(&mut self, watermark: i64, committed: Option<i64>) -> Arc<ControlCell> {
        let start = StartPosition::at(TopicPartition::new("t", 0), NextOffset(watermark));
        self.begin_in(0, 2, StartPosition { committed: committed.map(NextOffset), ..start })
    }

    fn answer_past_watermark(&mut self, epoch: u64, next: i64) {
        let entry = CommitEntry::plain(0, Epoch(epoch), TopicPartition::new("t", 0), NextOffset(next));
        self.answer_all(vec![(CommitEntry { past_watermark: true, ..entry }, None)]);
    }
}

#[test]
fn who_waits_for_a_commit_is_answered_by_the_epoch_that_goes_on_after_a_workers_death() {
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    stage.begin(1);
    stage.report(1, 7);
    let mut sent = stage.ask_for(3, false);
    assert_eq!(stage.sent(), Some((1, 3)));
    stage.close(1, false);
    let (mut all, mut chosen) = (stage.ask(Asked::Finished), stage.ask_for(5, false));
    stage.replace(1, true);
    let mut between = stage.ask_for(6, false);
    stage.succeed(7, None);
    stage.report_in(0, 2, 7..9);
    stage.answer(1, 3, None);
    assert!([&mut sent, &mut all, &mut chosen, &mut between].iter_mut().all(|answer| answer.try_recv().is_err()));
    assert_eq!(stage.commit(), Some((2, 7)), "what was asked for, and not what was finished since");
    stage.answer(2, 7, None);
    let answers = [sent, all, chosen, between].map(|mut answer| answer.try_recv());
    assert_eq!(answers, [Ok(Ok(())), Ok(Ok(())), Ok(Ok(())), Ok(Ok(()))]);
}

#[test]
fn a_commit_past_the_watermark_that_is_under_way_when_its_worker_dies_is_not_taken_back() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 10);
    let mut told = stage.ask_for(30, true);
    assert_eq!(stage.sent(), Some((1, 30)));
    stage.close(1, false);
    stage.replace(1, true);
    stage.succeed(10, None);
    stage.report_in(0, 2, 10..11);
    stage.answer_past_watermark(1, 30);
    assert_eq!(stage.commit(), Some((2, 30)), "nobody knows whether it was stored");
    stage.answer_past_watermark(2, 30);
    assert_eq!((told.try_recv(), stage.commit()), (Ok(Ok(())), None));
    stage.report_in(0, 2, 11..31);
    assert_eq!(stage.commit(), Some((2, 31)));
}

#[test]
fn what_is_committed_past_the_watermark_while_a_dead_worker_is_replaced_is_known_to_the_next_epoch() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 10);
    let mut told = stage.ask_for(30, true);
    assert_eq!(stage.sent(), Some((1, 30)));
    stage.close(1, false);
    // The poller looked before the answer had come here.
    stage.answer_past_watermark(1, 30);
    stage.replace(1, true);
    let cell = stage.succeed(10, None);
    assert_eq!((told.try_recv(), cell.committed()), (Ok(Ok(())), Some(NextOffset(30))));
    stage.report_in(0, 2, 10..11);
    assert_eq!(stage.commit(), None);
}

#[test]
fn an_offset_below_the_watermark_that_was_asked_for_before_its_worker_died_is_committed_still() {
    let mut stage = Stage::of(Membership::default(), CommitWhen::Manual);
    stage.begin(1);
    stage.report(1, 10);
    stage.close(1, false);
    let mut answer = stage.ask_for(5, false);
    stage.replace(1, true);
    stage.succeed(10, None);
    assert_eq!(stage.commit(), Some((2, 5)));
    stage.answer(2, 5, None);
    assert_eq!(answer.try_recv(), Ok(Ok(())));
}

#[test]
fn who_waits_for_a_commit_of_a_log_that_is_gone_is_told_that_the_partition_moved() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 7);
    let mut answer = stage.ask(Asked::Finished);
    stage.close(1, true);
    assert!(matches!(answer.try_recv(), Ok(Err(CommitError::Moved { .. }))));
}

#[test]
fn who_waits_for_a_commit_of_an_epoch_that_is_replaced_elsewhere_is_told_so() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 7);
    let mut answer = stage.ask(Asked::Finished);
    stage.replace(1, false);
    let (partition, offset) = (TopicPartition::new("t", 0), NextOffset(7));
    assert_eq!(answer.try_recv(), Ok(Err(CommitError::Moved { partition, offset })));
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
fn who_no_longer_waits_for_a_commit_is_forgotten() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 3);
    (0..100).for_each(|_| drop(stage.ask(Asked::Finished)));
    stage.answer(1, 3, Some(RDKafkaErrorCode::RequestTimedOut));
    assert!(stage.tracker.waiters.is_empty());
}

#[test]
fn an_epoch_that_ends_frees_who_waits_for_it_and_the_commits_that_were_held() {
    let mut stage = Stage::new();
    stage.begin_in(0, 1, StartPosition::at(TopicPartition::new("t", 0), NextOffset(0)));
    stage.begin_in(1, 2, StartPosition::at(TopicPartition::new("t", 1), NextOffset(0)));
    (0..2).for_each(|slot| stage.report_in(slot, slot as u64 + 1, 0..3));
    let mut answer = stage.ask(Asked::Finished);
    let refused = stage.sent_entries().into_iter().map(|entry| (entry, Some(RDKafkaErrorCode::UnknownMemberId)));
    stage.answer_all(refused.collect());
    assert_eq!(stage.commit(), None);
    assert!(answer.try_recv().is_err());
    stage.tracker.handle(EpochsEnded(vec![(0, Epoch(1))]), &mut Context::new());
    assert!(matches!(answer.try_recv(), Ok(Err(CommitError::NotAssigned { .. }))));
    assert_eq!(stage.commit(), Some((2, 3)));
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
