use kafka_troupe::config::{Origin, Setting};
use kafka_troupe::consume::AutoOffsetReset;
use troupe_actors::secret;

use super::stage::Stage;
use super::target::member;
use crate::cli::connect::Connection;
use crate::load::pipeline::manifest::RunId;
use crate::load::pipeline::out::reading;
use crate::load::pipeline::part::Part;
use crate::load::plan::{Engine, Plan, actors};
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
    if plan.failure_rate > 0.0 {
        consumer.max_attempts = u32::MAX;
    }
    config.producer.actors = plan.actors();
    if bare {
        config.consumer.kafka.set("enable.auto.commit", "true");
        config.consumer.kafka.set("enable.auto.offset.store", "false");
    }
    // Without the engine, what it is told means nothing.
    let counts = |it: &Setting| !bare || it.name.contains("kafka.") || it.name == "consumer.group_id";
    Effective {
        producer: config.producer_settings().into_iter().map(told).collect(),
        consumer: config.consumer_settings().into_iter().filter(counts).map(told).collect(),
    }
}

/// The same of a run through somebody's application: of the producer, where this host sends, and of the client that reads OUT, where it does.
pub(super) fn of_pipeline(connection: &Connection, part: Part, run: RunId, producers: u16) -> Effective {
    let mut config = connection.config().clone();
    config.producer.actors = actors(producers);
    let producer = if part.sends() { config.producer_settings() } else { Vec::new() };
    let consumer = if part.verifies() { reader(connection, run) } else { Vec::new() };
    Effective { producer: producer.into_iter().map(told).collect(), consumer }
}

/// A client without the engine: what it is told is what is said to all clients, and what the run says itself.
fn reader(connection: &Connection, run: RunId) -> Vec<Told> {
    let said = connection.config().consumer_settings();
    let client = reading(connection.client_config(), run.0);
    let told = client.config_map().into_iter().map(|(property, value)| {
        let name = format!("kafka.{property}");
        let from = said.iter().find(|it| it.name == name && connection.get(property) == client.get(property));
        let from = from.map_or_else(|| Origin::Code.to_string(), |it| it.origin.to_string());
        Told { name, value: secret::shown(property, value).to_owned(), from }
    });
    let mut told: Vec<Told> = told.collect();
    told.sort_by(|one, other| one.name.cmp(&other.name));
    told
}

fn told(setting: Setting) -> Told {
    Told { name: setting.name, value: setting.value, from: setting.origin.to_string() }
}
