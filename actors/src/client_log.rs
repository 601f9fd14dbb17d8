//! librdkafka's log lines as `tracing` events.

use rdkafka::config::RDKafkaLogLevel;
use tracing::{debug, error, info, warn};

/// Passes one line on, with target `librdkafka`.
pub(crate) fn client_log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            error!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Warning => warn!(target: "librdkafka", facility, "{text}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => info!(target: "librdkafka", facility, "{text}"),
        RDKafkaLogLevel::Debug => debug!(target: "librdkafka", facility, "{text}"),
    }
}
