//! Which properties hold a secret, for everybody who shows properties: one list, used by consumer, producer and tool.

use rdkafka::error::KafkaError;

use crate::refused::with_feature;

/// Parts of the names of properties that hold a secret, librdkafka's and Java's, in lower case.
const PARTS: &[&str] = &[
    "password",
    "passphrase",
    "secret",
    "jaas",
    "private",
    "key.pem",
    "keystore.key",
    "ssl_key",
    "oauthbearer.config",
    "token",
    "credential",
    "user.info",
    "api.key",
];

/// What is shown in a secret's place.
pub const HIDDEN: &str = "***";

/// Whether a property's value must not be shown. Rather one too many than one too few: the name of a secret in capitals, or with something
/// before it, is the name of a secret too.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part))
}

/// The property's value as it may be shown.
pub fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    if is_secret(name) { HIDDEN } else { value }
}

/// What somebody said about a property, with its value taken out where it is a secret.
pub fn said_of(name: &str, value: &str, said: &str) -> String {
    if is_secret(name) && !value.is_empty() { said.replace(value, HIDDEN) } else { said.to_owned() }
}

/// Why librdkafka refused a configuration. Its own error carries the value of the property in question.
pub(crate) fn refusal(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, why, name, value) => {
            with_feature(&format!("property {name}: {}", said_of(name, value, why)))
        }
        KafkaError::ClientCreation(why) => with_feature(why),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaConfRes;

    use super::*;

    #[test]
    fn secrets_are_known_by_their_names_however_they_are_written() {
        for name in [
            "sasl.password",
            "SASL.Password",
            "ssl.key.password",
            "ssl.keystore.password",
            "ssl.truststore.password",
            "ssl.keystore.key",
            "ssl.key.pem",
            "sasl.jaas.config",
            "listener.name.sasl_ssl.plain.sasl.jaas.config",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.oauthbearer.assertion.private.key.pem",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.oauthbearer.config",
            "basic.auth.user.info",
        ] {
            assert!(is_secret(name), "{name}");
            assert_eq!(shown(name, "hunter2"), HIDDEN);
        }
        for name in ["client.id", "sasl.username", "sasl.mechanism", "ssl.ca.location", "group.id", "acks"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn a_refusal_names_the_property_and_not_the_secret() {
        let refused = |name: &str| {
            let why = "Invalid value \"hunter2\"".to_owned();
            let res = RDKafkaConfRes::RD_KAFKA_CONF_INVALID;
            refusal(&KafkaError::ClientConfig(res, why, name.to_owned(), "hunter2".to_owned()))
        };
        assert_eq!(refused("sasl.password"), "property sasl.password: Invalid value \"***\"");
        assert_eq!(refused("acks"), "property acks: Invalid value \"hunter2\"");
    }
}
