//! A person has partitions go on elsewhere in their logs while the consumer runs.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kafka_troupe::consume::{
    CommitWhen, ConsumerBuilder, ConsumerHandle, PartitionError, PartitionPhase, PartitionState, Partitions,
    PendingSeek, Record,
};
use kafka_troupe::ids::{NextOffset, TopicPartition};

use crate::fixture::{Gate, Journal, On, Stage, eventually, since_1970};
use crate::process::Process;

scenarios! {
    on both brokers:
        a_seek_back_handles_everything_from_there_again_and_the_commit_follows,
        a_seek_forth_passes_over_what_lies_between_and_commits_it,
        a_seek_under_load_loses_and_repeats_nothing_but_what_was_asked_for,
        a_seek_commits_its_position_before_any_record_is_handled,
        after_a_seek_back_a_crash_goes_on_with_the_replay,
        a_replay_is_one_of_records_that_were_finished_out_of_order_too,
        what_a_handler_holds_is_waited_for_before_a_seek,
        a_handler_that_does_not_return_by_the_drain_deadline_is_cut_off_by_a_seek,
        all_partitions_are_sought_to_their_beginning_and_to_their_end,
        a_seek_that_cannot_be_is_refused_and_moves_nothing,
        the_app_that_commits_itself_commits_a_seek_when_it_says_so,
        where_the_client_commits_it_commits_a_seek_back_too,
        a_standalone_consumer_can_be_sought_and_commits_nothing,
        a_handler_with_state_is_built_anew_for_a_seek;
    on Apache Kafka, "the embedded broker does not look for times":
        a_seek_to_a_time_begins_with_the_first_record_of_that_time_or_later;
}

const STOP: Duration = Duration::from_secs(20);

pub fn partition(stage: &Stage, number: i32) -> TopicPartition {
    TopicPartition::new(&*stage.topic, number)
}

pub fn noting(stage: &Stage, journal: &Journal) -> ConsumerHandle {
    let notes = journal.clone();
    stage.consumer("g").handler(move |record: &Record| notes.note("a", record)).start().unwrap()
}

pub fn of(consumer: &ConsumerHandle, partition: i32) -> Option<PartitionState> {
    consumer.state().partitions.into_iter().find(|each| each.partition == partition)
}

pub fn committed(consumer: &ConsumerHandle, partition: i32, offset: i64) -> bool {
    of(consumer, partition).is_some_and(|each| each.committed == Some(offset))
}

/// Waits for the answer, and not for ever.
pub fn answer(mut seek: PendingSeek) -> Result<Vec<(TopicPartition, NextOffset)>, PartitionError> {
    let (mut answer, mut context) = (None, Context::from_waker(Waker::noop()));
    eventually("the seek is answered", || {
        if let Poll::Ready(answered) = Pin::new(&mut seek).poll(&mut context) {
            answer = Some(answered);
        }
        answer.is_some()
    });
    answer.unwrap()
}

pub fn offsets(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

fn a_seek_back_handles_everything_from_there_again_and_the_commit_follows(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    let consumer = noting(&stage, &journal);
    eventually("all is committed", || committed(&consumer, 0, 100) && committed(&consumer, 1, 100));
    let before = [of(&consumer, 0).unwrap().epoch, of(&consumer, 1).unwrap().epoch];
    let begun = consumer.seek(partition(&stage, 0), NextOffset(30)).wait_blocking().unwrap();
    assert_eq!(begun, [(partition(&stage, 0), NextOffset(30))]);
    assert!(of(&consumer, 0).unwrap().epoch > before[0], "a new epoch");
    eventually("it is handled again", || journal.of(0).len() == 170);
    eventually("and committed", || committed(&consumer, 0, 100));
    stage.produce(100, 10, 20);
    eventually("it goes on", || committed(&consumer, 0, 110) && committed(&consumer, 1, 110));
    assert_eq!(of(&consumer, 1).unwrap().epoch, before[1], "the other one was left alone");
    assert_eq!(journal.of(0), [offsets(0..100), offsets(30..110)].concat());
    assert_eq!(journal.of(1), offsets(0..110));
    let state = consumer.state();
    assert_eq!((state.counters.seeks, state.counters.drains_cut_short), (1, 0));
    assert_eq!(state.invariants, Default::default());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(stage.committed("g"), [(0, 110), (1, 110)].into());
}

fn a_seek_forth_passes_over_what_lies_between_and_commits_it(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let consumer = {
        let (journal, gate) = (journal.clone(), gate.clone());
        let handler = move |record: &Record| {
            if record.offset().0 == 10 {
                gate.wait();
            }
            journal.note("a", record);
        };
        stage.consumer("g").handler(handler).start().unwrap()
    };
    eventually("it stands at 10", || committed(&consumer, 0, 10));
    let seek = consumer.seek(partition(&stage, 0), NextOffset(80));
    eventually("it drains", || of(&consumer, 0).unwrap().phase == PartitionPhase::Revoking);
    gate.open();
    answer(seek).unwrap();
    eventually("the rest is committed", || committed(&consumer, 0, 100));
    assert_eq!(journal.of(0), [offsets(0..11), offsets(80..100)].concat());
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_seek_under_load_loses_and_repeats_nothing_but_what_was_asked_for(on: On) {
    let stage = Stage::new(on, 4);
    stage.produce(0, 20_000, 20);
    let journal = Journal::default();
    let consumer = noting(&stage, &journal);
    // Wherever the others are: from anywhere, to anywhere, in the midst of fetches and chunks.
    let targets = [5000, 100, 12_000, 0, 7777];
    let mut begun = Vec::new();
    for (round, target) in targets.into_iter().enumerate() {
        let before = journal.of(0).len();
        eventually("it works", || journal.of(0).len() > before + 500);
        begun.push((round, target));
        let answer = answer(consumer.seek(partition(&stage, 0), NextOffset(target)));
        assert_eq!(answer.unwrap(), [(partition(&stage, 0), NextOffset(target))]);
    }
    eventually("all is committed", || (0..4).all(|number| committed(&consumer, number, 20_000)));
    consumer.shutdown_blocking(STOP).unwrap();
    for others in 1..4 {
        assert_eq!(journal.of(others), offsets(0..20_000), "untouched");
    }
    let handled = journal.of(0);
    let jumps: Vec<_> = handled.windows(2).filter(|pair| pair[1] != pair[0] + 1).map(|pair| pair[1]).collect();
    assert_eq!(jumps, targets, "each stretch is without a gap, and begins where it was to");
    assert_eq!(handled.last(), Some(&19_999));
}

fn a_seek_commits_its_position_before_any_record_is_handled(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let (stuck, gate) = (Arc::new(AtomicBool::new(false)), Gate::default());
    let consumer = {
        let (stuck, gate) = (Arc::clone(&stuck), gate.clone());
        let handler = move |_: &Record| {
            if stuck.load(Ordering::SeqCst) {
                gate.wait();
            }
        };
        stage.consumer("g").handler(handler).start().unwrap()
    };
    eventually("all is committed", || committed(&consumer, 0, 100));
    stuck.store(true, Ordering::SeqCst);
    answer(consumer.seek(partition(&stage, 0), NextOffset(40))).unwrap();
    eventually("the group's offset went back", || stage.committed("g") == [(0, 40)].into());
    assert!(committed(&consumer, 0, 40));
    gate.open();
    eventually("all is committed again", || committed(&consumer, 0, 100));
    consumer.shutdown_blocking(STOP).unwrap();
}

fn after_a_seek_back_a_crash_goes_on_with_the_replay(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 300, 20);
    let mut member = Process::of("replay", &stage, "g", 5);
    eventually("all is committed", || stage.committed("g") == [(0, 300)].into());
    member.tell("offset 0 0");
    eventually("it replays", || member.printed().len() >= 400);
    member.child.kill().unwrap();
    member.child.wait().unwrap();
    let printed = member.printed();
    let replayed = printed.len() - 300;
    let at = stage.committed("g")[&0];
    assert!((50..=replayed as i64 + 1).contains(&at), "{at} committed, {replayed} replayed");
    let journal = Journal::default();
    let successor = noting(&stage, &journal);
    eventually("the rest of the replay is handled", || committed(&successor, 0, 300));
    successor.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(0), offsets(at..300));
}

fn a_replay_is_one_of_records_that_were_finished_out_of_order_too(on: On) {
    use kafka_troupe::ids::Offset;
    use kafka_troupe::offsets::FinishedRange;
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let finished = [FinishedRange { first: Offset(50), last: Offset(59) }];
    stage.plant("g", &[(0, 10, stage.memory(0, 10, &finished).as_bytes())]);
    let (journal, gate) = (Journal::default(), Gate::default());
    let consumer = {
        let (journal, gate) = (journal.clone(), gate.clone());
        let handler = move |record: &Record| {
            if record.offset().0 == 20 {
                gate.wait();
            }
            journal.note("a", record);
        };
        stage.consumer("g").handler(handler).start().unwrap()
    };
    eventually("it stands at 20", || committed(&consumer, 0, 20));
    let seek = consumer.seek(partition(&stage, 0), NextOffset(15));
    eventually("it drains", || of(&consumer, 0).unwrap().phase == PartitionPhase::Revoking);
    gate.open();
    answer(seek).unwrap();
    eventually("all is committed", || committed(&consumer, 0, 100));
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(0), [offsets(10..21), offsets(15..100)].concat(), "50 to 59 as well");
    assert_eq!(consumer.state().counters.remembered, 0);
}

/// A consumer whose handler holds record 3 of partition 0 until the gate opens.
pub fn held_at_three(builder: ConsumerBuilder, journal: &Journal, gate: &Gate, drain: Duration) -> ConsumerHandle {
    let (notes, at_gate) = (journal.clone(), gate.clone());
    let handler = move |record: &Record| {
        if record.partition().0 == 0 && record.offset().0 == 3 {
            at_gate.wait();
        }
        notes.note("a", record);
    };
    let consumer = builder.handler(handler).worker_threads(2).drain_deadline(drain).start().unwrap();
    eventually("the handler holds record 3", || of(&consumer, 0).is_some_and(|p| p.watermark == 3 && p.in_flight == 1));
    consumer
}

fn what_a_handler_holds_is_waited_for_before_a_seek(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 20, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let consumer = held_at_three(stage.steady_consumer("g"), &journal, &gate, Duration::from_secs(20));
    let seek = consumer.seek(partition(&stage, 0), NextOffset(10));
    eventually("it drains", || of(&consumer, 0).unwrap().phase == PartitionPhase::Revoking);
    assert_eq!(journal.len(), 3, "the seek waits");
    gate.open();
    answer(seek).unwrap();
    eventually("the rest is handled", || committed(&consumer, 0, 20));
    assert_eq!(
        journal.of(0),
        [offsets(0..4), offsets(10..20)].concat(),
        "what was held was finished, and nothing begun"
    );
    assert_eq!(consumer.state().counters.drains_cut_short, 0);
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_handler_that_does_not_return_by_the_drain_deadline_is_cut_off_by_a_seek(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 20, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let consumer = held_at_three(stage.steady_consumer("g"), &journal, &gate, Duration::from_millis(200));
    let begun = answer(consumer.seek(partition(&stage, 0), NextOffset(10))).unwrap();
    assert_eq!(begun, [(partition(&stage, 0), NextOffset(10))], "the new epoch begins, and waits for the old handler");
    assert_eq!(of(&consumer, 0).unwrap().phase, PartitionPhase::Starting);
    eventually("the position is committed", || stage.committed("g") == [(0, 10)].into());
    assert_eq!(journal.len(), 3, "never two handlers of a partition");
    gate.open();
    eventually("the rest is handled", || committed(&consumer, 0, 20));
    assert_eq!(journal.of(0), [offsets(0..4), offsets(10..20)].concat());
    assert_eq!(consumer.state().counters.drains_cut_short, 1);
    assert_eq!(consumer.state().invariants, Default::default());
    consumer.shutdown_blocking(STOP).unwrap();
}

fn all_partitions_are_sought_to_their_beginning_and_to_their_end(on: On) {
    let stage = Stage::new(on, 3);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let consumer = noting(&stage, &journal);
    eventually("all is committed", || (0..3).all(|number| committed(&consumer, number, 50)));
    let begun = answer(consumer.seek_to_beginning(Partitions::All)).unwrap();
    let all = |offset| (0..3).map(|number| (partition(&stage, number), NextOffset(offset))).collect::<Vec<_>>();
    assert_eq!(begun, all(0));
    eventually("all is handled again", || journal.len() == 300);
    consumer.pause(Partitions::All).unwrap();
    eventually("it is paused", || consumer.state().partitions.iter().all(|p| p.paused));
    stage.produce(50, 50, 20);
    let begun = answer(consumer.seek_to_end(Partitions::All)).unwrap();
    assert_eq!(begun, all(100));
    assert!(consumer.state().partitions.iter().all(|p| p.paused), "a seek resumes nothing");
    consumer.resume(Partitions::All).unwrap();
    stage.produce(100, 1, 20);
    eventually("what comes is handled", || journal.len() >= 303);
    eventually("and committed", || stage.committed("g") == stage.ends());
    consumer.shutdown_blocking(STOP).unwrap();
    for number in 0..3 {
        assert_eq!(journal.of(number), [offsets(0..50), offsets(0..50), offsets(100..101)].concat());
    }
}

fn a_seek_that_cannot_be_is_refused_and_moves_nothing(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    let consumer = noting(&stage, &journal);
    eventually("all is committed", || committed(&consumer, 0, 100) && committed(&consumer, 1, 100));
    let before = of(&consumer, 0).unwrap().epoch;
    let high = answer(consumer.seek(partition(&stage, 0), NextOffset(101)));
    let range = (NextOffset(0), NextOffset(100));
    let error = PartitionError::OutOfRange {
        partition: partition(&stage, 0),
        offset: NextOffset(101),
        low: range.0,
        high: range.1,
    };
    assert_eq!(high, Err(error));
    let low = answer(consumer.seek(partition(&stage, 0), NextOffset(-1)));
    assert!(matches!(low, Err(PartitionError::OutOfRange { .. })), "{low:?}");
    let unknown = partition(&stage, 7);
    let not_here = Err(PartitionError::NotAssigned { partition: unknown.clone() });
    assert_eq!(answer(consumer.seek(unknown.clone(), NextOffset(0))), not_here);
    let mixed = vec![partition(&stage, 0), unknown.clone()];
    assert_eq!(answer(consumer.seek_to_beginning(mixed)), not_here);
    assert_eq!(consumer.pause(unknown.clone()).map(|()| Vec::new()), not_here);
    assert_eq!(answer(consumer.seek_to_end(Vec::new())), Ok(Vec::new()), "nothing to do");
    // At the end is in range: the next record is.
    answer(consumer.seek(partition(&stage, 1), NextOffset(100))).unwrap();
    assert_eq!(of(&consumer, 0).unwrap().epoch, before);
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(answer(consumer.seek(partition(&stage, 0), NextOffset(0))), Err(PartitionError::Ended));
    assert_eq!(journal.len(), 200, "nothing was handled again");
}

fn the_app_that_commits_itself_commits_a_seek_when_it_says_so(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 20, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let handler = move |record: &Record| notes.note("a", record);
    let consumer = stage.consumer("g").commit_when(CommitWhen::Manual).handler(handler).start().unwrap();
    eventually("all is handled", || of(&consumer, 0).is_some_and(|p| p.watermark == 20));
    consumer.commit().wait_blocking().unwrap();
    assert_eq!(stage.committed("g"), [(0, 20)].into());
    consumer.pause(Partitions::All).unwrap();
    answer(consumer.seek(partition(&stage, 0), NextOffset(5))).unwrap();
    assert_eq!(stage.committed("g"), [(0, 20)].into(), "the app has not said so");
    consumer.commit().wait_blocking().unwrap();
    assert_eq!(stage.committed("g"), [(0, 5)].into());
    consumer.resume(Partitions::All).unwrap();
    eventually("all is handled again", || of(&consumer, 0).is_some_and(|p| p.watermark == 20));
    consumer.commit().wait_blocking().unwrap();
    assert_eq!(stage.committed("g"), [(0, 20)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(0), [offsets(0..20), offsets(5..20)].concat());
}

fn where_the_client_commits_it_commits_a_seek_back_too(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let (notes, at_gate) = (journal.clone(), gate.clone());
    let handler = move |record: &Record| {
        notes.note("a", record);
        // In the replay.
        if record.offset().0 == 50 && notes.len() > 100 {
            at_gate.wait();
        }
    };
    let builder = stage.consumer("g").client_auto_commit().property("auto.commit.interval.ms", "50");
    let consumer = builder.handler(handler).max_buffered_records(10).start().unwrap();
    eventually("the client has committed it", || stage.committed("g") == [(0, 100)].into());
    answer(consumer.seek(partition(&stage, 0), NextOffset(40))).unwrap();
    eventually("the replay stands at 50", || journal.of(0).len() == 111);
    eventually("the client's commits went back", || stage.committed("g")[&0] <= 60);
    gate.open();
    eventually("and come again", || stage.committed("g") == [(0, 100)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(0), [offsets(0..100), offsets(40..100)].concat());
}

fn a_standalone_consumer_can_be_sought_and_commits_nothing(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let consumer = stage.standalone().handler(move |record: &Record| notes.note("a", record)).start().unwrap();
    eventually("all is handled", || journal.len() == 50);
    answer(consumer.seek(partition(&stage, 0), NextOffset(40))).unwrap();
    eventually("some of it again", || journal.len() == 60);
    assert_eq!(consumer.state().counters.commits, 0);
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(0), [offsets(0..50), offsets(40..50)].concat());
}

fn a_handler_with_state_is_built_anew_for_a_seek(on: On) {
    struct Counting {
        seen: usize,
        counts: Arc<std::sync::Mutex<Vec<usize>>>,
    }
    impl kafka_troupe::Handler for Counting {
        type Answer = ();
        async fn handle(&mut self, _: &Record) {
            self.seen += 1;
            self.counts.lock().unwrap().push(self.seen);
        }
    }
    let stage = Stage::new(on, 1);
    stage.produce(0, 3, 20);
    let counts = Arc::<std::sync::Mutex<Vec<usize>>>::default();
    let shared = Arc::clone(&counts);
    let builder = stage.consumer("g").partition_handler(move |_| Counting { seen: 0, counts: Arc::clone(&shared) });
    let consumer = builder.start().unwrap();
    eventually("all is committed", || committed(&consumer, 0, 3));
    answer(consumer.seek(partition(&stage, 0), NextOffset(1))).unwrap();
    eventually("two again", || counts.lock().unwrap().len() == 5);
    assert_eq!(*counts.lock().unwrap(), [1, 2, 3, 1, 2]);
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_seek_to_a_time_begins_with_the_first_record_of_that_time_or_later(on: On) {
    let stage = Stage::new(on, 2);
    // A record a second, and not so old that retention takes them.
    let base = since_1970() - 1_000_000;
    stage.produce_at(&[0, 1], 0..100, |number| base + 1000 * number);
    let journal = Journal::default();
    let consumer = noting(&stage, &journal);
    eventually("all is committed", || committed(&consumer, 0, 100) && committed(&consumer, 1, 100));
    // Between the records 69 and 70.
    let begun = answer(consumer.seek_to_time(partition(&stage, 0), base + 69_500)).unwrap();
    assert_eq!(begun, [(partition(&stage, 0), NextOffset(70))]);
    eventually("it is handled again", || journal.of(0).len() == 130);
    // Of this time there is none: what comes next is.
    let begun = answer(consumer.seek_to_time(Partitions::All, base + 200_000)).unwrap();
    assert_eq!(begun, [(partition(&stage, 0), NextOffset(100)), (partition(&stage, 1), NextOffset(100))]);
    stage.produce_at(&[0, 1], 100..101, |_| base + 200_000);
    eventually("what comes is handled", || journal.len() == 232);
    let begun = answer(consumer.seek_to_time(partition(&stage, 1), -5)).unwrap();
    assert_eq!(begun, [(partition(&stage, 1), NextOffset(0))], "before all time is the beginning");
    eventually("all is committed", || stage.committed("g") == stage.ends() && journal.of(1).len() == 202);
    consumer.shutdown_blocking(STOP).unwrap();
}
