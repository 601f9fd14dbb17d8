//! Every example does what it says and ends well: by itself, on a broker of its own, and told of an Apache Kafka.
//!
//! Those that need a broker are told of one. That no example is left out is a test too.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[allow(dead_code)]
#[path = "../scenarios/fixture.rs"]
mod fixture;
mod run;
mod sqlite;
mod transform;

use std::path::Path;

use fixture::{On, Stage, eventually, since_1970};
use run::{Example, Place, produce_orders};
use sqlite::{buffered_sqlite, sqlite_offsets};
use transform::transform;

macro_rules! examples {
    (
        by themselves and told of a broker: $($both:ident),+;
        by themselves only: $($alone:ident),+;
        told of a broker only: $($told:ident),+;
    ) => {
        const ALL: &[&str] = &[$(stringify!($both),)+ $(stringify!($alone),)+ $(stringify!($told),)+];

        mod by_itself {
            $(#[test] fn $both() { super::$both(&super::Place::Itself) })+
            $(#[test] fn $alone() { super::$alone() })+
        }
        mod embedded {
            $(#[test] fn $told() { super::$told(&super::Stage::new(super::On::Embedded, 4)) })+
        }
        mod kafka {
            $(#[test] fn $both() { super::fixture::on_kafka(|on| super::$both(&super::Place::given(on))) })+
        }
    };
}

examples! {
    by themselves and told of a broker:
        send_sync, send_async, custom_partitioner,
        subscribe_and_poll, subscribe_with_a_handler, standalone_assignment,
        commit_strategies, rebalance_listener, graceful_shutdown,
        keys_in_parallel, batches, transform,
        typed_handler, cpu_bound, actor_handler, dead_letters;
    by themselves only: axum_service, test_a_handler, retry_topics;
    told of a broker only: print_records, replay, sqlite_offsets, buffered_sqlite;
}

#[test]
fn no_example_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_example = path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists();
        found.extend(is_example.then(|| path.file_stem().unwrap().to_str().unwrap().to_owned()));
    }
    found.sort();
    let mut all = ALL.to_vec();
    all.sort();
    assert_eq!(found, all);
}

#[test]
fn the_guide_from_java_links_to_examples_that_exist_and_the_readme_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for text in ["docs/from-the-java-client.md", "README.md"] {
        let linked: Vec<_> = std::fs::read_to_string(root.join(text))
            .unwrap()
            .split(&['(', ')', ' ', '\n'])
            .filter_map(|word| word.split_once("examples/")?.1.strip_suffix(".rs").map(str::to_owned))
            .collect();
        assert!(linked.len() > 10, "{text}");
        for name in linked {
            assert!(ALL.contains(&name.as_str()), "{text}: {name}");
        }
    }
}

fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|each| each == line)
}

/// The numbers of the orders that lines end with.
fn orders(lines: &[String]) -> Vec<usize> {
    let number = |line: &String| line.split_once(": order ")?.1.parse().ok();
    let mut orders: Vec<_> = lines.iter().filter_map(number).collect();
    orders.sort_unstable();
    orders
}

fn send_sync(place: &Place) {
    let lines = place.run("send_sync", &[]);
    for number in 0..5 {
        let stored = format!("order {number} is stored: ");
        assert!(lines.iter().any(|line| line.starts_with(&stored) && line.contains('@')), "{lines:?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("the large order is refused: ")), "{lines:?}");
    assert!(has(&lines, "5 stored, 1 failed"), "{lines:?}");
    place.assert_stored(5);
}

fn send_async(place: &Place) {
    let lines = place.run("send_async", &[]);
    let stored = lines.iter().filter(|line| line.starts_with("order ") && line.contains(" is stored: "));
    assert_eq!(stored.count(), 3, "{lines:?}");
    assert!(
        has(&lines, "500 orders are confirmed by one answer") && has(&lines, "10503 stored, 0 failed"),
        "{lines:?}"
    );
    place.assert_stored(10_503);
}

fn custom_partitioner(place: &Place) {
    let lines = place.run("custom_partitioner", &[]);
    assert_eq!(lines.len(), 6, "{lines:?}");
    for line in &lines[..5] {
        let (customer, partition) = line.split_once(" has partition ").unwrap();
        assert_eq!(customer.starts_with("important-"), partition == "0", "{line}");
    }
    assert_eq!(lines[5], "customer-1 has partition 0 as asked");
    place.assert_stored(6);
}

fn subscribe_and_poll(place: &Place) {
    place.with_orders(20);
    let lines = place.run("subscribe_and_poll", &[]);
    assert_eq!(orders(&lines), (0..20).collect::<Vec<_>>());
    assert!(has(&lines, "all is committed: true"), "{lines:?}");
    place.assert_committed("subscribe_and_poll", 20);
}

fn subscribe_with_a_handler(place: &Place) {
    place.with_orders(20);
    let lines = place.run("subscribe_with_a_handler", &[]);
    assert_eq!(orders(&lines), (0..20).collect::<Vec<_>>());
    let again = lines.iter().filter(|line| line.contains("offset 2, attempt 2: ")).count();
    assert!(again > 0 && has(&lines, &format!("20 done, {again} tried again; all is committed: true")), "{lines:?}");
    place.assert_committed("subscribe_with_a_handler", 20);
}

fn standalone_assignment(place: &Place) {
    let lines = match place {
        Place::Itself => place.run("standalone_assignment", &[]),
        Place::Given(stage) => {
            // Of each partition four records of two hours ago and two of now.
            let now = since_1970();
            stage.produce_at(&[0, 1, 2, 3], 0..6, |number| if number < 4 { now - 7_200_000 } else { now });
            place.run("standalone_assignment", &["60"])
        }
    };
    let (first, again) = lines.split_at(lines.iter().position(|line| line.contains(" once more, ")).unwrap());
    let of = |lines: &[String], partition: usize| {
        lines.iter().filter(|line| line.contains(&format!("-{partition} offset "))).count()
    };
    match place {
        Place::Itself => assert_eq!([of(again, 0), of(again, 1)], [of(first, 0), 0], "{lines:?}"),
        Place::Given(_) => {
            assert_eq!([of(first, 0), of(first, 1)], [2, 2], "what came within the hour: {lines:?}");
            assert_eq!([of(again, 0), of(again, 1)], [6, 0], "all of it: {lines:?}");
        }
    }
    assert!(of(first, 0) > 0 && of(first, 1) > 0 && of(&lines, 2) + of(&lines, 3) == 0, "{lines:?}");
    assert!(has(&lines, &format!("{} read", lines.len() - 2)), "{lines:?}");
    place.assert_committed("standalone_assignment", 0);
}

fn commit_strategies(place: &Place) {
    place.with_orders(60);
    let lines = place.run("commit_strategies", &[]);
    for strategy in ["interval", "sync", "async", "combined", "per-partition"] {
        let begins = format!("{strategy}: 60 done, ");
        assert!(lines.iter().any(|line| line.starts_with(&begins) && line.ends_with("drained: true")), "{lines:?}");
        place.assert_committed(&format!("commit_strategies-{strategy}"), 60);
    }
    assert!(lines.iter().any(|line| line.starts_with("  told: ") && line.contains(" is committed at ")), "{lines:?}");
    let by_the_app = lines.iter().filter(|line| !line.contains("told: ") && line.contains(" is committed at ")).count();
    assert!(by_the_app >= 4, "each partition at least once: {lines:?}");
    if let Place::Given(_) = place {
        let lines = place.run("commit_strategies", &["sync"]);
        assert_eq!(lines, ["sync: 0 done, 0 commits, drained: true"], "it was through with it");
    }
}

fn rebalance_listener(place: &Place) {
    place.with_orders(20);
    let lines = place.run("rebalance_listener", &[]);
    let of = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    let shared = of("the second gets ");
    assert!((1..4).contains(&shared), "{lines:?}");
    assert_eq!(of("the first gives up "), 4 + shared, "those it shared, and all at the end: {lines:?}");
    assert_eq!((of("the first gets "), of("the second gives up ")), (4 + shared, shared), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains(" has lost ")), "{lines:?}");
    place.assert_committed("rebalance_listener", 20);
}

fn graceful_shutdown(place: &Place) {
    place.with_orders(200);
    let lines = place.run("graceful_shutdown", &[]);
    assert!(has(&lines, "200 done, all of it committed: true"), "{lines:?}");
    place.assert_committed("graceful_shutdown", 200);
    let Place::Given(stage) = place else { return };
    // More than it can do in the time that the test waits for it.
    produce_orders(stage, 200..20_000, 10);
    let mut before = 200;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let example = place.start("graceful_shutdown", &[]);
        eventually("it commits", || stage.committed("graceful_shutdown").values().sum::<i64>() > before + 20);
        example.signal(signal);
        let lines = example.ends_well();
        assert_eq!(lines[1], if signal == libc::SIGTERM { "terminated" } else { "interrupted" });
        let done: i64 = lines[2].split(' ').next().unwrap().parse().unwrap();
        assert_eq!(lines[2], format!("{done} done, all of it committed: true"));
        before += done;
        place.assert_committed("graceful_shutdown", before);
    }
}

fn keys_in_parallel(place: &Place) {
    place.with_orders(200);
    let lines = place.run("keys_in_parallel", &[]);
    assert!(lines[0].contains(" for 200 orders of 20ms each"), "{lines:?}");
    assert!(has(&lines, "10 customers, the orders of each in order: true"), "{lines:?}");
    place.assert_committed("keys_in_parallel", 200);
}

fn batches(place: &Place) {
    place.with_orders(1000);
    let lines = place.run("batches", &[]);
    assert!(lines[0].starts_with("1000 orders stored by "), "{lines:?}");
    place.assert_committed("batches", 1000);
}

fn typed_handler(place: &Place) {
    place.with_orders(20);
    let lines = place.run("typed_handler", &[]);
    assert_eq!(orders(&lines), (0..20).filter(|number| number % 7 != 6).collect::<Vec<_>>());
    let of = |end: &str| lines.iter().filter(|line| line.ends_with(end)).count();
    assert_eq!((of(": cannot be decoded: its number is none"), of(", attempt 2: order 3")), (2, 1), "{lines:?}");
    assert!(of(": took longer than 200ms") >= 1, "{lines:?}");
    assert!(has(&lines, "20 done, 2 of them passed over; all is committed: true"), "{lines:?}");
    place.assert_committed("typed_handler", 20);
}

fn dead_letters(place: &Place) {
    place.with_orders(40);
    let topic = match place {
        Place::Itself => "dead-orders".to_owned(),
        Place::Given(stage) => stage.another_topic(4).topic,
    };
    let lines = place.run("dead_letters", &[&topic]);
    let tried = |attempt: u32| lines.iter().filter(|line| line.contains(&format!(", attempt {attempt}: "))).count();
    assert_eq!([tried(1), tried(2), tried(3)], [40, 4, 4], "{lines:?}");
    assert!(has(&lines, &format!("8 of 40 went to {topic}; all is committed: true")), "{lines:?}");
    place.assert_committed("dead_letters", 40);
}

fn retry_topics() {
    let lines = Place::Itself.run("retry_topics", &[]);
    let of = |topic: &str, attempt: u32| {
        let (read, attempt) = (format!("{topic}-"), format!(", attempt {attempt}: "));
        lines.iter().filter(|line| line.starts_with(&read) && line.contains(&attempt)).count()
    };
    assert_eq!([1, 2, 3].map(|attempt| of("orders", attempt)), [40, 8, 0], "{lines:?}");
    assert_eq!([3, 4, 5].map(|attempt| of("orders.retry-500ms", attempt)), [8, 4, 0], "{lines:?}");
    assert_eq!([5, 6, 7].map(|attempt| of("orders.retry-1s", attempt)), [4, 4, 0], "{lines:?}");
    assert!(
        has(&lines, "36 done, 12 times by way of a retry topic; 4 went to orders.dead; all is committed: true"),
        "{lines:?}"
    );
}

fn cpu_bound(place: &Place) {
    place.with_orders(50);
    let lines = place.run("cpu_bound", &[]);
    assert!(lines[0].starts_with("the fingerprint of all orders: "), "{lines:?}");
    assert!(has(&lines, "50 done; all is committed: true"), "{lines:?}");
    place.assert_committed("cpu_bound", 50);
}

fn actor_handler(place: &Place) {
    place.with_orders(50);
    let lines = place.run("actor_handler", &[]);
    assert_eq!(lines, ["50 orders of 10 customers; all is committed: true"]);
    place.assert_committed("actor_handler", 50);
}

fn test_a_handler() {
    let lines = Example::start("test_a_handler", &[]).ends_well();
    assert_eq!((lines.len(), lines[3].as_str()), (4, "Done after 32s"), "{lines:?}");
}

fn axum_service() {
    let example = Example::start("axum_service", &["--listen", "127.0.0.1:0"]);
    example.says("it listens", |line| line.starts_with("listening on http://"));
    example.signal(libc::SIGINT);
    let lines = example.ends_well();
    assert!(lines[1].starts_with("drained and committed: "), "{lines:?}");
}

/// One of the examples whose arguments are brokers, group and topic, in this order, and whose end is that of its input.
fn member(stage: &Stage, name: &str, before: &[&str]) -> Example {
    let group = stage.group(name);
    let properties = stage.broker.consumer_properties().iter().map(|(name, value)| format!("{name}={value}"));
    let properties: Vec<_> = properties.collect();
    let mut arguments = before.to_vec();
    arguments.extend([stage.broker.bootstrap_servers(), &group, &stage.topic]);
    arguments.extend(properties.iter().map(String::as_str));
    Example::start(name, &arguments)
}

fn print_records(stage: &Stage) {
    stage.produce(0, 10, 1);
    let mut example = member(stage, "print_records", &[]);
    eventually("all is printed", || example.out().len() == 40);
    drop(example.input());
    example.ends_well();
    assert_eq!(stage.committed("print_records").values().sum::<i64>(), 40);
}

fn replay(stage: &Stage) {
    use std::io::Write;
    stage.produce(0, 10, 1);
    let mut example = member(stage, "replay", &[]);
    eventually("all is printed", || example.out().len() == 40);
    let mut input = example.input().unwrap();
    writeln!(input, "beginning").unwrap();
    eventually("all is printed again", || example.out().len() == 80);
    drop(input);
    example.ends_well();
}
