//! Which handler the records of a topic go to.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::consume::batch::{AsyncBatch, BatchBounds, IntoOutcomes, SyncBatch};
use crate::consume::error::ConsumerError;
use crate::consume::handler::{AsyncHandler, Handler, IntoOutcome, PartitionContext};
use crate::consume::membership::Membership;
use crate::consume::properties::configuration;
use crate::consume::record::Record;
use crate::consume::subscription::Subscription;
use crate::consume::workload::{AsyncWorkload, PartitionWorkload, SyncWorkload};
use crate::order::Order;
use crate::order::pump::{Pump, PumpIo, Workload};

/// A handler for the records of one topic: see [`ConsumerBuilder::route`](crate::consume::ConsumerBuilder::route).
///
/// It has one of the shapes that the builder's own methods take, with the same rules.
#[must_use = "a route does nothing until it is given to a builder"]
pub struct Route(Shape);

type MakeWorkload = Box<dyn FnOnce(Option<Handle>) -> Arc<dyn Workload> + Send>;

enum Shape {
    /// It may run on the app's runtime.
    Async(MakeWorkload),
    /// It runs where the engine has it run.
    Local(Arc<dyn Workload>),
    /// So does this, and it is one record's at a time.
    Stateful(Arc<dyn Workload>),
}

impl Route {
    /// A closure per record: see [`ConsumerBuilder::handler`](crate::consume::ConsumerBuilder::handler).
    pub fn handler<F, R>(handler: F) -> Self
    where
        F: Fn(&Record) -> R + Send + Sync + 'static,
        R: IntoOutcome + 'static,
    {
        Self(Shape::Local(Arc::new(SyncWorkload(Arc::new(handler)))))
    }

    /// An asynchronous closure per record: see [`ConsumerBuilder::async_handler`](crate::consume::ConsumerBuilder::async_handler).
    pub fn async_handler(handler: impl AsyncHandler) -> Self {
        let handler = Arc::new(handler);
        Self(Shape::Async(Box::new(|runtime| Arc::new(AsyncWorkload { handler, runtime }))))
    }

    /// A handler with state, per partition: see [`ConsumerBuilder::partition_handler`](crate::consume::ConsumerBuilder::partition_handler).
    pub fn partition_handler<F, H>(factory: F) -> Self
    where
        F: Fn(&PartitionContext) -> H + Send + Sync + 'static,
        H: Handler,
    {
        Self(Shape::Stateful(Arc::new(PartitionWorkload(Arc::new(factory)))))
    }

    /// A closure per batch: see [`ConsumerBuilder::batch_handler`](crate::consume::ConsumerBuilder::batch_handler).
    pub fn batch_handler<F, R>(bounds: BatchBounds, handler: F) -> Self
    where
        F: Fn(&[Record]) -> R + Send + Sync + 'static,
        R: IntoOutcomes + 'static,
    {
        Self(Shape::Local(Arc::new(SyncBatch { handler: Arc::new(handler), bounds })))
    }

    /// An asynchronous closure per batch: see [`ConsumerBuilder::async_batch_handler`](crate::consume::ConsumerBuilder::async_batch_handler).
    pub fn async_batch_handler<F, Fut>(bounds: BatchBounds, handler: F) -> Self
    where
        F: Fn(Arc<[Record]>) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoOutcomes + Send,
    {
        let handler = Arc::new(handler);
        Self(Shape::Async(Box::new(move |runtime| Arc::new(AsyncBatch { handler, bounds, runtime }))))
    }

    fn workload(self, runtime: Option<&Handle>) -> Arc<dyn Workload> {
        match self.0 {
            Shape::Async(make) => make(runtime.cloned()),
            Shape::Local(workload) | Shape::Stateful(workload) => workload,
        }
    }

    fn is_stateful(&self) -> bool {
        matches!(self.0, Shape::Stateful(_))
    }

    fn is_async(&self) -> bool {
        matches!(self.0, Shape::Async(_))
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("async", &self.is_async()).finish_non_exhaustive()
    }
}

/// The handlers that a builder was given.
#[derive(Default)]
pub(crate) struct Routes {
    pub(crate) common: Option<Route>,
    pub(crate) by_topic: HashMap<String, Route>,
}

impl Routes {
    pub(crate) fn is_empty(&self) -> bool {
        self.common.is_none() && self.by_topic.is_empty()
    }

    /// One workload of all of them; or why some topic would have none, or some handler no topic.
    pub(crate) fn workload(
        self,
        subscription: &Subscription,
        membership: Membership,
        order: Order,
        runtime: Option<&Handle>,
    ) -> Result<Arc<dyn Workload>, ConsumerError> {
        let Self { common, by_topic } = self;
        let missing = |what: String| Err(configuration(format!("a handler is missing{what}")));
        if common.is_none() && by_topic.is_empty() {
            return missing(": handler() or one of its siblings, route(), or pull()".to_owned());
        }
        let topics = subscription.topics();
        // What a pattern matches is not known before the brokers are asked, and may grow.
        let pattern = subscription.patterns().next().filter(|_| membership.is_member());
        if common.is_none() {
            if let Some(pattern) = pattern {
                return missing(format!(
                    " for what {pattern} matches: a route is for a topic by its name, so give the others handler() or one of its siblings"
                ));
            }
            if let Some(topic) = topics.iter().find(|topic| !by_topic.contains_key(**topic)) {
                return missing(format!(
                    " for the topic {topic}: give it a route, or all topics without one handler() or one of its siblings"
                ));
            }
        }
        if pattern.is_none()
            && let Some(topic) = by_topic.keys().find(|topic| !topics.contains(topic.as_str()))
        {
            return Err(configuration(format!("the route for the topic {topic} is never used: the topic is not read")));
        }
        if order != Order::Partition && common.iter().chain(by_topic.values()).any(Route::is_stateful) {
            return Err(configuration(
                "a partition_handler takes one record at a time: use async_handler with this order, or Order::Partition".to_owned(),
            ));
        }
        if runtime.is_some() && !common.iter().chain(by_topic.values()).any(Route::is_async) {
            return Err(configuration(
                "runtime() runs asynchronous handlers only, others run on the engine's threads, a partition's own where it was built: use \
                 async_handler(), or leave it out"
                    .to_owned(),
            ));
        }
        let common = common.map(|route| route.workload(runtime));
        if by_topic.is_empty()
            && let Some(common) = common
        {
            return Ok(common);
        }
        let by_topic = by_topic.into_iter().map(|(topic, route)| (topic, route.workload(runtime))).collect();
        Ok(Arc::new(Routed { common, by_topic }))
    }
}

/// Handlers by topic. Which one it is is asked once per epoch, when a partition's pump is made.
struct Routed {
    common: Option<Arc<dyn Workload>>,
    by_topic: HashMap<String, Arc<dyn Workload>>,
}

impl Workload for Routed {
    fn pump(&self, io: PumpIo) -> Pump {
        let topic = Arc::clone(&io.cell.partition.topic);
        match self.by_topic.get(&*topic).or(self.common.as_ref()) {
            Some(workload) => workload.pump(io),
            // The builder has seen to it that there is one for every topic that is read.
            None => Pump::Local(Box::pin(async move {
                io.stop(ConsumerError::Engine { detail: format!("the topic {topic} has no handler") });
                io.until_ending().await;
                io.drained();
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::ids::TopicPartition;

    fn route() -> Route {
        Route::handler(|_: &Record| ())
    }

    fn outcome(common: bool, routed: &[&str], topics: &[&str]) -> Result<(), String> {
        let by_topic = routed.iter().map(|topic| ((*topic).to_owned(), route())).collect();
        let routes = Routes { common: common.then(route), by_topic };
        let subscription = Subscription::Topics(topics.iter().map(|topic| (*topic).to_owned()).collect());
        routes
            .workload(&subscription, Membership::default(), Order::default(), None)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_topic_that_is_read_needs_a_handler() {
        assert_eq!(outcome(true, &[], &["a", "b"]), Ok(()));
        assert_eq!(outcome(false, &["a", "b"], &["a", "b"]), Ok(()));
        assert_eq!(outcome(true, &["a"], &["a", "b"]), Ok(()));
        assert!(outcome(false, &[], &["a"]).unwrap_err().contains("a handler is missing"));
        assert!(outcome(false, &["a"], &["a", "b"]).unwrap_err().contains("the topic b"));
        assert!(outcome(false, &["a"], &["a", "^x"]).unwrap_err().contains("^x matches"));
    }

    #[test]
    fn a_route_for_a_topic_that_is_not_read_is_a_mistake_unless_a_pattern_may_match_it() {
        assert!(outcome(true, &["c"], &["a", "b"]).unwrap_err().contains("the topic c"));
        assert_eq!(outcome(true, &["c"], &["a", "^x"]), Ok(()));
    }

    #[test]
    fn partitions_that_are_named_need_a_handler_for_their_topics() {
        let subscription = Subscription::Partitions(vec![TopicPartition::new("a", 0)]);
        let routes = Routes { common: None, by_topic: HashMap::from([("b".to_owned(), route())]) };
        let error = routes
            .workload(&subscription, Membership::Standalone, Order::default(), None)
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(error.contains("the topic a"), "{error}");
    }
}
