//! librdkafka's properties that have two names. Pure.
//!
//! A configuration is handed to librdkafka in no order: of two names of one property, chance would say which one counts.

/// The same by another name. The second is librdkafka's own, but for the brokers, which everybody calls as Java does.
///
/// From its `rdkafka_conf.c`, without `auto.commit.enable`: it is that of a consumer which librdkafka keeps for old programs alone, and another thing
/// than `enable.auto.commit`.
pub const ALIASES: &[(&str, &str)] = &[
    ("acks", "request.required.acks"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
];

/// The other name of a property, where it has two.
pub(crate) fn other_name(name: &str) -> Option<&'static str> {
    ALIASES.iter().find_map(|&(one, other)| match name {
        name if name == one => Some(other),
        name if name == other => Some(one),
        _ => None,
    })
}
