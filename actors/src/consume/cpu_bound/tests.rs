#![allow(clippy::unwrap_used)]

use std::sync::Weak;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;
use crate::block_on::block_on_until;
use crate::consume::record::tests::record;

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a future, which threads of the pool wake.
fn wait<T>(future: impl Future<Output = T>) -> T {
    block_on_until(future, Instant::now() + PATIENCE).unwrap()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

/// A handler that says which attempts have begun, and ends each when it is told to.
struct Steps {
    begun: Receiver<u32>,
    go_on: Sender<()>,
}

fn stepping() -> (CpuBound<impl Fn(&Record) -> Result<(), String>>, Steps) {
    let (begins, begun) = channel();
    let (go_on, told) = channel();
    let (begins, told) = (Mutex::new(begins), Mutex::new(told));
    let handler = move |record: &Record| {
        begins.lock().unwrap().send(record.attempt()).unwrap();
        told.lock().unwrap().recv_timeout(PATIENCE).map_err(|error| error.to_string())
    };
    (CpuBound::new(handler), Steps { begun, go_on })
}

fn attempt_at(partition: i32, attempt: u32) -> Record {
    attempt_in(Order::Partition, partition, (7, None), attempt)
}

fn attempt_in(order: Order, partition: i32, (offset, key): (i64, Option<&[u8]>), attempt: u32) -> Record {
    let record = Record { attempt, ..record(None, None) };
    let mut chunk = crate::consume::record::ChunkBuilder::new(1, 1, 1, 1);
    chunk.push(offset, 0, key, None);
    let at = TopicPartition::new("t", partition);
    let mut chunk = chunk.finish(at, record.chunk.epoch, record.chunk.tile, Default::default());
    chunk.order = order;
    Record { chunk: Arc::new(chunk), ..record }
}

#[test]
fn an_answer_an_error_and_a_panic_come_back_from_the_threads() {
    let handler = CpuBound::new(|record: &Record| match record.attempt() {
        1 => Ok(()),
        2 => Err("no"),
        _ => panic!("never"),
    });
    let failed = |kind, cause: &'static str| Err(Failure::new(kind, cause));
    assert_eq!(wait(handler.call(attempt_at(0, 1))), Ok(Outcome::Done));
    assert_eq!(wait(handler.call(attempt_at(0, 2))), failed(FailureKind::Error, "no"));
    assert_eq!(wait(handler.call(attempt_at(0, 3))), failed(FailureKind::Panic, "panicked: never"));
    assert_eq!(wait(handler.call(attempt_at(0, 1))), Ok(Outcome::Done), "the thread outlives a panic");
}

#[test]
fn as_many_run_at_once_as_there_are_threads() {
    let running = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let barrier = std::sync::Barrier::new(3);
    let handler = {
        let running = Arc::clone(&running);
        CpuBound::new(move |_: &Record| {
            let now = running.0.fetch_add(1, Ordering::SeqCst) + 1;
            running.1.fetch_max(now, Ordering::SeqCst);
            // With fewer than three at once this would never go on.
            barrier.wait();
            running.0.fetch_sub(1, Ordering::SeqCst);
        })
    };
    let handler = handler.threads(3);
    wait(join_all((0..30).map(|_| handler.call(record(None, None)))));
    assert_eq!(running.1.load(Ordering::SeqCst), 3);
}

#[test]
fn what_runs_on_after_its_call_has_ended_is_waited_for_by_its_partition_and_no_other() {
    let (handler, steps) = stepping();
    let handler = handler.threads(3);
    let mut first = handler.call(attempt_at(0, 1));
    assert!((&mut first).now_or_never().is_none());
    assert_eq!(steps.begun.recv_timeout(PATIENCE), Ok(1));
    drop(first);
    let mut next = handler.call(attempt_at(0, 2));
    let mut other = handler.call(attempt_at(1, 3));
    assert!((&mut next).now_or_never().is_none() && (&mut other).now_or_never().is_none());
    assert_eq!(steps.begun.recv_timeout(PATIENCE), Ok(3), "another partition's begins");
    assert!(steps.begun.try_recv().is_err());
    steps.go_on.send(()).unwrap();
    steps.go_on.send(()).unwrap();
    steps.go_on.send(()).unwrap();
    assert_eq!(wait(next), Ok(Outcome::Done));
    assert_eq!(wait(other), Ok(Outcome::Done));
    assert_eq!(steps.begun.try_recv(), Ok(2), "begins once the first has ended");
    assert!(handler.pool.left_behind(&attempt_at(0, 1)).is_empty());
    assert_eq!(handler.pool.left_count.load(Ordering::SeqCst), 0);
}

#[test]
fn what_runs_on_is_waited_for_by_what_has_to_follow_it_in_its_order_and_by_nothing_else() {
    let (a, b): (Option<&[u8]>, Option<&[u8]>) = (Some(b"a"), Some(b"b"));
    for (order, left, follows, goes_on) in [
        (Order::Key, (7, a), vec![(7, a), (9, a)], vec![(8, b), (9, None)]),
        (Order::Key, (7, None), vec![(7, None)], vec![(8, None), (9, a)]),
        (Order::Unordered, (7, a), vec![(7, a)], vec![(8, a)]),
        (Order::Partition, (7, a), vec![(7, a), (8, b), (9, None)], vec![]),
    ] {
        let (handler, steps) = stepping();
        let handler = handler.threads(1);
        let mut first = handler.call(attempt_in(order, 0, left, 1));
        assert!((&mut first).now_or_never().is_none());
        assert_eq!(steps.begun.recv_timeout(PATIENCE), Ok(1));
        drop(first);
        let waits = |at| !handler.pool.left_behind(&attempt_in(order, 0, at, 2)).is_empty();
        assert!(follows.iter().all(|at| waits(*at)), "{order:?}: {left:?}");
        assert!(!goes_on.iter().any(|at| waits(*at)), "{order:?}: {left:?}");
        steps.go_on.send(()).unwrap();
        eventually("it has ended", || !follows.iter().any(|at| waits(*at)));
    }
}

#[test]
fn what_waits_for_a_thread_when_its_call_ends_never_begins() {
    let (handler, steps) = stepping();
    let handler = handler.threads(1);
    let [mut first, mut second, mut third] = [1, 2, 3].map(|attempt| handler.call(attempt_at(0, attempt)));
    assert!([&mut first, &mut second, &mut third].into_iter().all(|call| call.now_or_never().is_none()));
    drop(second);
    (0..2).for_each(|_| steps.go_on.send(()).unwrap());
    assert_eq!((wait(first), wait(third)), (Ok(Outcome::Done), Ok(Outcome::Done)));
    assert_eq!(steps.begun.try_iter().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn the_threads_end_with_the_handler_also_one_that_computes() {
    let held = Arc::new(());
    let threads: Weak<()> = Arc::downgrade(&held);
    let (begins, begun) = channel();
    let (go_on, told) = channel::<()>();
    let (begins, told) = (Mutex::new(begins), Mutex::new(told));
    let handler = CpuBound::new(move |_: &Record| {
        let _held = &held;
        begins.lock().unwrap().send(()).unwrap();
        let _ = told.lock().unwrap().recv_timeout(PATIENCE);
    });
    let handler = handler.threads(4);
    let mut call = handler.call(record(None, None));
    assert!((&mut call).now_or_never().is_none());
    begun.recv_timeout(PATIENCE).unwrap();
    drop((call, handler));
    assert_eq!(threads.strong_count(), 1, "the closure is the computing thread's");
    go_on.send(()).unwrap();
    eventually("each thread drops the closure as it ends", || threads.strong_count() == 0);
}
