//! What librdkafka knows, and what it was built with: it is asked.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use troupe_actors::secret;

/// What librdkafka says to a property.
pub enum Answer {
    /// It takes it.
    Taken,
    /// It has no property of that name.
    Unknown,
    /// It has been built without what the property, or its value, needs. In its words.
    NotBuilt(String),
    /// It does not take the value. In its words, which name no secret.
    Invalid(String),
}

/// Sets the property on a configuration that serves nothing else.
pub fn ask(name: &str, value: &str) -> Answer {
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => Answer::Taken,
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => Answer::Unknown,
        Err(KafkaError::ClientConfig(_, why, ..)) => {
            let why = secret::said_of(name, value, &why);
            if why.contains(" at build time") { Answer::NotBuilt(why) } else { Answer::Invalid(why) }
        }
        Err(KafkaError::Nul(_)) => Answer::Invalid("a zero byte".to_owned()),
        Err(_) => Answer::Invalid("it is refused".to_owned()),
    }
}

/// Whether librdkafka was built with a feature, by its name in `builtin.features`.
pub fn has(feature: &str) -> bool {
    let features = ClientConfig::new().create_native_config().and_then(|config| config.get("builtin.features"));
    features.is_ok_and(|features| features.split(',').any(|each| each.trim() == feature))
}

/// What librdkafka runs with where a property is not set, if it has a value then.
pub(super) fn default(name: &str) -> Option<String> {
    let mut config = ClientConfig::new();
    // Properties of topics have no values until one of them is set: this one, to its default.
    config.set("compression.level", "-1");
    config.create_native_config().ok()?.get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unknown_the_invalid_and_the_taken_are_told_apart() {
        assert!(matches!(ask("client.id", "me"), Answer::Taken));
        assert!(matches!(ask("client.idd", "me"), Answer::Unknown));
        assert!(
            matches!(ask("request.timeout.ms", "soon"), Answer::Invalid(why) if why.contains("request.timeout.ms"))
        );
        assert!(matches!(ask("client.id", "a\0b"), Answer::Invalid(_)));
    }

    #[test]
    fn defaults_are_librdkafkas_of_clients_and_of_topics() {
        assert_eq!(default("fetch.wait.max.ms").as_deref(), Some("500"));
        assert_eq!(default("message.timeout.ms").as_deref(), Some("300000"));
        assert_eq!(default("compression.level").as_deref(), Some("-1"));
        assert_eq!(default("sasl.username"), None);
    }

    #[test]
    fn plain_is_always_built_and_tls_by_its_feature() {
        assert!(has("sasl_plain"));
        assert_eq!(has("ssl"), cfg!(feature = "tls"));
        assert_eq!(has("sasl_scram"), cfg!(feature = "tls"));
        let zstd = ask("compression.codec", "zstd");
        assert_eq!(matches!(zstd, Answer::NotBuilt(_)), !cfg!(feature = "zstd"));
    }
}
