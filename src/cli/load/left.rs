//! Topic and group of a run, on a Kafka that outlives it.

use std::fmt;

use anyhow::Context;
use kafka_troupe::consume::Order;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use crate::cli::connect::Connection;
use crate::cli::produce::topic::{options, without_values};
use crate::load::result::RunResult;
use crate::load::verdict::Judgement;

/// What a run leaves behind for people to look into.
pub(super) struct Left<'a> {
    pub(super) servers: &'a str,
    pub(super) topic: &'a str,
    pub(super) group: &'a str,
}

impl fmt::Display for Left<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, group, .. } = self;
        write!(
            f,
            "topic {topic} and group {group} are left, to look into; these delete them:\n  {}\n  {}",
            self.deleting_topic(),
            self.deleting_group()
        )
    }
}

impl Left<'_> {
    /// The command that does.
    pub(super) fn deleting_topic(&self) -> String {
        format!("kafka-topics.sh --bootstrap-server {} --delete --topic {}", self.servers, self.topic)
    }

    pub(super) fn deleting_group(&self) -> String {
        format!("kafka-consumer-groups.sh --bootstrap-server {} --delete --group {}", self.servers, self.group)
    }
}

/// Whether something is wrong that the log can tell more about. It says nothing of a latency, or of a schedule that was not held.
pub(super) fn is_worth_a_look(result: &RunResult) -> bool {
    let figures = &result.outcome.figures;
    let wrong = [
        figures.lost,
        figures.unseen,
        figures.corrupted,
        figures.foreign,
        figures.committed_ahead,
        figures.redelivered_after_commit,
        figures.duplicated.saturating_sub(figures.excused.unwrap_or_default()),
        if result.plan.order == Order::Unordered { 0 } else { figures.reordered },
    ];
    result.outcome.judgement() == Judgement::Failed && wrong.iter().any(|count| *count > 0)
}

/// One that never formed is none to delete.
///
/// # Errors
/// The broker refuses: members are still in it, or there is no permission.
pub(super) async fn delete_group(connection: &Connection, group: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot delete group {group}");
    let admin: AdminClient<DefaultClientContext> =
        connection.client_config().create().map_err(without_values).with_context(cannot)?;
    let results =
        admin.delete_groups(&[group], &options(connection)).await.map_err(without_values).with_context(cannot)?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::GroupIdNotFound))) => Ok(()),
        Some(Err((_, error))) => anyhow::bail!("cannot delete group {group}: {error}"),
        _ => Ok(()),
    }
}
