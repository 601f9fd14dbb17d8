//! The names of librdkafka's properties: whom each concerns, and which are the same.
//!
//! One table of properties serves producers and consumers, and neither is told of the other's.

use troupe_actors::PROPERTY_ALIASES as ALIASES;

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It produces.
    Producer,
    /// It consumes.
    Consumer,
    /// It asks for metadata, or administers.
    Neither,
}

impl Role {
    /// Whether librdkafka's property of this name means anything to such a client.
    pub fn takes(self, name: &str) -> bool {
        let (producer, consumer) = (is_in(PRODUCERS, name), is_in(CONSUMERS, name));
        match self {
            Self::Producer => !consumer,
            Self::Consumer => !producer,
            Self::Neither => !producer && !consumer,
        }
    }
}

fn is_in(names: &str, name: &str) -> bool {
    names.split(' ').any(|each| each == name)
}

/// All names, aliases too.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    [BOTH, PRODUCERS, CONSUMERS].into_iter().flat_map(|names| names.split(' '))
}

/// The name under which a property is kept, whatever it was given as: two names of one must not stand beside each other.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name)
}

// From librdkafka 2.12.1's CONFIGURATION.md, without what only C code can set.

const BOTH: &str = "allow.auto.create.topics api.version.fallback.ms api.version.request api.version.request.timeout.ms \
    bootstrap.servers broker.address.family broker.address.ttl broker.version.fallback client.dns.lookup client.id \
    client.rack connections.max.idle.ms debug enable.metrics.push enable.random.seed \
    enable.sasl.oauthbearer.unsecure.jwt enable.ssl.certificate.verification https.ca.location https.ca.pem \
    internal.termination.signal log.connection.close log.queue log.thread.name max.in.flight \
    max.in.flight.requests.per.connection message.copy.max.bytes message.max.bytes metadata.broker.list \
    metadata.max.age.ms metadata.recovery.rebootstrap.trigger.ms metadata.recovery.strategy plugin.library.paths \
    receive.message.max.bytes reconnect.backoff.jitter.ms reconnect.backoff.max.ms reconnect.backoff.ms \
    retry.backoff.max.ms retry.backoff.ms sasl.kerberos.keytab sasl.kerberos.kinit.cmd \
    sasl.kerberos.min.time.before.relogin sasl.kerberos.principal sasl.kerberos.service.name sasl.mechanism \
    sasl.mechanisms sasl.oauthbearer.assertion.algorithm sasl.oauthbearer.assertion.claim.aud \
    sasl.oauthbearer.assertion.claim.exp.seconds sasl.oauthbearer.assertion.claim.iss \
    sasl.oauthbearer.assertion.claim.jti.include sasl.oauthbearer.assertion.claim.nbf.seconds \
    sasl.oauthbearer.assertion.claim.sub sasl.oauthbearer.assertion.file \
    sasl.oauthbearer.assertion.jwt.template.file sasl.oauthbearer.assertion.private.key.file \
    sasl.oauthbearer.assertion.private.key.passphrase sasl.oauthbearer.assertion.private.key.pem \
    sasl.oauthbearer.client.credentials.client.id sasl.oauthbearer.client.credentials.client.secret \
    sasl.oauthbearer.client.id sasl.oauthbearer.client.secret sasl.oauthbearer.config sasl.oauthbearer.extensions \
    sasl.oauthbearer.grant.type sasl.oauthbearer.metadata.authentication.type sasl.oauthbearer.method \
    sasl.oauthbearer.scope sasl.oauthbearer.token.endpoint.url sasl.password sasl.username security.protocol \
    socket.blocking.max.ms socket.connection.setup.timeout.ms socket.keepalive.enable socket.max.fails \
    socket.nagle.disable socket.receive.buffer.bytes socket.send.buffer.bytes socket.timeout.ms \
    ssl.ca.certificate.stores ssl.ca.location ssl.ca.pem ssl.certificate.location ssl.certificate.pem \
    ssl.cipher.suites ssl.crl.location ssl.curves.list ssl.endpoint.identification.algorithm ssl.engine.id \
    ssl.engine.location ssl.key.location ssl.key.password ssl.key.pem ssl.keystore.location ssl.keystore.password \
    ssl.providers ssl.sigalgs.list statistics.interval.ms topic.blacklist topic.metadata.propagation.max.ms \
    topic.metadata.refresh.fast.cnt topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.interval.ms \
    topic.metadata.refresh.sparse";

const PRODUCERS: &str = "acks batch.num.messages batch.size compression.codec compression.level compression.type \
    delivery.report.only.error delivery.timeout.ms enable.gapless.guarantee enable.idempotence linger.ms \
    message.send.max.retries message.timeout.ms partitioner produce.offset.report \
    queue.buffering.backpressure.threshold queue.buffering.max.kbytes queue.buffering.max.messages \
    queue.buffering.max.ms queuing.strategy request.required.acks request.timeout.ms retries \
    sticky.partitioning.linger.ms transaction.timeout.ms transactional.id";

const CONSUMERS: &str = "auto.commit.enable auto.commit.interval.ms auto.offset.reset check.crcs consume.callback.max.messages \
    coordinator.query.interval.ms enable.auto.commit enable.auto.offset.store enable.partition.eof \
    fetch.error.backoff.ms fetch.max.bytes fetch.message.max.bytes fetch.min.bytes fetch.queue.backoff.ms \
    fetch.wait.max.ms group.id group.instance.id group.protocol group.protocol.type group.remote.assignor \
    heartbeat.interval.ms isolation.level max.partition.fetch.bytes max.poll.interval.ms offset.store.method \
    offset.store.path offset.store.sync.interval.ms partition.assignment.strategy queued.max.messages.kbytes \
    queued.min.messages session.timeout.ms";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use rdkafka::ClientConfig;

    use super::super::library::{Answer, ask};
    use super::*;

    #[test]
    fn librdkafka_knows_every_one_of_them() {
        for name in all() {
            // A value that none takes: a name that is not known is refused otherwise.
            assert!(!matches!(ask(name, "\u{1}"), Answer::Unknown), "{name}");
        }
    }

    #[test]
    fn a_variable_can_name_every_one_of_them() {
        assert!(all().all(|name| !name.contains('_')), "a `_` of a variable becomes a dot");
    }

    #[test]
    fn what_both_have_is_taken_by_all() {
        for role in [Role::Producer, Role::Consumer, Role::Neither] {
            assert!(role.takes("client.id") && role.takes("sasl.password"));
        }
        assert!(Role::Producer.takes("batch.size") && !Role::Producer.takes("group.id"));
        assert!(Role::Consumer.takes("group.id") && !Role::Consumer.takes("batch.size"));
    }

    #[test]
    fn aliases_are_librdkafkas() {
        // What is set by one name is read by the other.
        for (alias, name) in ALIASES {
            assert_eq!(canonical(alias), *name);
            for value in ["7", "all", "gzip", "PLAIN", "4000"] {
                let mut config = ClientConfig::new();
                config.set(*alias, value);
                let Ok(native) = config.create_native_config() else { continue };
                assert_eq!(native.get(name).unwrap(), native.get(alias).unwrap(), "{alias}");
                let untouched = ClientConfig::new().create_native_config().unwrap().get(name).unwrap_or_default();
                if value != "7" || untouched != "7" {
                    assert_ne!(native.get(name).unwrap(), untouched, "{alias}={value}");
                }
            }
        }
    }
}
