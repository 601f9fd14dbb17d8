//! What the properties of Java's clients are called with librdkafka, and which of them it has no use for.

use std::fmt;
use std::time::Duration;

use super::{Refused, jaas, stores};

/// What becomes of a property.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Properties of librdkafka's, under the first of its names for each.
    Library(Vec<(&'static str, String)>),
    /// As it stands: librdkafka knows it by the same name, or nobody does.
    Same,
    /// A setting that is not librdkafka's, by table and name, with its value as a variable would have it.
    Setting(&'static str, String),
    /// Nothing is lost by leaving it out.
    Needless(&'static str),
    /// Whoever set it expects something that will not happen.
    Unsupported(&'static str),
}

/// The same thing by another name: Java's or an alias of librdkafka's, and the name that librdkafka documents it under.
const RENAMED: &[(&str, &str)] = &[
    ("acks", "request.required.acks"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("max.request.size", "message.max.bytes"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
];

const NEEDLESS: &[(&str, &str)] = &[
    ("key.serializer", "bytes are sent as they are"),
    ("value.serializer", "bytes are sent as they are"),
    ("key.deserializer", "bytes are taken as they are"),
    ("value.deserializer", "bytes are taken as they are"),
    ("enable.auto.commit", "what has been worked off is committed, and nothing else"),
    ("enable.auto.offset.store", "what has been worked off is committed, and nothing else"),
    ("auto.commit.interval.ms", "what has been worked off is committed, and nothing else"),
    ("enable.partition.eof", "the consumer needs it and sets it itself"),
    ("allow.auto.create.topics", "a topic comes into being by --create-topic only"),
    ("delivery.report.only.error", "every record is answered"),
    ("log.queue", "the log has its own options"),
    ("default.api.timeout.ms", "the option --timeout says it"),
    ("socket.connection.setup.timeout.max.ms", "socket.connection.setup.timeout.ms says it"),
    ("exclude.internal.topics", "topics are named"),
    ("auto.include.jmx.reporter", "there is no JMX"),
    ("metric.reporters", "there is no JMX"),
    ("metrics.num.samples", "there is no JMX"),
    ("metrics.recording.level", "there is no JMX"),
    ("metrics.sample.window.ms", "there is no JMX"),
    ("ssl.truststore.type", "the file is looked at"),
    ("ssl.keystore.type", "the file is looked at"),
    ("ssl.truststore.password", "a PEM file has none"),
    ("ssl.protocol", "OpenSSL chooses the best that both sides know"),
    ("ssl.provider", "OpenSSL is used"),
    ("ssl.keymanager.algorithm", "OpenSSL is used"),
    ("ssl.trustmanager.algorithm", "OpenSSL is used"),
    ("ssl.secure.random.implementation", "OpenSSL is used"),
];

const UNSUPPORTED: &[(&str, &str)] = &[
    ("max.poll.records", "how many records are at work at a time is not set by it"),
    ("max.block.ms", "a full buffer is waited for, and --timeout bounds the first contact"),
    ("interceptor.classes", "Java's classes are not loaded"),
    ("partitioner.class", "keys go to the partitions that Java's default partitioner picks"),
    ("partitioner.ignore.keys", "keys go to the partitions that Java's default partitioner picks"),
    ("partitioner", "keys go to the partitions that Java's default partitioner picks"),
    ("sticky.partitioning.linger.ms", "records without a key stay with a partition for a batch"),
    ("queuing.strategy", "the order of records is kept"),
    ("statistics.interval.ms", "the statistics would go nowhere"),
    ("transactional.id", "transactions are not supported"),
    ("security.providers", "Java's classes are not loaded"),
    ("sasl.client.callback.handler.class", "Java's classes are not loaded"),
    ("sasl.login.callback.handler.class", "Java's classes are not loaded"),
    ("sasl.login.class", "Java's classes are not loaded"),
    ("ssl.engine.factory.class", "Java's classes are not loaded"),
    ("ssl.enabled.protocols", "OpenSSL chooses the best that both sides know"),
];

/// What the property means here.
pub(super) fn translate(name: &str, value: &str) -> Result<Meaning, Refused> {
    let among = |list: &'static [(&str, &'static str)]| list.iter().find(|(each, _)| *each == name).map(|(_, to)| *to);
    if let Some(why) = among(NEEDLESS) {
        return Ok(Meaning::Needless(why));
    }
    if let Some(why) = among(UNSUPPORTED) {
        return Ok(Meaning::Unsupported(why));
    }
    if let Some(new) = among(RENAMED) {
        return Ok(one(new, value));
    }
    let number = || value.parse::<u64>().map_err(|_| Refused::of(name, format!("{value:?} is no whole number")));
    let setting = |setting, value: &dyn fmt::Display| Ok(Meaning::Setting(setting, value.to_string()));
    Ok(match name {
        "bootstrap.servers" | "metadata.broker.list" => return setting("kafka.bootstrap.servers", &value),
        "group.id" => return setting("consumer.group_id", &value),
        "auto.offset.reset" => {
            let reset = match value {
                "smallest" | "beginning" => "earliest",
                "largest" | "end" => "latest",
                "error" => "none",
                other => other,
            };
            return setting("consumer.auto_offset_reset", &reset);
        }
        "linger.ms" | "queue.buffering.max.ms" => {
            let millis: f64 =
                value.parse().map_err(|_| Refused::of(name, format!("{value:?} is no number of milliseconds")))?;
            match Duration::try_from_secs_f64(millis / 1_000.0) {
                Ok(linger) if linger <= Duration::from_secs(900) => {
                    return setting("producer.linger", &format_args!("{}us", linger.as_micros()));
                }
                _ => return Err(Refused::of(name, "it is 0 to 900000 ms")),
            }
        }
        "buffer.memory" => return setting("producer.buffer_bytes", &number()?),
        "queue.buffering.max.kbytes" => return setting("producer.buffer_bytes", &number()?.saturating_mul(1024)),
        "queue.buffering.max.messages" => return setting("producer.buffer_records", &number()?),
        // Java's word for how old metadata may become; librdkafka looks again as often as the other one says.
        "metadata.max.age.ms" => Meaning::Library(vec![
            ("metadata.max.age.ms", value.to_owned()),
            ("topic.metadata.refresh.interval.ms", value.to_owned()),
        ]),
        // What -1 means to Java is 0 to librdkafka: the system decides; never.
        "send.buffer.bytes" => one("socket.send.buffer.bytes", if value == "-1" { "0" } else { value }),
        "receive.buffer.bytes" => one("socket.receive.buffer.bytes", if value == "-1" { "0" } else { value }),
        "connections.max.idle.ms" if value == "-1" => one("connections.max.idle.ms", "0"),
        "ssl.endpoint.identification.algorithm" if value.is_empty() => {
            one("ssl.endpoint.identification.algorithm", "none")
        }
        "ssl.truststore.location" => Meaning::Library(stores::trust(value)?),
        "ssl.keystore.location" => Meaning::Library(stores::key(value)?),
        "sasl.jaas.config" => {
            let login = jaas::parse(value)?;
            Meaning::Library(vec![("sasl.username", login.username), ("sasl.password", login.password)])
        }
        // The engine compares it as librdkafka writes it.
        "group.protocol" => one("group.protocol", &value.to_ascii_lowercase()),
        "partition.assignment.strategy" => one("partition.assignment.strategy", &assignors(value)?),
        _ => Meaning::Same,
    })
}

fn one(name: &'static str, value: &str) -> Meaning {
    Meaning::Library(vec![(name, value.to_owned())])
}

/// Java names classes, librdkafka names the strategies.
fn assignors(value: &str) -> Result<String, Refused> {
    let names = value.split(',').map(str::trim).map(|class| {
        Ok(match class.rsplit('.').next() {
            Some("RangeAssignor") => "range",
            Some("RoundRobinAssignor") => "roundrobin",
            Some("CooperativeStickyAssignor") => "cooperative-sticky",
            _ if class.contains('.') || class.ends_with("Assignor") => {
                let why = format!("{class} is not supported; range, roundrobin and cooperative-sticky are");
                return Err(Refused::of("partition.assignment.strategy", why));
            }
            _ => class,
        })
    });
    Ok(names.collect::<Result<Vec<_>, _>>()?.join(","))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use kafka_troupe::config::tool::{Answer, ask};

    use super::*;

    fn is(name: &str, value: &str, expected: &[(&'static str, &str)]) {
        let expected = expected.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        assert_eq!(translate(name, value).unwrap(), Meaning::Library(expected), "{name}={value}");
    }

    #[test]
    fn librdkafka_knows_every_new_name_and_no_needless_one_hides_what_it_knows() {
        for (_, new) in RENAMED {
            assert!(!matches!(ask(new, "\u{1}"), Answer::Unknown), "{new}");
        }
        let ours = ["allow.", "enable.", "auto.commit", "delivery.report", "log.queue"];
        for (name, _) in NEEDLESS.iter().filter(|(name, _)| !ours.iter().any(|our| name.starts_with(our))) {
            assert!(matches!(ask(name, "1"), Answer::Unknown), "{name}");
        }
    }

    #[test]
    fn javas_names_become_librdkafkas() {
        is(
            "metadata.max.age.ms",
            "5000",
            &[("metadata.max.age.ms", "5000"), ("topic.metadata.refresh.interval.ms", "5000")],
        );
        is("fetch.max.wait.ms", "9", &[("fetch.wait.max.ms", "9")]);
        is("max.request.size", "2000000", &[("message.max.bytes", "2000000")]);
        is("ssl.endpoint.identification.algorithm", "", &[("ssl.endpoint.identification.algorithm", "none")]);
        is("send.buffer.bytes", "-1", &[("socket.send.buffer.bytes", "0")]);
        is("connections.max.idle.ms", "-1", &[("connections.max.idle.ms", "0")]);
        is("group.protocol", "CONSUMER", &[("group.protocol", "consumer")]);
        is(
            "sasl.jaas.config",
            "x.PlainLoginModule required username=u password=p;",
            &[("sasl.username", "u"), ("sasl.password", "p")],
        );
        let classes = "org.apache.kafka.clients.consumer.RangeAssignor, x.RoundRobinAssignor";
        is("partition.assignment.strategy", classes, &[("partition.assignment.strategy", "range,roundrobin")]);
        assert!(translate("partition.assignment.strategy", "x.StickyAssignor").is_err());
        assert_eq!(translate("group.instance.id", "a").unwrap(), Meaning::Same);
    }

    #[test]
    fn what_is_a_setting_of_its_own_is_told_apart() {
        let is = |name: &str, value: &str, setting, expected: &str| {
            assert_eq!(
                translate(name, value).unwrap(),
                Meaning::Setting(setting, expected.to_owned()),
                "{name}={value}"
            );
        };
        is("linger.ms", "5", "producer.linger", "5000us");
        is("linger.ms", "0.5", "producer.linger", "500us");
        is("buffer.memory", "1048576", "producer.buffer_bytes", "1048576");
        is("queue.buffering.max.kbytes", "2", "producer.buffer_bytes", "2048");
        is("group.id", "g", "consumer.group_id", "g");
        is("auto.offset.reset", "end", "consumer.auto_offset_reset", "latest");
        for (name, value) in [("linger.ms", "soon"), ("linger.ms", "-1"), ("linger.ms", "NaN"), ("buffer.memory", "1k")]
        {
            assert!(translate(name, value).is_err(), "{name}={value}");
        }
    }
}
