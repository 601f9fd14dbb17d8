#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use kafka_troupe::broker::EmbeddedBroker;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::super::payload::MINIMUM;
use super::super::plan::Pace;
use super::*;

#[test]
fn what_no_handler_had_is_unseen_or_lost_and_nothing_is_called_lost_where_a_signal_ended_the_look() {
    let broker = EmbeddedBroker::start().unwrap();
    let plan = Plan::small(1, Pace::ClosedLoop { in_flight: 10 });
    broker.create_topic(&plan.topic, 1).unwrap();
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", broker.bootstrap_servers());
    let producer: BaseProducer = client.create().unwrap();
    // Of twelve, ten are in the log, two of them twice.
    for sequence in (0..10).chain([3, 4]) {
        let payload = Payload { producer: 0, sequence, key: None, key_sequence: 0, intended: 0, warm_up: false };
        let mut value = [0; MINIMUM];
        payload.write(plan.run, &mut value);
        producer.send(BaseRecord::<(), _>::to(&plan.topic).payload(&value[..])).map_err(|it| it.0).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let log = Log::new(&plan, client, Duration::from_secs(30)).unwrap();
    let looked = |cut: &CancellationToken| {
        let account = Account::new(&plan, CancellationToken::new()).unwrap();
        let AtTheEnd { figures, unread, .. } = look(&log, &plan, &account, &[12], cut).unwrap();
        (figures.unseen, figures.lost, unread)
    };
    assert_eq!(looked(&CancellationToken::new()), (10, 2, false));
    let signal = CancellationToken::new();
    signal.cancel();
    assert_eq!(looked(&signal), (12, 0, true));
}
