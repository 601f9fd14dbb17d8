//! Where the records go, and what it costs there.

use kafka_troupe::broker::{EmbeddedBroker, LocalKafka};

use super::arms::cpu_time;

/// Where the records go.
pub(super) enum Broker {
    Elsewhere(String),
    Embedded(EmbeddedBroker),
    Kafka(LocalKafka),
}

impl Broker {
    pub(super) fn servers(&self) -> &str {
        match self {
            Self::Elsewhere(servers) => servers,
            Self::Embedded(broker) => broker.bootstrap_servers(),
            Self::Kafka(broker) => broker.bootstrap_servers(),
        }
    }

    /// Seconds of processor time so far: of the Java processes that this one started, or else of this one, where the embedded broker is.
    pub(super) fn cpu_time(&self) -> f64 {
        match self {
            Self::Elsewhere(_) => f64::NAN,
            Self::Embedded(_) => cpu_time().as_secs_f64(),
            Self::Kafka(_) => java_processes().sum(),
        }
    }

    /// A topic of their own for so many senders; elsewhere it is there already.
    pub(super) fn topic_for(&self, partitions: i32, senders: u64) -> String {
        let name = format!("measured-{partitions}-{senders}");
        match self {
            Self::Elsewhere(_) => {}
            Self::Embedded(broker) => broker.create_topic(&name, partitions).unwrap(),
            Self::Kafka(broker) => {
                broker.create_topic_with(&name, partitions, &[("retention.bytes", "100000000")]).unwrap();
            }
        }
        name
    }
}

/// Seconds of processor time of each Java process that this one started.
fn java_processes() -> impl Iterator<Item = f64> {
    // SAFETY: asks for a number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    stats.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok()).filter_map(move |stat| {
        let (name, rest) = stat.split_once("(java) ")?;
        let _: u32 = name.trim().parse().ok()?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |place: usize| fields[place].parse::<f64>().ok();
        (number(1)? == f64::from(std::process::id())).then_some((number(11)? + number(12)?) / ticks)
    })
}
