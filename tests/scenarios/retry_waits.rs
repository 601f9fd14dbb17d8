//! Records that wait in retry topics: for how long, with whom, and what they keep from others meanwhile.

use std::collections::BTreeMap;

use kafka_troupe::consume::{
    AutoOffsetReset, ConsumerHandle, DeadLetters, OnOffsetOutOfRange, Order, PartitionState, RETRY_DUE_HEADER, Record,
    RetryTopics, StartAt,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::fixture::{Journal, On, PATIENCE, Stage, eventually, since_1970};
use crate::retries::{ORDERS, STOP, Story, all_committed, fails_first, millis, quick, waits};

scenarios! {
    on both brokers:
        a_record_that_waits_longer_than_its_member_may_go_without_a_poll_keeps_its_member_in_the_group,
        a_record_that_waits_is_left_to_the_next_owner_for_whom_it_is_due_at_the_same_time,
        a_record_waits_also_where_a_consumer_would_begin_at_the_end,
        many_records_that_wait_take_little_of_the_room_that_all_partitions_share,
        records_that_wait_by_a_clock_that_is_far_behind_wait_together;
    on the embedded broker, "its logs lose what is beyond 5 MiB at once":
        what_a_retry_topic_still_has_is_handled_whatever_the_policy_says_of_what_it_lost;
}

fn a_record_that_waits_longer_than_its_member_may_go_without_a_poll_keeps_its_member_in_the_group(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        let retry = stage.another_topic(1);
        stage.produce(0, 10, 20);
        let story = Story::default();
        let consumer = quick(&stage, order)
            .property("session.timeout.ms", "3000")
            .property("max.poll.interval.ms", "3000")
            .retry_topics(RetryTopics::new([(&retry.topic, millis(5000))]))
            .slow_record_after(millis(500))
            .handler(fails_first(&story))
            .start()
            .unwrap();
        eventually("it waits, and is not paused", || waits(&consumer, &retry.topic).is_some());
        let state = consumer.state();
        let assigned = state.counters.assigned;
        let waiting = state.partitions.iter().find(|partition| partition.topic == retry.topic).unwrap();
        assert!(
            waiting.watermark_holder.is_none() && waiting.in_flight == 0,
            "it is none that takes long: {waiting:?}"
        );
        // Others go on meanwhile, and are committed.
        stage.produce(10, 10, 20);
        eventually("the others are committed", || stage.committed("g") == [(0, 20)].into());
        eventually("it is done", || all_committed(&stage, &[&stage, &retry]) && story.attempts() == 22);
        let seen = story.of(&format!("{:020}", 0));
        assert!(seen[2].at >= seen[2].due.unwrap() && seen[2].at - seen[1].at >= 5000, "{seen:?}");
        let counters = consumer.state().counters;
        assert_eq!((counters.assigned, counters.revoked, counters.lost), (assigned, 0, 0), "{order:?}: it stayed");
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    }
}

fn a_record_that_waits_is_left_to_the_next_owner_for_whom_it_is_due_at_the_same_time(on: On) {
    for order in ORDERS {
        let stage = Stage::new(on, 2);
        let retry = stage.another_topic(1);
        stage.produce_to(&[0], 0, 10, 20);
        let story = Story::default();
        let member = |delay| {
            let retries = RetryTopics::new([(&retry.topic, millis(delay))]);
            quick(&stage, order)
                .drain_deadline(STOP)
                .retry_topics(retries)
                .handler(fails_first(&story))
                .start()
                .unwrap()
        };
        // So long that nobody waits for it here.
        let first = member(600_000);
        eventually("it waits", || waits(&first, &retry.topic).is_some());
        let due = waits(&first, &retry.topic);
        eventually("what sent it there is committed", || stage.committed("g").get(&0) == Some(&10));
        let second = member(600_000);
        eventually("the second has a part", || !second.state().partitions.is_empty());
        let waiting = || [&first, &second].map(|member| waits(member, &retry.topic));
        eventually("it waits with one of the two", || waiting().iter().flatten().count() == 1);
        assert_eq!(waiting().into_iter().find(Option::is_some), Some(due), "{order:?}: it is due when it was");
        let (leaves, stays) = if waiting()[0].is_some() { (first, second) } else { (second, first) };
        let begun = std::time::Instant::now();
        assert!(leaves.shutdown_blocking(STOP).unwrap().drained);
        assert!(begun.elapsed() < STOP / 2, "{order:?}: a record that is not due is waited for by nobody");
        eventually("it waits with the other", || waits(&stays, &retry.topic) == due);
        assert!(stays.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!((story.attempts(), retry.committed_of(&stage.group("g"))), (11, BTreeMap::new()), "{order:?}");
        // A wait is never longer than the topic's delay, which is shorter now.
        let last = member(100);
        eventually("it is done", || all_committed(&stage, &[&retry]));
        assert!(last.shutdown_blocking(STOP).unwrap().drained);
        let seen = story.of(&format!("{:020}", 0));
        assert_eq!(seen.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2, 3], "{order:?}: {seen:?}");
    }
}

fn a_record_waits_also_where_a_consumer_would_begin_at_the_end(on: On) {
    for at_end in [false, true] {
        let stage = Stage::new(on, 1);
        let retry = stage.another_topic(1);
        let story = Story::default();
        let member = |delay| {
            let builder =
                quick(&stage, Order::Unordered).retry_topics(RetryTopics::new([(&retry.topic, millis(delay))]));
            let builder = if at_end { builder.start_at(StartAt::Latest) } else { builder };
            builder.auto_offset_reset(AutoOffsetReset::Latest).handler(fails_first(&story)).start().unwrap()
        };
        let first = member(600_000);
        eventually("it is there", || first.state().partitions.len() == 2);
        stage.produce(0, 1, 20);
        eventually("it waits", || waits(&first, &retry.topic).is_some());
        eventually("that is committed", || stage.committed("g") == [(0, 1)].into());
        assert!(first.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!(retry.committed_of(&stage.group("g")), BTreeMap::new(), "nothing is finished there");
        // It never waits for longer than the topic's delay, which is shorter now.
        let second = member(100);
        eventually("it is done", || all_committed(&stage, &[&retry]));
        assert!(second.shutdown_blocking(STOP).unwrap().drained);
        assert_eq!(story.attempts(), 3, "at the end: {at_end}");
    }
}

/// The partition of a retry topic that has only one.
fn partition_of(consumer: &ConsumerHandle, topic: &str) -> Option<PartitionState> {
    consumer.state().partitions.into_iter().find(|partition| partition.topic == topic)
}

fn many_records_that_wait_take_little_of_the_room_that_all_partitions_share(on: On) {
    const RECORDS: i64 = 2500;
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        let retry = stage.another_topic(1);
        stage.produce(0, RECORDS as usize, 20);
        let journal = Journal::default();
        let member = |delay| {
            let notes = journal.clone();
            let handler = move |record: &Record| match record.origin() {
                None if record.offset().0 < RECORDS => Err("not yet"),
                None => Ok(()),
                Some(_) => {
                    notes.note("a", record);
                    Ok(())
                }
            };
            quick(&stage, order)
                .max_attempts(1)
                .retry_topics(RetryTopics::new([(&retry.topic, millis(delay))]))
                .dead_letters(DeadLetters::perhaps_to(None).max_in_a_row(u32::MAX).max_ratio(1.0, 1))
                .handler(handler)
                .start()
                .unwrap()
        };
        let first = member(600_000);
        eventually("all wait", || retry.ends() == [(0, RECORDS)].into());
        assert!(first.shutdown_blocking(STOP).unwrap().drained);
        // Who comes now finds them all there.
        let second = member(600_000);
        let waiting = || partition_of(&second, &retry.topic).unwrap();
        eventually("they wait", || waits(&second, &retry.topic).is_some());
        for number in RECORDS..RECORDS + 20 {
            stage.produce(number as usize, 1, 20);
            eventually("the others go on", || stage.committed("g") == [(0, number + 1)].into());
            // Two chunks of 512 at most.
            assert!(waiting().buffered_records <= 1024, "{order:?}: {:?}", waiting());
        }
        assert!(second.shutdown_blocking(STOP).unwrap().drained);
        // They never wait for longer than the topic's delay, which is shorter now.
        let last = member(100);
        eventually("all are done", || all_committed(&stage, &[&stage, &retry]));
        assert_eq!(journal.of(0).len() as i64, RECORDS, "{order:?}: once each");
        assert_eq!(last.state().invariants, Default::default());
        assert!(last.shutdown_blocking(STOP).unwrap().drained);
    }
}

fn records_that_wait_by_a_clock_that_is_far_behind_wait_together(on: On) {
    // A dozen chunks, of which two are handed out at a time.
    const RECORDS: i64 = 6000;
    let delay = millis(2000);
    for order in ORDERS {
        let stage = Stage::new(on, 1);
        let retry = stage.another_topic(1);
        // To the reader they were written in half an hour.
        let written = since_1970() + 1_800_000;
        let due = (written + delay.as_millis() as i64).to_string();
        let producer: BaseProducer = stage.client().create().unwrap();
        for number in 0..RECORDS {
            let offset = number.to_string();
            let told = [("topic", &*stage.topic), ("partition", "0"), ("offset", &offset), ("attempts", "1")];
            let headers = told.into_iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
                headers.insert(Header { key: &format!("__troupe.errors.{name}"), value: Some(value) })
            });
            let headers = headers.insert(Header { key: RETRY_DUE_HEADER, value: Some(&due) });
            let record = BaseRecord::to(&retry.topic).key(&offset).payload(&offset).timestamp(written).headers(headers);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        let journal = Journal::default();
        let notes = journal.clone();
        let consumer = quick(&stage, order)
            .retry_topics(RetryTopics::new([(&retry.topic, delay)]))
            .handler(move |record: &Record| notes.note("a", record))
            .start()
            .unwrap();
        eventually("they wait", || waits(&consumer, &retry.topic).is_some());
        let begun = std::time::Instant::now();
        eventually("all are done", || all_committed(&stage, &[&retry]));
        // Chunk by chunk it would be six times the delay.
        assert!(begun.elapsed() < delay * 4, "{order:?}: {:?}", begun.elapsed());
        assert_eq!((journal.len() as i64, journal.distinct() as i64), (RECORDS, RECORDS), "{order:?}");
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    }
}

fn what_a_retry_topic_still_has_is_handled_whatever_the_policy_says_of_what_it_lost(on: On) {
    for policy in [OnOffsetOutOfRange::Earliest, OnOffsetOutOfRange::Latest] {
        let stage = Stage::new(on, 1);
        let retry = stage.another_topic(1);
        // The embedded broker keeps 5 MiB of a partition.
        retry.produce(0, 80, 50_000);
        let consumer: BaseConsumer = stage.client().create().unwrap();
        let low = || consumer.fetch_watermarks(&retry.topic, 0, PATIENCE).unwrap().0;
        let (low, end) = (low(), 80);
        assert!(0 < low && low < end, "{low}");
        retry.plant("g", &[(0, 0, b"")]);
        let journal = Journal::default();
        let notes = journal.clone();
        let consumer = quick(&stage, Order::Unordered)
            .group_id(retry.group("g"))
            .retry_topics(RetryTopics::new([(&retry.topic, millis(100))]))
            .on_offset_out_of_range(policy)
            .handler(move |record: &Record| notes.note("a", record))
            .start()
            .unwrap();
        eventually("all is committed", || retry.committed("g") == [(0, end)].into());
        assert_eq!(journal.of(0), (low..end).collect::<Vec<_>>(), "{policy:?}");
        assert_eq!(consumer.state().counters.offsets_lost, low as u64);
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    }
}
