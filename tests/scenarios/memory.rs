//! What one owner of a partition has finished above its committed offset is remembered in the commit, and not handled by the next one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kafka_troupe::broker::{LocalKafka, RDKafkaApiKey, RDKafkaRespErr};
use kafka_troupe::consume::{ConsumerBuilder, Order, PartitionPhase, Record};
use kafka_troupe::ids::{NextOffset, Offset, TopicPartition};
use kafka_troupe::offsets::memory::{LogIdentity, Packing, decode, encode};
use kafka_troupe::offsets::{CommittedOffset, FinishedRange, committed_offsets};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};
use rdkafka_sys as sys;

use crate::fixture::spawning::{starting, take_down};
use crate::fixture::{Broker, Gate, Journal, On, PATIENCE, Stage, eventually};
use crate::random::Random;

scenarios! {
    on both brokers:
        what_an_earlier_owner_finished_is_not_handled_again,
        what_is_remembered_passes_on_through_an_owner_that_gets_no_further,
        a_worker_that_dies_leaves_its_successor_what_is_remembered,
        a_memory_of_another_place_is_not_believed,
        other_peoples_metadata_is_left_alone_and_harms_nobody,
        the_app_that_commits_offsets_of_its_own_has_nothing_remembered_above_them;
    on the embedded broker, "which answers requests with the errors that a test asks for":
        a_partition_without_a_leader_does_not_keep_the_others_from_their_start,
        metadata_that_is_refused_as_too_long_is_shortened_and_the_offset_gets_through,
        a_request_that_is_refused_whole_is_sent_with_half_the_metadata_and_then_without;
    on Apache Kafka, "the embedded broker has no topic ids, and takes metadata of any length":
        a_memory_of_a_topic_that_was_created_again_is_not_believed,
        a_broker_that_takes_a_hundred_characters_gets_no_more;
    at length on Apache Kafka:
        three_hundred_partitions_commit_full_metadata_within_the_rate;
}

const STOP: Duration = Duration::from_secs(20);

fn run(first: i64, last: i64) -> FinishedRange {
    FinishedRange { first: Offset(first), last: Offset(last) }
}

impl Stage {
    fn cluster_id(&self) -> String {
        let consumer: BaseConsumer = self.client().create().unwrap();
        consumer.client().fetch_cluster_id(PATIENCE).unwrap()
    }

    /// What an owner writes that does not know the topic's id.
    pub fn memory(&self, partition: i32, base: i64, finished: &[FinishedRange]) -> String {
        let log = LogIdentity::of(&self.cluster_id(), &self.topic, None, partition);
        encode(NextOffset(base), finished.iter().copied(), log, Packing::Dense, 4095).unwrap()
    }

    /// Commits as a client that is no member.
    pub fn plant(&self, group: &str, commits: &[(i32, i64, &[u8])]) {
        let group = self.group(group);
        let consumer: BaseConsumer = self.client().set("group.id", &group).create().unwrap();
        let mut list = TopicPartitionList::new();
        for (partition, offset, _) in commits {
            list.add_partition_offset(&self.topic, *partition, ListOffset::Offset(*offset)).unwrap();
        }
        for (at, (.., metadata)) in commits.iter().enumerate() {
            // SAFETY: librdkafka frees the copy with the list. rdkafka's own setter takes text only.
            unsafe {
                let element = &mut *(*list.ptr()).elems.add(at);
                let copy = sys::rd_kafka_mem_malloc(std::ptr::null_mut(), metadata.len().max(1));
                std::ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast(), metadata.len());
                (element.metadata, element.metadata_size) = (copy, metadata.len());
            }
        }
        // The first commit of all has Kafka create the topic that it keeps them in.
        eventually("it is committed", || consumer.commit(&list, CommitMode::Sync).is_ok());
    }

    fn committed_with_metadata(&self, group: &str) -> Vec<CommittedOffset> {
        let consumer: BaseConsumer = self.client().set("group.id", self.group(group)).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, self.partitions - 1);
        committed_offsets(&consumer.committed_offsets(list, PATIENCE).unwrap())
    }

    /// What the group's commit of a partition remembers.
    fn remembered(&self, group: &str, partition: usize) -> Option<(i64, Vec<FinishedRange>)> {
        let committed = self.committed_with_metadata(group).swap_remove(partition);
        let memory = decode(&committed.metadata).ok()?;
        assert_eq!(Some(memory.base), committed.next);
        Some((memory.base.0, memory.finished))
    }
}

fn noting(stage: &Stage, group: &str, journal: &Journal) -> ConsumerBuilder {
    let journal = journal.clone();
    stage.consumer(group).handler(move |record: &Record| journal.note("a", record))
}

fn without(all: std::ops::Range<i64>, finished: &[FinishedRange]) -> Vec<i64> {
    all.filter(|offset| !finished.iter().any(|run| (run.first.0..=run.last.0).contains(offset))).collect()
}

fn what_an_earlier_owner_finished_is_not_handled_again(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 100, 20);
    // At the base, in the middle, and up to the log's end.
    let finished = [[run(10, 12), run(20, 29), run(50, 50)], [run(30, 40), run(42, 42), run(90, 99)]];
    let texts = [stage.memory(0, 10, &finished[0]), stage.memory(1, 0, &finished[1])];
    stage.plant("g", &[(0, 10, texts[0].as_bytes()), (1, 0, texts[1].as_bytes())]);
    let journal = Journal::default();
    let consumer = noting(&stage, "g", &journal).start().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 100), (1, 100)].into());
    assert_eq!(journal.of(0), without(10..100, &finished[0]));
    assert_eq!(journal.of(1), without(0..100, &finished[1]));
    assert_eq!(consumer.state().counters.remembered, 14 + 22);
    stage.produce(100, 10, 20);
    eventually("it goes on", || journal.of(0).last() == Some(&109));
    consumer.shutdown_blocking(STOP).unwrap();
    assert!(
        stage.committed_with_metadata("g").iter().all(|each| each.metadata.is_empty()),
        "nothing is left to remember"
    );
    assert_eq!(consumer.state().invariants, Default::default());
}

fn what_is_remembered_passes_on_through_an_owner_that_gets_no_further(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let finished = [run(3, 3), run(50, 59)];
    stage.plant("g", &[(0, 0, stage.memory(0, 0, &finished).as_bytes())]);
    let (journal, gate) = (Journal::default(), Gate::default());
    let (notes, at_gate) = (journal.clone(), gate.clone());
    let builder = stage.consumer("g").handler(move |record: &Record| {
        if record.offset().0 == 5 {
            at_gate.wait();
        }
        notes.note("a", record);
    });
    let first = builder.start().unwrap();
    eventually("it has come so far", || stage.remembered("g", 0) == Some((5, vec![run(50, 59)])));
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(first.shutdown_blocking(STOP).unwrap().drained));
        eventually("no other is begun", || {
            first.state().partitions.iter().all(|p| p.phase == PartitionPhase::Revoking)
        });
        gate.open();
    });
    assert_eq!(stage.remembered("g", 0), Some((6, vec![run(50, 59)])));
    let second = noting(&stage, "g", &journal).start().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 100)].into());
    second.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(0), without(0..100, &finished), "each once, over both of them");
}

fn a_worker_that_dies_leaves_its_successor_what_is_remembered(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let finished = [run(50, 59), run(70, 70)];
    stage.plant("g", &[(0, 0, stage.memory(0, 0, &finished).as_bytes())]);
    let (journal, gate) = (Journal::default(), Gate::default());
    let (notes, at_gate) = (journal.clone(), gate.clone());
    let builder = stage.consumer("g").async_handler(move |record: Record| {
        let (notes, at_gate) = (notes.clone(), at_gate.clone());
        async move {
            notes.note("a", &record);
            if record.offset().0 == 20 && notes.of(0).iter().filter(|offset| **offset == 20).count() == 1 {
                at_gate.open();
                std::future::pending::<()>().await;
            }
        }
    });
    let consumer = builder.start().unwrap();
    gate.wait();
    consumer.kill_worker(&TopicPartition::new(&*stage.topic, 0));
    eventually("all is committed", || stage.committed("g") == [(0, 100)].into());
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(consumer.state().counters.workers_replaced, 1);
    let mut offsets = journal.of(0);
    assert_eq!(offsets.remove(20), 20);
    assert_eq!(offsets, without(0..100, &finished), "but for the record that the worker died with");
}

fn a_memory_of_another_place_is_not_believed(on: On) {
    let stage = Stage::new(on, 4);
    stage.produce(0, 100, 20);
    let finished = [run(50, 59)];
    let elsewhere = LogIdentity::of("another cluster", &stage.topic, None, 2);
    let elsewhere = encode(NextOffset(10), finished.into_iter(), elsewhere, Packing::Base64, 4095).unwrap();
    stage.plant(
        "g",
        &[
            // As MirrorMaker translates an offset and keeps its metadata.
            (0, 10, stage.memory(0, 11, &finished).as_bytes()),
            (1, 10, stage.memory(0, 10, &finished).as_bytes()),
            (2, 10, elsewhere.as_bytes()),
            (3, 10, stage.memory(3, 10, &[run(50, 100)]).as_bytes()),
        ],
    );
    let journal = Journal::default();
    let consumer = noting(&stage, "g", &journal).start().unwrap();
    eventually("all is handled", || journal.len() == 360);
    (0..4).for_each(|partition| assert_eq!(journal.of(partition), (10..100).collect::<Vec<_>>()));
    assert_eq!(consumer.state().counters.remembered, 0);
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_partition_without_a_leader_does_not_keep_the_others_from_their_start(_: On) {
    let broker = kafka_troupe::broker::EmbeddedBroker::builder().brokers(2).start().unwrap();
    let stage = Stage::on(Broker::Embedded(Arc::new(broker)), 2, &[]);
    let embedded = stage.broker.embedded();
    embedded.move_coordinator(&stage.group("g"), 1).unwrap();
    (0..2).for_each(|partition| embedded.move_leader(&stage.topic, partition, partition + 1).unwrap());
    stage.produce(0, 100, 20);
    let memories = [0, 1].map(|partition| stage.memory(partition, 10, &[run(20, 29)]));
    stage.plant("g", &[(0, 10, memories[0].as_bytes()), (1, 10, memories[1].as_bytes())]);
    take_down(embedded, 2);
    let journal = Journal::default();
    let consumer = noting(&stage, "g", &journal).start().unwrap();
    eventually("the other one is handled", || journal.of(0).last() == Some(&99));
    assert_eq!(journal.of(0), without(10..100, &[run(20, 29)]), "what is remembered of it can be checked");
    embedded.bring_up(2).unwrap();
    eventually("and then this one", || journal.of(1).last() == Some(&99));
    consumer.shutdown_blocking(STOP).unwrap();
}

fn other_peoples_metadata_is_left_alone_and_harms_nobody(on: On) {
    let stage = Stage::new(on, 4);
    stage.produce(0, 50, 20);
    let damaged = stage.memory(2, 10, &[run(20, 29)]).replace('T', "T1d");
    let metadata: [&[u8]; 4] = [b"processed by somebody", b"T1d\xff\xfe\x00", damaged.as_bytes(), b"\xff\xfe\x80"];
    let commits: Vec<_> = (0..4).zip(metadata).map(|(partition, metadata)| (partition, 10, metadata)).collect();
    stage.plant("g", &commits);
    let journal = Journal::default();
    let consumer = noting(&stage, "g", &journal).start().unwrap();
    eventually("all is handled", || journal.len() == 160);
    consumer.shutdown_blocking(STOP).unwrap();
    (0..4).for_each(|partition| assert_eq!(journal.of(partition), (10..50).collect::<Vec<_>>()));
}

fn the_app_that_commits_offsets_of_its_own_has_nothing_remembered_above_them(on: On) {
    use kafka_troupe::consume::CommitWhen;
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    stage.plant("g", &[(0, 0, stage.memory(0, 0, &[run(50, 59)]).as_bytes())]);
    let journal = Journal::default();
    let consumer = noting(&stage, "g", &journal).commit_when(CommitWhen::Manual).start().unwrap();
    eventually("all is handled", || journal.len() == 90);
    consumer.commit_offsets([(TopicPartition::new(&*stage.topic, 0), NextOffset(40))]).wait_blocking().unwrap();
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!((stage.committed("g"), stage.remembered("g", 0)), ([(0, 40)].into(), None));
}

/// A consumer that has one record to go before it commits anew what is remembered; and the gate it waits at.
fn one_to_go(stage: &Stage, finished: &[FinishedRange]) -> (kafka_troupe::ConsumerHandle, Gate) {
    stage.produce(0, 3000, 20);
    stage.plant("g", &[(0, 0, stage.memory(0, 0, finished).as_bytes())]);
    let gate = Gate::default();
    let at_gate = gate.clone();
    let handler = move |record: Record| {
        let gate = at_gate.clone();
        async move {
            match record.offset().0 {
                0 => tokio::task::spawn_blocking(move || gate.wait()).await.unwrap(),
                1 => std::future::pending().await,
                _ => {}
            }
        }
    };
    let builder = stage.consumer("g").async_handler(handler).drain_deadline(Duration::from_millis(100));
    (builder.start().unwrap(), gate)
}

/// Every third record, which takes some hundred characters.
fn thirds() -> Vec<FinishedRange> {
    (5..3000).step_by(3).map(|offset| run(offset, offset)).collect()
}

fn characters(stage: &Stage) -> usize {
    let metadata = stage.committed_with_metadata("g").swap_remove(0).metadata;
    std::str::from_utf8(&metadata).unwrap().chars().count()
}

fn metadata_that_is_refused_as_too_long_is_shortened_and_the_offset_gets_through(on: On) {
    let stage = Stage::new(on, 1);
    let (consumer, gate) = one_to_go(&stage, &thirds());
    let planted = characters(&stage);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE; 3];
    stage.broker.embedded().fail_requests(RDKafkaApiKey::OffsetCommit, &refused);
    gate.open();
    eventually("the offset gets through", || stage.committed("g") == [(0, 1)].into());
    assert_eq!(consumer.state().counters.metadata_refused, 3);
    let (_, held) = stage.remembered("g", 0).unwrap();
    assert!(!held.is_empty() && thirds().starts_with(&held[..held.len() - 1]) && characters(&stage) < planted);
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_request_that_is_refused_whole_is_sent_with_half_the_metadata_and_then_without(on: On) {
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN;
    for (refusals, remembers) in [(1, true), (2, false)] {
        let stage = Stage::new(on, 1);
        let (consumer, gate) = one_to_go(&stage, &thirds());
        let planted = characters(&stage);
        stage.broker.embedded().fail_requests(RDKafkaApiKey::OffsetCommit, &vec![unknown; refusals]);
        gate.open();
        eventually("the offset gets through", || stage.committed("g") == [(0, 1)].into());
        assert_eq!(stage.remembered("g", 0).is_some(), remembers, "after {refusals}");
        assert!(characters(&stage) <= planted / 2);
        consumer.shutdown_blocking(STOP).unwrap();
    }
}

fn a_memory_of_a_topic_that_was_created_again_is_not_believed(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    stage.plant("g", &[(0, 0, stage.memory(0, 0, &[run(50, 59)]).as_bytes())]);
    // One record after the other, so that a commit is made when the topic's id is known.
    let (may_go, mut let_go) = (Arc::new(tokio::sync::Semaphore::new(1)), 1);
    let waits = Arc::clone(&may_go);
    let builder = stage.consumer("g").async_handler(move |record: Record| {
        let waits = Arc::clone(&waits);
        async move {
            waits.acquire().await.unwrap().forget();
            if record.offset().0 == 40 {
                std::future::pending::<()>().await;
            }
        }
    });
    let consumer = builder.drain_deadline(Duration::from_millis(100)).start().unwrap();
    let mut text = Box::default();
    eventually("it has come so far, and what is remembered is bound to the topic's id", || {
        let committed = stage.committed_with_metadata("g").swap_remove(0);
        if committed.next == Some(NextOffset(let_go)) {
            may_go.add_permits(1);
            let_go += 1;
        }
        text = committed.metadata;
        committed.next == Some(NextOffset(40)) && decode(&text).unwrap().names_topic_id()
    });
    consumer.shutdown_blocking(STOP).unwrap();
    stage.recreate_topic();
    stage.produce(0, 100, 20);
    stage.plant("g", &[(0, 40, &text)]);
    let journal = Journal::default();
    let consumer = noting(&stage, "g", &journal).start().unwrap();
    eventually("all is handled", || journal.len() == 60);
    assert_eq!(journal.of(0), (40..100).collect::<Vec<_>>());
    consumer.shutdown_blocking(STOP).unwrap();
}

fn a_broker_that_takes_a_hundred_characters_gets_no_more(_: On) {
    let kafka = starting(|| LocalKafka::builder().property("offset.metadata.max.bytes", "100").start()).unwrap();
    let stage = Stage::on(Broker::Own(kafka.into()), 1, &[]);
    stage.produce(0, 10_000, 20);
    // One in twenty never finishes, in no order: that is far longer to write down than what fits.
    let mut random = Random::seeded();
    let held: BTreeSet<i64> = (1..10_000).filter(|offset| *offset == 1 || random.below(20) == 0).collect();
    let holds = held.clone();
    let builder = stage.consumer("g").order(Order::Unordered).concurrency(1000).partition_concurrency(1000);
    let builder = builder.async_handler(move |record: Record| {
        let holds = holds.contains(&record.offset().0);
        async move {
            if holds {
                std::future::pending::<()>().await;
            }
        }
    });
    let first = builder.drain_deadline(Duration::from_millis(100)).start().unwrap();
    eventually("all others are finished", || first.state().counters.finished == 10_000 - held.len() as u64);
    eventually("a memory gets through", || stage.remembered("g", 0).is_some());
    first.shutdown_blocking(STOP).unwrap();
    assert!(first.state().counters.metadata_refused > 0);
    let length = characters(&stage);
    assert!((24..=100).contains(&length), "{length} characters");
    let (base, finished) = stage.remembered("g", 0).unwrap();
    let end = finished.last().unwrap().last.0 + 1;
    assert_eq!(base, 1);
    assert!(end > 100, "the lowest are kept, up to {end}");
    assert_eq!(without(1..end, &finished), held.range(..end).copied().collect::<Vec<_>>(), "each hole, and no other");
    let journal = Journal::default();
    let second = noting(&stage, "g", &journal).start().unwrap();
    eventually("all is committed", || stage.committed("g") == [(0, 10_000)].into());
    second.shutdown_blocking(STOP).unwrap();
    assert_eq!(journal.of(0), without(1..10_000, &finished), "what fitted is not handled again");
}

fn three_hundred_partitions_commit_full_metadata_within_the_rate(on: On) {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    const RECORDS: i64 = 62_000;
    let stage = Stage::new(on, 300);
    let producer: BaseProducer =
        stage.client().set("linger.ms", "20").set("queue.buffering.max.messages", "1000000").create().unwrap();
    for partition in 0..stage.partitions {
        for _ in 0..RECORDS {
            while producer.send(BaseRecord::<(), ()>::to(&stage.topic).partition(partition)).is_err() {
                producer.poll(Duration::from_millis(10));
            }
        }
    }
    producer.flush(PATIENCE * 4).unwrap();
    // A bit for each offset, in no order: nothing can write that shorter.
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let finished: Vec<_> = (5..RECORDS)
        .filter(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random >> 63 == 1
        })
        .map(|offset| run(offset, offset))
        .collect();
    let texts: Vec<_> =
        (0..stage.partitions).map(|partition| (partition, stage.memory(partition, 0, &finished))).collect();
    for part in texts.chunks(40) {
        let commits: Vec<_> = part.iter().map(|(partition, text)| (*partition, 0, text.as_bytes())).collect();
        stage.plant("g", &commits);
    }
    let consumer = stage
        .steady_consumer("g")
        .property("fetch.message.max.bytes", "65536")
        .property("queued.max.messages.kbytes", "64")
        .async_handler(|record: Record| async move {
            if record.offset().0 >= 3 {
                std::future::pending::<()>().await;
            }
        })
        .drain_deadline(Duration::from_millis(100))
        .start()
        .unwrap();
    eventually("all 300 are committed", || {
        let state = consumer.state();
        state.partitions.len() == 300 && state.partitions.iter().all(|p| p.committed == Some(3))
    });
    let state = consumer.state();
    assert!(state.counters.commit_bytes > 300 * 12_000, "{:?}", state.counters);
    assert_eq!((state.counters.metadata_refused, state.counters.failed_commits), (0, 0));
    assert!(state.counters.commits >= 7, "several requests: {}", state.counters.commits);
    for each in stage.committed_with_metadata("g") {
        assert_eq!(each.next, Some(NextOffset(3)));
        let text = std::str::from_utf8(&each.metadata).unwrap();
        assert_eq!(text.chars().count(), 4095);
        let held = decode(text.as_bytes()).unwrap().finished;
        assert!(held.len() > 25_000, "{}", held.len());
    }
    eprintln!("{:?} {:?}", state.commits, state.counters);
    consumer.shutdown_blocking(STOP).unwrap();
}
