//! The way in for records.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use super::completion::Callback;
use super::intake::{Intake, Listener, Offered};
use super::line::Ticket;
use super::{Confirmation, Delivery, ProducerRecord, SendError, TryEnqueueError};
use crate::block_on::block_on;

/// Takes records for a producer. Made by [`Producer::sender`](super::Producer::sender).
///
/// A sender and its clones go through one `ProducerActor`, so records of one partition are stored in the order in which they were accepted.
/// Two senders made apart may go through two actors, without an order between them.
///
/// A record is *accepted* when it is in the producer's buffer. From then on it is answered exactly once, whatever happens, and cannot be recalled.
#[derive(Clone)]
pub struct Sender {
    intake: Arc<Intake>,
}

impl Sender {
    pub(super) fn new(intake: Arc<Intake>) -> Self {
        Self { intake }
    }

    /// Sends a record and waits until it is confirmed. One after the other this costs a round trip and the linger each: to send many, use
    /// [`enqueue`](Self::enqueue) and await the confirmations later. Cancelling it before the record is accepted takes it back, after that it
    /// loses the answer only.
    ///
    /// # Errors
    /// Why the record was not accepted or not confirmed.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<Delivery, SendError> {
        self.enqueue(record).await?.await
    }

    /// Waits for room, first come, first served, and puts the record in the buffer.
    ///
    /// # Errors
    /// Why the record was not accepted.
    pub async fn enqueue(&self, record: ProducerRecord<'_>) -> Result<Confirmation, SendError> {
        match self.accept(&record, Listener::Confirmation).await? {
            Some(confirmation) => Ok(confirmation),
            // A record that is accepted with `Listener::Confirmation` comes with one.
            None => Err(closed(&record)),
        }
    }

    /// Waits for room and puts the record in the buffer; `callback` gets its answer, on the thread that reads the delivery reports of all records: it
    /// should be short and must not wait for this producer (no blocking call of a sender of it). A record that fails before it reaches librdkafka, or is
    /// given up, is answered on the thread that finds so. A panic of the callback is caught, logged and counted.
    ///
    /// # Errors
    /// Why the record was not accepted; the callback is then not called.
    pub async fn enqueue_with(
        &self,
        record: ProducerRecord<'_>,
        callback: impl FnOnce(Result<Delivery, SendError>) + Send + 'static,
    ) -> Result<(), SendError> {
        let callback: Callback = Box::new(callback);
        self.accept(&record, Listener::Callback(callback)).await?;
        Ok(())
    }

    /// Puts the record in the buffer if there is room and nobody waits for it before.
    ///
    /// # Errors
    /// [`TryEnqueueError::Full`] gives the record back.
    pub fn try_enqueue<'a>(&self, record: ProducerRecord<'a>) -> Result<Confirmation, TryEnqueueError<'a>> {
        match self.intake.offer(&record, Listener::Confirmation, None) {
            Offered::Accepted(Some(confirmation)) => Ok(confirmation),
            Offered::Accepted(None) => Err(closed(&record).into()),
            Offered::NoRoom(..) => Err(TryEnqueueError::Full(record)),
            Offered::Refused(error) => Err(error.into()),
        }
    }

    /// [`send`](Self::send) for a plain thread. Never on a thread that runs async tasks, nor in a delivery callback.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_blocking(&self, record: ProducerRecord<'_>) -> Result<Delivery, SendError> {
        block_on(self.send(record))
    }

    /// [`enqueue`](Self::enqueue) for a plain thread. Never on a thread that runs async tasks, nor in a delivery callback.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub fn enqueue_blocking(&self, record: ProducerRecord<'_>) -> Result<Confirmation, SendError> {
        block_on(self.enqueue(record))
    }

    async fn accept(&self, record: &ProducerRecord<'_>, listener: Listener) -> Result<Option<Confirmation>, SendError> {
        let mut place = Place { intake: &self.intake, ticket: None };
        let mut listener = Some(listener);
        std::future::poll_fn(|cx| {
            let Some(offered) = listener.take() else {
                // Polled again after it was ready, against the contract of futures.
                return Poll::Ready(Err(closed(record)));
            };
            let waits = Some((cx.waker(), place.ticket.take()));
            match self.intake.offer(record, offered, waits) {
                Offered::Accepted(confirmation) => Poll::Ready(Ok(confirmation)),
                Offered::Refused(error) => Poll::Ready(Err(error)),
                Offered::NoRoom(again, ticket) => {
                    listener = Some(again);
                    place.ticket = ticket;
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// A place in line, given up if the sender goes away.
struct Place<'a> {
    intake: &'a Intake,
    ticket: Option<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.intake.leave(ticket);
        }
    }
}

fn closed(record: &ProducerRecord<'_>) -> SendError {
    SendError::Closed { topic: record.topic.into(), reason: None }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("actor", &self.intake.index).finish_non_exhaustive()
    }
}
