//! The topic that is written to: that it is there, and what it takes.

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio_util::sync::CancellationToken;

use crate::cli::connect::Connection;

/// `PARTITIONS[:REPLICATION]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Layout {
    partitions: i32,
    /// The broker decides where there is none.
    replication: Option<i32>,
}

impl Layout {
    /// So many partitions, with as many replicas as the broker thinks fit.
    pub(in crate::cli) fn of(partitions: i32) -> Self {
        Self { partitions, replication: None }
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str, most: i32| {
            let number = text.parse().ok().filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| "it is PARTITIONS or PARTITIONS:REPLICATION, as in 8 or 8:3".to_owned())
        };
        let (partitions, replication) = match text.split_once(':') {
            Some((partitions, replication)) => (partitions, Some(number(replication, i16::MAX.into())?)),
            None => (text, None),
        };
        Ok(Self { partitions: number(partitions, i32::MAX)?, replication })
    }
}

/// Makes sure that the topic exists, with these partitions if a layout is given. Without one it has to be there.
pub(in crate::cli) async fn ensure(
    connection: &Connection,
    topic: &str,
    layout: Option<Layout>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(layout) = layout else {
        connection.reach_topic(topic, stop)?;
        return Ok(());
    };
    if let Some(partitions) = connection.reach(Some(topic), stop)?.partitions {
        same(topic, partitions, layout)?;
        tracing::info!("topic {topic} exists already, with {partitions} partitions");
        return Ok(());
    }
    if let Created::Unknown(error) = create(connection, topic, layout).await? {
        return Err(error);
    }
    told(connection, topic, layout, stop).await
}

/// Waits until the brokers tell of a topic that was created: not every one knows it at once.
///
/// # Errors
/// [`Interrupted`](crate::cli::exit::Interrupted) where `stop` comes first; they do not in time, or tell of other partitions.
pub(in crate::cli) async fn told(
    connection: &Connection,
    topic: &str,
    layout: Layout,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + connection.timeout();
    loop {
        if let Some(partitions) = connection.reach(Some(topic), stop)?.partitions {
            return same(topic, partitions, layout);
        }
        anyhow::ensure!(Instant::now() < deadline, "topic {topic} was created, and the brokers do not tell of it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn same(topic: &str, partitions: usize, layout: Layout) -> anyhow::Result<()> {
    anyhow::ensure!(
        usize::try_from(layout.partitions) == Ok(partitions),
        "topic {topic} exists with {partitions} partitions, not {}; leave --create-topic out to write to it as it is",
        layout.partitions
    );
    Ok(())
}

/// What became of a topic that was to be created.
pub(in crate::cli) enum Created {
    New,
    /// Somebody else was faster.
    AlreadyThere,
    /// Nobody can say: it may be there, or come.
    Unknown(anyhow::Error),
}

/// Creates a topic, which not every broker tells of at once: see [`told`].
///
/// # Errors
/// It was refused, so that there is none.
pub(in crate::cli) async fn create(connection: &Connection, topic: &str, layout: Layout) -> anyhow::Result<Created> {
    let cannot = || format!("cannot create topic {topic}");
    let admin: AdminClient<DefaultClientContext> =
        connection.client_config().create().map_err(without_values).with_context(cannot)?;
    let replication = TopicReplication::Fixed(layout.replication.unwrap_or(-1));
    let new = NewTopic::new(topic, layout.partitions, replication);
    let answer = match admin.create_topics([&new], &options(connection)).await {
        Ok(results) => results.into_iter().next(),
        Err(error) => return Ok(Created::Unknown(without_values(error).context(cannot()))),
    };
    created(topic, layout, answer.map(|it| it.map(drop).map_err(|(_, error)| error)))
}

/// What the controller's answer says, if there is one.
fn created(topic: &str, layout: Layout, answer: Option<Result<(), RDKafkaErrorCode>>) -> anyhow::Result<Created> {
    match answer {
        Some(Ok(())) => {
            tracing::info!("topic {topic} created, with {} partitions", layout.partitions);
            Ok(Created::New)
        }
        Some(Err(RDKafkaErrorCode::TopicAlreadyExists)) => Ok(Created::AlreadyThere),
        Some(Err(RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed)) => {
            anyhow::bail!("cannot create topic {topic}: no permission, an ACL must allow Create")
        }
        Some(Err(RDKafkaErrorCode::InvalidReplicationFactor)) => {
            anyhow::bail!("cannot create topic {topic}: the cluster has too few brokers for that replication")
        }
        Some(Err(
            error @ (RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::InvalidPartitions
            | RDKafkaErrorCode::InvalidConfig
            | RDKafkaErrorCode::InvalidReplicaAssignment),
        )) => anyhow::bail!("cannot create topic {topic}: {error}"),
        // A controller that did not wait for it to the end may go on with it.
        Some(Err(error)) => Ok(Created::Unknown(anyhow::anyhow!("cannot create topic {topic}: {error}"))),
        None => Ok(Created::Unknown(anyhow::anyhow!("cannot create topic {topic}: no answer"))),
    }
}

/// Deletes a topic.
pub(in crate::cli) async fn delete(connection: &Connection, topic: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot delete topic {topic}");
    let admin: AdminClient<DefaultClientContext> =
        connection.client_config().create().map_err(without_values).with_context(cannot)?;
    let results =
        admin.delete_topics(&[topic], &options(connection)).await.map_err(without_values).with_context(cannot)?;
    match results.into_iter().next() {
        Some(Err((_, error))) => anyhow::bail!("cannot delete topic {topic}: {error}"),
        _ => Ok(()),
    }
}

pub(in crate::cli) fn options(connection: &Connection) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(connection.timeout())).operation_timeout(Some(connection.timeout()))
}

/// rdkafka's words hold the value of a property that is refused, which may be a secret.
pub(in crate::cli) fn without_values(error: KafkaError) -> anyhow::Error {
    match error {
        KafkaError::ClientConfig(_, _, name, _) => anyhow::anyhow!("property {name} is refused"),
        KafkaError::AdminOp(code) => anyhow::anyhow!("{code}"),
        error => error.into(),
    }
}

/// The most bytes of a batch of records that the topic takes, where the broker tells.
///
/// librdkafka has a limit of its own, and fails a batch as a whole if the broker finds it too large: good records with it. It is not worth a
/// long wait: a broker that does not know the question leaves librdkafka waiting, up to `within`, for which [`about_as_long`] is enough.
pub(in crate::cli) async fn most_bytes(connection: &Connection, topic: &str, within: Duration) -> Option<u64> {
    let admin: AdminClient<Quiet> = connection.client_config().create_with_context(Quiet).ok()?;
    let topic = ResourceSpecifier::Topic(topic);
    let configs = admin.describe_configs([&topic], &AdminOptions::new().request_timeout(Some(within))).await.ok()?;
    let config = configs.into_iter().next()?.ok()?;
    config.get("max.message.bytes")?.value.as_ref()?.parse().ok()
}

/// The producer's `message.max.bytes` for a topic that takes so many: the bounds are librdkafka's.
pub(in crate::cli) fn as_producers_limit(bytes: u64) -> String {
    bytes.clamp(1_000, 1_000_000_000).to_string()
}

/// How long the topic's limit is waited for, where another question took so long to be answered.
pub(in crate::cli) fn about_as_long(other: Duration) -> Duration {
    (3 * other).clamp(Duration::from_millis(500), Duration::from_secs(5))
}

/// It does not matter much if that is not told: old brokers do not, nor do those that do not allow it.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_partitions_and_perhaps_replication() {
        assert_eq!("8".parse(), Ok(Layout { partitions: 8, replication: None }));
        assert_eq!("8:3".parse(), Ok(Layout { partitions: 8, replication: Some(3) }));
        for text in ["", "0", "-1", "8:", "8:0", ":3", "8:3:1", "x", "99999999999"] {
            assert!(text.parse::<Layout>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_topic_may_be_there_but_where_it_was_refused() {
        use RDKafkaErrorCode::{
            InvalidReplicationFactor, OperationTimedOut, PolicyViolation, RequestTimedOut, TopicAlreadyExists,
            TopicAuthorizationFailed,
        };
        let layout = Layout::of(1);
        for error in [RequestTimedOut, OperationTimedOut] {
            assert!(matches!(created("t", layout, Some(Err(error))), Ok(Created::Unknown(_))), "{error}");
        }
        assert!(matches!(created("t", layout, None), Ok(Created::Unknown(_))));
        assert!(matches!(created("t", layout, Some(Err(TopicAlreadyExists))), Ok(Created::AlreadyThere)));
        for error in [TopicAuthorizationFailed, InvalidReplicationFactor, PolicyViolation] {
            assert!(created("t", layout, Some(Err(error))).is_err(), "{error}");
        }
    }
}
