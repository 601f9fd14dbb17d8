//! What to do where dead letters cannot be written.

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::produce::SendError;

/// The command that creates the topic.
pub(crate) fn creation(servers: &str, topic: &str, partitions: usize) -> String {
    let partitions = if partitions > 0 { format!(" --partitions {partitions}") } else { String::new() };
    format!("kafka-topics.sh --bootstrap-server {servers} --create --topic {topic}{partitions}")
}

/// What to do about this error.
pub(crate) fn remedy(error: &SendError, servers: &str, topic: &str) -> String {
    let acl = |operation: &str, on: &str| {
        format!(
            "allow it: kafka-acls.sh --bootstrap-server {servers} --add --allow-principal User:... --operation {operation} {on}"
        )
    };
    match error {
        SendError::TooLarge { bytes, .. } => format!(
            "let the topic take it: kafka-configs.sh --bootstrap-server {servers} --alter --topic {topic} --add-config max.message.bytes={}",
            // Of the record with its batch's and its own head; a power of two is easier read.
            (bytes + 1024).next_power_of_two()
        ),
        SendError::UnknownTopic { .. } => format!("create it: {}", creation(servers, topic, 0)),
        SendError::Rejected { error, .. } | SendError::Fatal { error, .. } => match error.code() {
            code if code == Code::TopicAuthorizationFailed as i32 => acl("Write", &format!("--topic {topic}")),
            code if code == Code::ClusterAuthorizationFailed as i32 => acl("IdempotentWrite", "--cluster"),
            _ => "see the brokers' logs for why".to_owned(),
        },
        SendError::ConnectionRefused { .. } => {
            "the consumer's login and certificates serve for the dead letters too: see that they are valid".to_owned()
        }
        SendError::TimedOut { .. } => {
            "see that the brokers of the topic are up, with as many replicas in sync as its min.insync.replicas"
                .to_owned()
        }
        _ => "it is tried with a new connection".to_owned(),
    }
}
