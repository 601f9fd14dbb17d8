//! Consume, transform, produce: whatever happens half way, each order has its receipt.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use kafka_troupe::broker::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::fixture::{On, PATIENCE, Stage, eventually};
use crate::run::{Example, Place, produce_orders};

const CUSTOMERS: usize = 500;
/// Orders that the example has under way at most.
const UNDER_WAY: usize = 100;
/// How much work a kill may repeat beside that. Commits are made every 100 ms; the rest is room for a busy machine.
const REPEATED: Duration = Duration::from_millis(500);

pub fn transform(place: &Place) {
    let Place::Given(stage) = place else {
        let lines = place.run("transform", &[]);
        assert_eq!(lines, ["200 receipts stored; all that is done is committed: true"]);
        return;
    };
    place.with_orders(200);
    let receipts = stage.another_topic(4);
    let lines = place.run("transform", &[&receipts.topic]);
    assert_eq!(lines, ["200 receipts stored; all that is done is committed: true"]);
    assert_eq!(Receipts::read(&receipts).assert_each_order_in_order(200, 10), 0);
    place.assert_committed("transform", 200);
}

mod embedded {
    use super::On;

    #[test]
    fn a_process_killed_half_way_and_its_successor_leave_no_order_without_its_receipt() {
        super::killed_half_way(On::Embedded);
    }

    #[test]
    fn a_broker_that_is_away_for_a_while_costs_no_order_its_receipt() {
        super::broker_away(On::Embedded, &[]);
    }

    #[test]
    fn receipts_that_time_out_meanwhile_are_sent_again_in_the_order_of_their_key() {
        super::broker_away(On::Embedded, &[("message.timeout.ms", "1000")]);
    }

    #[test]
    fn while_no_receipt_can_be_stored_no_order_counts_as_done() {
        super::nothing_can_be_stored(On::Embedded);
    }

    #[test]
    fn a_receipt_that_is_refused_for_good_ends_it_with_the_reason_and_its_order_not_done() {
        super::refused_for_good(On::Embedded);
    }
}

mod kafka {
    use crate::fixture::on_kafka;

    #[test]
    fn a_process_killed_half_way_and_its_successor_leave_no_order_without_its_receipt() {
        on_kafka(super::killed_half_way);
    }

    #[test]
    fn a_broker_that_is_away_for_a_while_costs_no_order_its_receipt() {
        on_kafka(|on| super::broker_away(on, &[]));
    }

    #[test]
    fn a_receipt_that_is_refused_for_good_ends_it_with_the_reason_and_its_order_not_done() {
        on_kafka(super::refused_for_good);
    }
}

/// As many orders as a second or more of work.
fn some_orders(stage: &Stage, on: On) -> usize {
    let orders = match on {
        On::Embedded => 40_000,
        On::Kafka => 12_000,
    };
    produce_orders(stage, 0..orders, CUSTOMERS);
    orders
}

fn stored(receipts: &Stage) -> usize {
    receipts.ends().values().sum::<i64>() as usize
}

fn killed_half_way(on: On) {
    let orders = Stage::new(on, 4);
    let receipts = orders.another_topic(4);
    let count = some_orders(&orders, on);
    let start = || Example::on(&orders, "transform", orders.broker.consumer_properties(), &[&receipts.topic]);
    let mut killed = start();
    eventually("it begins", || stored(&receipts) > 0);
    let begun = Instant::now();
    eventually("a third of it is done", || stored(&receipts) > count / 3);
    let worked = begun.elapsed();
    killed.kill();
    let committed = orders.committed("transform").values().sum::<i64>() as usize;
    let before = stored(&receipts);
    assert!(before < count, "it was killed half way");
    start().ends_well_within(2 * PATIENCE);
    let repeated = Receipts::read(&receipts).assert_each_order_in_order(count, CUSTOMERS);
    println!("{before} stored in {worked:?} and {committed} committed at the kill; {repeated} repeated");
    // A request that the killed one had sent may be stored a moment later.
    assert!(repeated <= before + UNDER_WAY - committed, "{repeated} repeated of {before} less {committed}");
    let at_most = UNDER_WAY + (before as f64 / worked.as_secs_f64() * REPEATED.as_secs_f64()) as usize;
    assert!(repeated <= at_most, "{repeated} repeated, {at_most} at most");
    assert_eq!(orders.committed("transform").values().sum::<i64>() as usize, count);
}

fn broker_away(on: On, properties: &[(&str, &str)]) {
    let orders = Stage::alone(on, 4);
    let receipts = orders.another_topic(4);
    let count = some_orders(&orders, on);
    let mut steady = orders.broker.consumer_properties().to_vec();
    // The member outlasts it.
    steady.push(("session.timeout.ms", "60000"));
    steady.extend(properties);
    let example = Example::on(&orders, "transform", &steady, &[&receipts.topic]);
    eventually("a third of it is done", || stored(&receipts) > count / 3);
    orders.broker.take_down();
    a_while();
    orders.broker.bring_up();
    let lines = example.ends_well_within(2 * PATIENCE);
    assert!(lines[0].ends_with("; all that is done is committed: true"), "{lines:?}");
    let repeated = Receipts::read(&receipts).assert_each_order_in_order(count, CUSTOMERS);
    println!("{repeated} repeated");
    if on == On::Kafka {
        // The producer sends again what is not answered, and the broker knows it; the embedded one does not.
        assert_eq!(repeated, 0);
    }
    assert_eq!(orders.committed("transform").values().sum::<i64>() as usize, count);
}

/// Kills a process that could store nothing: had it counted orders as done whose receipts were only on their way, they would be lost.
fn nothing_can_be_stored(on: On) {
    let orders = Stage::new(on, 4);
    let receipts = orders.another_topic(4);
    produce_orders(&orders, 0..1000, CUSTOMERS);
    refuse(&orders, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS);
    let start = || Example::on(&orders, "transform", orders.broker.consumer_properties(), &[&receipts.topic]);
    let mut killed = start();
    a_while();
    killed.kill();
    assert_eq!((orders.committed("transform").values().sum::<i64>(), stored(&receipts)), (0, 0));
    orders.broker.embedded().stop_failing_requests(RDKafkaApiKey::Produce);
    start().ends_well();
    assert_eq!(Receipts::read(&receipts).assert_each_order_in_order(1000, CUSTOMERS), 0);
}

fn refused_for_good(on: On) {
    let orders = Stage::new(on, 4);
    // No batch is that small.
    let receipts = Stage::on(orders.broker.clone(), 4, &[("max.message.bytes", "10")]);
    produce_orders(&orders, 0..1000, CUSTOMERS);
    if on == On::Embedded {
        refuse(&orders, RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    }
    let example = Example::on(&orders, "transform", orders.broker.consumer_properties(), &[&receipts.topic]);
    let error = example.fails();
    let names_it = |line: &String| line.contains("StoppedByHandler") && line.contains("too large");
    assert!(error.iter().any(names_it), "{error:?}");
    assert_eq!((orders.committed("transform").values().sum::<i64>(), stored(&receipts)), (0, 0));
}

/// Has the embedded broker store nothing, and say so.
fn refuse(stage: &Stage, why: RDKafkaRespErr) {
    stage.broker.embedded().fail_requests(RDKafkaApiKey::Produce, &[why; 100_000]);
}

/// Long enough for a good many commits.
fn a_while() {
    let until = Instant::now() + Duration::from_secs(3);
    eventually("a while has passed", || Instant::now() > until);
}

/// Each customer's receipts in the order in which they are stored, by the numbers of their orders.
struct Receipts(BTreeMap<String, Vec<usize>>);

impl Receipts {
    fn read(stage: &Stage) -> Self {
        let consumer: BaseConsumer = stage.client().set("group.id", "reader").create().unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..stage.partitions {
            all.add_partition_offset(&stage.topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let (mut receipts, mut left) = (BTreeMap::<_, Vec<_>>::new(), stored(stage));
        let until = Instant::now() + PATIENCE;
        while left > 0 {
            assert!(Instant::now() < until, "{left} receipts cannot be read");
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.unwrap();
            let key = std::str::from_utf8(message.key().unwrap()).unwrap().to_owned();
            let value = std::str::from_utf8(message.payload().unwrap()).unwrap();
            receipts.entry(key).or_default().push(value.strip_prefix("receipt for order ").unwrap().parse().unwrap());
            left -= 1;
        }
        Self(receipts)
    }

    /// Sees that each order has a receipt with its key, and that, repeats aside, those of a key are in order. Gives the number of repeats.
    #[track_caller]
    fn assert_each_order_in_order(self, orders: usize, customers: usize) -> usize {
        let mut repeats = 0;
        assert_eq!(self.0.len(), customers);
        for (customer, all) in self.0 {
            let mut seen = HashSet::new();
            let first: Vec<_> = all.iter().copied().filter(|number| seen.insert(*number)).collect();
            let number: usize = customer.strip_prefix("customer-").unwrap().parse().unwrap();
            assert_eq!(first, (number..orders).step_by(customers).collect::<Vec<_>>(), "{customer}");
            repeats += all.len() - first.len();
        }
        repeats
    }
}
