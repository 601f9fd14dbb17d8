//! What to do where dead letters cannot be written.

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::produce::SendError;

/// The command that creates the topic.
pub(crate) fn creation(servers: &str, topic: &str, partitions: usize) -> String {
    let partitions = if partitions > 0 { format!(" --partitions {partitions}") } else { String::new() };
    format!("kafka-topics.sh --bootstrap-server {servers} --create --topic {topic}{partitions}")
}

/// The command that lets somebody write to the topic.
pub(crate) fn allowance(servers: &str, topic: &str) -> String {
    format!(
        "allow it: kafka-acls.sh --bootstrap-server {servers} --add --allow-principal User:NAME --operation Write --topic {topic}"
    )
}

/// Whether it says that the letter is larger than its producer takes, or its request than [the topic](is_too_large_for_topic).
pub(crate) fn is_too_large(error: &SendError) -> bool {
    matches!(error, SendError::TooLarge { .. }) || is_too_large_for_topic(error)
}

/// Whether it says that the letter's request was larger than the topic takes, or than its segments are.
pub(crate) fn is_too_large_for_topic(error: &SendError) -> bool {
    match error {
        SendError::TooLarge { by_broker, .. } => *by_broker,
        SendError::Rejected { error, .. } => error.code() == Code::MessageBatchTooLarge as i32,
        _ => false,
    }
}

/// What this error is, of a letter that was alone in its request if that was too large.
pub(crate) fn what(error: &SendError) -> String {
    match error {
        SendError::TooLarge { topic, partition, bytes, by_broker: true } => {
            let partition = partition.map(|partition| format!("-{}", partition.0)).unwrap_or_default();
            format!("{topic}{partition}: a record of {bytes} bytes is too large for the topic")
        }
        error => error.to_string(),
    }
}

/// What to do about this error.
pub(crate) fn remedy(error: &SendError, servers: &str, topic: &str) -> String {
    match error {
        SendError::TooLarge { by_broker: false, .. } => {
            "raise the `message.max.bytes` that DeadLetters::property sets for the producer of the letters; none can be larger than its buffer".to_owned()
        }
        SendError::TooLarge { bytes, by_broker: true, .. } => format!(
            "let the topic take it: kafka-configs.sh --bootstrap-server {servers} --alter --topic {topic} --add-config max.message.bytes={}",
            // Of the record with its batch's and its own head; a power of two is easier read.
            (bytes + 1024).next_power_of_two()
        ),
        // A partition that is gone is one of a topic that is gone, as librdkafka tells it; or the topic was made anew with fewer.
        SendError::UnknownTopic { .. } | SendError::UnknownPartition { .. } => {
            format!("create it: {}", creation(servers, topic, 0))
        }
        SendError::Rejected { error, .. } if error.code() == Code::UnknownPartition as i32 => {
            format!("create it: {}", creation(servers, topic, 0))
        }
        SendError::Rejected { error, .. } | SendError::Fatal { error, .. } => match error.code() {
            // The second where its user may write to no topic at all.
            code if code == Code::TopicAuthorizationFailed as i32
                || code == Code::ClusterAuthorizationFailed as i32 =>
            {
                allowance(servers, topic)
            }
            code if code == Code::MessageBatchTooLarge as i32 => format!(
                "let the topic's segments take it: raise its segment.bytes with kafka-configs.sh --bootstrap-server {servers} --alter --topic {topic}"
            ),
            _ => "see the brokers' logs for why".to_owned(),
        },
        // The same, where the producer ended by it before it took the letter.
        SendError::Closed { error: Some(error), .. } if error.code() == Code::ClusterAuthorizationFailed as i32 => {
            allowance(servers, topic)
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::produce::LibraryError;

    #[test]
    fn what_to_do_is_a_command_where_one_helps() {
        let to_do = |error: &SendError| remedy(error, "kafka:9092", "dead");
        let topic = || std::sync::Arc::from("dead");
        let rejected = |code| SendError::Rejected {
            topic: topic(),
            partition: None,
            error: LibraryError(code),
            possibly_persisted: false,
        };
        let too_large = |bytes| to_do(&SendError::TooLarge { topic: topic(), partition: None, bytes, by_broker: true });
        assert!(too_large(1_048_000).ends_with("--topic dead --add-config max.message.bytes=2097152"));
        assert!(too_large(10).ends_with("max.message.bytes=2048"));
        let of_the_producer = SendError::TooLarge { topic: topic(), partition: None, bytes: 10, by_broker: false };
        let told = to_do(&of_the_producer);
        assert!(
            told.contains("`message.max.bytes` that DeadLetters::property") && !told.contains("kafka-configs"),
            "{told}"
        );
        assert!(is_too_large(&of_the_producer) && !is_too_large_for_topic(&of_the_producer));
        assert_eq!(what(&of_the_producer), of_the_producer.to_string());
        let partition = Some(crate::ids::PartitionId(3));
        let by_the_topic = SendError::TooLarge { topic: topic(), partition, bytes: 10, by_broker: true };
        assert_eq!(what(&by_the_topic), "dead-3: a record of 10 bytes is too large for the topic");
        let batch_too_large = rejected(Code::MessageBatchTooLarge);
        assert!(to_do(&batch_too_large).contains("raise its segment.bytes"));
        assert!(is_too_large_for_topic(&batch_too_large));
        assert!(is_too_large(&batch_too_large) && !is_too_large(&rejected(Code::InvalidRecord)));
        let closed = |error: Option<Code>| {
            to_do(&SendError::Closed { topic: topic(), error: error.map(LibraryError), reason: Some("refused".into()) })
        };
        let refused = closed(Some(Code::ClusterAuthorizationFailed));
        assert!(refused.ends_with("--operation Write --topic dead"), "{refused}");
        for other in [Some(Code::Fenced), None] {
            assert_eq!(closed(other), "it is tried with a new connection");
        }
        let create = "create it: kafka-topics.sh --bootstrap-server kafka:9092 --create --topic dead";
        assert_eq!(to_do(&SendError::UnknownTopic { topic: topic() }), create);
        assert_eq!(creation("kafka:9092", "dead", 12), format!("{} --partitions 12", &create["create it: ".len()..]));
    }
}
