//! The actor behind an intake: takes batches that are full or due and hands them to its `PartitionerActor`.

use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, Addr, AsyncContext, Context, Handler, SpawnHandle};

use super::intake::{Intake, IntakeReady, Taken};
use super::partitioner_actor::PartitionerActor;
use super::state::Failure;

/// See the module. When it ends, however it does, what it has not taken is answered `Abandoned` and its senders hear `Closed`.
pub(super) struct ProducerActor {
    intake: Arc<Intake>,
    partitioner: Addr<PartitionerActor>,
    failure: Arc<Failure>,
    timer: Option<(Instant, SpawnHandle)>,
}

impl ProducerActor {
    pub(super) fn new(intake: Arc<Intake>, partitioner: Addr<PartitionerActor>, failure: Arc<Failure>) -> Self {
        Self { intake, partitioner, failure, timer: None }
    }

    /// Every look takes what is due by now, whatever woke the actor: under load its timer may come late.
    fn forward(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let Taken { batches, due } = self.intake.take_ready(now);
        for batch in batches {
            // Not bounded by the mailbox: the credits bound what can be in it. A batch that meets a dead actor is dropped, and so answered.
            self.partitioner.do_send(batch);
        }
        match (due, &self.timer) {
            (Some(due), Some((armed, _))) if *armed <= due => {}
            (Some(due), _) => self.arm(due, now, ctx),
            (None, _) => {}
        }
    }

    fn arm(&mut self, due: Instant, now: Instant, ctx: &mut Context<Self>) {
        if let Some((_, timer)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(due.saturating_duration_since(now), |actor, ctx| {
            actor.timer = None;
            actor.forward(ctx);
        });
        self.timer = Some((due, timer));
    }
}

impl Actor for ProducerActor {
    type Context = Context<Self>;
}

impl Handler<IntakeReady> for ProducerActor {
    type Result = ();

    fn handle(&mut self, _: IntakeReady, ctx: &mut Context<Self>) {
        self.forward(ctx);
    }
}

impl Drop for ProducerActor {
    fn drop(&mut self) {
        self.failure.actor_ended("ProducerActor");
        self.intake.abandon();
    }
}
