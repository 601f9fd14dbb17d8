//! One suite for the three orders: what must hold whatever the order is, and the order itself, across retries and owners.
//!
//! All three on the embedded broker. On Apache Kafka one of them, chosen by a seed that is printed, and taken back from `TROUPE_SEED`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka_troupe::consume::{ConsumerBuilder, ConsumerHandle, Order, Record};
use kafka_troupe::ids::TopicPartition;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::fixture::{Gate, On, PATIENCE, Stage, eventually};
use crate::random::Random;

/// Each of these in the three orders on the embedded broker, and in one of them on Apache Kafka.
macro_rules! in_each_order {
    ($($scenario:ident),+ $(,)?) => {
        mod embedded {
            use super::{On, Order};
            mod by_partition { $(#[test] fn $scenario() { super::super::$scenario(super::On::Embedded, super::Order::Partition) })+ }
            mod by_key { $(#[test] fn $scenario() { super::super::$scenario(super::On::Embedded, super::Order::Key) })+ }
            mod unordered { $(#[test] fn $scenario() { super::super::$scenario(super::On::Embedded, super::Order::Unordered) })+ }
        }
        mod kafka {
            $(#[test] fn $scenario() { crate::fixture::on_kafka(|on| super::$scenario(on, super::one_of_them())) })+
        }
    };
}

in_each_order!(
    slow_handlers_everywhere_keep_the_member_in_its_group_and_give_up_in_time,
    a_handler_that_hangs_is_named_and_holds_up_what_its_order_says_and_no_more,
    panics_and_a_dead_worker_repeat_at_most_what_they_held,
    order_holds_across_retries_and_owners_that_come_and_go,
    a_stop_amid_commits_leaves_the_group_where_the_handlers_were,
    a_hot_key_leaves_the_others_their_pace,
    a_record_that_blocks_the_watermark_bounds_what_runs_ahead_and_repeats_nothing_after_a_clean_stop,
);

const STOP: Duration = Duration::from_secs(20);

pub(crate) fn one_of_them() -> Order {
    let order = [Order::Partition, Order::Key, Order::Unordered][Random::seeded().below(3) as usize];
    println!("{order:?}");
    order
}

/// Appends `count` records to each partition; of what key each is, its number says.
fn produce(stage: &Stage, count: usize, key: impl Fn(usize) -> usize) {
    let producer: BaseProducer = stage.client().set("linger.ms", "2").create().unwrap();
    for number in 0..count {
        let key = key(number).to_string();
        for partition in 0..stage.partitions {
            let record = BaseRecord::to(&stage.topic).partition(partition).key(&key).payload("value");
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
}

/// What must follow one another: the records of a partition, of a key, or none.
type Line = (i32, Vec<u8>);

/// Judges the order of all calls, of all owners, by Decaton's rule: an owner may start again from what is committed, but never run ahead.
#[derive(Clone)]
struct Judge(Order, Arc<Mutex<Judged>>);

#[derive(Default)]
struct Judged {
    /// By line, the records that were finished by anyone.
    finished: BTreeMap<Line, BTreeSet<i64>>,
    /// By owner and line, what runs.
    running: HashMap<(u32, Line), i64>,
    calls: usize,
    wrong: Vec<String>,
}

impl Judge {
    fn new(order: Order) -> Self {
        Self(order, Arc::default())
    }

    fn line(&self, record: &Record) -> Line {
        let key = match self.0 {
            Order::Partition => Vec::new(),
            Order::Key => record.key().unwrap().to_vec(),
            Order::Unordered => record.offset().0.to_string().into_bytes(),
        };
        (record.partition().0, key)
    }

    /// A call of this owner begins; it has ended when what is given back is dropped.
    fn begins(&self, owner: u32, record: &Record) -> Call {
        let (line, offset) = (self.line(record), record.offset().0);
        let mut judged = self.1.lock().unwrap();
        judged.calls += 1;
        if let Some(other) = judged.running.insert((owner, line.clone()), offset) {
            judged.wrong.push(format!("{line:?}: {offset} begins while {other} runs"));
        }
        Call { judge: self.clone(), owner, line, offset }
    }

    fn finished(&self) -> usize {
        self.1.lock().unwrap().finished.values().map(BTreeSet::len).sum()
    }

    fn calls(&self) -> usize {
        self.1.lock().unwrap().calls
    }

    /// All is finished, nothing of a line before what is below, and no two of it ran at once.
    #[track_caller]
    fn assert_fair(&self, expected: usize) {
        let judged = self.1.lock().unwrap();
        assert_eq!(judged.wrong, [] as [String; 0], "{:?}", self.0);
        assert_eq!(
            judged.finished.values().map(BTreeSet::len).sum::<usize>(),
            expected,
            "{:?}: all, and nothing else",
            self.0
        );
    }
}

struct Call {
    judge: Judge,
    owner: u32,
    line: Line,
    offset: i64,
}

impl Call {
    /// It is finished. Of its line, all that anyone ever finishes above must come later.
    fn ends_well(self) {
        let mut judged = self.judge.1.lock().unwrap();
        let (line, offset) = (self.line.clone(), self.offset);
        let finished = judged.finished.entry(line.clone()).or_default();
        let is_new = finished.insert(offset);
        let above = finished.last().copied().filter(|last| *last > offset);
        if is_new && let Some(above) = above {
            judged.wrong.push(format!("{line:?}: {above} was finished before {offset}"));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.judge.1.lock().unwrap().running.remove(&(self.owner, self.line.clone()));
    }
}

/// A handler that is done after a moment of waiting, unless `fails` says otherwise.
fn judged(
    builder: ConsumerBuilder,
    judge: &Judge,
    owner: u32,
    fails: impl Fn(&Record) -> bool + Send + Sync + 'static,
) -> ConsumerBuilder {
    let (judge, fails) = (judge.clone(), Arc::new(fails));
    let pause = Duration::from_millis(3);
    let builder = builder.order(judge.0).concurrency(20).retry_pause(pause, pause).max_attempts(u32::MAX);
    builder.async_handler(move |record: Record| {
        let (judge, fails) = (judge.clone(), Arc::clone(&fails));
        async move {
            let call = judge.begins(owner, &record);
            tokio::time::sleep(Duration::from_millis((record.offset().0 % 3) as u64)).await;
            if fails(&record) {
                return Err("not yet");
            }
            call.ends_well();
            Ok(())
        }
    })
}

fn all_committed(stage: &Stage, count: i64) -> bool {
    stage.committed("g").values().filter(|offset| **offset == count).count() == stage.partitions as usize
}

fn slow_handlers_everywhere_keep_the_member_in_its_group_and_give_up_in_time(on: On, order: Order) {
    let stage = Stage::new(on, 2);
    produce(&stage, 30, |number| number);
    let slow = || stage.consumer("g").property("session.timeout.ms", "3000").property("max.poll.interval.ms", "3000");
    let begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&begun);
    let hangs = move |_: Record| {
        begins.store(true, Ordering::SeqCst);
        std::future::pending::<()>()
    };
    let drain = Duration::from_millis(500);
    let a = slow().order(order).drain_deadline(drain).async_handler(hangs).start().unwrap();
    eventually("handlers have begun", || begun.load(Ordering::SeqCst));
    let since = Instant::now();
    eventually("longer than the interval passes", || since.elapsed() > Duration::from_millis(4000));
    let counters = a.state().counters;
    assert_eq!((counters.lost, counters.revoked, counters.assigned), (0, 0, 2), "it kept its place");
    let judge = Judge::new(order);
    let b = judged(slow(), &judge, 1, |_| false).start().unwrap();
    eventually("another member has its share, and all of its records", || {
        b.state().partitions.len() == 1 && judge.finished() >= 30
    });
    assert!(a.state().counters.drains_cut_short <= 1 && a.state().counters.lost == 0);
    a.shutdown_blocking(Duration::from_secs(3)).unwrap();
    eventually("what hung there is done here", || judge.finished() == 60);
    b.shutdown_blocking(STOP).unwrap();
    judge.assert_fair(60);
}

fn a_handler_that_hangs_is_named_and_holds_up_what_its_order_says_and_no_more(on: On, order: Order) {
    let stage = Stage::new(on, 2);
    produce(&stage, 60, |number| number % 6);
    let (judge, gate) = (Judge::new(order), Gate::default());
    let (notes, at_gate) = (judge.clone(), gate.clone());
    let handler = move |record: Record| {
        let (judge, gate) = (notes.clone(), at_gate.clone());
        async move {
            let call = judge.begins(0, &record);
            if (record.partition().0, record.offset().0) == (0, 12) {
                tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
            }
            call.ends_well();
        }
    };
    let builder = stage.lone_consumer("g").order(order).slow_record_after(Duration::from_millis(300));
    let consumer = builder.async_handler(handler).start().unwrap();
    // In partition order all of its partition from there on; of its key those at 12, 18, ... 54.
    let held = match order {
        Order::Partition => 48,
        Order::Key => 8,
        Order::Unordered => 1,
    };
    eventually("whatever does not wait for it is done", || judge.finished() == 120 - held);
    eventually("it is named", || {
        let of_0 = consumer.state().partitions.remove(0);
        let holder = of_0.watermark_holder.map(|holder| holder.offset);
        of_0.slow.iter().map(|slow| slow.offset).eq([12]) && holder == Some(12)
    });
    gate.open();
    eventually("all is committed", || all_committed(&stage, 60));
    consumer.shutdown_blocking(STOP).unwrap();
    judge.assert_fair(120);
    assert_eq!(judge.calls(), 120);
}

fn panics_and_a_dead_worker_repeat_at_most_what_they_held(on: On, order: Order) {
    let stage = Stage::new(on, 2);
    produce(&stage, 600, |number| number % 40);
    let judge = Judge::new(order);
    let fails = |record: &Record| {
        assert!(record.offset().0 % 100 != 50 || record.attempt() > 1, "a panic of the test's");
        false
    };
    let consumer = judged(stage.lone_consumer("g"), &judge, 0, fails).start().unwrap();
    eventually("some is done", || judge.finished() > 200);
    consumer.kill_worker(&TopicPartition::new(stage.topic.as_str(), 0));
    eventually("all is committed", || all_committed(&stage, 600));
    consumer.shutdown_blocking(STOP).unwrap();
    judge.assert_fair(1200);
    let counters = consumer.state().counters;
    assert_eq!(counters.workers_replaced, 1);
    // Each panic once more, and once more again if the worker died upon it; what was in flight there.
    assert!(judge.calls() <= 1200 + 12 + 12 + 20, "{} calls", judge.calls());
    assert_eq!(consumer.state().invariants, Default::default());
}

fn order_holds_across_retries_and_owners_that_come_and_go(on: On, order: Order) {
    let stage = Stage::new(on, 4);
    let count = 800;
    produce(&stage, count, |number| number * number % 23);
    let judge = Judge::new(order);
    let member = |owner: u32| -> ConsumerHandle {
        // Each seventeenth fails once.
        let fails = |record: &Record| record.offset().0 % 17 == 3 && record.attempt() == 1;
        judged(stage.steady_consumer("g"), &judge, owner, fails).start().unwrap()
    };
    let first = member(0);
    for owner in 1..4 {
        let some = judge.finished() + 150;
        eventually("some is done", || judge.finished() >= some.min(4 * count));
        let other = member(owner);
        eventually("they share", || other.state().partitions.len() == 2 || judge.finished() == 4 * count);
        other.shutdown_blocking(STOP).unwrap();
        eventually("it has all back", || first.state().partitions.len() == 4);
    }
    eventually("all is committed", || all_committed(&stage, count as i64));
    first.shutdown_blocking(STOP).unwrap();
    judge.assert_fair(4 * count);
    assert_eq!(first.state().invariants, Default::default());
}

fn a_stop_amid_commits_leaves_the_group_where_the_handlers_were(on: On, order: Order) {
    // Commits race polls, workers and stops: whatever the moment, no commit is ahead of a handler, and no finished record is behind one.
    let stage = Stage::new(on, 2);
    produce(&stage, 500, |number| number % 50);
    let judge = Judge::new(order);
    let mut owner = 0;
    while judge.finished() < 1000 {
        let consumer = judged(stage.consumer("g"), &judge, owner, |_| false).start().unwrap();
        let some = judge.finished() + 170;
        eventually("some is done", || judge.finished() >= some.min(1000));
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        for (partition, committed) in stage.committed("g") {
            let judged = judge.1.lock().unwrap();
            let of_partition = judged.finished.iter().filter(|((of, _), _)| *of == partition);
            let mut finished: Vec<_> = of_partition.flat_map(|(_, offsets)| offsets.iter().copied()).collect();
            finished.sort_unstable();
            let contiguous = finished.iter().zip(0..).take_while(|(offset, at)| **offset == *at).count();
            assert_eq!(committed, contiguous as i64, "{order:?}: partition {partition}");
        }
        owner += 1;
    }
    judge.assert_fair(1000);
    assert_eq!(judge.calls(), 1000, "a clean stop repeats nothing");
}

fn a_hot_key_leaves_the_others_their_pace(on: On, order: Order) {
    let stage = Stage::new(on, 1);
    // Half of all is of one key.
    produce(&stage, 400, |number| if number % 2 == 0 { 0 } else { number });
    let judge = Judge::new(order);
    let (others, at_the_end) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(None)));
    let (notes, counts, tells) = (judge.clone(), Arc::clone(&others), Arc::clone(&at_the_end));
    let handler = move |record: Record| {
        let (judge, others, at_the_end) = (notes.clone(), Arc::clone(&counts), Arc::clone(&tells));
        async move {
            let call = judge.begins(0, &record);
            tokio::time::sleep(Duration::from_millis(2)).await;
            call.ends_well();
            if record.key() != Some(b"0") {
                *others.lock().unwrap() += 1;
                if *others.lock().unwrap() == 200 {
                    *at_the_end.lock().unwrap() = Some(judge.finished());
                }
            }
        }
    };
    let consumer = stage.lone_consumer("g").order(order).concurrency(20).async_handler(handler).start().unwrap();
    eventually("all is committed", || all_committed(&stage, 400));
    consumer.shutdown_blocking(STOP).unwrap();
    judge.assert_fair(400);
    let done = at_the_end.lock().unwrap().unwrap();
    match order {
        // The others are through while the hot key has most of its records before it.
        Order::Key => assert!(done < 300, "{done} were done when the others were"),
        _ => assert!(done >= 399 - 20, "{done}"),
    }
}

fn a_record_that_blocks_the_watermark_bounds_what_runs_ahead_and_repeats_nothing_after_a_clean_stop(
    on: On,
    order: Order,
) {
    let stage = Stage::new(on, 1);
    produce(&stage, 3000, |number| number);
    let judge = Judge::new(order);
    let blocks = |record: &Record| record.offset().0 == 10;
    let consumer = judged(stage.consumer("g"), &judge, 0, blocks).max_buffered_records(100).start().unwrap();
    let ahead = if order == Order::Partition { 10 } else { 2999 };
    eventually("the rest is done", || judge.finished() == ahead);
    eventually("it is named", || {
        let partition = consumer.state().partitions.remove(0);
        partition.watermark_holder.is_some_and(|holder| holder.offset == 10 && holder.attempt > 0)
    });
    assert!(consumer.state().partitions[0].buffered_records <= 100);
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(stage.committed("g"), [(0, 10)].into());
    let before = judge.calls();
    let next = judged(stage.consumer("g"), &judge, 1, |_| false).start().unwrap();
    eventually("all is committed", || all_committed(&stage, 3000));
    next.shutdown_blocking(STOP).unwrap();
    judge.assert_fair(3000);
    assert_eq!(judge.calls() - before, 3000 - ahead, "{order:?}: what is finished above is remembered");
}
