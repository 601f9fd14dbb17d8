//! Brokers that will not have this client: what no further try would change.

use rdkafka::error::RDKafkaErrorCode;

/// Whether librdkafka's error, told in these words, means that the brokers refused the login, or showed a certificate that is not trusted.
/// A connection that merely breaks, in the middle of a handshake too, is none.
pub(crate) fn refused(code: RDKafkaErrorCode, reason: &str) -> bool {
    match code {
        RDKafkaErrorCode::Authentication => true,
        RDKafkaErrorCode::SSL => reason.contains("certificate"),
        _ => false,
    }
}

/// What to do about a client that librdkafka was built without the means for: its words, and the feature where one is missing.
pub(crate) fn with_feature(said: &str) -> String {
    let lower = said.to_lowercase();
    let missing =
        ["openssl not available", "openssl support", "no provider for sasl mechanism scram", "requires openssl"]
            .iter()
            .any(|part| lower.contains(part));
    let zstd = lower.contains("zstd") && lower.contains("not available");
    match (missing, zstd) {
        (true, _) => format!("{said} (build kafka-troupe with the feature `tls`)"),
        (_, true) => format!("{said} (build kafka-troupe with the feature `zstd`)"),
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_breaks_is_not_refused() {
        assert!(refused(RDKafkaErrorCode::Authentication, "SASL authentication error: Authentication failed"));
        assert!(refused(RDKafkaErrorCode::SSL, "SSL handshake failed: certificate verify failed"));
        assert!(!refused(RDKafkaErrorCode::SSL, "SSL handshake failed: connection reset by peer"));
        assert!(!refused(RDKafkaErrorCode::BrokerTransportFailure, "certificate"));
    }

    /// Runs where it is built without the feature: `.ci/run` does so.
    #[cfg(not(feature = "tls"))]
    #[test]
    fn without_the_feature_tls_its_absence_is_told_by_its_name() {
        let asked = [("security.protocol", "ssl"), ("sasl.mechanism", "SCRAM-SHA-256"), ("ssl.ca.location", "/ca.pem")];
        for (name, value) in asked {
            let mut properties = vec![("bootstrap.servers", "localhost:1"), ("group.id", "g"), (name, value)];
            if name == "sasl.mechanism" {
                properties.push(("security.protocol", "sasl_plaintext"));
            }
            let builder = crate::consume::Consumer::builder().topics(["t"]).handler(|_: &crate::consume::Record| ());
            let builder = properties.iter().fold(builder, |builder, (name, value)| builder.property(*name, *value));
            let refused = builder.start().map(drop).map_err(|error| error.to_string());
            assert!(refused.as_ref().is_err_and(|error| error.contains("feature `tls`")), "{name}: {refused:?}");
            let builder = properties[2..].iter().fold(
                crate::produce::Producer::builder().bootstrap_servers("localhost:1"),
                |builder, (name, value)| builder.property(*name, *value),
            );
            let refused = builder.start().map(drop).map_err(|error| error.to_string());
            assert!(refused.as_ref().is_err_and(|error| error.contains("feature `tls`")), "{name}: {refused:?}");
        }
    }
}
