//! What a node is told: its `server.properties`.

use std::fmt::Write;
use std::path::Path;

/// A second listener, for what the first one, plain and open, does not show.
#[derive(Clone, Debug)]
pub(super) struct SecureListener {
    /// Kafka's name of it: `SASL_PLAINTEXT`, `SSL` or `SASL_SSL`.
    pub(super) protocol: String,
}

/// The ports of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodePorts {
    pub(super) plain: u16,
    pub(super) controller: u16,
    pub(super) secure: u16,
}

impl NodePorts {
    pub(super) const COUNT: usize = 3;

    pub(super) fn of(ports: &[u16]) -> Self {
        Self { plain: ports[0], controller: ports[1], secure: ports[2] }
    }
}

/// The properties of node `index` (from 0) of a cluster. Later ones win, so `extra` has the last word.
///
/// - Groups form at once, and sessions may be short, so that scenarios need not wait.
/// - A topic comes into being only when it is asked for.
/// - A node that is gone is missed after 3 s, not 9.
pub(super) fn server_properties(
    index: usize,
    nodes: &[NodePorts],
    folder: &Path,
    secure: Option<&SecureListener>,
    extra: &[(String, String)],
) -> String {
    let ports = nodes[index];
    let replicas = nodes.len();
    let in_sync = replicas.div_ceil(2);
    let voters: Vec<_> =
        nodes.iter().enumerate().map(|(i, ports)| format!("{}@127.0.0.1:{}", i + 1, ports.controller)).collect();
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{}", ports.plain);
    let mut protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
    if let Some(SecureListener { protocol }) = secure {
        let _ = write!(listeners, ",SECURE://127.0.0.1:{}", ports.secure);
        let _ = write!(protocols, ",SECURE:{protocol}");
    }
    let mut text = format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map={protocols}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.num.partitions=5
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=5
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=300
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
log.retention.check.interval.ms=1000
log.initial.task.delay.ms=1000
log.cleaner.backoff.ms=500
",
        id = index + 1,
        voters = voters.join(","),
        controller = ports.controller,
        folder = folder.display(),
    );
    for (name, value) in extra {
        let _ = writeln!(text, "{name}={value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_of_three_replicates_and_knows_its_voters() {
        let nodes = [[1, 2, 3], [4, 5, 6], [7, 8, 9]].map(|ports| NodePorts::of(&ports));
        let extra = [("num.partitions".to_owned(), "8".to_owned())];
        let text = server_properties(1, &nodes, Path::new("/f"), None, &extra);
        for line in [
            "node.id=2",
            "controller.quorum.voters=1@127.0.0.1:2,2@127.0.0.1:5,3@127.0.0.1:8",
            "listeners=PLAINTEXT://127.0.0.1:4,CONTROLLER://127.0.0.1:5",
            "offsets.topic.replication.factor=3",
            "min.insync.replicas=2",
            "num.partitions=8",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} in:\n{text}");
        }
    }
}
