//! Rebalance listeners that fail, come late, never come back, or wait for what seems to wait for them: none of them holds up the group.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use kafka_troupe::consume::{
    CommitWhen, ConsumerError, ConsumerHandle, Offsets, Outcome, Record, RevokeReason, Stopped,
};
use kafka_troupe::ids::{NextOffset, TopicPartition};

use crate::fixture::{Gate, Journal, On, Stage, eventually, noting_slowly};
use crate::listener::{Call, History, Listener};
use crate::rebalancing::assert_handed_over_once;

scenarios! {
    on both brokers:
        what_a_listener_could_not_store_at_a_stop_is_not_committed_and_the_next_owner_has_it,
        what_a_listener_could_not_store_at_a_rebalance_is_not_committed_and_the_next_owner_has_it,
        a_listener_that_fails_at_an_assignment_leaves_it_as_it_would_have_been,
        an_assignment_goes_on_without_a_listener_that_is_late_and_drops_what_it_says_then,
        a_listener_that_never_returns_holds_up_neither_group_nor_stop,
        brod_538_a_listener_may_wait_for_commits_that_it_asks_for,
        broadway_kafka_118_a_listener_that_waits_for_the_consumers_end_keeps_nobody_from_ending,
        taskbroker_32_a_listener_may_wait_for_a_task_of_the_thread_that_runs_the_handlers,
        zio_kafka_1132_a_failed_and_an_idle_partition_are_told_as_revoked_at_once,
        akka_382_two_rebalances_in_one_breath_are_told_one_after_the_other,
        a_stop_does_not_wait_for_an_assignment_that_is_being_told;
    on Apache Kafka, "the embedded broker refuses commits for as long as a rebalance goes on":
        while_a_listener_takes_its_time_retained_partitions_are_worked_on_and_committed;
}

const STOP: Duration = Duration::from_secs(20);

fn assigned(consumer: &ConsumerHandle) -> usize {
    consumer.state().partitions.len()
}

fn nothing() -> crate::listener::Said {
    Ok(Offsets::new())
}

/// A listener whose on_revoked does what is said of it here.
fn unruly(how: &str, gate: &Gate) -> Listener {
    let (how, gate) = (how.to_owned(), gate.clone());
    Listener::new(&History::default()).on_revoked(move |_| match &*how {
        "fails" => Err("the database is away".into()),
        "panics" => panic!("as asked"),
        _ => {
            gate.wait();
            nothing()
        }
    })
}

fn what_a_listener_could_not_store_at_a_stop_is_not_committed_and_the_next_owner_has_it(on: On) {
    for how in ["fails", "panics", "is late"] {
        for when in [CommitWhen::Manual, CommitWhen::Interval(Duration::from_secs(60))] {
            let stage = Stage::new(on, 1);
            stage.produce(0, 50, 20);
            let gate = Gate::default();
            let builder = stage.consumer("g").handler(|_: &Record| ()).commit_when(when);
            let builder = builder.rebalance_listener(unruly(how, &gate));
            let consumer = builder.listener_deadline(Duration::from_millis(200)).start().unwrap();
            eventually("all is handled", || consumer.state().counters.finished == 50);
            let before = if when == CommitWhen::Manual { 20 } else { 0 };
            if before > 0 {
                // This much was stored before.
                let stored = [(TopicPartition::new(&*stage.topic, 0), NextOffset(before))];
                consumer.commit_offsets(stored).wait_blocking().unwrap();
            }
            let stopped = consumer.shutdown_blocking(STOP).unwrap();
            assert!(!stopped.drained, "{how}: {stopped:?}");
            let counters = consumer.state().counters;
            let reported = (counters.listener_failures, counters.listener_overdue, counters.drains_uncommitted);
            assert_eq!(reported, if how == "is late" { (0, 1, 1) } else { (1, 0, 1) }, "{how}");
            assert_eq!(stage.committed("g").get(&0).copied().unwrap_or(0), before, "{how} {when:?}");
            gate.open();
            let journal = Journal::default();
            stage.finished_and_uncommitted("g", &journal, 50 - before as usize).shutdown_blocking(STOP).unwrap();
            assert_eq!(journal.of(0), (before..50).collect::<Vec<_>>());
            assert_eq!(consumer.state().invariants, Default::default());
        }
    }
}

fn what_a_listener_could_not_store_at_a_rebalance_is_not_committed_and_the_next_owner_has_it(on: On) {
    for how in ["fails", "panics", "is late"] {
        let stage = Stage::new(on, 2);
        stage.produce(0, 50, 20);
        let (gate, of_b) = (Gate::default(), Journal::default());
        let builder = stage.steady_consumer("g").handler(|_: &Record| ()).rebalance_listener(unruly(how, &gate));
        let builder = builder.commit_when(CommitWhen::Interval(Duration::from_secs(60)));
        let a = builder.listener_deadline(Duration::from_millis(300)).start().unwrap();
        eventually("all is handled", || a.state().counters.finished == 100);
        let b = stage.steady_consumer("g").async_handler(noting_slowly(&of_b, "b")).start().unwrap();
        eventually(&format!("{how}: b has one partition and all of its records"), || {
            assigned(&b) == 1 && b.state().partitions[0].committed == Some(50)
        });
        let moved = b.state().partitions[0].partition;
        assert_eq!((of_b.len(), of_b.of(moved)), (50, (0..50).collect::<Vec<_>>()));
        assert_eq!(a.state().counters.drains_uncommitted, 1);
        gate.open();
        a.shutdown_blocking(STOP).unwrap();
        b.shutdown_blocking(STOP).unwrap();
    }
}

fn a_listener_that_fails_at_an_assignment_leaves_it_as_it_would_have_been(on: On) {
    for panics in [true, false] {
        let stage = Stage::new(on, 1);
        stage.produce(0, 50, 20);
        let journal = Journal::default();
        let listener = Listener::new(&History::default()).on_assigned(move |_| {
            assert!(!panics, "as asked");
            Err("the database is away".into())
        });
        let notes = journal.clone();
        let builder = stage.lone_consumer("g").handler(move |record: &Record| notes.note("a", record));
        let consumer = builder.rebalance_listener(listener).start().unwrap();
        eventually("all is committed", || consumer.state().partitions.iter().any(|p| p.committed == Some(50)));
        assert_eq!(consumer.state().counters.listener_failures, 1);
        consumer.shutdown_blocking(STOP).unwrap();
        journal.assert_exactly_once_in_order(1, 50);
    }
}

fn an_assignment_goes_on_without_a_listener_that_is_late_and_drops_what_it_says_then(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 50, 20);
    let (journal, history, gate) = (Journal::default(), History::default(), Gate::default());
    let at_gate = gate.clone();
    let listener = Listener::new(&history).on_assigned(move |assigned| {
        at_gate.wait();
        Ok(vec![(assigned[0].topic_partition.clone(), NextOffset(40))])
    });
    let notes = journal.clone();
    let builder = stage.lone_consumer("g").handler(move |record: &Record| notes.note("a", record));
    let builder = builder.rebalance_listener(listener).listener_deadline(Duration::from_millis(200));
    let consumer = builder.start().unwrap();
    eventually("all is handled", || journal.len() == 50);
    assert_eq!(consumer.state().counters.listener_overdue, 1);
    gate.open();
    consumer.shutdown_blocking(STOP).unwrap();
    assert_eq!(history.calls()[1], Call::Revoked([(0, 50)].into(), RevokeReason::Stop), "told once it was back");
    journal.assert_exactly_once_in_order(1, 50);
    assert_eq!(stage.committed("g"), [(0, 50)].into());
}

fn a_listener_that_never_returns_holds_up_neither_group_nor_stop(on: On) {
    let stage = Stage::new(on, 4);
    let count = 500;
    stage.produce(0, count, 20);
    let (journal, history, gate) = (Journal::default(), History::default(), Gate::default());
    let at_gate = gate.clone();
    let listener = Listener::new(&history).on_assigned(move |_| {
        at_gate.wait();
        nothing()
    });
    let builder = stage.steady_consumer("g").async_handler(noting_slowly(&journal, "a"));
    let builder = builder.rebalance_listener(listener).listener_deadline(Duration::from_millis(200));
    let a = builder.start().unwrap();
    eventually("a works alone", || journal.len() > 100);
    let b = stage.steady_consumer("g").async_handler(noting_slowly(&journal, "b")).start().unwrap();
    eventually("both share the partitions", || assigned(&a) == 2 && assigned(&b) == 2);
    b.shutdown_blocking(STOP).unwrap();
    eventually("a has them all back", || assigned(&a) == 4);
    eventually("all is committed", || stage.committed("g").values().sum::<i64>() == 4 * count as i64);
    let begun = Instant::now();
    assert!(!a.shutdown_blocking(STOP).unwrap().drained);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(history.calls().len(), 1, "it is in its first call still");
    assert!(a.state().counters.listener_overdue >= 4, "{:?}", a.state().counters);
    assert_eq!(journal.distinct(), 4 * count);
    gate.open();
    eventually("it is told the rest", || {
        history.calls().len() >= 5 && matches!(history.calls().last(), Some(Call::Revoked(_, RevokeReason::Stop)))
    });
    assert!(history.here().is_empty());
}

fn brod_538_a_listener_may_wait_for_commits_that_it_asks_for(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let (history, handle) = (History::default(), Arc::new(OnceLock::<ConsumerHandle>::new()));
    let (answers, held) = (Arc::<Mutex<Vec<_>>>::default(), Arc::clone(&handle));
    let answered = Arc::clone(&answers);
    let listener = Listener::new(&history).on_revoked(move |revoked| {
        let handle = held.get().unwrap();
        let finished = revoked.partitions.iter().map(|each| (each.topic_partition.clone(), each.finished));
        let of_some = handle.commit_offsets(finished).wait_blocking();
        let of_all = handle.commit().wait_blocking();
        answered.lock().unwrap().extend([of_some, of_all]);
        Err("only what was asked for is committed".into())
    });
    let builder = stage.steady_consumer("g").handler(|_: &Record| ()).commit_when(CommitWhen::Manual);
    let a = builder.rebalance_listener(listener).listener_deadline(STOP).start().unwrap();
    handle.set(a.clone()).unwrap();
    eventually("all is handled", || a.state().counters.finished == 100);
    let of_b = Journal::default();
    let b = stage.steady_consumer("g").async_handler(noting_slowly(&of_b, "b")).start().unwrap();
    eventually("both have one", || assigned(&a) == 1 && assigned(&b) == 1);
    assert_eq!(*answers.lock().unwrap(), [Ok(()), Ok(())]);
    // Also of the partition that stays.
    assert_eq!(stage.committed("g"), [(0, 50), (1, 50)].into());
    a.shutdown_blocking(STOP).unwrap();
    assert_eq!(*answers.lock().unwrap(), [(); 4].map(|()| Ok(())), "at a stop too");
    b.shutdown_blocking(STOP).unwrap();
    assert_eq!(of_b.len(), 0);
}

fn broadway_kafka_118_a_listener_that_waits_for_the_consumers_end_keeps_nobody_from_ending(on: On) {
    for at in ["an assignment", "a rebalance", "a stop"] {
        let stage = Stage::new(on, 2);
        stage.produce(0, 50, 20);
        let handle = Arc::new(OnceLock::<ConsumerHandle>::new());
        let ended = Arc::<Mutex<Vec<Result<Stopped, ConsumerError>>>>::default();
        let end = {
            let (handle, ended) = (Arc::clone(&handle), Arc::clone(&ended));
            move || {
                eventually("the handle is there", || handle.get().is_some());
                let end = handle.get().unwrap().shutdown_blocking(Duration::from_secs(10));
                ended.lock().unwrap().push(end);
                nothing()
            }
        };
        let (first, later) = (end.clone(), end);
        let listener = Listener::new(&History::default())
            .on_assigned(move |_| if at == "an assignment" { first() } else { nothing() })
            .on_revoked(move |revoked| match (at, revoked.reason) {
                ("a rebalance", RevokeReason::Rebalance) | ("a stop", RevokeReason::Stop) => later(),
                _ => nothing(),
            });
        let builder = stage.steady_consumer("g").handler(|_: &Record| ());
        let builder = builder.commit_when(CommitWhen::Interval(Duration::from_secs(60)));
        let consumer = builder.rebalance_listener(listener).start().unwrap();
        let begun = Instant::now();
        handle.set(consumer.clone()).unwrap();
        if at != "an assignment" {
            eventually("all is handled", || consumer.state().counters.finished == 100);
        }
        if at == "a stop" {
            consumer.cancellation_token().cancel();
        }
        let journal = Journal::default();
        let other = (at == "a rebalance")
            .then(|| stage.steady_consumer("g").async_handler(noting_slowly(&journal, "b")).start().unwrap());
        let stopped = consumer.wait_blocking().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
        eventually("the listener learns of it", || *ended.lock().unwrap() == [Ok(stopped.clone())]);
        assert_eq!(stopped.drained, at == "an assignment", "at {at} it could not tell whether all was stored");
        match other {
            Some(other) => {
                eventually("what could not be stored is repeated", || journal.distinct() == 100);
                other.shutdown_blocking(STOP).unwrap();
            }
            None => assert!(stage.committed("g").is_empty()),
        }
    }
}

fn taskbroker_32_a_listener_may_wait_for_a_task_of_the_thread_that_runs_the_handlers(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 200, 20);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (journal, store) = (Journal::default(), Journal::default());
    let (runs, notes, stored) = (runtime.handle().clone(), journal.clone(), store.clone());
    let listener = Listener::new(&History::default()).on_revoked(move |revoked| {
        let (told, tell) = std::sync::mpsc::channel();
        let (notes, stored) = (notes.clone(), stored.clone());
        runs.spawn(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            notes.entries().into_iter().for_each(|entry| stored.add(entry));
            let _ = told.send(());
        });
        tell.recv()?;
        Ok(revoked.partitions.iter().map(|each| (each.topic_partition.clone(), each.finished)).collect())
    });
    let builder =
        stage.steady_consumer("g").async_handler(noting_slowly(&journal, "a")).runtime(runtime.handle().clone());
    let builder = builder.commit_when(CommitWhen::Manual).rebalance_listener(listener).listener_deadline(STOP);
    let consumer = builder.start().unwrap();
    runtime.block_on(async {
        while journal.len() < 50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(consumer.shutdown(STOP).await.unwrap().drained);
    });
    assert_eq!(store.entries(), journal.entries());
    assert_eq!(stage.committed("g").values().sum::<i64>(), journal.len() as i64);
}

fn zio_kafka_1132_a_failed_and_an_idle_partition_are_told_as_revoked_at_once(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce_to(&[0], 0, 10, 20);
    let history = History::default();
    let fails = |_: &Record| Outcome::Retry { after: Duration::from_secs(60), cause: "as asked".into() };
    let builder = stage.steady_consumer("g").handler(fails).drain_deadline(Duration::from_secs(25));
    let a = builder.rebalance_listener(Listener::new(&history)).listener_deadline(STOP).start().unwrap();
    eventually("the handler has failed", || a.state().counters.retries == 1 && assigned(&a) == 2);
    let b = stage.steady_consumer("g").handler(|_: &Record| ()).start().unwrap();
    eventually("both have one", || assigned(&a) == 1 && assigned(&b) == 1);
    let stall = a.state().counters.last_rebalance_stall_ms;
    assert!(stall < 10_000, "waited for what never comes: {stall} ms");
    a.shutdown_blocking(STOP).unwrap();
    let finished = history.calls().into_iter().filter_map(|call| match call {
        Call::Revoked(finished, _) => Some(finished),
        _ => None,
    });
    assert_eq!(BTreeMap::from_iter(finished.flatten()), [(0, 0), (1, 0)].into());
    assert_eq!(a.state().counters.drains_cut_short, 0);
    b.shutdown_blocking(STOP).unwrap();
}

fn akka_382_two_rebalances_in_one_breath_are_told_one_after_the_other(on: On) {
    for assignor in ["cooperative-sticky", "range"] {
        let stage = Stage::new(on, 4);
        let count = 600;
        stage.produce(0, count, 20);
        let (journal, gate) = (Journal::default(), Gate::default());
        let histories = [(); 3].map(|()| History::default());
        let member = |name: &'static str, listener: Listener| {
            let builder = stage.steady_consumer("g").async_handler(noting_slowly(&journal, name));
            let builder = builder.property("partition.assignment.strategy", assignor);
            builder.rebalance_listener(listener).listener_deadline(STOP).start().unwrap()
        };
        let at_gate = gate.clone();
        let a = member(
            "a",
            Listener::new(&histories[0]).on_revoked(move |_| {
                at_gate.wait();
                nothing()
            }),
        );
        eventually("a works alone", || journal.len() > 50);
        let b = member("b", Listener::new(&histories[1]));
        eventually("a is being told of the first", || histories[0].revoked(RevokeReason::Rebalance).0 == 1);
        // The second begins before the first is over: one comes, and one goes that has just come.
        let c = member("c", Listener::new(&histories[2]));
        let leaving = std::thread::spawn(move || b.shutdown_blocking(STOP).map(|_| b));
        gate.open();
        let b = leaving.join().unwrap().unwrap();
        eventually("a and c share the partitions", || assigned(&a) == 2 && assigned(&c) == 2);
        eventually("all is handled", || journal.distinct() == 4 * count);
        a.shutdown_blocking(STOP).unwrap();
        c.shutdown_blocking(STOP).unwrap();
        assert!(histories.iter().all(|history| history.here().is_empty()), "{assignor}");
        assert_handed_over_once(on, &journal, 4, count as i64, &[&a, &b, &c]);
    }
}

fn while_a_listener_takes_its_time_retained_partitions_are_worked_on_and_committed(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 8000, 20);
    let (journal, history, gate) = (Journal::default(), History::default(), Gate::default());
    let at_gate = gate.clone();
    let listener = Listener::new(&history).on_revoked(move |revoked| {
        if revoked.reason == RevokeReason::Rebalance {
            at_gate.wait();
        }
        nothing()
    });
    let builder = stage.steady_consumer("g").async_handler(noting_slowly(&journal, "a"));
    let a = builder.rebalance_listener(listener).listener_deadline(Duration::from_secs(60)).start().unwrap();
    eventually("a works alone", || journal.len() > 50);
    let b = stage.steady_consumer("g").handler(|_: &Record| ()).start().unwrap();
    eventually("a is being told", || history.revoked(RevokeReason::Rebalance) == (1, 1));
    let kept = *history.here().first().unwrap();
    let committed = || a.state().partitions.iter().find(|p| p.partition == kept).and_then(|p| p.committed);
    let (handled, before) = (journal.of(kept).len(), committed());
    eventually("what a holds of the other is worked on", || journal.of(kept).len() > handled + 50);
    eventually("and committed", || committed() > before);
    gate.open();
    eventually("both have one", || assigned(&a) == 1 && assigned(&b) == 1);
    a.shutdown_blocking(STOP).unwrap();
    b.shutdown_blocking(STOP).unwrap();
}

fn a_stop_does_not_wait_for_an_assignment_that_is_being_told(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    for builder in [stage.consumer("g"), stage.standalone()] {
        let (journal, history, gate) = (Journal::default(), History::default(), Gate::default());
        let at_gate = gate.clone();
        let listener = Listener::new(&history).on_assigned(move |_| {
            at_gate.wait();
            nothing()
        });
        let notes = journal.clone();
        let builder = builder.handler(move |record: &Record| notes.note("a", record));
        let consumer = builder.rebalance_listener(listener).listener_deadline(STOP).start().unwrap();
        eventually("it is told", || history.calls().len() == 1);
        let begun = Instant::now();
        assert!(consumer.shutdown_blocking(STOP).unwrap().drained);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        gate.open();
        let both = || BTreeMap::from([(0, 0), (1, 0)]);
        let calls = [Call::Assigned(both()), Call::Revoked(both(), RevokeReason::Stop)];
        eventually("it is told that they went", || history.calls() == calls);
        assert_eq!((journal.len(), stage.committed("g")), (0, BTreeMap::new()));
    }
}
