//! A record that blocks the watermark, and very many that finish behind it.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as In};
use std::time::Duration;

use kafka_troupe::consume::{ConsumerBuilder, Order, Record};

use crate::fixture::{On, Stage, eventually};

scenarios! {
    at length on Apache Kafka:
        a_million_records_may_finish_behind_one_that_blocks_and_are_remembered;
}

const RECORDS: usize = 1_200_000;
/// How far a partition goes ahead of its first unfinished record, in offsets, and the chunk in which it notices.
const AHEAD: std::ops::RangeInclusive<usize> = (1 << 20) - 512..=(1 << 20) + 1024;
const BLOCKS: i64 = 10;

fn counting(builder: ConsumerBuilder, calls: &Arc<AtomicUsize>, blocks: bool) -> ConsumerBuilder {
    let calls = Arc::clone(calls);
    builder.async_handler(move |record: Record| {
        let waits = blocks && record.offset().0 == BLOCKS;
        if !waits {
            calls.fetch_add(1, In::Relaxed);
        }
        async move {
            if waits {
                pending::<()>().await;
            }
        }
    })
}

fn a_million_records_may_finish_behind_one_that_blocks_and_are_remembered(on: On) {
    for order in [Order::Key, Order::Unordered] {
        let stage = Stage::new(on, 1);
        // No more at a time than a producer's queue takes.
        (0..RECORDS).step_by(50_000).for_each(|from| stage.produce(from, 50_000, 20));
        let calls = Arc::<AtomicUsize>::default();
        let consumer = counting(stage.lone_consumer("g").order(order), &calls, true);
        let consumer = consumer.drain_deadline(Duration::from_millis(200)).start().unwrap();
        eventually("as many are finished as may be", || calls.load(In::Relaxed) >= *AHEAD.start());
        eventually("who blocks is named, with its age", || {
            let partition = consumer.state().partitions.remove(0);
            partition.watermark_holder.is_some_and(|holder| holder.offset == BLOCKS && holder.age_ms >= 1000)
        });
        consumer.shutdown_blocking(Duration::from_secs(20)).unwrap();
        let ahead = calls.load(In::Relaxed);
        assert!(AHEAD.contains(&ahead), "{order:?}: {ahead} were finished behind it");
        assert_eq!(stage.committed("g"), [(0, BLOCKS)].into());
        let next = counting(stage.lone_consumer("g").order(order), &calls, false).start().unwrap();
        eventually("all is committed", || stage.committed("g") == [(0, RECORDS as i64)].into());
        next.shutdown_blocking(Duration::from_secs(20)).unwrap();
        assert_eq!(calls.load(In::Relaxed), RECORDS, "{order:?}: none is handled twice");
    }
}
