use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::super::error::BrokerError;
use super::config::{NodePorts, SecureListener, server_properties};
use super::node::Node;
use super::{jars, ports};
use crate::warden::Warden;

/// How long a cluster may take to come up, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a cluster is begun anew because somebody took one of its ports first.
const TRIES: usize = 3;
/// What becomes of nodes that this process leaves behind: the warden is told their ids and their folder.
const ENDING: &str = r#"
for each in $ids; do kill -KILL "$each" 2>/dev/null; done
for try in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" 2>/dev/null && break
    sleep 0.1
done
"#;

/// Apache Kafka 4.3.1 on this machine: one node or several (KRaft, each broker and controller), listening on loopback.
///
/// It needs Java 17 or later and, the first time, Maven, which fetches the jars into the user's cache (`$XDG_CACHE_HOME` or `~/.cache`, in
/// `kafka-troupe/`). A node has a heap of 384 MB and is up in 2 to 5 s. The ports are free ones; other processes on this host can connect
/// too. Topics come into being only by [`create_topic`](Self::create_topic) or an admin client. Groups form without delay, and session
/// timeouts may be as short as 500 ms.
///
/// The cluster ends, and everything in it is gone, when the value is dropped or this process ends, however it ends: a shell at the end of a
/// pipe sees to that. It can be shared between threads.
///
/// ```no_run
/// use kafka_troupe::broker::LocalKafka;
///
/// # fn main() -> Result<(), kafka_troupe::broker::BrokerError> {
/// let kafka = LocalKafka::start()?;
/// kafka.create_topic("flights", 8)?;
/// println!("bootstrap.servers={}", kafka.bootstrap_servers());
/// # Ok(())
/// # }
/// ```
pub struct LocalKafka {
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "held for its drop"))]
    running: Mutex<Running>,
    bootstrap_servers: String,
    secure_bootstrap_servers: Option<String>,
    nodes: usize,
}

/// Its fields drop in order: the nodes end before their folder goes.
struct Running {
    nodes: Vec<Node>,
    warden: Warden,
}

impl LocalKafka {
    /// Starts one node.
    ///
    /// # Errors
    /// See [`LocalKafkaBuilder::start`].
    pub fn start() -> Result<Self, BrokerError> {
        Self::builder().start()
    }

    /// Prepares a cluster that differs from the usual one.
    pub fn builder() -> LocalKafkaBuilder {
        LocalKafkaBuilder { nodes: 1, secure: None, scram: Vec::new(), properties: Vec::new() }
    }

    /// The value for `bootstrap.servers`: `host:port` of every node's plain listener, with commas between.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// The same of the listener that [`LocalKafkaBuilder::secure_listener`] asked for; `None` where nobody did.
    pub fn secure_bootstrap_servers(&self) -> Option<&str> {
        self.secure_bootstrap_servers.as_deref()
    }

    /// Creates a topic with a replica on every node.
    ///
    /// # Errors
    /// When the cluster refuses it, for example because the topic exists.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), BrokerError> {
        self.create_topic_with(topic, partitions, &[])
    }

    /// Creates a topic with a replica on every node and these properties, `cleanup.policy` for example.
    ///
    /// # Errors
    /// When the cluster refuses it, for example because the topic exists or a property is unknown.
    pub fn create_topic_with(
        &self,
        topic: &str,
        partitions: i32,
        properties: &[(&str, &str)],
    ) -> Result<(), BrokerError> {
        let failed = |source| BrokerError::CreateTopic { topic: topic.to_owned(), partitions, source };
        let refused = |error: rdkafka::error::KafkaError| {
            failed(error.rdkafka_error_code().unwrap_or(rdkafka_sys::types::RDKafkaErrorCode::Fail))
        };
        let replicas = i32::try_from(self.nodes).unwrap_or(i32::MAX);
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas));
        for (name, value) in properties {
            new = new.set(name, value);
        }
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", self.bootstrap_servers()).create().map_err(refused)?;
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        // On a thread of its own: a runtime cannot wait inside another one, where the caller may be.
        let results = thread::scope(|scope| {
            let created = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                Ok::<_, std::io::Error>(runtime.block_on(admin.create_topics([&new], &options)))
            });
            created.join()
        });
        let Ok(Ok(results)) = results else {
            return Err(failed(rdkafka_sys::types::RDKafkaErrorCode::Fail));
        };
        let results = results.map_err(refused)?;
        for created in results {
            created.map_err(|(_, code)| failed(code))?;
        }
        self.await_topic(topic, partitions).map_err(refused)
    }

    /// The controller answers before the brokers have heard of the topic: until then they tell clients that there is none.
    fn await_topic(&self, topic: &str, partitions: i32) -> rdkafka::error::KafkaResult<()> {
        let until = Instant::now() + PATIENCE;
        for server in self.bootstrap_servers.split(',') {
            let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", server).create()?;
            loop {
                let metadata = client.fetch_metadata(Some(topic), PATIENCE)?;
                let known = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
                let led =
                    known.iter().filter(|partition| partition.error().is_none() && partition.leader() >= 0).count();
                if i32::try_from(led) == Ok(partitions) || Instant::now() >= until {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    #[cfg(feature = "testing")]
    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Faults, for tests.
///
/// Nodes are numbered from 1.
#[cfg(feature = "testing")]
impl LocalKafka {
    /// Ends a node in good order (`SIGTERM`): it hands its leaderships over where it can. Returns when it has ended.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    ///
    /// # Panics
    /// When there is no such node, as all of these.
    pub fn terminate(&self, node: usize) -> Result<(), BrokerError> {
        let Running { nodes, warden } = &mut *self.running();
        nodes[node - 1].signal("TERM")?;
        nodes[node - 1].wait(warden);
        Ok(())
    }

    /// Ends a node at once (`SIGKILL`).
    pub fn kill(&self, node: usize) {
        let Running { nodes, warden } = &mut *self.running();
        nodes[node - 1].kill(warden);
    }

    /// Starts a node again that was ended, on its old ports with its records. Returns when the cluster answers through it.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&self, node: usize) -> Result<(), BrokerError> {
        let Running { nodes, warden } = &mut *self.running();
        nodes[node - 1].start(warden)?;
        let server = self.bootstrap_servers.split(',').nth(node - 1).unwrap_or_default();
        await_brokers(server, 1, &mut nodes[node - 1..node])
    }

    /// Stops a node's process where it stands (`SIGSTOP`): its connections stay open, and nothing answers.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn freeze(&self, node: usize) -> Result<(), BrokerError> {
        self.running().nodes[node - 1].signal("STOP")
    }

    /// One of Kafka's own tools by its class, `org.apache.kafka.tools.VerifiableConsumer` for example, without arguments yet.
    ///
    /// # Errors
    /// When the jars cannot be had.
    pub fn tool(class: &str) -> Result<std::process::Command, BrokerError> {
        Ok(super::node::java(&jars::fetched()?, class))
    }

    /// Lets a frozen node go on (`SIGCONT`).
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn thaw(&self, node: usize) -> Result<(), BrokerError> {
        self.running().nodes[node - 1].signal("CONT")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill(&mut self.warden);
        }
    }
}

impl fmt::Debug for LocalKafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKafka")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("secure_bootstrap_servers", &self.secure_bootstrap_servers)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// How a [`LocalKafka`] is to be.
#[derive(Clone)]
#[must_use = "a builder does nothing until start()"]
pub struct LocalKafkaBuilder {
    nodes: usize,
    secure: Option<SecureListener>,
    scram: Vec<(String, String)>,
    properties: Vec<(String, String)>,
}

impl LocalKafkaBuilder {
    /// How many nodes the cluster has, 1 by default. Three survive the end of one.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// A second listener for clients, named `SECURE`, that speaks this protocol: `SASL_PLAINTEXT`, `SSL` or `SASL_SSL`. What the protocol
    /// needs is set with [`property`](Self::property), under `listener.name.secure.`.
    pub fn secure_listener(mut self, protocol: impl Into<String>) -> Self {
        self.secure = Some(SecureListener { protocol: protocol.into() });
        self
    }

    /// A user who can log in by SCRAM-SHA-256 and SCRAM-SHA-512.
    pub fn scram_user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.scram.push((name.into(), password.into()));
        self
    }

    /// A property of `server.properties`, of every node.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Fetches what is missing, says so on stderr, and starts the cluster. Returns when every node takes part.
    ///
    /// # Errors
    /// [`BrokerError::MissingTool`] without Java or Maven, [`BrokerError::Fetch`] when the jars cannot be had, [`BrokerError::Node`] with the
    /// end of a node's log when it does not come up.
    pub fn start(self) -> Result<LocalKafka, BrokerError> {
        if self.nodes == 0 {
            return Err(BrokerError::Node { node: 1, detail: "a cluster has at least one node".to_owned() });
        }
        let jars = jars::fetched()?;
        let mut tries = 1;
        loop {
            match self.try_start(&jars) {
                Err(BrokerError::Node { detail, .. }) if detail.contains("already in use") && tries < TRIES => {
                    tries += 1;
                }
                ended => return ended,
            }
        }
    }

    fn try_start(&self, jars: &std::path::Path) -> Result<LocalKafka, BrokerError> {
        let folder = scratch_folder()?;
        let unwatched = |source: std::io::Error| BrokerError::Node { node: 1, detail: format!("its warden: {source}") };
        let warden = Warden::start(ENDING, &[folder.as_os_str()]).map_err(unwatched)?;
        let ports: Vec<_> = ports::free(self.nodes * NodePorts::COUNT);
        let ports: Vec<_> = ports.chunks(NodePorts::COUNT).map(NodePorts::of).collect();
        let mut running = Running { nodes: Vec::new(), warden };
        for index in 0..self.nodes {
            let home = folder.join(format!("node-{}", index + 1));
            let text = server_properties(index, &ports, &home, self.secure.as_ref(), &self.properties);
            running.nodes.push(Node::format(index + 1, home, jars, &text, &self.scram)?);
        }
        let Running { nodes, warden } = &mut running;
        nodes.iter_mut().try_for_each(|node| node.start(warden))?;
        let servers = |port: fn(&NodePorts) -> u16| {
            ports.iter().map(|ports| format!("127.0.0.1:{}", port(ports))).collect::<Vec<_>>().join(",")
        };
        let bootstrap_servers = servers(|ports| ports.plain);
        await_brokers(&bootstrap_servers, self.nodes, nodes)?;
        Ok(LocalKafka {
            running: Mutex::new(running),
            bootstrap_servers,
            secure_bootstrap_servers: self.secure.is_some().then(|| servers(|ports| ports.secure)),
            nodes: self.nodes,
        })
    }
}

/// A new folder of this process's.
fn scratch_folder() -> Result<PathBuf, BrokerError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("kafka-troupe-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder)
        .map_err(|source| BrokerError::Node { node: 1, detail: format!("{}: {source}", folder.display()) })?;
    Ok(folder)
}

/// Waits until that many brokers take part, as long as all of the nodes run.
fn await_brokers(servers: &str, brokers: usize, nodes: &mut [Node]) -> Result<(), BrokerError> {
    let late = |detail: String| BrokerError::Node { node: 1, detail };
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("reconnect.backoff.max.ms", "200")
        // It fails to connect until the node is up, and would say so each time.
        .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
        .create()
        .map_err(|error| late(error.to_string()))?;
    let until = Instant::now() + PATIENCE;
    loop {
        nodes.iter_mut().try_for_each(Node::check)?;
        match client.fetch_metadata(None, Duration::from_millis(500)) {
            Ok(metadata) if metadata.brokers().len() >= brokers => return Ok(()),
            answer if Instant::now() > until => {
                let seen = answer.map(|metadata| metadata.brokers().len());
                return Err(late(format!("of {brokers} nodes, {seen:?} came up within {PATIENCE:?}")));
            }
            _ => thread::park_timeout(Duration::from_millis(50)),
        }
    }
}
