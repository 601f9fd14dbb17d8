//! The look at the dead-letter topic and the retry topics, before the first record is handed out.

use rdkafka::error::RDKafkaErrorCode;

use crate::consume::error::ConsumerError;
use crate::consume::properties::configuration;
use crate::consume::resolver::{Failure, Lookup, topics};
use crate::ids::TopicPartition;

impl Lookup {
    /// That there is a topic for dead letters, if there is to be one, and that it is none of those that are read; and that there are the retry
    /// topics. They are looked for once, and again while no broker answers.
    pub(in crate::consume) fn check_letters(&mut self, read: &[TopicPartition]) -> Result<(), Failure> {
        let Some(letterbox) = self.board.letterbox.clone() else { return Ok(()) };
        if let Some(topic) = letterbox.topic()
            && read.iter().any(|partition| &*partition.topic == topic)
        {
            return Err(Failure::Final(configuration(format!(
                "the topic {topic} is read, and cannot be that of its own dead letters: name the topics so that no pattern matches it"
            ))));
        }
        if self.has_letters {
            return Ok(());
        }
        for (is_retry, topic) in
            letterbox.retries().topics().map(|topic| (true, topic)).chain(letterbox.topic().map(|topic| (false, topic)))
        {
            match self.partitions_of(topic) {
                Ok(_) => {}
                Err(Failure::Final(ConsumerError::UnknownTopic { .. })) => {
                    let command = letterbox.creation(topic, self.most_partitions(read)?);
                    let topic = topic.to_owned();
                    return Err(Failure::Final(match is_retry {
                        true => ConsumerError::NoSuchRetryTopic { topic, command },
                        false => ConsumerError::NoSuchDeadLetterTopic { topic, command },
                    }));
                }
                Err(Failure::Final(ConsumerError::Kafka {
                    code: code @ RDKafkaErrorCode::TopicAuthorizationFailed,
                    ..
                })) => {
                    let what = if is_retry { "retry" } else { "dead-letter" };
                    let detail = format!("the {what} topic {topic} may not be seen; {}", letterbox.allowance(topic));
                    return Err(Failure::Final(ConsumerError::Kafka { code, detail }));
                }
                Err(failure) => return Err(failure),
            }
        }
        self.has_letters = true;
        Ok(())
    }

    /// How many partitions that topic has, of those that are read, which has most.
    fn most_partitions(&self, read: &[TopicPartition]) -> Result<usize, Failure> {
        let counts = topics(read.iter()).into_iter().map(|read| self.partitions_of(&read).map(|all| all.len()));
        Ok(counts.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(0))
    }
}
