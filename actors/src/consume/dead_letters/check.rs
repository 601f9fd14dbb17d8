//! The look at the dead-letter topic, before the first record is handed out.

use rdkafka::error::RDKafkaErrorCode;

use crate::consume::error::ConsumerError;
use crate::consume::properties::configuration;
use crate::consume::resolver::{Failure, Lookup, topics};
use crate::ids::TopicPartition;

impl Lookup {
    /// That there is a topic for dead letters, if there is to be one, and that it is none of those that are read. It is looked for once, and
    /// again while no broker answers.
    pub(in crate::consume) fn check_dead_letters(&mut self, read: &[TopicPartition]) -> Result<(), Failure> {
        let Some(letterbox) = self.board.letterbox.clone() else { return Ok(()) };
        let topic = letterbox.topic();
        if read.iter().any(|partition| &*partition.topic == topic) {
            return Err(Failure::Final(configuration(format!(
                "the topic {topic} is read, and cannot be that of its own dead letters: name the topics so that no pattern matches it"
            ))));
        }
        if self.has_dead_letters {
            return Ok(());
        }
        match self.partitions_of(topic) {
            Ok(_) => self.has_dead_letters = true,
            Err(Failure::Final(ConsumerError::UnknownTopic { .. })) => {
                let counts = topics(read.iter()).into_iter().map(|read| self.partitions_of(&read).map(|all| all.len()));
                let most = counts.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(0);
                let (topic, command) = (topic.to_owned(), letterbox.creation(most));
                return Err(Failure::Final(ConsumerError::NoSuchDeadLetterTopic { topic, command }));
            }
            Err(Failure::Final(ConsumerError::Kafka {
                code: code @ RDKafkaErrorCode::TopicAuthorizationFailed,
                ..
            })) => {
                let detail = format!("the dead-letter topic {topic} may not be seen; {}", letterbox.allowance());
                return Err(Failure::Final(ConsumerError::Kafka { code, detail }));
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}
