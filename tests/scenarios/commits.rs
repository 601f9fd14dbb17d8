//! Commit strategies: what each commits while it runs and at its end, and what a crash would cost with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use kafka_troupe::consume::{CommitError, CommitReport, CommitWhen, ConsumerBuilder, PartitionPhase, Record};
use kafka_troupe::ids::{NextOffset, TopicPartition};

use crate::fixture::{Gate, Journal, On, Stage, eventually};

scenarios! {
    on both brokers:
        every_strategy_has_committed_everything_at_the_end,
        by_records_and_by_chunks_commits_are_made_while_it_runs,
        with_every_record_awaited_none_is_begun_before_the_one_before_is_committed,
        with_every_seventh_record_awaited_at_most_seven_are_finished_and_not_committed,
        with_every_chunk_awaited_at_most_a_chunk_is_finished_and_not_committed,
        where_the_app_commits_nothing_else_is_committed_not_even_at_the_stop,
        the_app_commits_all_that_is_finished_and_chosen_offsets_of_chosen_partitions,
        offsets_past_the_watermark_are_committed_only_when_told_so,
        what_is_committed_past_the_watermark_stays_committed_when_a_worker_dies,
        a_commit_that_the_app_asked_for_is_awaited_at_the_stop,
        a_callback_is_told_of_every_commit_and_may_panic,
        the_clients_auto_commit_is_ahead_of_the_handlers_and_taken_back_at_the_stop,
        the_clients_auto_commit_is_taken_back_to_what_a_handler_never_finished;
    on the embedded broker, "one rate is as good as another":
        commits_that_are_awaited_go_on_as_fast_as_their_rate_allows;
}

const STOP: Duration = Duration::from_secs(20);

fn millis(millis: u64) -> CommitWhen {
    CommitWhen::Interval(Duration::from_millis(millis))
}

fn every_strategy_has_committed_everything_at_the_end(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 600, 20);
    let strategies = [
        (millis(20), false),
        (millis(20), true),
        (millis(60_000), false),
        (CommitWhen::Records(7), false),
        (CommitWhen::Records(7), true),
        (CommitWhen::Chunk, false),
        (CommitWhen::Chunk, true),
    ];
    let members = strategies.iter().zip(0..).map(|((when, awaited), number)| {
        let (group, journal) = (format!("g{number}"), Journal::default());
        let notes = journal.clone();
        let builder = stage.consumer(&group).handler(move |record: &Record| notes.note("a", record));
        (group, journal, builder.commit_when(*when).await_commits(*awaited).start().unwrap())
    });
    for (group, journal, consumer) in members.collect::<Vec<_>>() {
        eventually("all is handled", || journal.len() == 1200);
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        journal.assert_exactly_once_in_order(2, 600);
        assert_eq!(stage.committed(&group), [(0, 600), (1, 600)].into(), "{group}");
        assert_eq!(consumer.state().invariants, Default::default());
    }
}

fn by_records_and_by_chunks_commits_are_made_while_it_runs(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 60, 20);
    for (group, when) in [("records", CommitWhen::Records(10)), ("chunk", CommitWhen::Chunk)] {
        let consumer = stage.consumer(group).handler(|_: &Record| ()).commit_when(when).start().unwrap();
        eventually("all is committed", || consumer.state().partitions.iter().any(|p| p.committed == Some(60)));
        assert_eq!(stage.committed(group), [(0, 60)].into());
        consumer.shutdown_blocking(STOP).unwrap();
    }
}

/// Handles `count` records of one partition, and looks before each what the group has committed. Gives the most that a crash would have
/// repeated of what was finished.
fn most_uncommitted(stage: &Stage, group: &str, builder: ConsumerBuilder, count: u64) -> u64 {
    let (most, handled) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    std::thread::scope(|scope| {
        let (asked, ask) = mpsc::sync_channel::<mpsc::SyncSender<i64>>(0);
        scope.spawn(move || {
            for answer in ask {
                let _ = answer.send(stage.committed(group).get(&0).copied().unwrap_or(0));
            }
        });
        let (worst, done) = (Arc::clone(&most), Arc::clone(&handled));
        let consumer = builder
            .handler(move |record: &Record| {
                let (answer, committed) = mpsc::sync_channel(1);
                asked.send(answer).unwrap();
                let uncommitted = record.offset().0 - committed.recv().unwrap();
                worst.fetch_max(uncommitted as u64, Ordering::Relaxed);
                done.fetch_add(1, Ordering::Relaxed);
            })
            .start()
            .unwrap();
        eventually("all is handled", || handled.load(Ordering::Relaxed) == count);
        consumer.shutdown_blocking(STOP).unwrap();
    });
    most.load(Ordering::Relaxed)
}

fn with_every_record_awaited_none_is_begun_before_the_one_before_is_committed(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 30, 20);
    let builder = stage.consumer("g").commit_when(CommitWhen::Records(1)).await_commits(true);
    assert_eq!(most_uncommitted(&stage, "g", builder, 30), 0);
}

fn with_every_seventh_record_awaited_at_most_seven_are_finished_and_not_committed(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 60, 20);
    let builder = stage.consumer("g").commit_when(CommitWhen::Records(7)).await_commits(true);
    // Six, for the seventh one's end begins the commit that the eighth waits for.
    assert_eq!(most_uncommitted(&stage, "g", builder, 60), 6);
}

fn with_every_chunk_awaited_at_most_a_chunk_is_finished_and_not_committed(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 40, 20);
    // Chunks of ten records at most.
    let builder = stage.consumer("g").commit_when(CommitWhen::Chunk).await_commits(true).max_buffered_records(10);
    let most = most_uncommitted(&stage, "g", builder, 40);
    assert!((1..10).contains(&most), "{most}");
}

fn where_the_app_commits_nothing_else_is_committed_not_even_at_the_stop(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let builder = stage.consumer("g").handler(move |record: &Record| notes.note("a", record));
    let consumer = builder.commit_when(CommitWhen::Manual).start().unwrap();
    eventually("all is handled", || journal.len() == 50);
    consumer.commit_offsets([(TopicPartition::new(&*stage.topic, 0), NextOffset(20))]).wait_blocking().unwrap();
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(stage.committed("g"), [(0, 20)].into());
}

fn the_app_commits_all_that_is_finished_and_chosen_offsets_of_chosen_partitions(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let builder = stage.consumer("g").handler(move |record: &Record| notes.note("a", record));
    let consumer = builder.commit_when(CommitWhen::Manual).start().unwrap();
    eventually("all is handled", || consumer.state().counters.finished == 100);
    let second = || TopicPartition::new(&*stage.topic, 1);
    consumer.commit_offsets([(second(), NextOffset(7))]).wait_blocking().unwrap();
    assert_eq!(stage.committed("g"), [(1, 7)].into());
    let below = consumer.commit_offsets([(second(), NextOffset(6))]).wait_blocking();
    assert!(matches!(below, Err(CommitError::BelowCommitted { .. })), "{below:?}");
    let other = consumer.commit_offsets([(TopicPartition::new("other", 0), NextOffset(6))]).wait_blocking();
    assert!(matches!(other, Err(CommitError::NotAssigned { .. })), "{other:?}");
    consumer.commit().wait_blocking().unwrap();
    assert_eq!(stage.committed("g"), [(0, 50), (1, 50)].into());
    consumer.commit().wait_blocking().expect("nothing to commit is no error");
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(consumer.commit().wait_blocking(), Err(CommitError::Ended));
}

fn offsets_past_the_watermark_are_committed_only_when_told_so(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let (gate, waiting) = (Gate::default(), Gate::default());
    let (at_gate, reached) = (gate.clone(), waiting.clone());
    let builder = stage.consumer("g").handler(move |record: &Record| {
        if record.offset().0 == 10 {
            reached.open();
            at_gate.wait();
        }
    });
    let consumer = builder.start().unwrap();
    waiting.wait();
    let at = |offset| [(TopicPartition::new(&*stage.topic, 0), NextOffset(offset))];
    let refused = consumer.commit_offsets(at(30)).wait_blocking().unwrap_err();
    assert!(matches!(refused, CommitError::PastWatermark { watermark: NextOffset(10), .. }), "{refused:?}");
    consumer.commit_offsets_past_watermark(at(30)).wait_blocking().unwrap();
    assert_eq!(stage.committed("g"), [(0, 30)].into());
    gate.open();
    eventually("the rest is committed", || stage.committed("g") == [(0, 50)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(consumer.state().invariants, Default::default());
}

fn what_is_committed_past_the_watermark_stays_committed_when_a_worker_dies(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let (notes, at_gate) = (journal.clone(), gate.clone());
    let builder = stage.consumer("g").async_handler(move |record: Record| {
        let (notes, at_gate) = (notes.clone(), at_gate.clone());
        async move {
            notes.note("a", &record);
            let first = notes.of(0).iter().filter(|offset| **offset == record.offset().0).count() == 1;
            match record.offset().0 {
                10 if first => {
                    at_gate.open();
                    std::future::pending::<()>().await;
                }
                20 => std::future::pending().await,
                _ => {}
            }
        }
    });
    let consumer = builder.drain_deadline(Duration::from_millis(100)).start().unwrap();
    gate.wait();
    let partition = TopicPartition::new(&*stage.topic, 0);
    consumer.commit_offsets_past_watermark([(partition.clone(), NextOffset(30))]).wait_blocking().unwrap();
    consumer.kill_worker(&partition);
    eventually("its successor comes to 20", || journal.of(0).last() == Some(&20));
    // It commits all that is due: nothing may be.
    consumer.commit().wait_blocking().unwrap();
    consumer.shutdown_blocking(Duration::from_secs(2)).unwrap();
    assert_eq!(stage.committed("g"), [(0, 30)].into());
}

fn a_commit_that_the_app_asked_for_is_awaited_at_the_stop(on: On) {
    for _ in 0..10 {
        let stage = Stage::new(on, 1);
        stage.produce(0, 50, 20);
        let consumer = stage.consumer("g").handler(|_: &Record| ()).commit_when(CommitWhen::Manual).start().unwrap();
        eventually("all is handled", || consumer.state().counters.finished == 50);
        let commit = consumer.commit();
        consumer.shutdown_blocking(STOP).unwrap();
        assert_eq!((commit.wait_blocking(), stage.committed("g")), (Ok(()), [(0, 50)].into()));
    }
}

fn a_callback_is_told_of_every_commit_and_may_panic(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let builder = stage.consumer("g").handler(|_: &Record| ()).on_commit(move |report: &CommitReport| {
        let first = report.partitions[0].clone();
        tell.lock().unwrap().push((first.topic_partition.partition.0, first.offset.0, first.error));
        panic!("as asked");
    });
    let consumer = builder.start().unwrap();
    eventually("it is told", || told.lock().unwrap().last() == Some(&(0, 50, None)));
    stage.produce(50, 10, 20);
    eventually("and again", || told.lock().unwrap().last() == Some(&(0, 60, None)));
    consumer.shutdown_blocking(STOP).unwrap();
}

fn the_clients_auto_commit_is_ahead_of_the_handlers_and_taken_back_at_the_stop(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let (gate, waiting) = (Gate::default(), Gate::default());
    let (at_gate, reached) = (gate.clone(), waiting.clone());
    let builder = stage.consumer("g").client_auto_commit().property("auto.commit.interval.ms", "50");
    let consumer = builder
        .handler(move |record: &Record| {
            if record.offset().0 == 10 {
                reached.open();
                at_gate.wait();
            }
        })
        .start()
        .unwrap();
    waiting.wait();
    // A crash now would lose the 40 records that no handler has finished.
    eventually("what was handed out is committed", || stage.committed("g") == [(0, 50)].into());
    eventually("the state shows it", || consumer.state().partitions[0].committed == Some(50));
    eventually("the handler is behind", || consumer.state().partitions[0].watermark == 10);
    // What is begun is finished, and nothing else.
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(consumer.shutdown_blocking(STOP).unwrap().drained));
        eventually("no other is begun", || {
            consumer.state().partitions.iter().all(|p| p.phase == PartitionPhase::Revoking)
        });
        gate.open();
    });
    assert_eq!(stage.committed("g"), [(0, 11)].into());
    assert!(stage.consumer("g").client_auto_commit().await_commits(true).handler(|_: &Record| ()).start().is_err());
}

fn the_clients_auto_commit_is_taken_back_to_what_a_handler_never_finished(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let builder = stage.consumer("g").client_auto_commit().property("auto.commit.interval.ms", "50");
    let consumer = builder
        .async_handler(|record: Record| async move {
            if record.offset().0 == 10 {
                std::future::pending::<()>().await;
            }
        })
        .drain_deadline(Duration::from_millis(100))
        .start()
        .unwrap();
    eventually("what was handed out is committed", || stage.committed("g") == [(0, 50)].into());
    eventually("the handler is behind", || consumer.state().partitions[0].watermark == 10);
    assert!(!consumer.shutdown_blocking(Duration::from_secs(2)).unwrap().drained);
    assert_eq!(stage.committed("g"), [(0, 10)].into());
}

fn commits_that_are_awaited_go_on_as_fast_as_their_rate_allows(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let builder = stage.consumer("g").commit_when(CommitWhen::Records(1)).await_commits(true).commit_rate(50_000);
    let consumer = builder.handler(move |record: &Record| notes.note("a", record)).start().unwrap();
    eventually("it begins", || journal.len() > 0);
    let begun = Instant::now();
    eventually("all is handled", || journal.len() == 100);
    // The rate allows it in 160 ms; a look each 100 ms would take 10 s.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    consumer.shutdown_blocking(STOP).unwrap();
}
