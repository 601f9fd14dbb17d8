use std::fmt;
use std::time::Duration;

use rdkafka_sys::types::RDKafkaErrorCode;

use super::error::BrokerError;
use super::mock_cluster::RawMockCluster;

/// A Kafka cluster in this process: librdkafka's mock cluster, listening on loopback.
///
/// Nothing has to be installed. The ports are chosen by the system, and other processes on this host can connect too. The cluster ends,
/// and everything in it is gone, when the value is dropped. It can be shared between threads.
///
/// ```
/// use kafka_troupe::broker::EmbeddedBroker;
///
/// # fn main() -> Result<(), kafka_troupe::broker::BrokerError> {
/// let broker = EmbeddedBroker::start()?;
/// broker.create_topic("flights", 8)?;
/// println!("bootstrap.servers={}", broker.bootstrap_servers());
/// # Ok(())
/// # }
/// ```
///
/// Give consumers the [`CONSUMER_PROPERTIES`](Self::CONSUMER_PROPERTIES) as well, or the
/// [`CONSUMER_PROTOCOL_PROPERTIES`](Self::CONSUMER_PROTOCOL_PROPERTIES): with librdkafka's defaults a second member of a group waits for
/// half a minute.
///
/// # What it is not
/// It proves a pipeline's logic, not a cluster's. Read in librdkafka 2.12.1's `rdkafka_mock*.c`:
/// - A partition keeps its newest 5 MiB or 100,000 batches. What is older goes silently, and a consumer that still wanted it is thrown to
///   `auto.offset.reset`. Keep less than that outstanding.
/// - There is no admin protocol: topics come from [`create_topic`](Self::create_topic), or by themselves, with 4 partitions, when a
///   producer names one. Groups cannot be listed or described.
/// - Transactions are answered with success and mean nothing: no control records, no isolation, and offsets sent to a transaction vanish.
/// - No compaction, no static members, no authentication, no TLS.
/// - A classic group refuses commits with `REBALANCE_IN_PROGRESS` while its members join; Kafka takes them. So an eager member cannot commit
///   what it gives up. Nor can a cooperative one, when another member's SyncGroup comes after the leader's: the mock cluster then thinks all
///   have synced, turns that member away, and the group joins once more, over the head of the one that is giving up partitions. It takes a
///   busy machine, and the records in question are repeated. A group of the consumer protocol (KIP-848) has no such rounds.
/// - Members of one group whose first assignors differ abort the process, by an assertion inside librdkafka.
/// - A Fetch that finds nothing waits all of `fetch.wait.max.ms`, even when records arrive meanwhile.
pub struct EmbeddedBroker {
    cluster: RawMockCluster,
    bootstrap_servers: String,
    brokers: i32,
}

impl EmbeddedBroker {
    /// What a member of a classic group should set so that the group forms and changes fast on this broker, as librdkafka's names and
    /// values.
    ///
    /// - A join into a running group takes `session.timeout.ms` less one second, and a member counts as dead after the whole of it: the
    ///   value is as short as a busy machine bears. With it two cooperative members share the partitions about a second after the
    ///   second one joins, half a second for each of the two rounds.
    /// - `heartbeat.interval.ms` is how soon the other members notice that a round began.
    /// - An empty Fetch always waits `fetch.wait.max.ms` here, so this is the latency of a record that meets an idle consumer.
    /// - The reconnect pauses bound how long a client stays away from a broker that is up again.
    pub const CONSUMER_PROPERTIES: &'static [(&'static str, &'static str)] = &[
        ("session.timeout.ms", "1500"),
        ("heartbeat.interval.ms", "100"),
        ("fetch.wait.max.ms", "10"),
        ("reconnect.backoff.ms", "20"),
        ("reconnect.backoff.max.ms", "200"),
    ];

    /// The same for a group of the consumer protocol (KIP-848), which has its timeouts from the broker: a heartbeat every 100 ms, and a
    /// member counts as dead after 30 s, or what
    /// [`consumer_session_timeout`](EmbeddedBrokerBuilder::consumer_session_timeout) says. A second member has its share within 0.2 s. This is the choice where a busy machine must not make
    /// a difference.
    pub const CONSUMER_PROTOCOL_PROPERTIES: &'static [(&'static str, &'static str)] = &[
        ("group.protocol", "consumer"),
        ("fetch.wait.max.ms", "10"),
        ("reconnect.backoff.ms", "20"),
        ("reconnect.backoff.max.ms", "200"),
    ];

    /// Starts a cluster of one broker.
    ///
    /// # Errors
    /// When librdkafka cannot make a client or cannot listen on loopback.
    pub fn start() -> Result<Self, BrokerError> {
        Self::builder().start()
    }

    /// Prepares a cluster that differs from the usual one.
    pub fn builder() -> EmbeddedBrokerBuilder {
        EmbeddedBrokerBuilder { brokers: 1, consumer_session: None }
    }

    /// The value for `bootstrap.servers`: `host:port` of every broker, with commas between.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Creates a topic. Each partition has a replica on every broker.
    ///
    /// # Errors
    /// When the topic exists, the name holds a NUL, or there would be no partition.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), BrokerError> {
        // The mock cluster takes any number, and a topic without partitions hangs whoever uses it.
        let created = if partitions < 1 {
            Err(RDKafkaErrorCode::InvalidPartitions)
        } else {
            self.cluster.create_topic(topic, partitions, self.brokers)
        };
        created.map_err(|source| BrokerError::CreateTopic { topic: topic.to_owned(), partitions, source })
    }
}

/// Faults, for tests.
///
/// Brokers are numbered from 1.
#[cfg(feature = "testing")]
impl EmbeddedBroker {
    /// Takes a broker down: its connections close and new ones are refused. Its partitions keep it as their leader.
    ///
    /// No thread may start a process meanwhile: librdkafka 2.12.1 closes the listener, binds its port anew and aborts this process where it cannot, as long
    /// as a new process holds a copy of the listener, until its program begins.
    ///
    /// # Errors
    /// When there is no such broker.
    pub fn take_down(&self, broker: i32) -> Result<(), BrokerError> {
        self.known(broker)
            .and_then(|()| self.cluster.set_down(broker))
            .map_err(refused(|| format!("take broker {broker} down")))
    }

    /// Brings a broker up again, on its old port, with its records.
    ///
    /// # Errors
    /// When there is no such broker.
    pub fn bring_up(&self, broker: i32) -> Result<(), BrokerError> {
        self.known(broker)
            .and_then(|()| self.cluster.set_up(broker))
            .map_err(refused(|| format!("bring broker {broker} up")))
    }

    /// Holds back each answer of a broker for `rtt`, counted in whole milliseconds.
    ///
    /// # Errors
    /// When there is no such broker.
    pub fn set_rtt(&self, broker: i32, rtt: Duration) -> Result<(), BrokerError> {
        let millis = i32::try_from(rtt.as_millis()).unwrap_or(i32::MAX);
        self.known(broker)
            .and_then(|()| self.cluster.set_rtt(broker, millis))
            .map_err(refused(|| format!("set the rtt of broker {broker}")))
    }

    /// Answers the next requests of a kind with these errors, one each, in this order; then all is well again.
    ///
    /// `RD_KAFKA_RESP_ERR__TRANSPORT` closes the client's connection instead of answering.
    pub fn fail_requests(&self, api_key: super::RDKafkaApiKey, errors: &[super::RDKafkaRespErr]) {
        self.cluster.push_request_errors(api_key.into(), errors);
    }

    /// Forgets the errors of [`fail_requests`](Self::fail_requests) that were not used up.
    pub fn stop_failing_requests(&self, api_key: super::RDKafkaApiKey) {
        self.cluster.clear_request_errors(api_key.into());
    }

    /// Makes a broker the coordinator of a group. The group's members and offsets stay.
    ///
    /// # Errors
    /// When there is no such broker.
    pub fn move_coordinator(&self, group: &str, broker: i32) -> Result<(), BrokerError> {
        self.known(broker)
            .and_then(|()| self.cluster.set_group_coordinator(group, broker))
            .map_err(refused(|| format!("move the coordinator of group {group} to broker {broker}")))
    }

    /// Makes a broker the leader of a partition. The partition's records stay.
    ///
    /// # Errors
    /// When there is no such broker or partition.
    pub fn move_leader(&self, topic: &str, partition: i32, broker: i32) -> Result<(), BrokerError> {
        self.known(broker)
            .and_then(|()| self.cluster.set_leader(topic, partition, broker))
            .map_err(refused(|| format!("move the leader of {topic}-{partition} to broker {broker}")))
    }

    /// The mock cluster takes -1 for all brokers, and any number for a coordinator.
    fn known(&self, broker: i32) -> Result<(), RDKafkaErrorCode> {
        if (1..=self.brokers).contains(&broker) { Ok(()) } else { Err(RDKafkaErrorCode::UnknownBroker) }
    }
}

#[cfg(feature = "testing")]
fn refused(operation: impl FnOnce() -> String) -> impl FnOnce(RDKafkaErrorCode) -> BrokerError {
    |source| BrokerError::Refused { operation: operation(), source }
}

impl fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedBroker")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}

/// How an [`EmbeddedBroker`] is to be.
#[derive(Clone, Debug)]
pub struct EmbeddedBrokerBuilder {
    brokers: i32,
    consumer_session: Option<Duration>,
}

impl EmbeddedBrokerBuilder {
    /// How many brokers the cluster has, 1 by default. More are of use where leaders or coordinators move or a broker goes away.
    #[must_use]
    pub fn brokers(mut self, brokers: i32) -> Self {
        self.brokers = brokers;
        self
    }

    /// After how long without a heartbeat a member of a group of the consumer protocol counts as dead, in whole milliseconds; 30 s by
    /// default. The members of a classic group say it themselves, as `session.timeout.ms`.
    #[must_use]
    pub fn consumer_session_timeout(mut self, timeout: Duration) -> Self {
        self.consumer_session = Some(timeout);
        self
    }

    /// Starts the cluster.
    ///
    /// # Errors
    /// When fewer than one broker was asked for, librdkafka cannot make a client, or it cannot listen on loopback.
    pub fn start(self) -> Result<EmbeddedBroker, BrokerError> {
        let start_error = |source| BrokerError::Start { brokers: self.brokers, source };
        if self.brokers < 1 {
            return Err(start_error("a cluster has at least one broker".into()));
        }
        let cluster = RawMockCluster::new(self.brokers).map_err(|error| start_error(error.into()))?;
        // A group's first member would wait 3 s for company, and a KIP-848 member would hear of a change only every 3 s.
        cluster.set_group_initial_rebalance_delay(0);
        cluster.set_consumer_group_heartbeat(100);
        if let Some(timeout) = self.consumer_session {
            cluster.set_consumer_group_session(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
        }
        Ok(EmbeddedBroker { bootstrap_servers: cluster.bootstrap_servers(), cluster, brokers: self.brokers })
    }
}
