//! An engine in every kind of runtime, and in none.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use kafka_troupe::consume::{
    Consumer, ConsumerBuilder, ConsumerError, ConsumerHandle, Handler, PartitionContext, Record,
};
use tokio::runtime::{Builder, Runtime};

use crate::fixture::{Journal, On, PATIENCE, Stage, eventually};

scenarios! {
    on both brokers:
        a_consumer_lives_without_a_runtime_and_on_an_executor_that_is_not_tokios,
        a_consumer_lives_in_a_multi_thread_runtime,
        a_consumer_lives_in_a_current_thread_runtime,
        a_consumer_lives_inside_an_actix_system_and_leaves_it_running,
        handlers_run_on_the_apps_runtime_in_the_same_order_and_bounds,
        handlers_run_on_a_current_thread_runtime_while_it_is_driven,
        a_runtime_that_ends_before_its_consumer_ends_the_consumer_with_an_error;
}

const STOP: Duration = Duration::from_secs(20);

/// The smallest executor there is: it knows nothing of tokio, and fails rather than hangs.
#[track_caller]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut future, until) = (pin!(future), Instant::now() + PATIENCE);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        let left = until.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "waited {PATIENCE:?} in vain for a future");
        std::thread::park_timeout(left);
    }
}

/// A consumer's whole life with nothing but awaits: started, all handled, waited for by one task, shut down by another.
async fn whole_life(stage: &Stage) {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let consumer = stage
        .consumer("g")
        .handler(move |record: &Record| tell.send(record.offset()).map_err(|_| "nobody listens"))
        .start()
        .unwrap();
    for _ in 0..200 {
        told.recv().await.unwrap();
    }
    let other = consumer.clone();
    let (stopped, waited) = tokio::join!(consumer.shutdown(STOP), other.wait());
    assert!(stopped.as_ref().unwrap().drained);
    assert_eq!(stopped, waited);
    assert_eq!(waited, consumer.wait().await, "who comes late gets the same answer");
}

pub fn stage_with_two_hundred_records(on: On) -> Stage {
    let stage = Stage::new(on, 2);
    stage.produce(0, 100, 20);
    stage
}

pub fn assert_all_committed(stage: &Stage) {
    assert_eq!(stage.committed("g"), [(0, 100), (1, 100)].into());
}

fn a_consumer_lives_without_a_runtime_and_on_an_executor_that_is_not_tokios(on: On) {
    let stage = stage_with_two_hundred_records(on);
    block_on(whole_life(&stage));
    assert_all_committed(&stage);
}

fn a_consumer_lives_in_a_multi_thread_runtime(on: On) {
    let stage = stage_with_two_hundred_records(on);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, whole_life(&stage)).await }).unwrap();
    assert_all_committed(&stage);
}

fn a_consumer_lives_in_a_current_thread_runtime(on: On) {
    let stage = stage_with_two_hundred_records(on);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, whole_life(&stage)).await }).unwrap();
    assert_all_committed(&stage);
}

fn a_consumer_lives_inside_an_actix_system_and_leaves_it_running(on: On) {
    let stage = stage_with_two_hundred_records(on);
    actix_rt::System::new().block_on(async {
        let system = actix_rt::System::current().id();
        actix_rt::time::timeout(PATIENCE, whole_life(&stage)).await.unwrap();
        assert_eq!(actix_rt::System::current().id(), system);
        // The app's own system still runs what is spawned on it.
        assert_eq!(actix_rt::spawn(async { 7 }).await.unwrap(), 7);
    });
    assert_all_committed(&stage);
}

/// A handler that waits a little, and notes on which thread it went on and whether its partition was ever in two of them.
#[derive(Clone, Default)]
struct Observed {
    journal: Journal,
    threads: Arc<Mutex<Vec<String>>>,
    busy: Arc<[AtomicBool; 4]>,
    overlaps: Arc<AtomicUsize>,
}

impl Observed {
    async fn handle(self, record: Record) {
        let busy = &self.busy[record.partition().0 as usize];
        self.overlaps.fetch_add(usize::from(busy.swap(true, Ordering::SeqCst)), Ordering::SeqCst);
        if record.offset().0 % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.threads.lock().unwrap().push(name);
        self.journal.note("a", &record);
        busy.store(false, Ordering::SeqCst);
    }

    fn on(&self, builder: ConsumerBuilder, runtime: tokio::runtime::Handle) -> ConsumerHandle {
        let observed = self.clone();
        let builder = builder.async_handler(move |record: Record| observed.clone().handle(record));
        builder.runtime(runtime).max_buffered_records(50).start().unwrap()
    }

    #[track_caller]
    fn assert_ran_only_on(&self, thread: &str) {
        let threads = self.threads.lock().unwrap();
        let other = threads.iter().find(|name| *name != thread);
        assert_eq!((other, threads.is_empty()), (None, false), "wanted only {thread}");
        assert_eq!(self.overlaps.load(Ordering::SeqCst), 0, "one record per partition at a time");
        self.journal.assert_exactly_once_in_order(4, 500);
    }
}

fn handlers_run_on_the_apps_runtime_in_the_same_order_and_bounds(on: On) {
    let stage = Stage::new(on, 4);
    stage.produce(0, 500, 20);
    let runtime =
        Builder::new_multi_thread().worker_threads(3).thread_name("the-apps-own").enable_time().build().unwrap();
    let observed = Observed::default();
    let consumer = observed.on(stage.consumer("g"), runtime.handle().clone());
    let mut most = 0;
    eventually("all is handled", || {
        let buffered = consumer.state().partitions.into_iter().map(|p| p.buffered_records);
        most = most.max(buffered.max().unwrap_or(0));
        observed.journal.len() == 2000
    });
    consumer.shutdown_blocking(STOP).unwrap();
    assert!((1..=50).contains(&most), "{most} buffered");
    observed.assert_ran_only_on("the-apps-own");
    assert!(stage.committed("g").values().all(|offset| *offset == 500));
}

fn handlers_run_on_a_current_thread_runtime_while_it_is_driven(on: On) {
    let stage = Stage::new(on, 4);
    stage.produce(0, 500, 20);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let observed = Observed::default();
    runtime.block_on(async {
        let consumer = observed.on(stage.consumer("g"), tokio::runtime::Handle::current());
        let handled = async {
            while observed.journal.len() < 2000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, handled).await.unwrap();
        assert!(consumer.shutdown(STOP).await.unwrap().drained);
    });
    observed.assert_ran_only_on(std::thread::current().name().unwrap());
}

fn a_runtime_that_ends_before_its_consumer_ends_the_consumer_with_an_error(on: On) {
    let stage = Stage::new(on, 4);
    stage.produce(0, 100, 20);
    let runtime = Runtime::new().unwrap();
    let observed = Observed::default();
    let consumer = observed.on(stage.consumer("g"), runtime.handle().clone());
    eventually("it works", || observed.journal.len() > 20);
    runtime.shutdown_background();
    let error = block_on(consumer.wait()).unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
    assert!(consumer.state().counters.workers_replaced <= 8, "{:?}", consumer.state());
}

#[test]
fn a_handler_that_cannot_move_to_the_apps_runtime_is_refused() {
    struct Nothing;
    impl Handler for Nothing {
        type Answer = ();
        async fn handle(&mut self, _: &Record) {}
    }
    let runtime = Builder::new_current_thread().build().unwrap();
    let base = || Consumer::builder().bootstrap_servers("127.0.0.1:1").group_id("g").topics(["t"]);
    let refused = |builder: ConsumerBuilder| match builder.runtime(runtime.handle().clone()).start() {
        Err(ConsumerError::Configuration { reason }) => reason,
        other => panic!("{other:?}"),
    };
    for reason in
        [refused(base().handler(|_: &Record| ())), refused(base().partition_handler(|_: &PartitionContext| Nothing))]
    {
        assert!(reason.contains("runtime()") && reason.contains("async"), "{reason}");
    }
}
