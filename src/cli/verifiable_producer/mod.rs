//! `troupe verifiable-producer`: numbers to a topic, each told as it is stored, in the protocol of Kafka's own VerifiableProducer.
//!
//! - What is told: [`events`].

mod events;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use kafka_troupe::config::tool::Role;
use kafka_troupe::produce::{Delivery, SendError};
use kafka_troupe::{Producer, ProducerRecord, Sender};

use super::connect::{Connect, started};
use super::exit::{self, Exit};
use super::pace::Pace;
use super::shutdown::Shutdown;
use events::{Event, exception, tell};

/// How long a stop may take: what is on its way is sent first.
const STOP: Duration = Duration::from_secs(60);

/// Produce numbers, and tell each record as Kafka's VerifiableProducer does
///
/// For Kafka's own system tests, and whatever else reads their protocol: one JSON object a line on
/// stdout, all else on stderr. It takes the options of Java's tool. As with that one, a record is
/// tried once, and idempotence is off.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = exit::help("  troupe verifiable-producer --bootstrap-server localhost:9092 --topic orders
                     until SIGTERM, as the system tests run it
  … --max-messages 1000 --throughput 200 --repeating-keys 10
                     so many, so fast, with keys 0 to 9 in turn"))]
pub(crate) struct VerifiableProducer {
    /// The topic to write to
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// End after this many records; -1: never
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    max_messages: i64,
    /// Records a second at most; -1: as fast as it goes
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    throughput: i64,
    /// Whose word is waited for: 0 nobody's, 1 the leader's, -1 that of all in-sync replicas
    #[arg(long, value_name = "ACKS", default_value_t = -1, allow_negative_numbers = true, value_parser = clap::value_parser!(i8).range(-1..=1))]
    acks: i8,
    /// The first record's timestamp, milliseconds since 1970; it goes on with the time
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    message_create_time: Option<i64>,
    /// Values are N.0, N.1 and so on
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    value_prefix: Option<i64>,
    /// Keys are 0 to N - 1 in turn; otherwise null
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    repeating_keys: Option<u64>,
    #[command(flatten)]
    connect: Connect,
}

/// What was sent and what is stored.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    acked: AtomicU64,
}

impl VerifiableProducer {
    pub(crate) async fn run(&self, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        let producer = self.producer()?;
        let (sender, counts, started) = (producer.sender(), Arc::<Counts>::default(), Instant::now());
        tell(Event::StartupComplete);
        tokio::select! {
            () = shutdown.requested().cancelled() => {}
            () = self.produce(&sender, &counts, started) => {}
        }
        let ended = producer.shutdown(STOP).await;
        tell(Event::ShutdownComplete);
        let acked = counts.acked.load(Ordering::Relaxed);
        let avg_throughput = acked as f64 / started.elapsed().as_secs_f64().max(f64::EPSILON);
        let (sent, target_throughput) = (counts.sent.load(Ordering::Relaxed), self.throughput);
        tell(Event::ToolData { sent, acked, target_throughput, avg_throughput });
        ended.map(|_| Exit::Fine).map_err(Into::into)
    }

    fn producer(&self) -> anyhow::Result<Producer> {
        let acks = if self.acks == -1 { "all".to_owned() } else { self.acks.to_string() };
        let said = [
            ("producer.kafka.acks", acks.as_str(), "--acks"),
            ("producer.kafka.enable.idempotence", "false", "verifiable-producer"),
            ("producer.kafka.retries", "0", "verifiable-producer"),
        ];
        let connection = self.connect.settings(Role::Producer, &said)?.with_brokers()?;
        started(connection.producer())
    }

    async fn produce(&self, sender: &Sender, counts: &Arc<Counts>, started: Instant) {
        let pace = (self.throughput > 0).then(|| Pace::new(self.throughput as f64));
        let most = u64::try_from(self.max_messages).unwrap_or(u64::MAX);
        for number in 0..most {
            if let Some(wait) = pace.and_then(|pace| pace.wait(number, started.elapsed())) {
                tokio::time::sleep(wait).await;
            }
            let value = match self.value_prefix {
                Some(prefix) => format!("{prefix}.{number}"),
                None => number.to_string(),
            };
            let key = self.repeating_keys.map(|keys| (number % keys).to_string());
            let mut record = ProducerRecord::to(&self.topic).key(&key).value(&value);
            if let Some(first) = self.message_create_time {
                record = record.timestamp(first.saturating_add(started.elapsed().as_millis() as i64));
            }
            let (topic, told, of) = (self.topic.clone(), Arc::clone(counts), (key.clone(), value.clone()));
            let accepted = sender.send_with(record, move |answer| told.answered(topic, of, answer)).await;
            // A stop ends the wait for room: what was not accepted by then is neither sent nor answered.
            counts.sent.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = accepted {
                let closed = matches!(error, SendError::Closed { .. });
                counts.answered(self.topic.clone(), (key, value), Err(error));
                if closed {
                    return;
                }
            }
        }
    }
}

impl Counts {
    fn answered(&self, topic: String, (key, value): (Option<String>, String), answer: Result<Delivery, SendError>) {
        match answer {
            Ok(delivery) => {
                self.acked.fetch_add(1, Ordering::Relaxed);
                let offset = delivery.offset.map_or(-1, |offset| offset.0);
                let partition = delivery.partition.0;
                tell(Event::ProducerSendSuccess { key, value, topic, partition, offset });
            }
            Err(error) => {
                let (exception, message) = (exception(&error), error.to_string());
                tell(Event::ProducerSendError { topic, key, value, exception, message });
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        tool: VerifiableProducer,
    }

    #[test]
    fn a_record_that_a_stop_found_waiting_for_room_is_not_counted_as_sent() {
        let Line { tool } = Line::parse_from(["t", "--topic", "t", "--bootstrap-server", "127.0.0.1:1"]);
        let producer = Producer::builder().bootstrap_servers("127.0.0.1:1").buffer_records(10).start().unwrap();
        let (sender, counts) = (producer.sender(), Arc::<Counts>::default());
        {
            let mut produced = pin!(tool.produce(&sender, &counts, Instant::now()));
            assert!(produced.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(producer.state().waiting_senders, 1);
        }
        let accepted = producer.state().accepted;
        assert_eq!((accepted, counts.sent.load(Ordering::Relaxed)), (10, 10));
        let _ = producer.shutdown_blocking(Duration::ZERO);
    }
}
