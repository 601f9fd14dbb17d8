//! A client that looks at groups and logs, and is no member of anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use kafka_troupe::ids::{PartitionId, TopicPartition};
use kafka_troupe::offsets::CommittedOffset;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use troupe_actors::{TopicId, describe_topics};

use super::admin::{self, Description, Isolation, ListedOffset, Refused};
use crate::cli::connect::Connection;

/// What is said of a partition that no broker leads.
pub(super) const NO_LEADER: &str = "the partition has no leader";

/// How long is waited before a coordinator or a leader is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Its calls wait for the brokers, each as long as the command's timeout at most: make them [`apart`](crate::cli::apart::apart).
pub(crate) struct Observer {
    client: BaseConsumer<Quiet>,
    isolation: Isolation,
    within: Duration,
}

/// A topic, as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Its partitions, and whether each has a leader: no other broker tells where its log begins and ends.
    Exists(BTreeMap<i32, bool>),
    Missing,
    /// There is no permission to see it.
    Denied,
}

/// What a memory is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identities {
    pub(crate) cluster: Option<String>,
    /// Those of the topics that have an id: Apache Kafka gives one from 2.8 on.
    pub(crate) topics: BTreeMap<Arc<str>, TopicId>,
}

/// Offsets by partition, each if the partition's leader told it.
pub(crate) type Offsets = BTreeMap<TopicPartition, Result<i64, String>>;

impl Observer {
    pub(crate) fn new(connection: &Connection) -> anyhow::Result<Self> {
        // To ask for a topic must not make one.
        let mut config = connection.client_config();
        config.set("allow.auto.create.topics", "false");
        let client = config.create_with_context(Quiet).context("the client cannot be made")?;
        // Logs end where Kafka's own tools see them end, at the high watermark, unless the properties say otherwise.
        let isolation = match connection.get("isolation.level") {
            Some("read_committed") => Isolation::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
            _ => Isolation::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        Ok(Self { client, isolation, within: connection.timeout() })
    }

    /// Who the group's members are; `None` where the broker cannot tell.
    pub(crate) fn describe(&self, group: &str) -> anyhow::Result<Option<Description>> {
        match self.patiently(|within| admin::describe(&self.client, group, within)) {
            Ok(description) => Ok(Some(description)),
            Err(Refused { code: RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion, why }) => {
                tracing::debug!(%why, "the broker does not describe groups");
                Ok(None)
            }
            Err(refused) => Err(self.explained(refused, group, "see", "Describe")),
        }
    }

    /// What the group has committed of these partitions, or of all.
    pub(crate) fn commits(&self, group: &str, of: Option<&[TopicPartition]>) -> anyhow::Result<Vec<CommittedOffset>> {
        let list = of.map(|partitions| list(partitions.iter().map(|each| (each, Offset::Invalid)))).transpose()?;
        self.patiently(|within| admin::commits(&self.client, group, list.as_ref(), within))
            .map_err(|refused| self.explained(refused, group, "see", "Describe"))
    }

    /// Commits these offsets for the group, without metadata. What is given back was not taken, and why.
    ///
    /// # Errors
    /// The inner one: the group has members.
    pub(crate) fn alter(
        &self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
    ) -> anyhow::Result<Result<Vec<(TopicPartition, RDKafkaErrorCode)>, HasMembers>> {
        let offsets = list(offsets.iter().map(|(partition, offset)| (partition, Offset::Offset(*offset))))?;
        let altered = self.patiently(|within| {
            let answers = admin::alter(&self.client, group, &offsets, within)?;
            let refused: Vec<_> = answers.into_iter().filter_map(|each| Some((each.partition, each.error?))).collect();
            // Refused for the group's sake, it is refused for every partition.
            let of_group =
                |code| passes(code) || has_members(code) || code == RDKafkaErrorCode::GroupAuthorizationFailed;
            match refused.iter().map(|(_, code)| *code).find(|code| of_group(*code)) {
                Some(code) => Err(Refused { code, why: code.to_string() }),
                None => Ok(refused),
            }
        });
        match altered {
            Ok(refused) => Ok(Ok(refused)),
            Err(refused) if has_members(refused.code) => Ok(Err(HasMembers)),
            Err(refused) => Err(self.explained(refused, group, "reset", "Read")),
        }
    }

    /// Each of these topics, as the cluster knows it.
    pub(crate) fn topics<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<BTreeMap<Arc<str>, Topic>> {
        names.into_iter().map(|name| Ok((Arc::from(name), self.topic(name)?))).collect()
    }

    fn topic(&self, name: &str) -> anyhow::Result<Topic> {
        let metadata = self.client.fetch_metadata(Some(name), self.within);
        let metadata = metadata.with_context(|| format!("the brokers do not tell of topic {name}"))?;
        let topic = metadata.topics().first().with_context(|| format!("the brokers do not tell of topic {name}"))?;
        match topic.error().map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(Topic::Missing),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Ok(Topic::Denied),
            Some(RDKafkaErrorCode::InvalidTopic) => anyhow::bail!("{name:?} is no valid topic name"),
            Some(error) => anyhow::bail!("topic {name}: {error}"),
            None => Ok(Topic::Exists(topic.partitions().iter().map(|each| (each.id(), each.leader() >= 0)).collect())),
        }
    }

    /// Where the logs begin, and where they end. One broker is asked once for all of its partitions.
    pub(crate) fn edges(&self, partitions: &[TopicPartition]) -> anyhow::Result<(Offsets, Offsets)> {
        let begins = self.offsets_at(partitions, Offset::Beginning).context("cannot see where the logs begin")?;
        // The ends last, so that none comes to lie below its begin, or below a commit that was read before.
        let told: Vec<_> = begins.iter().filter(|(_, begin)| begin.is_ok()).map(|(each, _)| each.clone()).collect();
        let ends = self.offsets_at(&told, Offset::End).context("cannot see where the logs end")?;
        Ok((begins, ends))
    }

    /// The first offset whose record has that timestamp or a later one, in milliseconds since the Unix epoch; -1 where there is none.
    pub(crate) fn offsets_from(&self, partitions: &[TopicPartition], timestamp: i64) -> anyhow::Result<Offsets> {
        self.offsets_at(partitions, Offset::Offset(timestamp.max(0))).context("cannot look for offsets by time")
    }

    /// Asks again, until the deadline, where a leader moves.
    fn offsets_at(&self, partitions: &[TopicPartition], time: Offset) -> anyhow::Result<Offsets> {
        let deadline = Instant::now() + self.within;
        let (mut offsets, mut open) = (Offsets::new(), partitions.to_vec());
        while !open.is_empty() {
            let times = list(open.iter().map(|each| (each, time)))?;
            let within = deadline.saturating_duration_since(Instant::now());
            let listed = match admin::list_offsets(&self.client, &times, self.isolation, within) {
                // librdkafka's word for: none of them has a leader.
                Err(Refused { code: RDKafkaErrorCode::NoEnt, .. }) => open.drain(..).map(leaderless).collect(),
                listed => listed.map_err(|refused| anyhow::anyhow!(refused.why))?,
            };
            open.clear();
            let again = Instant::now() + PAUSE < deadline;
            for ListedOffset { partition, offset, error } in listed {
                if again && error.is_some_and(moves) {
                    open.push(partition.clone());
                }
                let answer = match error {
                    Some(RDKafkaErrorCode::LeaderNotAvailable) => Err(NO_LEADER.to_owned()),
                    Some(code) => Err(format!("the leader does not tell: {code}")),
                    None => offset.ok_or_else(|| "the leader does not answer".to_owned()),
                };
                offsets.insert(partition, answer);
            }
            if !open.is_empty() {
                thread::sleep(PAUSE);
            }
        }
        Ok(offsets)
    }

    /// The cluster's names for itself and for these topics, where it tells them.
    pub(crate) fn identities(&self, topics: &[Arc<str>]) -> Identities {
        // A broker that does not know the question leaves librdkafka waiting.
        let described = match topics {
            [] => None,
            topics => describe_topics(&self.client, topics, self.within),
        };
        Identities {
            cluster: self.client.client().fetch_cluster_id(self.within),
            topics: described.into_iter().flatten().map(|(name, topic)| (name, topic.id)).collect(),
        }
    }

    /// Asks again, until the deadline, where a coordinator is only just coming up. Each time it is told how long it may take.
    fn patiently<T>(&self, mut ask: impl FnMut(Duration) -> Result<T, Refused>) -> Result<T, Refused> {
        let deadline = Instant::now() + self.within;
        loop {
            match ask(deadline.saturating_duration_since(Instant::now())) {
                Err(refused) if passes(refused.code) && Instant::now() + PAUSE < deadline => thread::sleep(PAUSE),
                answer => return answer,
            }
        }
    }

    /// What was refused, and what to do about it.
    fn explained(&self, Refused { code, why }: Refused, group: &str, what: &str, permission: &str) -> anyhow::Error {
        use RDKafkaErrorCode as E;
        match code {
            E::GroupAuthorizationFailed => {
                anyhow::anyhow!("no permission to {what} group {group}: an ACL must allow {permission}")
            }
            E::TopicAuthorizationFailed => {
                anyhow::anyhow!("no permission to {what} the topics of group {group}: an ACL must allow {permission}")
            }
            E::InvalidGroupId => anyhow::anyhow!("{group:?} is no valid name of a group"),
            E::OperationTimedOut | E::RequestTimedOut => {
                anyhow::anyhow!("the coordinator of group {group} did not answer within {:?}", self.within)
            }
            _ => anyhow::anyhow!("group {group}: {why}"),
        }
    }
}

/// Whether it is only for now that a coordinator, of a group or of all, does not answer.
fn passes(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(code, E::CoordinatorLoadInProgress | E::CoordinatorNotAvailable | E::NotCoordinator)
}

fn leaderless(partition: TopicPartition) -> ListedOffset {
    ListedOffset { partition, offset: None, error: Some(RDKafkaErrorCode::LeaderNotAvailable) }
}

/// Whether the partition has, or will have, another leader than the one that was asked.
fn moves(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(
        code,
        E::NotLeaderForPartition
            | E::LeaderNotAvailable
            | E::ReplicaNotAvailable
            | E::FencedLeaderEpoch
            | E::UnknownLeaderEpoch
            | E::OffsetNotAvailable
    )
}

/// The group is not reset while it has members: they would commit over it, or never notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HasMembers;

/// How a coordinator says that only members may commit.
fn has_members(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(
        code,
        E::UnknownMemberId | E::NonEmptyGroup | E::RebalanceInProgress | E::IllegalGeneration | E::StaleMemberEpoch
    )
}

fn list<'a>(offsets: impl Iterator<Item = (&'a TopicPartition, Offset)>) -> anyhow::Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (TopicPartition { topic, partition: PartitionId(partition) }, offset) in offsets {
        list.add_partition_offset(topic, *partition, offset)?;
    }
    Ok(list)
}

/// The first contact has told what is wrong with the brokers, and each call tells how it ends.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Quiet {}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use clap::Parser;
    use kafka_troupe::broker::LocalKafka;
    use kafka_troupe::{Consumer, Record};

    use super::*;
    use crate::cli::connect::Connect;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        connect: Connect,
    }

    /// What the commands see to before they ask: somebody may join in between.
    #[test]
    fn a_broker_itself_refuses_to_reset_a_group_with_members() {
        if std::env::var_os("TROUPE_TEST_KAFKA").is_some_and(|value| value == "skip") {
            eprintln!("skipped: TROUPE_TEST_KAFKA=skip");
            return;
        }
        let kafka = LocalKafka::start().unwrap_or_else(|error| panic!("{error}"));
        // The first group is long in coming where a machine is busy: the broker makes the topic that it is kept in.
        let words = ["command", "--bootstrap-server", kafka.bootstrap_servers(), "--timeout", "60s"];
        let observer = Observer::new(&Command::try_parse_from(words).unwrap().connect.resolve().unwrap()).unwrap();
        for protocol in ["classic", "consumer"] {
            kafka.create_topic(protocol, 1).unwrap();
            let partition = TopicPartition::new(protocol, 0);
            assert_eq!(observer.alter(protocol, &[(partition.clone(), 0)]).unwrap(), Ok(Vec::new()));
            let builder = Consumer::builder().bootstrap_servers(kafka.bootstrap_servers()).group_id(protocol);
            let builder = builder.topics([protocol]).property("group.protocol", protocol).handler(|_: &Record| ());
            let member = builder.start().unwrap();
            let until = Instant::now() + Duration::from_secs(30);
            while member.state().partitions.is_empty() {
                assert!(Instant::now() < until, "{protocol}: no partition is assigned");
                thread::park_timeout(Duration::from_millis(20));
            }
            assert_eq!(observer.alter(protocol, &[(partition, 0)]).unwrap(), Err(HasMembers), "{protocol}");
            member.shutdown_blocking(Duration::from_secs(20)).unwrap();
        }
    }
}
