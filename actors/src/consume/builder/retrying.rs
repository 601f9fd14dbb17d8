//! Topics in which records wait that have failed.

use super::ConsumerBuilder;
#[allow(unused_imports)]
use crate::consume::DeadLetters;
use crate::consume::error::ConsumerError;
use crate::consume::membership::{Keeper, Membership};
use crate::consume::properties::configuration;
use crate::consume::retry_topics::RetryTopics;
use crate::consume::subscription::Subscription;
use crate::order::Order;

impl ConsumerBuilder {
    /// Where a record goes that has failed [`max_attempts`](Self::max_attempts) times, so that the ones behind it go on: to the first of these
    /// topics, from which it is read again and tried as often when its delay is over; then to the next; and after the last to the
    /// [dead letters](Self::dead_letters), or what [`on_exhausted`](Self::on_exhausted) says. Default: none.
    ///
    /// The consumer reads them beside its topics, so it must be a member of a group, with commits by the engine. They have to
    /// exist: before its first record the consumer looks, and otherwise ends with [`ConsumerError::NoSuchRetryTopic`], which prints the
    /// command that creates them. Records that cannot be decoded, and those that the handler gives up, pass them over.
    ///
    /// **They give up order**: what comes behind a record is done before it. So in [`Order::Partition`] (the default) and [`Order::Key`] they are
    /// refused without [`allow_reordering`](Self::allow_reordering).
    ///
    /// A record is written with its key, value and headers, the [headers of a dead letter](crate::consume::DEAD_LETTER_HEADERS) and
    /// [`RETRY_DUE_HEADER`](crate::consume::RETRY_DUE_HEADER), and finished where it was once it is stored. If it cannot be,
    /// [`OnDeadLetterFailure`](crate::consume::OnDeadLetterFailure) says what follows; it is never dropped. Read again, it keeps its
    /// [timestamp](crate::consume::Record::timestamp), goes on counting its [attempts](crate::consume::Record::attempt), and tells its
    /// [origin](crate::consume::Record::origin). In the topic itself it is stamped with the time at which it was written, for otherwise
    /// retention could take an old record before it is due.
    ///
    /// One that is early holds those behind it in its partition, which are due later: no thread waits, and the member stays in its group,
    /// for however long it takes. A partition that waits has two chunks handed out at most (1,024 records, 512 KiB), so that other partitions
    /// have the rest of the room; what librdkafka has fetched of it stays there, within the usual bounds. It is tried at the earliest when it is due, by the
    /// clock of who reads it. Whatever the clocks and its header say, it is due within three times the delay of its topic after it was written there, or
    /// after its partition came to this process: a clock that is wrong never delays it by more than twice the delay. A partition that is given up meanwhile
    /// leaves it to its next owner, for whom it is due at the same time. Retry topics are always read from where the group has committed, or else from
    /// their beginning. A seek of all partitions moves them too, and by the time at which records were written there.
    ///
    /// The [limits](DeadLetters::max_in_a_row) of the dead letters hold for what leaves its first topic, whether for a retry topic or the dead
    /// letters, and also where there is no topic for these; what leaves a retry topic counts towards none.
    ///
    /// A crash between the write and the commit of the offset repeats the record: it is handled again, and may be in the retry topic twice, and
    /// then is handled twice. So does one that is being written at the drain deadline. Each is repeated once per crash or cut.
    pub fn retry_topics(mut self, topics: RetryTopics) -> Self {
        self.retry_topics = topics;
        self
    }

    /// With [`retry_topics`](Self::retry_topics), in [`Order::Partition`] or [`Order::Key`]: a record that goes to one may be done after those
    /// that came behind it, also those of its key. The order holds among the others.
    pub fn allow_reordering(mut self) -> Self {
        self.allow_reordering = true;
        self
    }

    /// The retry topics are read too.
    pub(super) fn add_retry_topics(
        &self,
        read: &mut Subscription,
        membership: Membership,
        order: Order,
    ) -> Result<(), ConsumerError> {
        let retries = &self.retry_topics;
        retries.check()?;
        if retries.is_empty() {
            return match self.allow_reordering {
                true => {
                    Err(configuration("allow_reordering is for retry_topics: name them, or leave it out".to_owned()))
                }
                false => Ok(()),
            };
        }
        if order != Order::Unordered && !self.allow_reordering {
            return Err(configuration(format!(
                "retry_topics give up order, and the order is {order:?}: say allow_reordering, use Order::Unordered, or leave them out"
            )));
        }
        let topics = match read {
            Subscription::Topics(topics) if membership == Membership::Group(Keeper::Tracker) => topics,
            _ => {
                return Err(configuration(
                    "retry_topics are shared out and remembered by a group: name topics and a group, and leave out partitions, standalone, \
                     external_offsets and client_auto_commit"
                        .to_owned(),
                ));
            }
        };
        for topic in retries.topics() {
            let reason = if topics.iter().any(|read| read == topic) {
                format!("the retry topic {topic} is read in any case: leave it out of the topics")
            } else if Some(topic) == self.dead_letters.topic.as_deref() {
                format!("the topic {topic} cannot be for retries and for dead letters")
            } else if !self.routes.by_topic.is_empty() && !self.routes.by_topic.contains_key(topic) {
                format!(
                    "the retry topic {topic} needs a route of its own where there are routes: its records may be of any topic, see Record::origin"
                )
            } else {
                continue;
            };
            return Err(configuration(reason));
        }
        topics.extend(retries.topics().map(str::to_owned));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::consume::{Consumer, Record, Route};
    use crate::ids::TopicPartition;

    fn builder() -> ConsumerBuilder {
        let retries = RetryTopics::new([("retry", Duration::from_secs(1))]);
        Consumer::builder().bootstrap_servers("127.0.0.1:1").retry_topics(retries)
    }

    /// Why it is not started. Those that would be are not tried here.
    fn refused(builder: ConsumerBuilder) -> String {
        builder.handler(|_: &Record| ()).start().unwrap_err().to_string()
    }

    fn member() -> ConsumerBuilder {
        builder().topics(["orders"]).group_id("g").order(Order::Unordered)
    }

    #[test]
    fn an_order_is_given_up_only_by_who_says_so() {
        for order in [None, Some(Order::Partition), Some(Order::Key)] {
            let ordered = builder().topics(["orders"]).group_id("g");
            let ordered = order.into_iter().fold(ordered, ConsumerBuilder::order);
            assert!(refused(ordered).contains("say allow_reordering"), "{order:?}");
        }
        let mut read = Subscription::Topics(vec!["orders".to_owned()]);
        for (allowed, order) in [(builder().allow_reordering(), Order::Key), (builder(), Order::Unordered)] {
            assert_eq!(allowed.add_retry_topics(&mut read.clone(), Membership::default(), order), Ok(()));
        }
        member().add_retry_topics(&mut read, Membership::default(), Order::Unordered).unwrap();
        assert_eq!(read, Subscription::Topics(vec!["orders".to_owned(), "retry".to_owned()]));
        let alone = Consumer::builder().bootstrap_servers("127.0.0.1:1").topics(["orders"]).group_id("g");
        assert!(refused(alone.allow_reordering()).contains("is for retry_topics"));
    }

    #[test]
    fn a_group_has_to_share_retry_topics_out_and_remember_how_far_they_are() {
        let shared = "shared out and remembered by a group";
        assert!(refused(builder().order(Order::Unordered).topics(["orders"]).standalone()).contains(shared));
        let by_hand = builder().order(Order::Unordered).partitions([TopicPartition::new("orders", 0)]).group_id("g");
        assert!(refused(by_hand).contains(shared));
        assert!(refused(member().client_auto_commit()).contains(shared));
    }

    #[test]
    fn a_retry_topic_is_for_nothing_else_and_its_handler_is_known() {
        assert!(refused(member().topics(["orders", "retry"])).contains("is read in any case"));
        assert!(refused(member().dead_letters(DeadLetters::to("retry"))).contains("for retries and for dead letters"));
        let routed = member().route("orders", Route::handler(|_: &Record| ()));
        assert!(refused(routed).contains("needs a route of its own"));
    }
}
