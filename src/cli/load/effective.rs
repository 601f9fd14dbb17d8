use kafka_troupe::config::Setting;
use kafka_troupe::consume::AutoOffsetReset;

use super::member;
use super::stage::Stage;
use crate::load::plan::{Engine, Plan};
use crate::load::result::{Effective, Told};

/// What producers and members of a run were told: what was given, and over it what the run says itself.
pub(super) fn of(stage: &Stage, plan: &Plan) -> Effective {
    let mut config = stage.connection.config().clone();
    let consumer = &mut config.consumer;
    *consumer = member(consumer);
    consumer.topics = vec![plan.topic.clone()];
    consumer.partitions = Vec::new();
    consumer.group_id = Some(plan.group.clone());
    consumer.auto_offset_reset = Some(AutoOffsetReset::Earliest);
    consumer.order = Some(plan.order);
    consumer.concurrency = plan.concurrency.or(consumer.concurrency);
    for (name, value) in stage.consumer_properties() {
        consumer.kafka.set(name, *value);
    }
    let bare = plan.engine == Engine::Bare;
    if bare {
        config.consumer.kafka.set("enable.auto.commit", "true");
        config.consumer.kafka.set("enable.auto.offset.store", "false");
    }
    // Without the engine, what it is told means nothing.
    let counts = |it: &Setting| !bare || it.name.contains("kafka.") || it.name == "consumer.group_id";
    let told = |it: Setting| Told { name: it.name, value: it.value, from: it.origin.to_string() };
    Effective {
        producer: config.producer_settings().into_iter().map(told).collect(),
        consumer: config.consumer_settings().into_iter().filter(counts).map(told).collect(),
    }
}
