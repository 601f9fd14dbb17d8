//! Consume, transform, produce: whatever happens half way, each order has its receipt.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::fixture::{On, PATIENCE, Stage, eventually};
use crate::run::{Example, Place, produce_orders};

/// Orders, each of whose customers has a hundred.
const ORDERS: usize = 30_000;
const CUSTOMERS: usize = 300;

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
        super::broker_away(On::Embedded);
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
        on_kafka(super::broker_away);
    }
}

fn stored(receipts: &Stage) -> usize {
    receipts.ends().values().sum::<i64>() as usize
}

fn killed_half_way(on: On) {
    let (orders, properties) = (Stage::new(on, 4), |stage: &Stage| stage.broker.consumer_properties());
    let receipts = orders.another_topic(4);
    produce_orders(&orders, 0..ORDERS, CUSTOMERS);
    let start = || Example::on(&orders, "transform", properties(&orders), &[&receipts.topic]);
    let mut killed = start();
    eventually("a third of it is done", || stored(&receipts) > ORDERS / 3);
    killed.kill();
    let committed = orders.committed("transform").values().sum::<i64>() as usize;
    let before = stored(&receipts);
    assert!(before < ORDERS, "it was killed half way");
    start().ends_well_within(2 * PATIENCE);
    let repeated = Receipts::read(&receipts).assert_each_order_in_order(ORDERS, CUSTOMERS);
    println!("{before} stored and {committed} committed at the kill; {repeated} repeated");
    assert!(repeated <= before - committed, "nothing is repeated that was committed");
    // What was under way, and what was done since the last commit, which is made every 100 ms; the rest is room for a busy machine.
    assert!(repeated < ORDERS / 10, "{repeated} repeated");
    assert_eq!(orders.committed("transform").values().sum::<i64>() as usize, ORDERS);
}

fn broker_away(on: On) {
    let orders = Stage::alone(on, 4);
    let receipts = orders.another_topic(4);
    produce_orders(&orders, 0..ORDERS, CUSTOMERS);
    // The member outlasts it.
    let steady: Vec<_> =
        orders.broker.consumer_properties().iter().copied().chain([("session.timeout.ms", "60000")]).collect();
    let example = Example::on(&orders, "transform", &steady, &[&receipts.topic]);
    eventually("a third of it is done", || stored(&receipts) > ORDERS / 3);
    orders.broker.take_down();
    let until = Instant::now() + Duration::from_secs(3);
    eventually("a while has passed", || Instant::now() > until);
    orders.broker.bring_up();
    let lines = example.ends_well_within(2 * PATIENCE);
    assert!(lines[0].ends_with("; all that is done is committed: true"), "{lines:?}");
    let repeated = Receipts::read(&receipts).assert_each_order_in_order(ORDERS, CUSTOMERS);
    println!("{repeated} repeated");
    if on == On::Kafka {
        // The producer sends again what is not answered, and the broker knows it; the embedded one does not.
        assert_eq!(repeated, 0);
    }
    assert_eq!(orders.committed("transform").values().sum::<i64>() as usize, ORDERS);
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
