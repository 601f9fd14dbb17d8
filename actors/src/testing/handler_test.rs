//! A handler and its layers without a broker.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::consume::control::{Budget, ControlCell, Credits};
use crate::consume::failing::{FailedRecord, FailurePolicy, Verdict};
use crate::consume::handler::{
    AsyncHandler, Cause, Failure, Handler, IntoOutcome, OneByOne, Outcome, PartitionContext, SyncClosure,
};
use crate::consume::record::{ChunkBuilder, Record};
use crate::consume::retry::RetrySchedule;
use crate::consume::start::StartPosition;
use crate::consume::wake::Wake;
use crate::ids::{Epoch, NextOffset, Offset, TopicPartition};
use crate::offsets::Tile;
use crate::order::attempt::{Attempt, NotDone, attempt, guarded};

/// Feeds records to a handler, one after the other as in one partition, and tells what became of each: see the [module](crate::testing).
///
/// The clock is the test's own: it stands still while the handler works and leaps while it waits. Pauses before another attempt have no jitter.
/// What other threads do takes no time on it, so a [`Timeout`](crate::consume::Timeout) around a computation that runs on another thread passes
/// at once.
pub struct HandlerTest {
    subject: Box<dyn Subject>,
    policy: FailurePolicy,
    drain_deadline: Duration,
    partition: TopicPartition,
    position: NextOffset,
    cell: Option<Arc<ControlCell>>,
    tasks: LocalSet,
    runtime: Runtime,
}

/// A record for a [`HandlerTest`]. Without key, value, headers or timestamp unless it is given them.
#[derive(Debug, Clone, Default)]
pub struct TestRecord {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tested {
    /// Each attempt at it.
    pub attempts: Vec<TestedAttempt>,
    /// What all of it came to.
    pub end: TestedEnd,
    /// From the first attempt to the end, pauses included, by the test's clock.
    pub took: Duration,
}

/// One call of the handler with its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestedAttempt {
    /// Its outcome, or how it failed.
    pub outcome: Result<Outcome, Failure>,
    /// How long it took, by the test's clock.
    pub took: Duration,
}

/// What a record came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TestedEnd {
    /// It is processed.
    Done,
    /// It failed, and `on_failure` passes it over.
    PassedOver,
    /// It failed as often as it may.
    Exhausted {
        /// The last time for this reason.
        cause: Cause,
    },
    /// The handler, or `on_failure`, gave it up: it goes to the dead letters, or stops an engine that has no topic for them.
    DeadLettered {
        /// Why.
        cause: Cause,
    },
    /// The engine is to stop.
    Stopped {
        /// Why.
        cause: Cause,
    },
    /// The partition was given up first: it is for the next owner.
    Left,
}

impl HandlerTest {
    /// Of a plain closure: see [`handler`](crate::consume::ConsumerBuilder::handler).
    ///
    /// # Panics
    /// Where no runtime can be had.
    pub fn handler<F, R>(handler: F) -> Self
    where
        F: Fn(&Record) -> R + 'static,
        R: IntoOutcome + 'static,
    {
        let handler = Arc::new(handler);
        Self::new(move |_: &PartitionContext| SyncClosure(Arc::clone(&handler)))
    }

    /// Of an asynchronous closure, or another [`AsyncHandler`]: see [`async_handler`](crate::consume::ConsumerBuilder::async_handler).
    ///
    /// # Panics
    /// Where no runtime can be had.
    pub fn async_handler(handler: impl AsyncHandler) -> Self {
        let handler = Arc::new(handler);
        Self::new(move |_: &PartitionContext| OneByOne(Arc::clone(&handler)))
    }

    /// Of a handler with state: see [`partition_handler`](crate::consume::ConsumerBuilder::partition_handler).
    ///
    /// # Panics
    /// Where no runtime can be had.
    pub fn partition_handler<F, H>(factory: F) -> Self
    where
        F: Fn(&PartitionContext) -> H + 'static,
        H: Handler,
    {
        Self::new(factory)
    }

    fn new<H: Handler>(factory: impl Fn(&PartitionContext) -> H + 'static) -> Self {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        Self {
            subject: Box::new(Built { factory, handler: None }),
            policy: FailurePolicy::default(),
            drain_deadline: Duration::from_secs(3),
            partition: TopicPartition::new("test", 0),
            position: NextOffset(0),
            cell: None,
            tasks: LocalSet::new(),
            runtime: runtime.unwrap_or_else(|error| panic!("the test has no runtime: {error}")),
        }
    }

    /// Where the records are from, and the offset of the next one. Default: partition 0 of `test`, from offset 0 on. A handler with state
    /// is built anew for it.
    pub fn at(mut self, partition: TopicPartition, offset: Offset) -> Self {
        self.subject.put_down();
        (self.partition, self.position, self.cell) = (partition, NextOffset(offset.0), None);
        self
    }

    /// See [`max_attempts`](crate::consume::ConsumerBuilder::max_attempts).
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.policy.attempts = attempts.max(1);
        self
    }

    /// See [`retry_pause`](crate::consume::ConsumerBuilder::retry_pause). Here they are not shortened at random.
    pub fn retry_pause(mut self, first: Duration, most: Duration) -> Self {
        self.policy.pause = RetrySchedule::new(first, most);
        self
    }

    /// See [`on_failure`](crate::consume::ConsumerBuilder::on_failure).
    pub fn on_failure<F>(mut self, policy: F) -> Self
    where
        F: Fn(&FailedRecord<'_>) -> Option<Outcome> + Send + Sync + 'static,
    {
        self.policy.decide = Some(Arc::new(policy));
        self
    }

    /// See [`drain_deadline`](crate::consume::ConsumerBuilder::drain_deadline).
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// Has the partition given up in this time of the test's clock, which passes while records are fed: `revoking` is cancelled, no attempt
    /// begins from then on, and what runs at the drain deadline is dropped.
    pub fn revoke_after(&mut self, after: Duration) {
        let (cell, deadline) = (self.cell(), self.drain_deadline);
        self.tasks.spawn_local(async move {
            sleep(after).await;
            cell.revoke();
            sleep(deadline).await;
            cell.fence();
        });
    }

    /// Feeds the next record, with as many attempts as it takes.
    ///
    /// # Panics
    /// Within a runtime: call it from a plain `#[test]`.
    pub fn feed(&mut self, record: TestRecord) -> Tested {
        let cell = self.cell();
        let mut record = record.at(&cell, self.position);
        self.position = NextOffset(self.position.0 + 1);
        let (subject, policy) = (&mut self.subject, &self.policy);
        self.tasks.block_on(&self.runtime, async {
            let began = Instant::now();
            let mut attempts = Vec::new();
            let end = loop {
                if cell.is_ending() {
                    break TestedEnd::Left;
                }
                let tried = Instant::now();
                let (outcome, not_done) = match subject.attempt(&record, &cell).await {
                    Attempt::Done => (Ok(Outcome::Done), None),
                    Attempt::NotDone(not_done) => (outcome_of(&not_done), Some(not_done)),
                    Attempt::Fenced => break TestedEnd::Left,
                };
                attempts.push(TestedAttempt { outcome, took: tried.elapsed() });
                let Some(not_done) = not_done else { break TestedEnd::Done };
                match policy.judge(&record, Some(record.failed), *not_done, || 0) {
                    Verdict::Again { pause, .. } => {
                        pause_or_end(&cell, pause).await;
                        record.attempt = record.attempt.saturating_add(1);
                        record.failed = record.failed.saturating_add(1);
                    }
                    Verdict::Asked { after, .. } => {
                        pause_or_end(&cell, after).await;
                        record.attempt = record.attempt.saturating_add(1);
                    }
                    Verdict::PassedOver { .. } => break TestedEnd::PassedOver,
                    Verdict::Exhausted { cause, .. } => break TestedEnd::Exhausted { cause },
                    Verdict::DeadLetter { cause } => break TestedEnd::DeadLettered { cause },
                    Verdict::Stop { cause } => break TestedEnd::Stopped { cause },
                }
            };
            Tested { attempts, end, took: began.elapsed() }
        })
    }

    fn cell(&mut self) -> Arc<ControlCell> {
        let cell = self.cell.get_or_insert_with(|| {
            let start = StartPosition::at(self.partition.clone(), self.position);
            let credits = Credits { records: 1, bytes: 1 };
            Arc::new(ControlCell::new(start, Epoch(1), 0, credits, Budget::unbounded(Arc::new(Wake::new()))))
        });
        Arc::clone(cell)
    }
}

impl fmt::Debug for HandlerTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (partition, position) = (&self.partition, &self.position);
        f.debug_struct("HandlerTest").field("partition", partition).field("position", position).finish_non_exhaustive()
    }
}

impl TestRecord {
    /// With this value.
    pub fn value(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// With a null value.
    pub fn tombstone() -> Self {
        Self::default()
    }

    /// With this key; otherwise it is null.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// With this header, behind those that it has.
    pub fn header(mut self, name: impl Into<String>, value: Option<&[u8]>) -> Self {
        self.headers.push((name.into(), value.map(<[u8]>::to_vec)));
        self
    }

    /// With this timestamp, in milliseconds since the Unix epoch; otherwise it has none.
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    fn at(&self, cell: &ControlCell, position: NextOffset) -> Record {
        let mut chunk = ChunkBuilder::new(1, 1, 1, 0);
        chunk.push(position.0, self.timestamp.unwrap_or(-1), self.key.as_deref(), self.value.as_deref());
        for (name, value) in &self.headers {
            chunk.push_header(name.as_bytes(), value.as_deref());
        }
        let tile = Tile::new(position, NextOffset(position.0 + 1));
        let chunk = chunk.finish(cell.partition.clone(), cell.epoch, tile, cell.revoking.clone());
        Record { chunk: Arc::new(chunk), position: 0, attempt: 1, failed: 0 }
    }
}

fn outcome_of(not_done: &NotDone) -> Result<Outcome, Failure> {
    Ok(match not_done {
        NotDone::Retry { after, cause } => Outcome::Retry { after: *after, cause: cause.clone() },
        NotDone::DeadLetter { cause } => Outcome::DeadLetter { cause: cause.clone() },
        NotDone::Stop { cause } => Outcome::Stop { cause: cause.clone() },
        NotDone::Failed(failure) => return Err(failure.clone()),
    })
}

async fn pause_or_end(cell: &ControlCell, pause: Duration) {
    let mut pause = pin!(sleep(pause));
    poll_fn(|cx| {
        cell.register_pump(cx.waker());
        if cell.is_ending() { Poll::Ready(()) } else { pause.as_mut().poll(cx) }
    })
    .await;
}

/// The handler, built when it is first needed, and anew after a panic, as the engine does it.
trait Subject {
    fn attempt<'a>(
        &'a mut self,
        record: &'a Record,
        cell: &'a ControlCell,
    ) -> Pin<Box<dyn Future<Output = Attempt> + 'a>>;

    /// Its partition is over: what comes next has a handler of its own.
    fn put_down(&mut self);
}

struct Built<F, H> {
    factory: F,
    handler: Option<H>,
}

impl<F: Fn(&PartitionContext) -> H, H: Handler> Subject for Built<F, H> {
    fn attempt<'a>(
        &'a mut self,
        record: &'a Record,
        cell: &'a ControlCell,
    ) -> Pin<Box<dyn Future<Output = Attempt> + 'a>> {
        Box::pin(async move {
            let handler = match &mut self.handler {
                Some(handler) => handler,
                empty => {
                    let context = PartitionContext {
                        partition: cell.partition.clone(),
                        epoch: cell.epoch,
                        position: NextOffset(record.offset().0),
                        revoking: cell.revoking.clone(),
                    };
                    match guarded(|| (self.factory)(&context)) {
                        Ok(handler) => empty.insert(handler),
                        Err(cause) => return Attempt::panicked(cause),
                    }
                }
            };
            let tried = attempt(handler, record, cell, || ()).await;
            if matches!(&tried, Attempt::NotDone(not_done) if not_done.is_panic()) {
                let handler = self.handler.take();
                let _ = guarded(|| drop(handler));
            }
            tried
        })
    }

    fn put_down(&mut self) {
        self.handler = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::handler::FailureKind;
    use crate::consume::{Json, Layer, Timeout, typed};

    const SECOND: Duration = Duration::from_secs(1);

    fn failed(kind: FailureKind, cause: &'static str) -> Result<Outcome, Failure> {
        Err(Failure::new(kind, cause))
    }

    fn outcomes(tested: &Tested) -> Vec<Result<Outcome, Failure>> {
        tested.attempts.iter().map(|attempt| attempt.outcome.clone()).collect()
    }

    #[test]
    fn a_record_comes_with_all_that_it_was_given_and_offsets_go_on() {
        let handler = |record: &Record| -> Result<(), String> {
            Err(format!(
                "{}@{} {:?} {:?} {:?} {:?} {}",
                record.topic_partition(),
                record.offset(),
                record.key(),
                record.value(),
                record.header("h"),
                record.timestamp(),
                record.attempt()
            ))
        };
        let partition = TopicPartition::new("orders", 3);
        let mut test = HandlerTest::handler(handler).at(partition, Offset(41)).max_attempts(1);
        let record = TestRecord::value("v").key("k").header("h", Some(b"x")).timestamp(5);
        let end = |cause: &'static str| TestedEnd::Exhausted { cause: cause.into() };
        assert_eq!(test.feed(record).end, end("orders-3@41 Some([107]) Some([118]) Some([120]) Some(5) 1"));
        assert_eq!(test.feed(TestRecord::tombstone()).end, end("orders-3@42 None None None None 1"));
    }

    #[test]
    fn attempts_and_their_pauses_take_the_clocks_time_and_no_other() {
        let begun = std::time::Instant::now();
        let mut test = HandlerTest::async_handler(|record: Record| async move {
            sleep(SECOND * 3600).await;
            if record.attempt() < 3 { Err("not yet") } else { Ok(()) }
        });
        test = test.retry_pause(SECOND * 10, SECOND * 60);
        let tested = test.feed(TestRecord::value("v"));
        let not_yet = failed(FailureKind::Error, "not yet");
        assert_eq!(outcomes(&tested), [not_yet.clone(), not_yet, Ok(Outcome::Done)]);
        assert_eq!((tested.end, tested.attempts[0].took), (TestedEnd::Done, SECOND * 3600));
        assert_eq!(tested.took, SECOND * (3 * 3600 + 10 + 20));
        assert!(begun.elapsed() < SECOND * 30);
    }

    #[test]
    fn layers_and_typed_input_are_part_of_it() {
        let handler = typed(|Json(seconds): Json<u32>, _: Record| sleep(SECOND * seconds));
        let mut test = HandlerTest::async_handler(Timeout::new(SECOND * 5).layer(handler)).max_attempts(2);
        assert_eq!(test.feed(TestRecord::value("4")).end, TestedEnd::Done);
        let slow = test.feed(TestRecord::value("6"));
        let late = failed(FailureKind::Timeout, "took longer than 5s");
        assert_eq!(outcomes(&slow), [late.clone(), late]);
        assert_eq!(slow.end, TestedEnd::Exhausted { cause: "took longer than 5s".into() });
        let undecodable = test.feed(TestRecord::value("six"));
        assert_eq!(undecodable.attempts.len(), 1);
        assert!(matches!(undecodable.end, TestedEnd::Exhausted { .. }));
    }

    #[test]
    fn a_handler_is_told_that_its_partition_goes_and_dropped_at_the_deadline() {
        let mut test = HandlerTest::async_handler(|record: Record| async move {
            record.revoking().cancelled().await;
            sleep(SECOND * if record.value() == Some(b"slow") { 4 } else { 2 }).await;
        });
        test.revoke_after(SECOND * 60);
        let tested = test.feed(TestRecord::value("fast"));
        assert_eq!((tested.end, tested.took), (TestedEnd::Done, SECOND * 62));
        let next = test.feed(TestRecord::value("next"));
        assert_eq!((next.attempts, next.end), (vec![], TestedEnd::Left));

        let mut test = test.at(TopicPartition::new("test", 1), Offset(0));
        test.revoke_after(SECOND);
        let tested = test.feed(TestRecord::value("slow"));
        assert_eq!((tested.attempts, tested.end, tested.took), (vec![], TestedEnd::Left, SECOND * 4));
    }

    #[test]
    fn a_pause_ends_when_the_partition_goes() {
        let mut test = HandlerTest::handler(|_: &Record| Err::<(), _>("no")).retry_pause(SECOND * 10, SECOND * 10);
        test.revoke_after(SECOND);
        let tested = test.feed(TestRecord::tombstone());
        assert_eq!((tested.attempts.len(), tested.end, tested.took), (1, TestedEnd::Left, SECOND));
    }

    #[test]
    fn a_handler_with_state_keeps_it_and_is_built_anew_after_a_panic() {
        struct Counts(u32);
        impl Handler for Counts {
            type Answer = Outcome;

            async fn handle(&mut self, record: &Record) -> Outcome {
                self.0 += 1;
                assert!(record.value() != Some(b"bad") || record.attempt() > 1, "bad");
                Outcome::Stop { cause: self.0.to_string().into() }
            }
        }
        let mut test = HandlerTest::partition_handler(|_: &PartitionContext| Counts(0));
        let mut count = |value: &str| match test.feed(TestRecord::value(value)).end {
            TestedEnd::Stopped { cause } => cause.to_string(),
            end => format!("{end:?}"),
        };
        assert_eq!([count("a"), count("b"), count("bad"), count("c")], ["1", "2", "1", "2"]);
    }

    #[test]
    fn a_record_that_is_given_up_has_one_attempt_and_a_cause() {
        let hopeless = || Outcome::DeadLetter { cause: "hopeless".into() };
        let tested = HandlerTest::handler(move |_: &Record| hopeless()).feed(TestRecord::tombstone());
        assert_eq!(outcomes(&tested), [Ok(hopeless())]);
        assert_eq!(tested.end, TestedEnd::DeadLettered { cause: "hopeless".into() });
    }

    #[test]
    fn another_partition_has_a_handler_of_its_own() {
        struct Built(String);
        impl Handler for Built {
            type Answer = Outcome;

            async fn handle(&mut self, _: &Record) -> Outcome {
                Outcome::Stop { cause: self.0.clone().into() }
            }
        }
        let factory = |context: &PartitionContext| Built(format!("{}", context.topic_partition()));
        let stopped = |cause: &'static str| TestedEnd::Stopped { cause: cause.into() };
        let mut test = HandlerTest::partition_handler(factory);
        assert_eq!(test.feed(TestRecord::tombstone()).end, stopped("test-0"));
        let mut test = test.at(TopicPartition::new("other", 1), Offset(0));
        assert_eq!(test.feed(TestRecord::tombstone()).end, stopped("other-1"));
    }

    #[test]
    fn attempts_that_the_handler_asks_for_do_not_exhaust_the_record() {
        let handler = |record: &Record| match record.attempt() {
            1..=20 => Ok(Outcome::Retry { after: SECOND, cause: "later".into() }),
            21 => Err("no"),
            _ => Ok(Outcome::Done),
        };
        let mut test = HandlerTest::handler(handler).max_attempts(2).retry_pause(SECOND, SECOND * 9);
        let tested = test.feed(TestRecord::tombstone());
        assert_eq!((tested.attempts.len(), tested.end, tested.took), (22, TestedEnd::Done, SECOND * 21));
    }

    #[test]
    fn what_the_app_decides_about_a_failure_counts() {
        let handler = |_: &Record| Err::<(), _>("no");
        let pass_over = |failed: &FailedRecord<'_>| (failed.record.attempt() == 2).then_some(Outcome::Done);
        let tested = HandlerTest::handler(handler).on_failure(pass_over).feed(TestRecord::tombstone());
        assert_eq!((tested.attempts.len(), tested.end), (2, TestedEnd::PassedOver));
    }
}
