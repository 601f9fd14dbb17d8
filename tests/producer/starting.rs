//! Starts, settings, threads.

use troupe_actors::produce::{Producer, ProducerError, ProducerRecord};

use crate::fixture::{LONG, cluster, producer};

#[test]
fn it_needs_no_runtime() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    let sender = producer.sender();
    let first = sender.send_blocking(ProducerRecord::to("t").value("1")).unwrap();
    assert_eq!(first.offset.unwrap().0, 0);
    let second = sender.enqueue_blocking(ProducerRecord::to("t").value("2")).unwrap();
    producer.flush_blocking(LONG).unwrap();
    assert_eq!(second.wait_blocking().unwrap().offset.unwrap().0, 1);
    let report = producer.shutdown_blocking(LONG).unwrap();
    assert_eq!((report.accepted, report.confirmed), (2, 2));
}

#[test]
fn a_producer_and_its_senders_are_shared_by_threads() {
    let cluster = cluster(&[("t", 1)]);
    let producer = producer(&cluster).start().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| producer.sender().send_blocking(ProducerRecord::to("t")).unwrap());
        }
    });
    producer.flush_blocking(LONG).unwrap();
    assert_eq!(producer.state().confirmed, 3);
    producer.shutdown_blocking(LONG).unwrap();
}

#[test]
fn a_property_of_the_producers_own_is_refused_and_one_that_librdkafka_does_not_know_too() {
    let with =
        |name, value| Producer::builder().bootstrap_servers("localhost:1").property(name, value).start().unwrap_err();
    let own = with("queue.buffering.max.messages", "1");
    assert!(matches!(own, ProducerError::Property { .. }), "{own}");
    let unknown = with("no.such.property", "1");
    assert!(matches!(unknown, ProducerError::Library { .. }), "{unknown}");
}

#[test]
fn fifty_starts_and_stops_leave_no_thread_behind() {
    // In a process of its own, for the tests beside this one start threads too.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "starting::fifty_starts_and_stops", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
}

#[test]
#[ignore = "counts the threads of its process; run by the test above"]
fn fifty_starts_and_stops() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let cluster = cluster(&[("t", 1)]);
    let start_and_stop = || {
        let producer = producer(&cluster).start().unwrap();
        let sender = producer.sender();
        sender.send_blocking(ProducerRecord::to("t").value("v")).unwrap();
        drop(sender.enqueue_blocking(ProducerRecord::to("t")).unwrap());
        producer.shutdown_blocking(LONG).unwrap();
    };
    start_and_stop();
    let before = threads();
    for _ in 0..50 {
        start_and_stop();
    }
    assert_eq!(threads(), before);
}
