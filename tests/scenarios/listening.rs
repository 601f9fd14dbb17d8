//! What a rebalance listener is told, and what it may say to it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_troupe::consume::{CommitWhen, ConsumerBuilder, ConsumerHandle, Offsets, Record, RevokeReason};
use kafka_troupe::ids::{NextOffset, TopicPartition};

use crate::fixture::spawning::spawn;
use crate::fixture::{Entry, Gate, Journal, On, Stage, eventually, noting_slowly};
use crate::listener::{Call, History, Listener};
use crate::process::example;
use crate::rebalancing::assert_handed_over_once;

scenarios! {
    on both brokers:
        it_is_told_of_partitions_as_they_come_and_go_and_of_assignments_that_are_empty,
        what_is_revoked_is_told_when_its_handlers_are_through_and_before_it_is_committed,
        partitions_start_where_it_says_and_are_committed_from_there,
        no_record_of_a_partition_is_handled_before_its_assignment_was_told,
        an_eager_rebalance_takes_everything_and_gives_it_anew,
        a_group_of_the_new_protocol_tells_the_same,
        what_it_stores_when_partitions_go_is_committed_and_nobody_repeats_it,
        a_standalone_consumer_tells_of_its_start_and_its_stop,
        where_the_app_or_the_client_commits_it_is_told_too;
    on the embedded broker, "which answers requests with the errors that a test asks for":
        what_is_lost_is_fenced_and_told_as_that_and_not_committed,
        what_is_lost_while_it_is_told_as_revoked_is_not_committed_and_told_as_gone_once;
    on Apache Kafka, "which takes the last commit of a member that is late, and so never repeats what is committed":
        an_example_that_buffers_for_a_database_stores_each_record_once_while_members_join_and_leave,
        eagerly_what_it_stores_when_partitions_go_is_committed_and_nobody_repeats_it;
}

const STOP: Duration = Duration::from_secs(20);

fn assigned(consumer: &ConsumerHandle) -> usize {
    consumer.state().partitions.len()
}

/// A member whose handler notes each record after a millisecond, and that tells `history`.
fn member(stage: &Stage, name: &'static str, journal: &Journal, history: &History) -> ConsumerBuilder {
    let builder = stage.steady_consumer("g").async_handler(noting_slowly(journal, name));
    builder.rebalance_listener(Listener::new(history))
}

fn all_at(partitions: i32, offset: i64) -> BTreeMap<i32, i64> {
    (0..partitions).map(|partition| (partition, offset)).collect()
}

fn it_is_told_of_partitions_as_they_come_and_go_and_of_assignments_that_are_empty(on: On) {
    let stage = Stage::new(on, 4);
    let (journal, of_a, of_b) = (Journal::default(), History::default(), History::default());
    let a = member(&stage, "a", &journal, &of_a).start().unwrap();
    eventually("a has all", || assigned(&a) == 4);
    assert_eq!(of_a.calls(), [Call::Assigned(all_at(4, 0))]);
    let b = member(&stage, "b", &journal, &of_b).start().unwrap();
    eventually("both share the partitions", || assigned(&a) == 2 && assigned(&b) == 2);
    assert_eq!(of_a.revoked(RevokeReason::Rebalance), (1, 2), "{:?}", of_a.calls());
    // Told before the group gave them to b, and then that nothing more came.
    eventually("a is told of an empty assignment", || of_a.calls().last() == Some(&Call::Assigned(BTreeMap::new())));
    let shared = [of_a.here(), of_b.here()].concat();
    assert_eq!(BTreeMap::from_iter(shared.iter().map(|each| (*each, 0))), all_at(4, 0), "{shared:?}");
    b.shutdown_blocking(STOP).unwrap();
    assert_eq!(of_b.revoked(RevokeReason::Stop), (1, 2));
    eventually("a has them all back", || assigned(&a) == 4);
    assert_eq!(of_a.here(), [0, 1, 2, 3]);
    a.shutdown_blocking(STOP).unwrap();
    assert_eq!(of_a.revoked(RevokeReason::Stop), (1, 4), "{:?}", of_a.calls());
    assert!(of_a.here().is_empty() && of_b.here().is_empty());
    let counters = a.state().counters;
    assert_eq!((counters.listener_failures, counters.listener_overdue), (0, 0));
}

fn what_is_revoked_is_told_when_its_handlers_are_through_and_before_it_is_committed(on: On) {
    let stage = Arc::new(Stage::new(on, 2));
    stage.produce(0, 200, 20);
    let (journal, history, seen) = (Journal::default(), History::default(), Arc::<Mutex<Vec<_>>>::default());
    let (asked, note, notes) = (Arc::clone(&stage), Arc::clone(&seen), journal.clone());
    let listener = Listener::new(&history).on_revoked(move |revoked| {
        let handled = |partition: i32| notes.of(partition).len() as i64;
        for each in &revoked.partitions {
            let partition = each.topic_partition.partition.0;
            let committed = asked.committed("g").get(&partition).copied();
            note.lock().unwrap().push((each.finished.0, handled(partition), committed));
        }
        Ok(Offsets::new())
    });
    let builder = stage.steady_consumer("g").async_handler(noting_slowly(&journal, "a")).rebalance_listener(listener);
    let consumer = builder.commit_when(CommitWhen::Interval(Duration::from_secs(60))).start().unwrap();
    eventually("some is handled", || journal.len() > 40);
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    for (finished, handled, committed) in seen.iter() {
        assert!(finished == handled && committed.is_none(), "{seen:?}");
    }
    let committed: i64 = stage.committed("g").values().sum();
    assert_eq!(committed, journal.len() as i64, "and committed after");
}

fn partitions_start_where_it_says_and_are_committed_from_there(on: On) {
    let stage = Stage::new(on, 3);
    stage.produce(0, 100, 20);
    let journal = Journal::default();
    stage.finished_and_uncommitted("g", &journal, 300).shutdown_blocking(STOP).unwrap();
    assert_eq!(stage.committed("g"), all_at(3, 100));
    stage.produce(100, 50, 20);
    let (journal, history) = (Journal::default(), History::default());
    let topic = stage.topic.clone();
    let listener = Listener::new(&history).on_assigned(move |_| {
        let at = |partition, offset| (TopicPartition::new(&*topic, partition), NextOffset(offset));
        // Below what is committed, above it, and two that cannot be meant.
        Ok(vec![at(0, 20), at(1, 120), at(2, -5), at(7, 3)])
    });
    let notes = journal.clone();
    let gate = Gate::default();
    let at_gate = gate.clone();
    let builder = stage.consumer("g").worker_threads(3).rebalance_listener(listener).handler(move |record: &Record| {
        if (record.partition().0, record.offset().0) == (0, 30) {
            at_gate.wait();
        }
        notes.note("a", record);
    });
    let consumer = builder.start().unwrap();
    eventually("what is finished is committed, below what was too", || {
        stage.committed("g") == [(0, 30), (1, 150), (2, 150)].into()
    });
    gate.open();
    eventually("all is committed", || stage.committed("g") == all_at(3, 150));
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(history.calls()[0], Call::Assigned(all_at(3, 100)), "it was shown what was resolved");
    let from = |first: i64| (first..150).collect::<Vec<_>>();
    assert_eq!((journal.of(0), journal.of(1), journal.of(2)), (from(20), from(120), from(100)));
    assert_eq!(consumer.state().invariants, Default::default());
}

fn no_record_of_a_partition_is_handled_before_its_assignment_was_told(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let (journal, history, gate) = (Journal::default(), History::default(), Gate::default());
    let at_gate = gate.clone();
    let listener = Listener::new(&history).on_assigned(move |_| {
        at_gate.wait();
        Ok(Offsets::new())
    });
    let notes = journal.clone();
    let builder = stage.consumer("g").handler(move |record: &Record| notes.note("a", record));
    let consumer = builder.rebalance_listener(listener).listener_deadline(STOP).start().unwrap();
    eventually("it is told", || history.calls().len() == 1);
    let others = Journal::default();
    let notes = others.clone();
    let other = stage.standalone().handler(move |record: &Record| notes.note("other", record)).start().unwrap();
    eventually("another consumer has read everything meanwhile", || others.len() == 100);
    assert_eq!((assigned(&consumer), journal.len()), (0, 0));
    gate.open();
    eventually("all is handled", || journal.len() == 100);
    assert!(consumer.state().counters.last_rebalance_stall_ms > 0, "and the wait is measured");
    other.shutdown_blocking(STOP).unwrap();
    consumer.shutdown_blocking(STOP).unwrap();
}

fn an_eager_rebalance_takes_everything_and_gives_it_anew(on: On) {
    let stage = Stage::new(on, 4);
    let (journal, of_a, of_b) = (Journal::default(), History::default(), History::default());
    let eager = |name, history| {
        let builder = member(&stage, name, &journal, history);
        builder.property("partition.assignment.strategy", "range").start().unwrap()
    };
    let a = eager("a", &of_a);
    eventually("a has all", || assigned(&a) == 4);
    let b = eager("b", &of_b);
    eventually("both share the partitions", || assigned(&a) == 2 && assigned(&b) == 2);
    assert_eq!((of_a.here().len(), of_b.here().len()), (2, 2));
    b.shutdown_blocking(STOP).unwrap();
    eventually("a has them all back", || assigned(&a) == 4);
    a.shutdown_blocking(STOP).unwrap();
    let calls = of_a.calls();
    assert!(calls.len() >= 6, "come and gone three times at least: {calls:?}");
    for each in calls.chunks(2) {
        let (came, went) = match each {
            [Call::Assigned(came), Call::Revoked(went, _)] => (came, went),
            other => panic!("they come, then go: {other:?} of {calls:?}"),
        };
        assert!(came.keys().eq(went.keys()), "all that came went: {calls:?}");
    }
    assert!(of_a.here().is_empty() && of_b.here().is_empty());
}

fn a_group_of_the_new_protocol_tells_the_same(on: On) {
    let stage = Stage::new(on, 4);
    let (journal, of_a, of_b) = (Journal::default(), History::default(), History::default());
    let member = |name, history| {
        let builder = stage.new_protocol_consumer("g").async_handler(noting_slowly(&journal, name));
        builder.rebalance_listener(Listener::new(history)).start().unwrap()
    };
    let a = member("a", &of_a);
    eventually("a has all", || assigned(&a) == 4);
    let b = member("b", &of_b);
    eventually("both share the partitions", || assigned(&a) == 2 && assigned(&b) == 2);
    assert_eq!((of_a.here().len(), of_b.here().len()), (2, 2));
    assert_eq!(of_a.revoked(RevokeReason::Rebalance).1, 2, "{:?}", of_a.calls());
    b.shutdown_blocking(STOP).unwrap();
    eventually("a has them all back", || assigned(&a) == 4);
    a.shutdown_blocking(STOP).unwrap();
    assert!(of_a.here().is_empty() && of_b.here().is_empty());
}

/// What a member has handled and not stored yet, by partition.
type Buffers = Arc<Mutex<BTreeMap<TopicPartition, Vec<(Entry, NextOffset)>>>>;

/// A member that stores nothing until its partitions go, and has committed then what it has stored in `store`.
fn buffering(stage: &Stage, builder: ConsumerBuilder, name: &'static str, store: &Journal) -> ConsumerHandle {
    let buffers = Buffers::default();
    let (fill, store) = (Arc::clone(&buffers), store.clone());
    let listener = Listener::new(&History::default()).on_revoked(move |revoked| {
        let mut given = Offsets::new();
        for each in &revoked.partitions {
            let buffer = buffers.lock().unwrap().remove(&each.topic_partition).unwrap_or_default();
            let stored = buffer.into_iter().filter(|(_, next)| *next <= each.finished);
            given.extend(stored.map(|(entry, next)| {
                store.add(entry);
                (each.topic_partition.clone(), next)
            }));
        }
        Ok(given)
    });
    let handler = move |record: Record| {
        let fill = Arc::clone(&fill);
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let entry = Entry { member: name, partition: record.partition().0, offset: record.offset().0 };
            let buffered = (entry, record.offset().next());
            fill.lock().unwrap().entry(record.topic_partition().clone()).or_default().push(buffered);
        }
    };
    let builder = builder.group_id(stage.group("g")).commit_when(CommitWhen::Manual).async_handler(handler);
    builder.rebalance_listener(listener).listener_deadline(STOP).start().unwrap()
}

fn store_once(on: On, start: impl Fn(&Stage) -> ConsumerBuilder) {
    let stage = Stage::new(on, 4);
    let count = 1500;
    stage.produce(0, 1000, 50);
    let store = Journal::default();
    let finished = |member: &ConsumerHandle| member.state().counters.finished;
    let a = buffering(&stage, start(&stage), "a", &store);
    eventually("a works alone", || finished(&a) > 100);
    assert!(store.len() == 0 && stage.committed("g").is_empty(), "nothing is stored or committed yet");
    let b = buffering(&stage, start(&stage), "b", &store);
    eventually("both share the partitions", || assigned(&a) == 2 && assigned(&b) == 2);
    stage.produce(1000, count - 1000, 50);
    eventually("b works", || finished(&b) > 100);
    assert!(store.len() > 0, "what went to b was stored before");
    b.shutdown_blocking(STOP).unwrap();
    eventually("a has them all back", || assigned(&a) == 4);
    eventually("a is through", || a.state().partitions.iter().all(|p| p.watermark == count as i64));
    a.shutdown_blocking(STOP).unwrap();
    assert_handed_over_once(on, &store, 4, count as i64, &[&a, &b]);
    assert!(store.entries().iter().any(|entry| entry.member == "b"), "b did some of the work");
    assert_eq!(stage.committed("g"), all_at(4, count as i64));
}

fn what_it_stores_when_partitions_go_is_committed_and_nobody_repeats_it(on: On) {
    store_once(on, |stage| stage.steady_consumer("g"));
}

fn eagerly_what_it_stores_when_partitions_go_is_committed_and_nobody_repeats_it(on: On) {
    store_once(on, |stage| stage.steady_consumer("g").property("partition.assignment.strategy", "range"));
    store_once(on, |stage| stage.new_protocol_consumer("g"));
}

fn a_standalone_consumer_tells_of_its_start_and_its_stop(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let (journal, history) = (Journal::default(), History::default());
    let topic = stage.topic.clone();
    let listener =
        Listener::new(&history).on_assigned(move |_| Ok(vec![(TopicPartition::new(&*topic, 1), NextOffset(30))]));
    let notes = journal.clone();
    let builder = stage.standalone().handler(move |record: &Record| notes.note("a", record));
    let consumer = builder.rebalance_listener(listener).start().unwrap();
    eventually("all is handled", || consumer.state().partitions.iter().filter(|p| p.watermark == 50).count() == 2);
    assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
    assert_eq!((journal.of(0).len(), journal.of(1)), (50, (30..50).collect()));
    assert_eq!(history.calls(), [Call::Assigned(all_at(2, 0)), Call::Revoked(all_at(2, 50), RevokeReason::Stop)]);
}

fn where_the_app_or_the_client_commits_it_is_told_too(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let history = History::default();
    let load = |partitions: &[TopicPartition]| Ok::<_, String>(vec![(partitions[0].clone(), NextOffset(10))]);
    let builder = stage.consumer("g").external_offsets(load).handler(|_: &Record| ());
    let consumer = builder.rebalance_listener(Listener::new(&history)).start().unwrap();
    eventually("all is handled", || consumer.state().partitions.iter().any(|p| p.watermark == 50));
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(history.calls(), [Call::Assigned(all_at(1, 10)), Call::Revoked(all_at(1, 50), RevokeReason::Stop)]);
    assert!(stage.committed("g").is_empty());
    let history = History::default();
    let builder = stage.consumer("g").client_auto_commit().handler(|_: &Record| ());
    let consumer = builder.rebalance_listener(Listener::new(&history)).start().unwrap();
    eventually("all is handled", || consumer.state().partitions.iter().any(|p| p.watermark == 50));
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(history.calls()[1], Call::Revoked(all_at(1, 50), RevokeReason::Stop));
    assert_eq!(stage.committed("g"), all_at(1, 50));
}

/// Has the coordinator forget the members of the stage's group.
fn lose(stage: &Stage) {
    use kafka_troupe::broker::{RDKafkaApiKey, RDKafkaRespErr};
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    stage.broker.embedded().fail_requests(RDKafkaApiKey::Heartbeat, &[unknown]);
}

fn what_is_lost_is_fenced_and_told_as_that_and_not_committed(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let (journal, history) = (Journal::default(), History::default());
    let notes = journal.clone();
    let builder = stage.consumer("g").handler(move |record: &Record| notes.note("a", record));
    let builder = builder.commit_when(CommitWhen::Interval(Duration::from_secs(60)));
    let consumer = builder.rebalance_listener(Listener::new(&history)).start().unwrap();
    eventually("all is handled", || journal.len() == 100);
    lose(&stage);
    eventually("all is handled again", || journal.len() == 200);
    assert!(stage.committed("g").is_empty(), "nothing was committed of what was lost");
    let given = Call::Assigned(all_at(2, 0));
    let calls = history.calls();
    assert_eq!((&calls[0], &calls[2..]), (&given, &[given.clone()][..]));
    assert!(matches!(&calls[1], Call::Lost(partitions) if partitions.len() == 2), "{calls:?}");
    assert_eq!(history.here(), [0, 1]);
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(stage.committed("g"), all_at(2, 50));
}

fn what_is_lost_while_it_is_told_as_revoked_is_not_committed_and_told_as_gone_once(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let (history, gate) = (History::default(), Gate::default());
    let (at_gate, counted) = (gate.clone(), Arc::<Mutex<Vec<bool>>>::default());
    let count = Arc::clone(&counted);
    let listener = Listener::new(&history).on_revoked(move |revoked| {
        let before = revoked.still_counts();
        at_gate.wait();
        count.lock().unwrap().extend([before, revoked.still_counts()]);
        Ok(Offsets::new())
    });
    let builder = stage.steady_consumer("g").handler(|_: &Record| ()).listener_deadline(STOP);
    let builder = builder.commit_when(CommitWhen::Interval(Duration::from_secs(60)));
    let consumer = builder.rebalance_listener(listener).start().unwrap();
    eventually("all is handled", || consumer.state().counters.finished == 50);
    let stopping = std::thread::spawn({
        let consumer = consumer.clone();
        move || consumer.shutdown_blocking(STOP)
    });
    eventually("it is told as revoked", || history.revoked(RevokeReason::Stop) == (1, 1));
    lose(&stage);
    // Nobody waits for the listener any more.
    assert!(!stopping.join().unwrap().unwrap().drained, "what was finished was never committed");
    assert_eq!(consumer.state().counters.lost, 1);
    gate.open();
    eventually("it returns", || *counted.lock().unwrap() == [true, false]);
    assert!(stage.committed("g").is_empty());
    assert_eq!(history.calls().len(), 2, "told as gone once: {:?}", history.calls());
    let again = History::default();
    let successor = member(&stage, "b", &Journal::default(), &again).start().unwrap();
    eventually("its successor does it all", || stage.committed("g") == all_at(1, 50));
    assert_eq!(again.calls()[0], Call::Assigned(all_at(1, 0)));
    successor.shutdown_blocking(STOP).unwrap();
}

fn an_example_that_buffers_for_a_database_stores_each_record_once_while_members_join_and_leave(on: On) {
    let stage = Stage::new(on, 4);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copies.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    database.busy_timeout(STOP).unwrap();
    let ask = |query: &str| -> i64 {
        // Not there yet, until the example has made it.
        database.query_row(query, [], |row| row.get(0)).unwrap_or(0)
    };
    let stored = || ask("SELECT count(*) FROM copies");
    let distinct = || ask("SELECT count(DISTINCT position * 4 + partition) FROM copies");
    let start = || example(&stage, "buffered_sqlite", &[file.to_str().unwrap()], "g");
    let mut a = spawn(start().stdout(Stdio::piped()));
    let gave_up = Arc::<Mutex<Vec<String>>>::default();
    let (lines, told) = (BufReader::new(a.stdout.take().unwrap()).lines(), Arc::clone(&gave_up));
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| told.lock().unwrap().push(line)));
    let mut produced = 0;
    let mut produce = |count| {
        stage.produce(produced, count, 20);
        produced += count;
        4 * produced as i64
    };
    for round in 0..3 {
        let all = produce(10);
        eventually("a has all partitions", || distinct() == all);
        let before = stored();
        produce(1500);
        let mut b = spawn(&mut start());
        eventually(&format!("a gives partitions up in round {round}"), || gave_up.lock().unwrap().len() > round);
        produce(1500);
        eventually("both store", || stored() > before + 10_000);
        produce(500);
        drop(b.stdin.take());
        assert!(b.wait().unwrap().success());
    }
    let all = produce(10);
    // The last rows are fewer than a transaction's worth: it is the stop that stores them, or the second that passes.
    eventually("all is stored", || distinct() == all);
    drop(a.stdin.take());
    assert!(a.wait().unwrap().success());
    assert_eq!(stored(), all, "each once");
    assert_eq!(stage.committed("g"), all_at(4, all / 4));
}
