use kafka_troupe::Record;

use crate::cli::record_json;

/// How a record looks on stdout: one line each, unless a value has line ends of its own.
#[derive(Clone, Debug)]
pub(super) enum Format {
    /// The value; and before it the key, where a separator is given.
    Text { key_separator: Option<String> },
    /// One object, without loss.
    Json,
}

/// What a null key or value is shown as in text, as Kafka's own tool has it.
const NULL: &[u8] = b"null";

impl Format {
    /// Appends the record and its line end.
    pub(super) fn append(&self, record: &Record, line: &mut Vec<u8>) {
        match self {
            Self::Text { key_separator } => {
                if let Some(separator) = key_separator {
                    line.extend_from_slice(record.key().unwrap_or(NULL));
                    line.extend_from_slice(separator.as_bytes());
                }
                line.extend_from_slice(record.value().unwrap_or(NULL));
            }
            Self::Json => record_json::write(line, record.into(), record.headers()),
        }
        line.push(b'\n');
    }
}
