//! The Kafka that a run takes place on.

use std::str::FromStr;
use std::time::Duration;

use kafka_troupe::broker::{EmbeddedBroker, LocalKafka};
use kafka_troupe::config::tool::Role;
use tokio_util::sync::CancellationToken;

use crate::cli::apart::apart_until;
use crate::cli::connect::{Connect, Connection, Said};
use crate::cli::produce::topic::{self, Created};
use crate::load::plan::Plan;

use super::left::{self, Left};

/// After how long a member that was killed counts as dead on the embedded broker: long enough for one that a busy machine keeps waiting.
const EMBEDDED_SESSION: Duration = Duration::from_secs(6);

/// `--kafka`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kafka {
    Embedded,
    Local { nodes: usize },
}

impl FromStr for Kafka {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "embedded" => Ok(Self::Embedded),
            None if text == "local" => Ok(Self::Local { nodes: 1 }),
            Some(("local", nodes)) => match nodes.parse() {
                Ok(nodes @ 1..=9) => Ok(Self::Local { nodes }),
                _ => Err("a local Kafka has 1 to 9 nodes, as in local:3".to_owned()),
            },
            _ => Err("it is embedded, local or local:NODES".to_owned()),
        }
    }
}

/// A Kafka with the run's topic. Where this process runs it, it ends with this value.
pub(super) struct Stage {
    pub(super) connection: Connection,
    running: Running,
}

enum Running {
    Embedded(EmbeddedBroker),
    Local(LocalKafka, usize),
    Elsewhere,
    /// Another run's, whose member this process is.
    Of {
        embedded: bool,
    },
}

impl Stage {
    /// Starts it, or finds it. With `faults`, members are killed.
    pub(super) async fn set(
        kafka: Option<Kafka>,
        connect: &Connect,
        faults: bool,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let given = connect.settings(Role::Neither, &[])?;
        let kafka = match kafka {
            None if given.get("bootstrap.servers").is_some() => {
                return Ok(Self { connection: given, running: Running::Elsewhere });
            }
            kafka => kafka.unwrap_or(Kafka::Embedded),
        };
        let running = match kafka {
            Kafka::Embedded => {
                let broker = EmbeddedBroker::builder();
                let broker = if faults { broker.consumer_session_timeout(EMBEDDED_SESSION) } else { broker };
                Running::Embedded(broker.start()?)
            }
            Kafka::Local { nodes } => {
                let start = move || Ok(LocalKafka::builder().nodes(nodes).start()?);
                Running::Local(apart_until(stop, start).await?, nodes)
            }
        };
        let servers = match &running {
            Running::Embedded(broker) => broker.bootstrap_servers(),
            Running::Local(kafka, _) => kafka.bootstrap_servers(),
            Running::Elsewhere | Running::Of { .. } => "",
        };
        let servers: Said<'_> = ("kafka.bootstrap.servers", servers, "--kafka");
        Ok(Self { connection: connect.settings(Role::Neither, &[servers])?, running })
    }

    /// The Kafka of a run whose member this process is.
    pub(super) fn of_member(connect: &Connect, servers: &str, embedded: bool) -> anyhow::Result<Self> {
        let servers: Said<'_> = ("kafka.bootstrap.servers", servers, "--member-of");
        Ok(Self { connection: connect.settings(Role::Neither, &[servers])?, running: Running::Of { embedded } })
    }

    pub(super) fn is_embedded(&self) -> bool {
        matches!(self.running, Running::Embedded(_) | Running::Of { embedded: true })
    }

    /// What a consumer needs to know of this Kafka.
    pub(super) fn consumer_properties(&self) -> &'static [(&'static str, &'static str)] {
        // Of the two protocols the one that the embedded broker plays right also on a busy machine.
        if self.is_embedded() { EmbeddedBroker::CONSUMER_PROTOCOL_PROPERTIES } else { &[] }
    }

    /// Creates the run's topic.
    ///
    /// # Errors
    /// [`Interrupted`](crate::cli::exit::Interrupted) where `stop` comes before the brokers tell of it; else the broker's. No topic of the run is there
    /// then, or it is told how to delete it.
    pub(super) async fn create_topic(&self, plan: &Plan, stop: &CancellationToken) -> anyhow::Result<()> {
        let partitions = i32::try_from(plan.partitions)?;
        match &self.running {
            Running::Embedded(broker) => broker.create_topic(&plan.topic, partitions)?,
            Running::Local(kafka, _) => kafka.create_topic(&plan.topic, partitions)?,
            Running::Elsewhere | Running::Of { .. } => {
                let layout = topic::Layout::of(partitions);
                self.connection.reach(None, stop)?;
                match topic::create(&self.connection, &plan.topic, layout).await? {
                    Created::New => {}
                    Created::AlreadyThere => anyhow::bail!(
                        "topic {} exists already: whose it is nobody can say, so it is left as it is",
                        plan.topic
                    ),
                    Created::Unknown(error) => {
                        // To delete it now would be no use where the controller is yet to create it.
                        if let Some(left) = self.left(plan) {
                            let (topic, delete) = (left.topic, left.deleting_topic());
                            tracing::warn!("topic {topic} may be there all the same; this deletes it: {delete}");
                        }
                        return Err(error);
                    }
                }
                if let Err(error) = topic::told(&self.connection, &plan.topic, layout, stop).await {
                    self.clear(plan).await;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Deletes topic and group of a run that nobody has to look into. Its members have left.
    pub(super) async fn clear(&self, plan: &Plan) {
        let Some(left) = self.left(plan) else { return };
        let Left { topic, group, .. } = left;
        if let Err(error) = left::delete_group(&self.connection, group).await {
            tracing::warn!("group {group} stays behind: {error:#}; this deletes it: {}", left.deleting_group());
        }
        if let Err(error) = topic::delete(&self.connection, topic).await {
            tracing::warn!("topic {topic} stays behind: {error:#}; this deletes it: {}", left.deleting_topic());
        }
    }

    /// What stays behind of a run that is not cleared, where that outlives this process.
    pub(super) fn left<'a>(&'a self, plan: &'a Plan) -> Option<Left<'a>> {
        let servers = self.connection.get("bootstrap.servers").unwrap_or_default();
        matches!(self.running, Running::Elsewhere).then_some(Left { servers, topic: &plan.topic, group: &plan.group })
    }

    /// Which Kafka it is, for the result.
    pub(super) fn name(&self) -> String {
        match &self.running {
            Running::Embedded(_) => "embedded".to_owned(),
            Running::Local(_, nodes) => format!("local Apache Kafka, {nodes} nodes"),
            Running::Elsewhere | Running::Of { .. } => {
                self.connection.get("bootstrap.servers").unwrap_or_default().to_owned()
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use std::time::Instant;

    use clap::Parser;

    use super::super::Load;
    use super::*;
    use crate::cli::exit::Interrupted;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        load: Load,
    }

    #[tokio::test]
    async fn a_topic_is_deleted_where_a_signal_comes_before_the_run_and_one_that_was_there_is_not_the_runs() {
        if std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip") {
            eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
            return;
        }
        let kafka = LocalKafka::start().unwrap_or_else(|error| panic!("{error}"));
        let load = Command::try_parse_from(["load", "--bootstrap-server", kafka.bootstrap_servers()]).unwrap().load;
        let stop = CancellationToken::new();
        let stage = Stage::set(None, &load.connect, false, &stop).await.unwrap();
        let (content, timing) = (load.shape.content().unwrap(), load.timing(None));
        let plan = load.plan(jiff::Timestamp::now(), 1, false, content, timing);
        let is_there = || stage.connection.reach(Some(&plan.topic), &stop).unwrap().partitions.is_some();

        // The signal comes when the broker has been asked for it, and has not answered.
        let signal = CancellationToken::new();
        let (made, ()) = tokio::join!(stage.create_topic(&plan, &signal), async { signal.cancel() });
        assert!(made.unwrap_err().is::<Interrupted>());
        let until = Instant::now() + Duration::from_secs(30);
        while is_there() {
            assert!(Instant::now() < until, "it is still there");
        }

        kafka.create_topic(&plan.topic, 1).unwrap();
        let refused = stage.create_topic(&plan, &stop).await.unwrap_err().to_string();
        assert!(refused.contains("exists already") && is_there(), "{refused}");
        // A group that never formed is none to warn of.
        left::delete_group(&stage.connection, &plan.group).await.unwrap();
    }

    #[test]
    fn a_kafka_is_embedded_or_local_with_so_many_nodes() {
        assert_eq!("embedded".parse(), Ok(Kafka::Embedded));
        assert_eq!("local".parse(), Ok(Kafka::Local { nodes: 1 }));
        assert_eq!("local:3".parse(), Ok(Kafka::Local { nodes: 3 }));
        for text in ["", "embedded:3", "local:", "local:0", "local:10", "remote"] {
            assert!(text.parse::<Kafka>().is_err(), "{text}");
        }
    }
}
