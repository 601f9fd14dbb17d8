//! Handlers that compute: on a bounded pool of threads of their own, in the order that the consumer keeps.

mod job;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use crossbeam_channel::{Receiver, Sender, unbounded};
use tracing::warn;

use crate::consume::handler::{AsyncHandler, Failure, FailureKind, IntoOutcome, Outcome};
use crate::consume::record::Record;
use crate::ids::{Offset, TopicPartition};
use crate::order::Order;
use crate::order::attempt::guarded;
use job::Job;

/// A closure that computes or blocks, on threads of its own: an [`AsyncHandler`], so that meanwhile the engine's threads serve other partitions.
///
/// ```no_run
/// use troupe_actors::consume::{Consumer, CpuBound, Failure, Json, Order, Record};
///
/// Consumer::builder()
///     .order(Order::Key)
///     .async_handler(CpuBound::new(|record: &Record| -> Result<(), Failure> {
///         let Json(pixels): Json<Vec<u8>> = record.decode()?;
///         // ...
/// #       drop(pixels);
///         Ok(())
///     }))
/// # ;
/// ```
/// As many run at once as there are [threads](Self::threads) and [`concurrency`](crate::consume::ConsumerBuilder::concurrency) allows; what else
/// may start by the consumer's order waits for a thread, first come, first served. Each costs a hand-over to a thread and back, which pays for what
/// takes longer than some microseconds.
///
/// A computation cannot be stopped. Where its call ends before it, by a [`Timeout`](crate::consume::Timeout) or because the partition is given
/// up, it runs on and what it answers does not count. Until it has ended none begins in this process that has to follow it: in partition order
/// none of its partition, in key order none of its key, and in any order not the same record's. The time that this takes counts as the next
/// call's. One that waits for a thread when its call ends never begins.
///
/// The threads begin with the first record, and end with the consumer, each as soon as what it computes has. If none can be had each record
/// fails. A span that the call is within, as by [`Tracing`](crate::consume::Tracing), is entered on the thread too. A panic fails the record.
pub struct CpuBound<F> {
    handler: Arc<F>,
    threads: NonZero<usize>,
    pool: Arc<Pool>,
}

impl<F, R> CpuBound<F>
where
    F: Fn(&Record) -> R + Send + Sync + 'static,
    R: IntoOutcome,
{
    /// With as many threads as the process has processors available.
    pub fn new(handler: F) -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        Self { handler: Arc::new(handler), threads, pool: Arc::default() }
    }

    /// With this many threads; 0 is taken as 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = NonZero::new(threads).unwrap_or(NonZero::<usize>::MIN);
        self
    }

    /// Starts the threads, or as many as can be had.
    fn start(&self) -> Result<Sender<Arc<Job>>, String> {
        let (jobs, queue) = unbounded();
        for number in 0..self.threads.get() {
            let (handler, queue) = (Arc::clone(&self.handler), queue.clone());
            let thread = std::thread::Builder::new().name(format!("troupe-cpu-{number}"));
            match thread.spawn(move || work(&*handler, &queue)) {
                Ok(_) => {}
                Err(error) if number == 0 => return Err(format!("no thread to compute on could be started: {error}")),
                Err(error) => {
                    warn!(threads = number, %error, "there are fewer threads to compute on than asked for");
                    break;
                }
            }
        }
        Ok(jobs)
    }
}

/// Until nobody can ask for more.
fn work<R: IntoOutcome>(handler: impl Fn(&Record) -> R, queue: &Receiver<Arc<Job>>) {
    for job in queue {
        if let Some(record) = job.begin() {
            let answer = job.span.in_scope(|| guarded(|| handler(&record).into_outcome()));
            drop(record);
            job.end(answer.unwrap_or_else(|panic| Err(Failure::new(FailureKind::Panic, panic))));
        }
    }
}

impl<F> fmt::Debug for CpuBound<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuBound").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl<F, R> AsyncHandler for CpuBound<F>
where
    F: Fn(&Record) -> R + Send + Sync + 'static,
    R: IntoOutcome,
{
    type Future = Computation;

    fn call(&self, record: Record) -> Computation {
        self.pool.queue.get_or_init(|| self.start());
        let before = self.pool.left_behind(&record);
        let job = Arc::new(Job::new(record.clone()));
        Computation { record, job, pool: Arc::clone(&self.pool), before, queued: false }
    }
}

/// The threads' queue, and what runs on them that nobody waits for any more.
#[derive(Default)]
struct Pool {
    /// Dropped, it ends the threads.
    queue: OnceLock<Result<Sender<Arc<Job>>, String>>,
    left_behind: Mutex<HashMap<TopicPartition, Vec<LeftBehind>>>,
    /// How many are in there. Looked at without the lock: usually there are none.
    left_count: AtomicUsize,
}

/// A computation whose call has ended before it. The record is not kept: it would keep its chunk.
struct LeftBehind {
    job: Arc<Job>,
    offset: Offset,
    key: Option<Box<[u8]>>,
}

impl LeftBehind {
    /// Whether this record, of its partition, has to follow it.
    fn comes_before(&self, record: &Record) -> bool {
        match record.chunk.order {
            Order::Partition => true,
            Order::Key if self.key.is_some() => self.key.as_deref() == record.key(),
            // A record without key is independent of all others.
            Order::Key | Order::Unordered => self.offset == record.offset(),
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, HashMap<TopicPartition, Vec<LeftBehind>>> {
        self.left_behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The computations that this record has to follow, and whose calls have ended before them.
    fn left_behind(&self, record: &Record) -> Vec<Arc<Job>> {
        if self.left_count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut left = self.lock();
        let Some(of_partition) = left.get_mut(record.topic_partition()) else { return Vec::new() };
        let before = of_partition.len();
        of_partition.retain(|each| each.job.is_running());
        self.left_count.fetch_sub(before - of_partition.len(), Ordering::AcqRel);
        let to_follow = of_partition.iter().filter(|each| each.comes_before(record));
        let to_follow = to_follow.map(|each| Arc::clone(&each.job)).collect();
        if of_partition.is_empty() {
            left.remove(record.topic_partition());
        }
        to_follow
    }

    fn leave_behind(&self, job: &Arc<Job>, record: &Record) {
        let left = LeftBehind { job: Arc::clone(job), offset: record.offset(), key: record.key().map(Box::from) };
        self.lock().entry(record.topic_partition().clone()).or_default().push(left);
        self.left_count.fetch_add(1, Ordering::AcqRel);
    }
}

/// A call of a [`CpuBound`] handler.
pub struct Computation {
    record: Record,
    job: Arc<Job>,
    pool: Arc<Pool>,
    /// What has to end before it may begin.
    before: Vec<Arc<Job>>,
    queued: bool,
}

impl Future for Computation {
    type Output = Result<Outcome, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        while let Some(job) = this.before.last() {
            ready!(job.poll_ended(cx));
            this.before.pop();
        }
        if !this.queued {
            this.queued = true;
            let refused = match this.pool.queue.get() {
                Some(Ok(queue)) => queue.send(Arc::clone(&this.job)).err().map(|error| error.to_string()),
                Some(Err(error)) => Some(error.clone()),
                None => Some("its threads were never started".to_owned()),
            };
            if let Some(error) = refused {
                return Poll::Ready(Err(Failure::new(FailureKind::Error, error)));
            }
        }
        this.job.poll_answer(cx)
    }
}

impl Drop for Computation {
    fn drop(&mut self) {
        if self.job.give_up() {
            self.pool.leave_behind(&self.job, &self.record);
        }
    }
}

impl fmt::Debug for Computation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computation").field("record", &self.record).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
