//! Records on their way to the dead letters, or to a retry topic. Only their key, or their partition in its order, waits for them.
//!
//! A letter that is being written is waited for when its partition is given up, as a handler is; one that could not be written and waits to be
//! tried again is not, as a backoff is not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tracing::info;

use crate::consume::dead_letters::OnDeadLetterFailure;
use crate::consume::dead_letters::envelope::{Destination, Letter};
use crate::consume::dead_letters::letterbox::{Letterbox, Sending};
use crate::consume::error::ConsumerError;
use crate::consume::handler::Cause;
use crate::consume::record::Record;
use crate::consume::retry::RetrySchedule;
use crate::consume::retry_topics::RetryStep;
use crate::consume::retry_topics::origin::{due, now};
use crate::order::failure::{Next, random};
use crate::order::pump::PumpIo;
use crate::produce::SendError;

impl PumpIo {
    /// The record is not to be tried again: it goes to the dead letters, if there are any, and not too many.
    pub(crate) fn given_up(&self, record: &Record, cause: Cause, others: u64) -> Next {
        let (partition, offset) = (record.topic_partition().clone(), record.offset());
        let error = match self.board.letterbox.as_ref().and_then(|letterbox| letterbox.topic()) {
            None => ConsumerError::NoDeadLetterTopic { partition, offset, cause: cause.to_string() },
            Some(topic) if topic == record.topic() => ConsumerError::DeadLetterRefused {
                partition,
                offset,
                topic: topic.to_owned(),
                reason: "it is read from there: read another topic, or name another one for dead letters".to_owned(),
            },
            Some(dead_letter_topic) => match self.admit(others) {
                Ok(()) => {
                    info!(
                        topic = record.topic(), partition = record.partition().0, offset = offset.0, epoch = self.cell.epoch.0,
                        attempts = record.attempt, %cause, dead_letter_topic, "a record goes to the dead letters"
                    );
                    return Next::Sent(Letter { to: Destination::DeadLetters, cause, failures: 0 });
                }
                Err(limit) => ConsumerError::DeadLetterLimit { partition, offset, limit, cause: cause.to_string() },
            },
        };
        self.stop_at_letter(error)
    }

    /// The record is to be tried again later, and goes to a retry topic, if not too many do.
    pub(crate) fn put_off(&self, record: &Record, step: &RetryStep, cause: Cause, others: u64) -> Next {
        if let Err(limit) = self.admit(others) {
            let (partition, offset) = (record.topic_partition().clone(), record.offset());
            return self.stop_at_letter(ConsumerError::DeadLetterLimit {
                partition,
                offset,
                limit,
                cause: cause.to_string(),
            });
        }
        info!(
            topic = record.topic(), partition = record.partition().0, offset = record.offset().0, epoch = self.cell.epoch.0,
            attempts = record.attempt, %cause, retry_topic = step.topic, delay_ms = step.delay.as_millis() as u64, "a record goes to a retry topic"
        );
        let to = Destination::Retry { topic: step.topic.clone(), due: due(now(), step.delay) };
        Next::Sent(Letter { to, cause, failures: 0 })
    }

    fn stop_at_letter(&self, error: ConsumerError) -> Next {
        self.cell.set_last_error(error.to_string());
        self.stop(error);
        Next::Stopped
    }

    /// The limits are for what leaves the topic that it was first read from: in a retry topic are none but records that have failed.
    fn admit(&self, others: u64) -> Result<(), String> {
        if self.retry_delay.is_some() {
            return Ok(());
        }
        let mut breaker = self.breaker.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        breaker.admit(others).map_err(|exceeded| exceeded.to_string())
    }

    /// The letter could not be written: the pause before it is tried again, unless the engine stops.
    fn not_written(
        &self,
        letterbox: &Arc<Letterbox>,
        record: &Record,
        letter: &mut Letter,
        error: &SendError,
    ) -> Option<Duration> {
        let reason = letterbox.failed(record, letter, error);
        let (partition, offset) = (record.topic_partition().clone(), record.offset());
        let topic = letterbox.topic_of(&letter.to).to_owned();
        let refused = match letter.to {
            Destination::DeadLetters => ConsumerError::DeadLetterRefused { partition, offset, topic, reason },
            Destination::Retry { .. } => ConsumerError::RetryRefused { partition, offset, topic, reason },
        };
        self.cell.set_last_error(refused.to_string());
        letter.failures = letter.failures.saturating_add(1);
        match letterbox.on_failure() {
            OnDeadLetterFailure::Block => Some(RetrySchedule::default().pause(letter.failures, random())),
            OnDeadLetterFailure::Stop => {
                self.stop(refused);
                None
            }
        }
    }

    /// Writes the letter, in partition order; whether it is there, and not the partition to be given up first.
    pub(crate) async fn write(&self, record: &Record, mut letter: Letter) -> bool {
        // The verdict came by the letterbox.
        let Some(letterbox) = &self.board.letterbox else { return false };
        loop {
            self.cell.handler_holds(record.offset().0, record.attempt);
            let written = self.until_written(letterbox.send(record.clone(), &letter)).await;
            let pause = match written {
                None => return false,
                Some(Ok(())) => return true,
                Some(Err(error)) => self.not_written(letterbox, record, &mut letter, &error),
            };
            self.cell.handler_rests();
            match pause {
                Some(pause) => self.pause(pause).await,
                None => self.until_ending().await,
            }
            self.cell.rest_ends();
            if self.cell.is_ending() {
                return false;
            }
        }
    }

    /// `None`: the epoch is over first.
    async fn until_written(&self, mut sending: Sending) -> Option<Result<(), SendError>> {
        std::future::poll_fn(|cx| {
            self.cell.register_pump(cx.waker());
            if self.cell.is_fenced() { Poll::Ready(None) } else { sending.as_mut().poll(cx).map(Some) }
        })
        .await
    }

    /// It counts as held, for who asks what is unfinished, and for how long.
    fn takes(&self, record: &Record) {
        self.cell.crew_takes(std::iter::once((record.offset().0, record.attempt)), Instant::now());
    }

    fn lets_go(&self, record: &Record) {
        self.cell.crew_lets_go(std::iter::once(record.offset().0));
    }
}

/// The letters of a partition that are under way, with what the caller wants back when they are written.
pub(crate) struct Letters<J> {
    under_way: FuturesUnordered<Pin<Box<dyn Future<Output = Step<J>> + Send>>>,
    /// Those that are being written now.
    sending: usize,
}

/// What has come to an end.
enum Step<J> {
    Sent { job: J, record: Record, letter: Letter, sent: Result<(), SendError> },
    Paused { job: J, record: Record, letter: Letter },
}

impl<J: Send + 'static> Letters<J> {
    pub(crate) fn new() -> Self {
        Self { under_way: FuturesUnordered::new(), sending: 0 }
    }

    /// Whether one is being written.
    pub(crate) fn is_sending(&self) -> bool {
        self.sending > 0
    }

    pub(crate) fn write(&mut self, io: &PumpIo, job: J, record: Record, letter: Letter) {
        let Some(letterbox) = &io.board.letterbox else { return };
        io.takes(&record);
        self.sending += 1;
        let sending = letterbox.send(record.clone(), &letter);
        self.under_way.push(Box::pin(async move {
            let sent = sending.await;
            Step::Sent { job, record, letter, sent }
        }));
    }

    /// The next one that is written; `None`: there is none for now, and the pump is woken when there is. `stopped` is set where the engine stops
    /// for one that could not be.
    pub(crate) fn poll_written(&mut self, io: &PumpIo, stopped: &mut bool, cx: &mut Context<'_>) -> Option<J> {
        if self.under_way.is_empty() {
            return None;
        }
        while let Poll::Ready(Some(step)) = self.under_way.poll_next_unpin(cx) {
            match step {
                Step::Sent { job, record, mut letter, sent } => {
                    self.sending -= 1;
                    io.lets_go(&record);
                    let Err(error) = sent else { return Some(job) };
                    let Some(letterbox) = &io.board.letterbox else { continue };
                    match io.not_written(letterbox, &record, &mut letter, &error) {
                        Some(pause) => self.under_way.push(Box::pin(async move {
                            tokio::time::sleep(pause).await;
                            Step::Paused { job, record, letter }
                        })),
                        None => *stopped = true,
                    }
                }
                Step::Paused { job, record, letter } => {
                    // Before the look: see there.
                    io.cell.crew_begins();
                    // A partition that is to be given up leaves it to its next owner.
                    if !io.cell.is_ending() {
                        self.write(io, job, record, letter);
                    }
                }
            }
        }
        None
    }
}
