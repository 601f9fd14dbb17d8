//! The arm of this engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_troupe::consume::{Consumer, ConsumerBuilder, Order, Record};

use crate::arm::{committed, fresh_group, number};
use crate::arms::Request;
use crate::drain::{Seen, Watched, watch};
use crate::measure::Mark;
use crate::settings::fetching;

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(1);

/// A consumer with the engine's defaults, written out.
pub(crate) fn builder(request: &Request, order: Order) -> ConsumerBuilder {
    let builder = Consumer::builder()
        .bootstrap_servers(&request.bootstrap_servers)
        .group_id(fresh_group())
        .topics([&request.topic])
        .order(order)
        .properties(fetching());
    match order {
        Order::Partition => builder,
        _ => builder.concurrency(request.handling.concurrency),
    }
}

pub(crate) fn drain(request: &Request, order: Order, seen: &Arc<Seen>, records: u64) -> (Watched, Mark) {
    let handling = request.handling;
    let notes = Arc::clone(seen);
    let handler = move |record: Record| {
        let notes = Arc::clone(&notes);
        async move {
            notes.begin();
            handling.handle(record.value()).await;
            notes.add(record.partition().0, number(record.value()));
        }
    };
    let consumer = builder(request, order).async_handler(handler).start().unwrap();
    let watched = watch(seen, records);
    let give_up = Instant::now() + PATIENCE;
    while committed(&consumer) < records {
        assert!(Instant::now() < give_up, "committed {} of {records}", committed(&consumer));
        std::thread::sleep(LOOK);
    }
    let done = Mark::now();
    consumer.shutdown_blocking(PATIENCE).unwrap();
    (watched, done)
}
