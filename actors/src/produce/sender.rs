//! The way in for records.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use super::callback::Callback;
use super::intake::{Intake, Listener, Offered};
use super::line::Ticket;
use super::{Confirmation, Delivery, ProducerRecord, SendError, TrySendError};
use crate::block_on::block_on;
use crate::blocking;

/// Takes records for a producer. Made by [`Producer::sender`](super::Producer::sender).
///
/// A sender and its clones go through one `ProducerActor`, so records of one partition are stored in the order in which they were accepted.
/// Two senders made apart may go through two actors, without an order between them.
///
/// A record is *accepted* when it is in the producer's buffer. From then on it is answered exactly once, whatever happens, and cannot be recalled.
#[derive(Clone)]
pub struct Sender {
    pub(super) intake: Arc<Intake>,
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

    /// Waits for room, first come, first served, and puts the record in the buffer. Room that those in line do not need is anybody's.
    ///
    /// A future that waits and is not polled (kept beside a `select!`, say) keeps the room of its record from those who came later, and holds nobody up
    /// otherwise. Drop it, or poll it, where the buffer holds only a few such records.
    ///
    /// # Errors
    /// Why the record was not accepted.
    pub async fn enqueue(&self, record: ProducerRecord<'_>) -> Result<Confirmation, SendError> {
        let topic = record.topic.clone();
        // A record that is accepted with `Listener::Confirmation` comes with one.
        self.accept(record, Listener::Confirmation).await?.ok_or_else(|| closed(&topic))
    }

    /// Waits for room and puts the record in the buffer; `callback` gets its answer. It is called on a thread of the producer, never on one of
    /// librdkafka's, mostly on the one that reads the delivery reports of all records: it should be short. Calls that wait are refused in it. A panic of the
    /// callback is caught, logged and counted.
    ///
    /// It may send again, by [`try_send`](Self::try_send) and [`try_send_with`](Self::try_send_with). One record for each callback, no larger than the one
    /// that it hears of and through this sender or a clone of it, has that one's place: it finds room also where the buffer is full and others wait for it.
    /// Whatever else is sent there finds room as anywhere. With the places of records whose callbacks run, up to twice as much is held as the
    /// [buffer](super::ProducerBuilder::buffer_records) holds, and two records more.
    ///
    /// Callbacks that send again for ever keep nobody out: who waits first, and was passed by as many of their records as the buffer holds, is let in above
    /// the bound, one at a time. Should what is held not come down by that, for those let in send again for ever as well, the one who waits gets the place
    /// of a callback's next record after seven times as many: that callback gets [`TrySendError::Full`]. Where the record of the one who waits is so large
    /// that there was no room for it whenever a callback sent during one more such time, callbacks get that until there is.
    ///
    /// # Errors
    /// Why the record was not accepted; the callback is then not called.
    pub async fn send_with(
        &self,
        record: ProducerRecord<'_>,
        callback: impl FnOnce(Result<Delivery, SendError>) + Send + 'static,
    ) -> Result<(), SendError> {
        self.accept(record, Listener::Callback(Callback::new(callback))).await?;
        Ok(())
    }

    /// Puts the record in the buffer if there is room, beside that of those who wait for some. In a delivery callback there is more: see
    /// [`send_with`](Self::send_with).
    ///
    /// # Errors
    /// [`TrySendError::Full`] gives the record back.
    pub fn try_send<'a>(&self, record: ProducerRecord<'a>) -> Result<Confirmation, TrySendError<'a>> {
        let topic = record.topic.clone();
        self.try_accept(record, Listener::Confirmation)?.ok_or_else(|| closed(&topic).into())
    }

    /// [`try_send`](Self::try_send) with a callback, as in [`send_with`](Self::send_with).
    ///
    /// # Errors
    /// [`TrySendError::Full`] gives the record back. The callback is then not called.
    pub fn try_send_with<'a>(
        &self,
        record: ProducerRecord<'a>,
        callback: impl FnOnce(Result<Delivery, SendError>) + Send + 'static,
    ) -> Result<(), TrySendError<'a>> {
        self.try_accept(record, Listener::Callback(Callback::new(callback)))?;
        Ok(())
    }

    /// [`send`](Self::send) for a plain thread.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::MustNotBlock`] on a thread that runs async tasks or actors, and in a delivery callback: the record is
    /// not sent then.
    pub fn send_blocking(&self, record: ProducerRecord<'_>) -> Result<Delivery, SendError> {
        may_block(&record)?;
        block_on(self.send(record))
    }

    /// [`enqueue`](Self::enqueue) for a plain thread.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue), and [`SendError::MustNotBlock`] as [`send_blocking`](Self::send_blocking).
    pub fn enqueue_blocking(&self, record: ProducerRecord<'_>) -> Result<Confirmation, SendError> {
        may_block(&record)?;
        block_on(self.enqueue(record))
    }

    fn try_accept<'a>(
        &self,
        mut record: ProducerRecord<'a>,
        listener: Listener,
    ) -> Result<Option<Confirmation>, TrySendError<'a>> {
        let headers = record.headers.len();
        self.intake.layers.apply(&mut record);
        match self.intake.offer(&record, listener, None) {
            Offered::Accepted(confirmation) => Ok(confirmation),
            Offered::NoRoom(..) => {
                // The layers have their turn again when it is tried again.
                record.headers.truncate(headers);
                Err(TrySendError::Full(Box::new(record)))
            }
            Offered::Refused(error) => Err(error.into()),
        }
    }

    async fn accept(
        &self,
        mut record: ProducerRecord<'_>,
        listener: Listener,
    ) -> Result<Option<Confirmation>, SendError> {
        self.intake.layers.apply(&mut record);
        let record = &record;
        let mut place = Place { intake: &self.intake, ticket: None };
        let mut listener = Some(listener);
        std::future::poll_fn(|cx| {
            let Some(offered) = listener.take() else {
                // Polled again after it was ready, against the contract of futures.
                return Poll::Ready(Err(closed(&record.topic)));
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
pub(super) struct Place<'a> {
    pub(super) intake: &'a Intake,
    pub(super) ticket: Option<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.intake.leave(ticket);
        }
    }
}

fn closed(topic: &str) -> SendError {
    SendError::Closed { topic: topic.into(), error: None, reason: None }
}

fn may_block(record: &ProducerRecord<'_>) -> Result<(), SendError> {
    match blocking::must_not_block() {
        Some(place) => Err(SendError::MustNotBlock { topic: (&*record.topic).into(), place }),
        None => Ok(()),
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("actor", &self.intake.index).finish_non_exhaustive()
    }
}
