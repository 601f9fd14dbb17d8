//! librdkafka's log lines and errors.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::refused::refused;

/// Takes librdkafka's log lines and errors into `tracing`.
#[derive(Default)]
pub(in crate::produce) struct LibraryLog {
    /// When the brokers last refused the connection, and librdkafka's words on it.
    refusal: Mutex<Option<(Instant, Arc<str>)>>,
}

impl LibraryLog {
    /// Why the brokers refused the connection, if they did since then.
    pub(in crate::produce) fn refused_since(&self, since: Instant) -> Option<Arc<str>> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.as_ref().filter(|(at, _)| *at >= since).map(|(_, reason)| Arc::clone(reason))
    }
}

impl ClientContext for LibraryLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        crate::client_log::client_log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code().is_some_and(|code| refused(code, reason)) {
            let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
            *refusal = Some((Instant::now(), reason.into()));
        }
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}
