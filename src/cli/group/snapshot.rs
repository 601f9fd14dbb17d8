//! A group's commits beside the logs they are of, looked at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_troupe::ids::TopicPartition;
use kafka_troupe::offsets::CommittedOffset;

use super::admin::Description;
use super::observer::{NO_LEADER, Observer, Offsets, Topic};
use super::topics::Topics;

/// Where a group is in its topics.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// `None` where the broker cannot tell.
    pub(crate) group: Option<Description>,
    /// By topic and partition.
    pub(crate) partitions: Vec<Position>,
}

/// Where a group is in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) partition: TopicPartition,
    pub(crate) committed: Option<i64>,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) metadata: Box<[u8]>,
    pub(crate) log: Log,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// Its first offset, and the one that the next record gets.
    Edges { start: i64, end: i64 },
    /// There is no such partition any more.
    Gone(String),
    /// It is not known now where it begins and ends.
    Unknown(String),
}

impl Snapshot {
    /// Looks at these topics, or where there are none at those that the group has committed anything of or that its members hold. Of a
    /// topic without partitions named, at all of it.
    ///
    /// # Errors
    /// Besides what cannot be asked: a topic or partition is named that does not exist; the group does not exist.
    pub(crate) fn take(observer: &Observer, group: &str, topics: &Topics) -> anyhow::Result<Self> {
        let description = observer.describe(group)?;
        let (known, commits) = if topics.is_empty() {
            // What it has committed, before the logs' ends: else it could seem to be ahead of them.
            let commits = observer.commits(group, None)?;
            let held = description.iter().flat_map(|group| &group.members).flat_map(|member| &member.partitions);
            let names: BTreeSet<_> =
                commits.iter().map(|commit| &commit.partition).chain(held).map(|each| &*each.topic).collect();
            (observer.topics(names)?, commits)
        } else {
            let known = observer.topics(topics.names())?;
            let wanted = named(topics, &known)?;
            (known, observer.commits(group, Some(&wanted))?)
        };
        let wanted: BTreeSet<_> = named(topics, &known)?.into_iter().collect();
        let commits: BTreeMap<_, _> = commits.into_iter().map(|commit| (commit.partition.clone(), commit)).collect();
        let led = |each: &&TopicPartition| match known.get(&each.topic) {
            Some(Topic::Exists(partitions)) => partitions.get(&each.partition.0).copied().unwrap_or(false),
            _ => false,
        };
        let edges = observer.edges(&wanted.iter().filter(led).cloned().collect::<Vec<_>>())?;
        let committed = commits.values().filter(|commit| commit.next.is_some()).map(|commit| &commit.partition);
        let all: BTreeSet<_> = wanted.iter().chain(committed).collect();
        let positions = all.into_iter().map(|partition| {
            let log = log(partition, known.get(&partition.topic), &edges);
            Position::of(partition, commits.get(partition), log)
        });
        Ok(Self { partitions: positions.collect(), group: description })
    }

    /// The group has members or commits, as far as the broker can tell.
    pub(crate) fn exists(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.exists)
    }

    /// The group, its state and how many members it has, for a person.
    pub(crate) fn title(&self, group: &str) -> String {
        let Some(Description { state, members, .. }) = &self.group else { return format!("group {group}") };
        let members = match members.len() {
            0 => "no members".to_owned(),
            1 => "1 member".to_owned(),
            more => format!("{more} members"),
        };
        // librdkafka does not know the states that the new protocol has between two stable ones.
        match state.as_str() {
            "Unknown" => format!("group {group} ({members})"),
            state => format!("group {group} ({state}, {members})"),
        }
    }

    /// The lag of all partitions together, of those whose lag is known.
    pub(crate) fn lag(&self) -> u64 {
        self.partitions.iter().filter_map(Position::lag).sum()
    }
}

/// The partitions that are meant.
fn named(topics: &Topics, known: &BTreeMap<Arc<str>, Topic>) -> anyhow::Result<Vec<TopicPartition>> {
    let mut partitions = Vec::new();
    for (name, topic) in known {
        match topic {
            Topic::Exists(existing) => {
                let meant = topics.of_topic(name, existing.keys().copied()).map_err(anyhow::Error::msg)?;
                partitions.extend(meant.into_iter().map(|partition| TopicPartition::new(Arc::clone(name), partition)));
            }
            // Where nobody named it, a commit that is left of it is shown.
            _ if topics.is_empty() => {}
            Topic::Missing => anyhow::bail!("topic {name} does not exist"),
            Topic::Denied => {
                anyhow::bail!(
                    "no permission to see topic {name}: an ACL must allow Describe, or the topic is not there"
                )
            }
        }
    }
    Ok(partitions)
}

fn log(partition: &TopicPartition, topic: Option<&Topic>, (starts, ends): &(Offsets, Offsets)) -> Log {
    let partitions = match topic {
        Some(Topic::Exists(partitions)) => partitions,
        Some(Topic::Denied) => {
            return Log::Unknown("no permission to see the topic: an ACL must allow Describe".into());
        }
        Some(Topic::Missing) | None => return Log::Gone("the topic does not exist any more".to_owned()),
    };
    match (partitions.get(&partition.partition.0), starts.get(partition), ends.get(partition)) {
        (None, ..) => Log::Gone(format!("the topic has {} partitions by now", partitions.len())),
        (Some(false), ..) => Log::Unknown(NO_LEADER.to_owned()),
        (_, Some(Ok(start)), Some(Ok(end))) => Log::Edges { start: *start, end: *end },
        (_, Some(Err(why)), _) | (_, _, Some(Err(why))) => Log::Unknown(why.clone()),
        _ => Log::Unknown("the leader does not answer".to_owned()),
    }
}

impl Position {
    fn of(partition: &TopicPartition, commit: Option<&CommittedOffset>, log: Log) -> Self {
        let refused = commit.and_then(|commit| commit.error);
        Self {
            partition: partition.clone(),
            committed: commit.and_then(|commit| commit.next).map(|next| next.0),
            leader_epoch: commit.and_then(|commit| commit.leader_epoch),
            metadata: commit.map(|commit| commit.metadata.clone()).unwrap_or_default(),
            log: match refused {
                Some(code) if matches!(log, Log::Edges { .. }) => {
                    Log::Unknown(format!("its commit is not told: {code}"))
                }
                _ => log,
            },
        }
    }

    /// How many offsets lie between the commit and the log's end; of a partition without a commit, all that the log has. `None` where the
    /// log is not known.
    pub(crate) fn lag(&self) -> Option<u64> {
        match self.log {
            Log::Edges { start, end } => Some(u64::try_from(end - self.committed.unwrap_or(start)).unwrap_or(0)),
            _ => None,
        }
    }

    /// It is there, and its log is not known.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.log, Log::Unknown(_))
    }

    pub(crate) fn start(&self) -> Option<i64> {
        if let Log::Edges { start, .. } = self.log { Some(start) } else { None }
    }

    pub(crate) fn end(&self) -> Option<i64> {
        if let Log::Edges { end, .. } = self.log { Some(end) } else { None }
    }

    /// What is odd about it.
    pub(crate) fn note(&self) -> Option<String> {
        match (&self.log, self.committed) {
            (Log::Gone(why) | Log::Unknown(why), _) => Some(why.clone()),
            (Log::Edges { end, .. }, Some(committed)) if committed > *end => Some(format!(
                "the commit is {} beyond the log's end: the log was cut, or the topic created anew",
                committed - end
            )),
            (Log::Edges { start, .. }, Some(committed)) if committed < *start => {
                Some(format!("the log begins {} above the commit: what lay between is gone", start - committed))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn position(partition: i32, committed: Option<i64>, start: i64, end: i64) -> Position {
        Position {
            partition: TopicPartition::new("t", partition),
            committed,
            leader_epoch: None,
            metadata: Box::default(),
            log: Log::Edges { start, end },
        }
    }

    impl Position {
        pub(crate) fn unknown(self, why: &str) -> Self {
            Self { log: Log::Unknown(why.to_owned()), ..self }
        }
    }

    #[test]
    fn lag_counts_from_the_commit_and_without_one_from_the_logs_start() {
        assert_eq!(position(0, Some(7), 0, 10).lag(), Some(3));
        assert_eq!(position(0, Some(10), 0, 10).lag(), Some(0));
        assert_eq!(position(0, None, 4, 10).lag(), Some(6));
        assert_eq!(position(0, None, 10, 10).lag(), Some(0));
        let gone = Position { log: Log::Gone("gone".to_owned()), ..position(0, Some(7), 0, 10) };
        assert_eq!(gone.lag(), None);
    }

    #[test]
    fn what_lies_outside_the_log_is_noted() {
        assert_eq!(position(0, Some(3), 3, 10).note(), None);
        assert_eq!(position(0, Some(10), 3, 10).note(), None);
        let beyond = position(0, Some(12), 3, 10);
        assert!(beyond.note().is_some_and(|note| note.contains("2 beyond the log's end")), "{beyond:?}");
        assert_eq!(beyond.lag(), Some(0));
        let lost = position(0, Some(1), 3, 10);
        assert!(lost.note().is_some_and(|note| note.contains("begins 2 above the commit")), "{lost:?}");
        assert_eq!(lost.lag(), Some(9), "as Kafka's own tools count it");
    }

    fn known(topic: Topic) -> BTreeMap<Arc<str>, Topic> {
        BTreeMap::from([(Arc::from("t"), topic)])
    }

    #[test]
    fn a_log_that_is_not_known_says_why() {
        let three = Topic::Exists(BTreeMap::from([(0, true), (1, false), (2, true)]));
        let starts = Offsets::from([(TopicPartition::new("t", 0), Ok(1)), (TopicPartition::new("t", 2), Ok(1))]);
        let ends =
            Offsets::from([(TopicPartition::new("t", 0), Ok(9)), (TopicPartition::new("t", 2), Err("no".to_owned()))]);
        let edges = (starts, ends);
        let log = |partition, topic| log(&TopicPartition::new("t", partition), topic, &edges);
        assert_eq!(log(0, Some(&three)), Log::Edges { start: 1, end: 9 });
        assert!(matches!(log(1, Some(&three)), Log::Unknown(why) if why.contains("no leader")));
        assert!(matches!(log(2, Some(&three)), Log::Unknown(why) if why.ends_with("no")));
        assert!(matches!(log(3, Some(&three)), Log::Gone(why) if why.contains("3 partitions")));
        assert!(matches!(log(0, Some(&Topic::Missing)), Log::Gone(_)));
        assert!(matches!(log(0, Some(&Topic::Denied)), Log::Unknown(_)));
    }

    #[test]
    fn who_names_a_topic_gets_it_or_an_error_and_who_names_none_gets_what_is_left() {
        let topics =
            |specs: &[&str]| Topics::of(&specs.iter().filter_map(|spec| spec.parse().ok()).collect::<Vec<_>>());
        let two = known(Topic::Exists(BTreeMap::from([(0, true), (1, true)])));
        assert!(matches!(named(&topics(&["t:1"]), &two), Ok(named) if named == [TopicPartition::new("t", 1)]));
        assert!(matches!(named(&topics(&[]), &two), Ok(named) if named.len() == 2));
        assert!(named(&topics(&["t:2"]), &two).is_err());
        for topic in [Topic::Missing, Topic::Denied] {
            assert!(named(&topics(&["t"]), &known(topic.clone())).is_err());
            assert!(matches!(named(&topics(&[]), &known(topic)), Ok(named) if named.is_empty()));
        }
    }
}
