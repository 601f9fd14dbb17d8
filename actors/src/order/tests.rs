//! Pumps without their actors: what they do with each turn.

#![allow(clippy::unwrap_used)]

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{advance, timeout};

use super::Order;
use super::limiter::{Limiter, Permits};
use super::pump::{Pump, PumpIo, Workload};
use crate::consume::batch::{AsyncBatch, BatchBounds, SyncBatch};
use crate::consume::commit::CommitPolicy;
use crate::consume::control::tests::cell;
use crate::consume::dead_letters::Limits;
use crate::consume::dead_letters::envelope::DEAD_LETTER_HEADERS;
use crate::consume::dead_letters::limits::Breaker;
use crate::consume::failing::FailurePolicy;
use crate::consume::handler::Outcome;
use crate::consume::record::{ChunkBuilder, Record};
use crate::consume::retry::RetrySchedule;
use crate::consume::retry_topics::RETRY_DUE_HEADER;
use crate::consume::retry_topics::origin::now;
use crate::consume::state::Board;
use crate::consume::supervisor::ConsumerSupervisor;
use crate::consume::workload::{AsyncWorkload, SyncWorkload};
use crate::ids::NextOffset;
use crate::offsets::Tile;
use crate::offsets::tracker::OffsetTracker;

const ORDERS: [Order; 3] = [Order::Partition, Order::Key, Order::Unordered];
const AT_ONCE: [Order; 2] = [Order::Key, Order::Unordered];
/// More turns than any of these needs that does not turn without end.
const MOST: usize = 50;

/// A partition, and what its pump talks to: nobody.
struct Stage {
    io: PumpIo,
    _tracker: actix::Context<OffsetTracker>,
    _supervisor: actix::Context<ConsumerSupervisor>,
}

/// What never trips.
fn breaker() -> Mutex<Breaker> {
    Mutex::new(Breaker::new(Limits::default()))
}

impl Stage {
    fn new(order: Order) -> Self {
        let (tracker, supervisor) = (actix::Context::new(), actix::Context::new());
        let at_once = RetrySchedule::new(Duration::ZERO, Duration::ZERO);
        let io = PumpIo {
            cell: Arc::new(cell()),
            inbox: Arc::default(),
            tracker: actix::AsyncContext::address(&tracker),
            supervisor: actix::AsyncContext::address(&supervisor),
            board: Arc::new(Board::counting()),
            failures: FailurePolicy { pause: at_once, attempts: u32::MAX, ..FailurePolicy::default() },
            commits: CommitPolicy::default(),
            order,
            retry_delay: None,
            per_partition: usize::MAX,
            limiter: None,
            breaker: breaker(),
        };
        Self { io, _tracker: tracker, _supervisor: supervisor }
    }

    /// Hands out the records from `from` to `to`, each of a key of its own.
    fn hand_out(&self, from: i64, to: i64) {
        let mut chunk = ChunkBuilder::new(100, 1000, 1, 1);
        (from..to).for_each(|offset| chunk.push(offset, 0, Some(&offset.to_be_bytes()[..]), None));
        let (cell, tile) = (&self.io.cell, Tile::new(NextOffset(from), NextOffset(to)));
        let chunk = chunk.finish(cell.partition.clone(), cell.epoch, tile, cell.revoking.clone());
        cell.take(chunk.credit_records(), chunk.credit_bytes());
        self.io.inbox.push(Arc::new(chunk));
        cell.wake_pump();
    }

    /// Hands out the record at `offset` as one of a retry topic, written there then, tried twice before and due then.
    fn hand_out_put_off(&self, offset: i64, written: i64, due: i64) {
        let mut chunk = ChunkBuilder::new(100, 1000, 1, 1);
        chunk.push(offset, written, Some(&offset.to_be_bytes()[..]), None);
        let due = due.to_string();
        for (name, value) in DEAD_LETTER_HEADERS.into_iter().zip(["orders", "0", "1", "0", "g", "2", "no"]) {
            chunk.push_header(name.as_bytes(), Some(value.as_bytes()));
        }
        chunk.push_header(RETRY_DUE_HEADER.as_bytes(), Some(due.as_bytes()));
        let (cell, tile) = (&self.io.cell, Tile::new(NextOffset(offset), NextOffset(offset + 1)));
        let mut chunk = chunk.finish(cell.partition.clone(), cell.epoch, tile, cell.revoking.clone());
        chunk.waits_since = Some(chunk.received);
        cell.take(chunk.credit_records(), chunk.credit_bytes());
        self.io.inbox.push(Arc::new(chunk));
        cell.wake_pump();
    }

    fn pump(&self, workload: &dyn Workload) -> Pumping {
        let io = PumpIo {
            cell: Arc::clone(&self.io.cell),
            inbox: Arc::clone(&self.io.inbox),
            tracker: self.io.tracker.clone(),
            supervisor: self.io.supervisor.clone(),
            board: Arc::clone(&self.io.board),
            failures: self.io.failures.clone(),
            limiter: self.io.limiter.clone(),
            breaker: breaker(),
            ..self.io
        };
        let Pump::Local(pump) = workload.pump(io) else { panic!("it has no runtime") };
        Pumping { pump, woken: Arc::new(Woken(AtomicBool::new(true))) }
    }

    fn finished(&self) -> u64 {
        self.io.board.counters.finished.load(Ordering::Relaxed)
    }

    fn exhausted(&self) -> u64 {
        self.io.board.counters.exhausted.load(Ordering::Relaxed)
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Pumping {
    pump: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Woken>,
}

impl Pumping {
    /// Turns for as long as it is woken, but `MOST` times at most; how often that was.
    fn turn(&mut self) -> usize {
        let waker = Waker::from(Arc::clone(&self.woken));
        let turn = |_: &usize| {
            let woken = self.woken.0.swap(false, Ordering::SeqCst);
            woken && self.pump.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
        };
        (0..MOST).take_while(turn).count()
    }

    /// Turns until there is nothing to do any more, pauses included.
    async fn run(&mut self) {
        let mut turns = 0;
        let pump = poll_fn(|cx| {
            turns += 1;
            assert!(turns < 100 * MOST, "it turns without end");
            self.pump.as_mut().poll(cx)
        });
        assert!(timeout(Duration::from_secs(3600), pump).await.is_err(), "it has ended");
    }
}

fn on_the_arbiter<F, Fut>(handler: F) -> AsyncWorkload<F>
where
    F: Fn(Record) -> Fut + Send + Sync + 'static,
    Fut: Future + Send + 'static,
{
    AsyncWorkload { handler: Arc::new(handler), runtime: None }
}

fn again_at_once() -> Outcome {
    Outcome::Retry { after: Duration::ZERO, cause: "not yet".into() }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_over_while_there_is_no_room_has_no_pump_turn_without_end() {
    for (order, in_all) in
        [(Order::Key, false), (Order::Key, true), (Order::Unordered, false), (Order::Unordered, true)]
    {
        let mut stage = Stage::new(order);
        match in_all {
            true => stage.io.limiter = Some(Arc::new(Limiter::new(1))),
            false => stage.io.per_partition = 1,
        }
        let (go_on, ready) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let handler = on_the_arbiter({
            let (go_on, ready) = (Arc::clone(&go_on), Arc::clone(&ready));
            move |record: Record| {
                let (go_on, ready) = (Arc::clone(&go_on), Arc::clone(&ready));
                async move {
                    match record.offset().0 {
                        2 => go_on.notified().await,
                        _ if !ready.load(Ordering::SeqCst) => return again_at_once(),
                        _ => {}
                    }
                    Outcome::Done
                }
            }
        });
        stage.hand_out(0, 3);
        let mut pump = stage.pump(&handler);
        assert!(pump.turn() < MOST);
        advance(Duration::from_secs(1)).await;
        assert!(pump.turn() < MOST, "{order:?}: it turns though nothing may start");
        assert_eq!(stage.finished(), 0);
        ready.store(true, Ordering::SeqCst);
        go_on.notify_one();
        pump.turn();
        assert_eq!(stage.finished(), 3, "{order:?}: what waited starts when there is room");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_over_while_the_partition_is_stopped_has_no_pump_turn_without_end() {
    for order in AT_ONCE {
        let mut stage = Stage::new(order);
        stage.io.failures.attempts = 2;
        stage.io.failures.on_exhausted = crate::consume::failing::OnExhausted::StopPartition;
        let handler = SyncWorkload(Arc::new(|record: &Record| match (record.offset().0, record.attempt()) {
            (0, 1) => Ok(Outcome::Retry { after: Duration::from_millis(20), cause: "later".into() }),
            (1, _) => Err("no"),
            _ => Ok(Outcome::Done),
        }));
        stage.hand_out(0, 2);
        let mut pump = stage.pump(&handler);
        while stage.exhausted() == 0 {
            pump.turn();
            advance(Duration::from_millis(1)).await;
        }
        advance(Duration::from_secs(1)).await;
        assert!(pump.turn() < MOST, "{order:?}: it turns though nothing may start");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_at_once_and_is_due_again_at_once_keeps_no_other_from_starting() {
    for order in AT_ONCE {
        let stage = Stage::new(order);
        let handler = |record: &Record| if record.offset().0 < 3 { again_at_once() } else { Outcome::Done };
        stage.hand_out(0, 6);
        let mut pump = stage.pump(&SyncWorkload(Arc::new(handler)));
        pump.turn();
        assert_eq!(stage.finished(), 3, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_at_once_and_is_due_again_at_once_keeps_no_batch_from_its_call() {
    for order in AT_ONCE {
        let stage = Stage::new(order);
        let handler = |records: &[Record]| match records.iter().any(|record| record.offset().0 == 0) {
            true => Err("poison"),
            false => Ok(()),
        };
        let bounds = BatchBounds::default().linger(Duration::ZERO);
        stage.hand_out(0, 3);
        let mut pump = stage.pump(&SyncBatch { handler: Arc::new(handler), bounds });
        pump.turn();
        stage.hand_out(3, 5);
        pump.turn();
        assert_eq!(stage.finished(), 4, "{order:?}");
    }
}

/// Waits, and is woken at once, for ever.
async fn restless() {
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    })
    .await;
}

#[test]
fn a_call_that_wakes_itself_without_end_keeps_no_record_from_starting() {
    for order in AT_ONCE {
        let stage = Stage::new(order);
        let handler = on_the_arbiter(|record: Record| async move {
            if record.offset().0 == 0 {
                restless().await;
            }
        });
        stage.hand_out(0, 1);
        let mut pump = stage.pump(&handler);
        pump.turn();
        stage.hand_out(1, 2);
        pump.turn();
        assert_eq!(stage.finished(), 1, "{order:?}");
    }
}

#[test]
fn a_batch_that_wakes_itself_without_end_keeps_no_other_from_its_call() {
    for order in AT_ONCE {
        let stage = Stage::new(order);
        let bounds = BatchBounds::default().linger(Duration::ZERO);
        let handler = Arc::new(|records: Arc<[Record]>| async move {
            if records[0].offset().0 == 0 {
                restless().await;
            }
        });
        stage.hand_out(0, 1);
        let mut pump = stage.pump(&AsyncBatch { handler, bounds, runtime: None });
        pump.turn();
        stage.hand_out(1, 2);
        pump.turn();
        assert_eq!(stage.finished(), 1, "{order:?}");
    }
}

/// An hour from now is far enough: nothing here waits for it.
#[tokio::test(start_paused = true)]
async fn a_record_of_a_retry_topic_that_is_early_holds_those_behind_it_at_rest_and_one_that_is_due_goes_on_counting() {
    for order in ORDERS {
        let mut stage = Stage::new(order);
        stage.io.retry_delay = Some(Duration::from_secs(3600));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let handler = move |record: &Record| notes.lock().unwrap().push((record.offset().0, record.attempt()));
        stage.hand_out_put_off(0, now(), now() - 1);
        // Somebody else's.
        stage.hand_out(1, 2);
        let later = now() + 3_600_000;
        stage.hand_out_put_off(2, now(), later);
        stage.hand_out_put_off(3, now(), later - 3_000_000);
        let mut pump = stage.pump(&SyncWorkload(Arc::new(handler)));
        assert!(pump.turn() < MOST, "{order:?}: it waits, and does not turn");
        assert_eq!(*seen.lock().unwrap(), [(0, 3), (1, 1)], "{order:?}");
        let cell = &stage.io.cell;
        assert!(cell.is_at_rest(), "{order:?}");
        // By the clock, and thus to a moment.
        assert!(cell.waits_until().is_some_and(|until| (until - later).abs() < 60_000), "{order:?}");
        cell.revoke();
        let ended = pump.pump.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(ended.is_ready(), "{order:?}: nobody waits for it");
        assert_eq!(seen.lock().unwrap().len(), 2, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_retry_topic_is_held_for_no_longer_than_its_delay_after_it_was_written_whatever_its_header_says()
{
    for order in ORDERS {
        let mut stage = Stage::new(order);
        stage.io.retry_delay = Some(Duration::from_secs(3600));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let handler = move |record: &Record| notes.lock().unwrap().push(record.offset().0);
        stage.hand_out_put_off(0, now() - 3_600_000, i64::MAX);
        stage.hand_out_put_off(1, now() - 3_600_001, now() + 3_600_000);
        stage.pump(&SyncWorkload(Arc::new(handler))).turn();
        assert_eq!(*seen.lock().unwrap(), [0, 1], "{order:?}");
    }
}

#[test]
fn a_record_that_is_due_while_there_is_no_room_has_no_pump_turn_without_end() {
    for order in AT_ONCE {
        // Each with a clock of its own, which does not run ahead of the records' times.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(due_while_there_is_no_room(order));
    }
}

async fn due_while_there_is_no_room(order: Order) {
    let (mut stage, limiter) = (Stage::new(order), Arc::new(Limiter::new(1)));
    stage.io.retry_delay = Some(Duration::from_millis(200));
    stage.io.limiter = Some(Arc::clone(&limiter));
    let handler = on_the_arbiter(move |record: Record| async move {
        match (record.offset().0, record.attempt()) {
            (0, 3) => Outcome::Retry { after: Duration::from_millis(5), cause: "not yet".into() },
            _ => Outcome::Done,
        }
    });
    let written = now();
    stage.hand_out_put_off(0, written, written - 1);
    stage.hand_out_put_off(1, written, written + 200);
    let mut pump = stage.pump(&handler);
    assert!(pump.turn() < MOST, "{order:?}: it turns before its time");
    // Another partition has all the room there is when the pause is over, and then the wait.
    let mut elsewhere = Permits::new(Some(limiter), || ());
    assert!(elsewhere.take());
    let failed = now();
    for (over, passed) in [(20, Duration::from_millis(100)), (240, Duration::from_secs(1))] {
        while now() <= failed + over {
            std::thread::yield_now();
        }
        advance(passed).await;
        assert!(pump.turn() < MOST, "{order:?}: it turns though nothing may start");
    }
    elsewhere.finish();
    elsewhere.give_back_idle();
    pump.turn();
    assert_eq!(stage.finished(), 2, "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn attempts_that_the_handler_asks_for_exhaust_no_record() {
    for order in ORDERS {
        let mut stage = Stage::new(order);
        stage.io.failures.attempts = 2;
        let handler = |record: &Record| match record.attempt() {
            1..=9 => Ok(again_at_once()),
            10 => Err("no"),
            _ if record.failures() == 1 => Ok(Outcome::Done),
            _ => Err("miscounted"),
        };
        stage.hand_out(0, 2);
        stage.pump(&SyncWorkload(Arc::new(handler))).run().await;
        assert_eq!((stage.finished(), stage.exhausted()), (2, 0), "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_for_one_record_exhausts_no_other() {
    for order in ORDERS {
        let mut stage = Stage::new(order);
        stage.io.failures.attempts = 1;
        let largest = Arc::new(AtomicU64::new(0));
        let counts = Arc::clone(&largest);
        let handler = move |records: &[Record]| {
            counts.fetch_max(records.len() as u64, Ordering::Relaxed);
            match records.iter().any(|record| record.offset().0 == 3) {
                true => Err("poison"),
                false => Ok(()),
            }
        };
        let bounds = BatchBounds::default().linger(Duration::ZERO);
        stage.hand_out(0, 6);
        stage.pump(&SyncBatch { handler: Arc::new(handler), bounds }).run().await;
        assert_eq!((largest.load(Ordering::Relaxed), stage.exhausted()), (6, 1), "{order:?}");
        let named = stage.io.cell.last_error().unwrap_or_default();
        assert!(named.starts_with("offset 3 failed "), "{order:?}: {named}");
    }
}

#[test]
fn a_fence_drops_the_calls_that_are_under_way_and_ends_the_pump() {
    struct Held(Arc<Mutex<Vec<i64>>>, i64);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(self.1);
        }
    }
    for order in AT_ONCE {
        let stage = Stage::new(order);
        let dropped = Arc::new(Mutex::new(Vec::new()));
        let drops = Arc::clone(&dropped);
        let handler = on_the_arbiter(move |record: Record| {
            let held = Held(Arc::clone(&drops), record.offset().0);
            async move {
                let _held = held;
                pending::<()>().await;
            }
        });
        stage.hand_out(0, 3);
        let mut pump = stage.pump(&handler);
        pump.turn();
        stage.io.cell.revoke();
        pump.turn();
        assert_eq!(dropped.lock().map(|dropped| dropped.len()).ok(), Some(0), "a drain waits for them");
        stage.io.cell.fence();
        assert!(pump.turn() == 0, "it has ended at its first turn");
        assert_eq!(dropped.lock().map(|dropped| dropped.clone()).ok(), Some(vec![0, 1, 2]), "{order:?}");
    }
}
