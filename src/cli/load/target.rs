use std::collections::BTreeMap;
use std::path::Path;

use kafka_troupe::config::ConsumerConfig;
use kafka_troupe::consume::{CommitWhen, StartAt};
use rdkafka::ClientConfig;

use super::stage::Stage;
use crate::load::crew::MemberSettings;
use crate::load::run::Target;

/// The clients of a run on that stage, whose members are in this process, and which logs histograms to `folder`.
pub(super) fn target<'a>(stage: &'a Stage, folder: &Path) -> Target<'a> {
    let connection = &stage.connection;
    Target {
        producer: connection.producer(),
        members: members(stage),
        client: connection.client_config(),
        timeout: connection.timeout(),
        folder: folder.to_owned(),
    }
}

/// The members of a run's group, in this process.
pub(super) fn members(stage: &Stage) -> MemberSettings<'_> {
    let config = &stage.connection.config().consumer;
    let engine = Box::new(|| member(config).builder().properties(stage.consumer_properties().iter().copied()));
    let given = config.kafka.iter().chain(stage.consumer_properties().iter().copied());
    MemberSettings { engine, bare: bare_client(given), process: None }
}

/// A file may have been made for another consumer: this one is a member of a group that reads a topic of its own.
pub(super) fn member(given: &ConsumerConfig) -> ConsumerConfig {
    let mut consumer = given.clone();
    consumer.standalone = false;
    consumer.client_auto_commit = false;
    consumer.start_at = StartAt::Committed;
    if consumer.commit_when == CommitWhen::Manual {
        consumer.commit_when = CommitWhen::default();
    }
    consumer
}

/// librdkafka's configuration of a consumer with these properties, and beside them those that the engine gives it.
fn bare_client<'a>(given: impl Iterator<Item = (&'a str, &'a str)>) -> ClientConfig {
    let given: BTreeMap<&str, &str> = given.collect();
    let mut client = ClientConfig::new();
    for (name, value) in troupe_actors::consumer_defaults_beside(given.clone()) {
        client.set(name, value);
    }
    for (name, value) in given {
        client.set(name, value);
    }
    client
}
