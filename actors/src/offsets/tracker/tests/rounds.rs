//! What rounds hold, and what their answers mean.

use super::*;

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
fn looks_that_come_a_little_late_and_a_little_early_keep_the_interval() {
    for (interval, every) in [(100, 1), (250, 3), (1_000, 10)] {
        let mut stage = Stage::of(Membership::default(), CommitWhen::Interval(Duration::from_millis(interval)));
        stage.begin(1);
        let began = stage.now;
        for look in 1..=60_u32 {
            stage.report_in(0, 1, i64::from(look) - 1..i64::from(look));
            // By turns half a millisecond after its time, and before.
            let late = Duration::from_micros(if look % 2 == 0 { 0 } else { 1_000 });
            stage.now = began + stage.tracker.pace() * look + late;
            stage.tracker.look(stage.now);
            let due = look % every == 0;
            assert_eq!(stage.sent().is_some(), due, "{interval} ms, look {look}");
            if due {
                stage.answer(1, i64::from(look), None);
            }
        }
    }
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
fn what_a_rebalance_refuses_in_passing_is_sent_again_soon_and_holds_no_other_partition() {
    let mut stage = Stage::new();
    for (slot, epoch) in [(0, 1), (1, 2)] {
        stage.begin_in(slot, epoch, StartPosition::at(TopicPartition::new("t", slot as i32), NextOffset(0)));
    }
    stage.report_in(0, 1, 0..3);
    assert_eq!(stage.commit(), Some((1, 3)));
    stage.answer(1, 3, Some(RDKafkaErrorCode::RebalanceInProgress));
    stage.report_in(1, 2, 0..3);
    // As long as it takes to pay off the round before.
    stage.now += Duration::from_millis(1);
    stage.tracker.look(stage.now);
    assert_eq!(stage.sent(), Some((2, 3)), "the other one at once");
    stage.answer_all(Vec::new());
    assert_eq!(stage.commit(), Some((1, 3)));
}

#[test]
fn a_rebalance_that_ends_with_nothing_for_this_member_frees_the_commits_that_were_held_and_ends_no_drain() {
    let mut stage = Stage::new();
    stage.begin(1);
    stage.report(1, 3);
    assert_eq!(stage.commit(), Some((1, 3)));
    stage.answer(1, 3, Some(RDKafkaErrorCode::IllegalGeneration));
    assert_eq!(stage.commit(), None);
    stage.tracker.drains.push(Drain { id: 7, stays: Vec::new(), waiting: BTreeSet::new(), sealed: true });
    stage.tracker.handle(EpochsEnded(Vec::new()), &mut Context::new());
    assert_eq!((stage.commit(), stage.tracker.drains.len()), (Some((1, 3)), 1));
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
fn a_round_by_records_or_chunks_is_sent_when_a_worker_says_so_and_not_before() {
    let mut stage = Stage::of(Membership::default(), CommitWhen::Records(3));
    stage.begin(1);
    stage.report(1, 3);
    assert_eq!(stage.commit(), None);
    stage.tracker.wanted = true;
    assert_eq!(stage.commit(), Some((1, 3)));
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
fn a_request_of_which_nothing_was_sent_is_no_commit() {
    let mut stage = Stage::new();
    stage.answer_all(Vec::new());
    assert_eq!(stage.tracker.board.counters.snapshot().commits, 0);
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
fn a_drain_that_ends_while_a_handler_holds_a_record_commits_those_before_it() {
    let mut stage = Stage::new();
    let cell = stage.begin(1);
    let mut chunk = ChunkBuilder::new(10, 1000, 10, 1);
    (0..10).for_each(|offset| chunk.push(offset, 0, None, None));
    let tile = Tile::new(NextOffset(0), NextOffset(10));
    assert!(cell.take_in_hand(&Arc::new(chunk.finish(cell.partition.clone(), cell.epoch, tile, Default::default()))));
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
