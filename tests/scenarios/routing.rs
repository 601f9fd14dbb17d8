//! Handlers by topic.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_troupe::consume::{ConsumerError, Handler, Record, Route};

use crate::fixture::{On, Stage, eventually};

scenarios! {
    on both brokers:
        each_topic_goes_to_its_own_handler_of_any_shape_and_the_others_to_the_common_one,
        a_route_holds_for_a_topic_that_a_pattern_matches,
        a_topic_without_a_handler_is_refused_before_anything_starts;
}

const STOP: Duration = Duration::from_secs(20);

/// How many records each handler had of each topic.
type Seen = Arc<Mutex<BTreeMap<(&'static str, String), usize>>>;

fn note(seen: &Seen, handler: &'static str, record: &Record) {
    *seen.lock().unwrap().entry((handler, record.topic().to_owned())).or_default() += 1;
}

struct Own(Seen);

impl Handler for Own {
    type Answer = ();

    async fn handle(&mut self, record: &Record) {
        note(&self.0, "partition", record);
    }
}

fn each_topic_goes_to_its_own_handler_of_any_shape_and_the_others_to_the_common_one(on: On) {
    let stages = topics(on, 5);
    let names = || stages.iter().map(|stage| stage.topic.clone());
    let seen = Seen::default();
    let [sync, asynchronous, own, common] = [(); 4].map(|()| Arc::clone(&seen));
    let consumer = stages[0]
        .consumer("g")
        .topics(names())
        .route(&stages[0].topic, Route::handler(move |record: &Record| note(&sync, "sync", record)))
        .route(
            &stages[1].topic,
            Route::async_handler(move |record: Record| {
                let seen = Arc::clone(&asynchronous);
                async move { note(&seen, "async", &record) }
            }),
        )
        .route(&stages[2].topic, Route::partition_handler(move |_| Own(Arc::clone(&own))))
        .handler(move |record: &Record| note(&common, "common", record))
        .start()
        .unwrap();
    let handlers = ["sync", "async", "partition", "common", "common"];
    let wanted: BTreeMap<_, _> = handlers.into_iter().zip(names()).map(|key| (key, 40)).collect();
    eventually("each has its own", || *seen.lock().unwrap() == wanted);
    let group = stages[0].group("g");
    let all = BTreeMap::from([(0, 20), (1, 20)]);
    eventually("all is committed", || stages.iter().all(|stage| stage.committed_of(&group) == all));
    consumer.shutdown_blocking(STOP).unwrap();
}

fn topics(on: On, count: usize) -> Vec<Stage> {
    let first = Stage::new(on, 2);
    let others: Vec<_> = (1..count).map(|_| first.another_topic(2)).collect();
    let stages: Vec<_> = std::iter::once(first).chain(others).collect();
    stages.iter().for_each(|stage| stage.produce(0, 20, 20));
    stages
}

fn a_route_holds_for_a_topic_that_a_pattern_matches(on: On) {
    let stages = topics(on, 2);
    let seen = Seen::default();
    let [own, common] = [(); 2].map(|()| Arc::clone(&seen));
    let pattern = format!("^({}|{})$", stages[0].topic, stages[1].topic);
    let consumer = stages[0]
        .consumer("g")
        .topics([pattern])
        .route(&stages[1].topic, Route::handler(move |record: &Record| note(&own, "own", record)))
        .handler(move |record: &Record| note(&common, "common", record))
        .start()
        .unwrap();
    let wanted = BTreeMap::from([(("common", stages[0].topic.clone()), 40), (("own", stages[1].topic.clone()), 40)]);
    eventually("each has its own", || *seen.lock().unwrap() == wanted);
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_topic_without_a_handler_is_refused_before_anything_starts(on: On) {
    let stage = Stage::new(on, 1);
    let route = || Route::handler(|_: &Record| ());
    for (refused, why) in [
        (stage.consumer("g"), "a handler is missing"),
        (stage.consumer("g").topics([&stage.topic, "other"]).route(&stage.topic, route()), "the topic other"),
        (stage.consumer("g").topics(["^t"]).route(&stage.topic, route()), "^t matches"),
        (stage.consumer("g").handler(|_: &Record| ()).route("other", route()), "the topic is not read"),
    ] {
        let error = refused.start().unwrap_err();
        assert!(matches!(error, ConsumerError::Configuration { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
}
