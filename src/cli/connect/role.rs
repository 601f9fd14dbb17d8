//! Which properties concern only producers, or only consumers: one file of properties serves both, and neither is told of the other's.

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Producer,
    Consumer,
    /// To ask for metadata, and to administer.
    Neither,
}

impl Role {
    /// Whether librdkafka's property of this name means anything to such a client.
    pub(super) fn takes(self, name: &str) -> bool {
        let (producer, consumer) = (PRODUCER.contains(&name), CONSUMER.contains(&name));
        match self {
            Self::Producer => !consumer,
            Self::Consumer => !producer,
            Self::Neither => !producer && !consumer,
        }
    }
}

/// From librdkafka 2.12.1's CONFIGURATION.md, without aliases.
const PRODUCER: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "message.send.max.retries",
    "message.timeout.ms",
    "queue.buffering.backpressure.threshold",
    "request.required.acks",
    "request.timeout.ms",
    "transaction.timeout.ms",
];

const CONSUMER: &[&str] = &[
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.poll.interval.ms",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

#[cfg(test)]
mod tests {
    use super::super::library::{Answer, ask};
    use super::*;

    #[test]
    fn librdkafka_knows_every_one_of_them() {
        for name in PRODUCER.iter().chain(CONSUMER) {
            // A value that none takes: a name that is not known is refused otherwise.
            assert!(!matches!(ask(name, "\u{1}"), Answer::Unknown), "{name}");
        }
    }

    #[test]
    fn what_both_have_is_taken_by_all() {
        for role in [Role::Producer, Role::Consumer, Role::Neither] {
            assert!(role.takes("client.id") && role.takes("sasl.password"));
        }
        assert!(Role::Producer.takes("batch.size") && !Role::Producer.takes("group.id"));
        assert!(Role::Consumer.takes("group.id") && !Role::Consumer.takes("batch.size"));
    }
}
