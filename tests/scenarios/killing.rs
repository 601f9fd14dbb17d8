use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_troupe::consume::Record;

use crate::fixture::{Journal, On, Stage, eventually};

scenarios! {
    on both brokers:
        a_member_killed_half_way_loses_nothing_and_repeats_only_what_was_not_committed,
        the_example_ends_by_itself_with_everything_committed_when_its_input_ends;
}

/// A member in a process of its own: the example that prints what it handles. It dies with the test.
struct Process {
    child: Child,
    printed: Arc<Mutex<Vec<(i32, i64)>>>,
}

impl Process {
    fn start(stage: &Stage, group: &str) -> Self {
        let tests = std::env::current_exe().unwrap();
        let example = tests.ancestors().nth(2).unwrap().join("examples/print_records");
        let properties = stage.broker.consumer_properties().iter().map(|(name, value)| format!("{name}={value}"));
        let mut child = Command::new(example)
            .args([stage.broker.bootstrap_servers(), &stage.group(group), &stage.topic])
            .args(properties)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (lines, printed) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::<Mutex<Vec<_>>>::default());
        std::thread::spawn({
            let printed = Arc::clone(&printed);
            move || {
                for line in lines.map_while(Result::ok) {
                    let (partition, offset) = line.split_once(' ').unwrap();
                    printed.lock().unwrap().push((partition.parse().unwrap(), offset.parse().unwrap()));
                }
            }
        });
        Self { child, printed }
    }

    fn printed(&self) -> Vec<(i32, i64)> {
        self.printed.lock().unwrap().clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn a_member_killed_half_way_loses_nothing_and_repeats_only_what_was_not_committed(on: On) {
    let stage = Stage::new(on, 4);
    let count = 1500;
    stage.produce(0, count, 50);
    let mut killed = Process::start(&stage, "g");
    eventually("it works", || killed.printed().len() > 1000);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    let committed = stage.committed("g");
    let before = killed.printed();
    let journal = Journal::default();
    let successor = {
        let journal = journal.clone();
        stage.consumer("g").handler(move |record: &Record| journal.note("b", record)).start().unwrap()
    };
    eventually("all is committed", || {
        let state = successor.state();
        state.partitions.len() == 4 && state.partitions.iter().all(|p| p.committed == Some(count as i64))
    });
    successor.shutdown_blocking(Duration::from_secs(20)).unwrap();
    for partition in 0..4 {
        let from = committed.get(&partition).copied().unwrap_or(0);
        let done = before.iter().filter(|(each, _)| *each == partition).count() as i64;
        assert!(from <= done + 1, "partition {partition}: {from} committed, {done} printed");
        // 2.2 ms a record: the commit interval is about 45 records; the rest is room for a busy machine.
        assert!(done - from < 500, "partition {partition}: {done} done, only {from} committed");
        assert_eq!(
            journal.of(partition),
            (from..count as i64).collect::<Vec<_>>(),
            "from the committed offset, in order"
        );
    }
}

fn the_example_ends_by_itself_with_everything_committed_when_its_input_ends(on: On) {
    let stage = Stage::new(on, 2);
    stage.produce(0, 50, 20);
    let mut member = Process::start(&stage, "g");
    eventually("it is done", || member.printed().len() == 100);
    drop(member.child.stdin.take());
    assert!(member.child.wait().unwrap().success());
    assert_eq!(stage.committed("g"), [(0, 50), (1, 50)].into());
}
