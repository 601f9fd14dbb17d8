//! The handler under test, whatever its shape.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::consume::batch::{IntoOutcomes as _, Outcomes};
use crate::consume::control::ControlCell;
use crate::consume::handler::{Failure, Handler, Outcome, PartitionContext};
use crate::consume::record::Record;
use crate::ids::NextOffset;
use crate::order::attempt::{Attempt, NotDone, attempt, guarded};
use crate::order::batch::CallBatch;

/// What a call said of its records; `None`: their epoch ended first.
pub(super) type Called<'a> = Pin<Box<dyn Future<Output = Option<Outcomes>> + 'a>>;

pub(super) trait Subject {
    /// Whether a call takes more than one record.
    fn takes_batches(&self) -> bool;

    /// One call, with one record at least, and with one only where the subject takes no batches.
    fn call<'a>(&'a mut self, records: Arc<[Record]>, cell: &'a ControlCell) -> Called<'a>;

    /// Its partition is over: what comes next has a handler of its own.
    fn put_down(&mut self);
}

/// A handler of single records, built when it is first needed, and anew after a panic, as the engine does it.
pub(super) struct Built<F, H> {
    factory: F,
    handler: Option<H>,
}

impl<F, H> Built<F, H> {
    pub(super) fn by(factory: F) -> Self {
        Self { factory, handler: None }
    }
}

impl<F: Fn(&PartitionContext) -> H, H: Handler> Built<F, H> {
    async fn attempt(&mut self, record: &Record, cell: &ControlCell) -> Attempt {
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
    }
}

impl<F: Fn(&PartitionContext) -> H, H: Handler> Subject for Built<F, H> {
    fn takes_batches(&self) -> bool {
        false
    }

    fn call<'a>(&'a mut self, records: Arc<[Record]>, cell: &'a ControlCell) -> Called<'a> {
        Box::pin(async move {
            match self.attempt(records.first()?, cell).await {
                Attempt::Done => Some(Outcomes::All(Outcome::Done)),
                Attempt::NotDone(not_done) => Some(Outcomes::Each(vec![outcome_of(*not_done)])),
                Attempt::Fenced => None,
            }
        })
    }

    fn put_down(&mut self) {
        self.handler = None;
    }
}

fn outcome_of(not_done: NotDone) -> Result<Outcome, Failure> {
    match not_done {
        NotDone::Retry { after, cause } => Ok(Outcome::Retry { after, cause }),
        NotDone::DeadLetter { cause } => Ok(Outcome::DeadLetter { cause }),
        NotDone::Stop { cause } => Ok(Outcome::Stop { cause }),
        NotDone::Failed(failure) => Err(failure),
    }
}

/// A batch handler.
pub(super) struct OfBatches<C>(Rc<C>);

impl<C> OfBatches<C> {
    pub(super) fn by(call: C) -> Self {
        Self(Rc::new(call))
    }
}

impl<C: CallBatch> Subject for OfBatches<C> {
    fn takes_batches(&self) -> bool {
        true
    }

    fn call<'a>(&'a mut self, records: Arc<[Record]>, cell: &'a ControlCell) -> Called<'a> {
        Box::pin(async move {
            let first = records.first()?.clone();
            let mut call = OneCall { handler: Rc::clone(&self.0), records, said: None };
            match attempt(&mut call, &first, cell, || ()).await {
                Attempt::Done => call.said,
                Attempt::NotDone(not_done) => outcome_of(*not_done).err().map(Outcomes::Failed),
                Attempt::Fenced => None,
            }
        })
    }

    fn put_down(&mut self) {}
}

/// One call with a batch, as a handler, so that it is fenced in as any call is. That it is done says only that the call has ended.
struct OneCall<C> {
    handler: Rc<C>,
    records: Arc<[Record]>,
    said: Option<Outcomes>,
}

impl<C: CallBatch> Handler for OneCall<C> {
    type Answer = ();

    async fn handle(&mut self, _: &Record) {
        let answer = self.handler.call(Arc::clone(&self.records)).await;
        self.said = Some(answer.into_outcomes());
    }
}
