//! Many records by one call: a batch with one answer, a stream in bounded memory.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{self, Stream};

use super::group::Group;
use super::sender::Place;
use super::{Delivery, ProducerRecord, SendError, Sender};

/// So many records are taken from an iterator or a stream and handed over at a time, under one lock.
const CHUNK: usize = 256;
/// After so many chunks of a batch the other tasks of the thread have their turn.
const TURN: usize = 8;

/// Records of a batch that were not confirmed; see [`Sender::send_all`].
#[derive(Debug, thiserror::Error)]
#[error("{} of {} records failed, the first at place {}: {}", .failures.len(), .deliveries.len(), first(.failures).0, first(.failures).1)]
#[non_exhaustive]
pub struct BatchError {
    /// By a record's place in the batch: where it is stored, and `None` for those that failed.
    pub deliveries: Vec<Option<Delivery>>,
    /// Each that failed, by its place, counted from 0, in order. There is one at least.
    pub failures: Vec<(usize, SendError)>,
}

fn first(failures: &[(usize, SendError)]) -> (usize, &dyn fmt::Display) {
    match failures.first() {
        Some((place, error)) => (*place, error),
        None => (0, &"unknown"),
    }
}

/// A stream was not sent to its end; see [`Sender::send_stream`].
#[derive(Debug, thiserror::Error)]
#[error("record {place} of the stream failed: {error}; {confirmed} were confirmed, {failed} failed")]
#[non_exhaustive]
pub struct StreamError {
    /// The record that was known to have failed first, counted from 0 in the order of the stream. Others, before and behind it, may have failed too.
    pub place: u64,
    /// Why.
    #[source]
    pub error: SendError,
    /// Records taken from the stream: all that follow are still in there.
    pub taken: u64,
    /// Those of them that are stored.
    pub confirmed: u64,
    /// Those that are not, as far as anybody knows.
    pub failed: u64,
}

impl Sender {
    /// Sends records and waits until all are confirmed. It waits for room where the buffer is full, and costs less per record than any other way to
    /// send: they are handed over by the hundred, and their answers are one.
    ///
    /// Cancelling it sends none of those that are not accepted yet, and loses the answer of the others. Where it waits and is not polled, it keeps the room
    /// of one record from others.
    ///
    /// # Errors
    /// [`BatchError`] names each record that failed; all others are stored.
    pub async fn send_all<'a>(
        &self,
        records: impl IntoIterator<Item = ProducerRecord<'a>>,
    ) -> Result<Vec<Delivery>, BatchError> {
        let group = Group::batch();
        let mut records = records.into_iter();
        let mut many = Many::new(self, group.clone());
        for chunk in 0.. {
            many.chunk.extend(records.by_ref().take(CHUNK));
            if many.chunk.is_empty() {
                break;
            }
            if chunk % TURN == TURN - 1 {
                yield_now().await;
            }
            many.prepare();
            std::future::poll_fn(|cx| many.poll_accepted(cx)).await;
        }
        std::future::poll_fn(|cx| group.poll_answered(cx)).await;
        let ended = group.ended();
        if ended.failures.is_empty() {
            return Ok(ended.deliveries.into_iter().flatten().collect());
        }
        let failures = ended.failures.into_iter().map(|(place, error)| (place as usize, error)).collect();
        Err(BatchError { deliveries: ended.deliveries, failures })
    }

    /// Sends the records of an iterator and waits until all are confirmed, like [`send_stream`](Self::send_stream). The iterator must not block.
    ///
    /// # Errors
    /// As [`send_stream`](Self::send_stream).
    pub async fn send_each<'a>(
        &self,
        records: impl IntoIterator<Item = ProducerRecord<'a>>,
    ) -> Result<u64, StreamError> {
        self.send_stream(stream::iter(records)).await
    }

    /// Sends the records of a stream, however many, and waits until all are confirmed: their number. Of those not confirmed, no more are held than the
    /// buffer has room for, and 256 on their way there. Records are sent as they come; one that lasts keeps none before it waiting.
    ///
    /// When a record fails no more are taken, and those that are taken are sent and waited for. Cancelling it loses up to 256 that it holds. Where
    /// it waits and is not polled, it keeps the room of one record from others.
    ///
    /// # Errors
    /// [`StreamError`] says which record failed, and what became of the others.
    pub async fn send_stream<'a>(&self, records: impl Stream<Item = ProducerRecord<'a>>) -> Result<u64, StreamError> {
        let group = Group::stream();
        let mut records = pin!(records);
        let mut many = Many::new(self, group.clone());
        std::future::poll_fn(|cx| many.poll_sent(records.as_mut(), cx)).await;
        let taken = many.taken;
        std::future::poll_fn(|cx| group.poll_answered(cx)).await;
        let ended = group.ended();
        match ended.failures.into_iter().next() {
            None => Ok(ended.confirmed),
            Some((place, error)) => {
                // The place is counted in 32 bits, and less than that are on their way.
                let place = taken - u64::from((taken as u32).wrapping_sub(place));
                Err(StreamError { place, error, taken, confirmed: ended.confirmed, failed: ended.failed })
            }
        }
    }
}

/// Lets the other tasks of the thread have their turn, whatever runtime they are on.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Records on their way into the buffer.
struct Many<'s, 'a> {
    place: Place<'s>,
    sender: &'s Sender,
    group: Arc<Group>,
    chunk: Vec<ProducerRecord<'a>>,
    /// Of the chunk, those that are dealt with.
    done: usize,
    /// Of the chunk, those that the group expects, and that layers have seen.
    prepared: usize,
    /// Records before the chunk, and those of it that are dealt with.
    taken: u64,
    /// No more is taken.
    at_end: bool,
}

impl<'s, 'a> Many<'s, 'a> {
    fn new(sender: &'s Sender, group: Arc<Group>) -> Self {
        let place = Place { intake: &sender.intake, ticket: None };
        Self { place, sender, group, chunk: Vec::with_capacity(CHUNK), done: 0, prepared: 0, taken: 0, at_end: false }
    }

    fn prepare(&mut self) {
        for record in &mut self.chunk[self.prepared..] {
            self.sender.intake.layers.apply(record);
        }
        self.group.expect(self.chunk.len() - self.prepared);
        self.prepared = self.chunk.len();
    }

    /// Waits for room for what is prepared of the chunk.
    fn poll_accepted(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.done < self.prepared {
            let (records, ticket) = (&self.chunk[self.done..self.prepared], self.place.ticket.take());
            let offered = self.sender.intake.offer_all(records, &self.group, self.taken as u32, cx.waker(), ticket);
            self.done += offered.taken;
            self.taken += offered.taken as u64;
            self.place.ticket = offered.ticket;
        }
        if self.done < self.prepared {
            return Poll::Pending;
        }
        self.chunk.clear();
        (self.done, self.prepared) = (0, 0);
        Poll::Ready(())
    }

    /// Takes what is there, hands it over, and waits for more, until there is no more or a record has failed.
    fn poll_sent(
        &mut self,
        mut records: Pin<&mut impl Stream<Item = ProducerRecord<'a>>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        // What is taken is sent, also after a failure: no record is left between the stream and its fate.
        self.at_end |= self.group.has_failed(cx);
        let mut quiet = false;
        while !self.at_end && !quiet && self.chunk.len() < CHUNK {
            match records.as_mut().poll_next(cx) {
                Poll::Ready(Some(record)) => self.chunk.push(record),
                Poll::Ready(None) => self.at_end = true,
                Poll::Pending => quiet = true,
            }
        }
        self.prepare();
        if self.poll_accepted(cx).is_pending() {
            return Poll::Pending;
        }
        if self.at_end {
            return Poll::Ready(());
        }
        if !quiet {
            // There is more. Other tasks of the thread have their turn first.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::cell::Cell;
    use std::future::Future;
    use std::task::Waker;
    use std::time::Duration;

    use super::super::Producer;
    use super::*;

    #[test]
    fn a_batch_however_long_gives_other_tasks_their_turn() {
        let records = 100_000;
        let producer =
            Producer::builder().bootstrap_servers("127.0.0.1:1").buffer_records(2 * records).start().unwrap();
        let (sender, taken) = (producer.sender(), Cell::new(0));
        let each = (0..records).map(|_| {
            taken.set(taken.get() + 1);
            ProducerRecord::to("t")
        });
        let mut sent = pin!(sender.send_all(each));
        let (mut turns, mut cx) = (0, Context::from_waker(Waker::noop()));
        while taken.get() < records {
            let before = taken.get();
            assert!(sent.as_mut().poll(&mut cx).is_pending());
            assert!(taken.get() - before <= (TURN + 1) * CHUNK, "{before} to {}", taken.get());
            turns += 1;
        }
        assert!(turns > 10, "{turns}");
        let _ = producer.shutdown_blocking(Duration::ZERO);
    }
}
