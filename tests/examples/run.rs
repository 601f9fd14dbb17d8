//! An example as a process: where it runs, what it says, how it ends.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka_troupe::produce::{Producer, ProducerRecord};

use crate::fixture::{On, PATIENCE, Stage, eventually};

/// Where an example runs: on a broker that it starts itself, or on one that it is told of.
pub enum Place {
    Itself,
    Given(Stage),
}

impl Place {
    pub fn given(on: On) -> Self {
        Self::Given(Stage::new(on, 4))
    }

    /// The orders that an example has by itself: told of a broker, it finds them there.
    pub fn with_orders(&self, count: usize) {
        if let Self::Given(stage) = self {
            produce_orders(stage, 0..count, 10);
        }
    }

    /// Runs an example until it ends, and gives what it said.
    #[track_caller]
    pub fn run(&self, name: &str, own: &[&str]) -> Vec<String> {
        self.start(name, own).ends_well()
    }

    pub fn start(&self, name: &str, own: &[&str]) -> Example {
        match self {
            Self::Itself => Example::start(name, own),
            Self::Given(stage) => Example::on(stage, name, stage.broker.consumer_properties(), own),
        }
    }

    /// Sees that so many records are committed by this group, whose name is the example's and more, where the test can know.
    #[track_caller]
    pub fn assert_committed(&self, group: &str, count: i64) {
        if let Self::Given(stage) = self {
            assert_eq!(stage.committed(group).values().sum::<i64>(), count, "{group}");
        }
    }

    /// Sees that so many records are in the topic, where the test can know.
    #[track_caller]
    pub fn assert_stored(&self, count: i64) {
        if let Self::Given(stage) = self {
            assert_eq!(stage.ends().values().sum::<i64>(), count);
        }
    }
}

/// Appends orders with these numbers, of so many customers in turn.
pub fn produce_orders(stage: &Stage, numbers: std::ops::Range<usize>, customers: usize) {
    let producer = Producer::builder().bootstrap_servers(stage.broker.bootstrap_servers()).start().unwrap();
    let sender = producer.sender();
    let sent: Vec<_> = numbers
        .map(|number| {
            let (customer, order) = (format!("customer-{}", number % customers), format!("order {number}"));
            sender.enqueue_blocking(ProducerRecord::to(&stage.topic).key(&customer).value(&order)).unwrap()
        })
        .collect();
    sent.into_iter().for_each(|confirmation| drop(confirmation.wait_blocking().unwrap()));
}

/// An example's process. It dies with the test.
pub struct Example {
    child: Child,
    out: Arc<Mutex<Vec<String>>>,
    err: Arc<Mutex<Vec<String>>>,
}

impl Example {
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let tests = std::env::current_exe().unwrap();
        let mut child = Command::new(tests.ancestors().nth(2).unwrap().join("examples").join(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the examples are built by `cargo test`; with `--test` only, run `cargo build --examples` before");
        let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Self { child, out, err }
    }

    /// One that is told of a broker, a topic, a group and properties, by the arguments that all examples have in common.
    pub fn on(stage: &Stage, name: &str, properties: &[(&str, &str)], own: &[&str]) -> Self {
        let group = stage.group(name);
        let mut arguments = vec!["--bootstrap-server", stage.broker.bootstrap_servers()];
        arguments.extend(["--topic", &stage.topic, "--group", &group]);
        let properties: Vec<_> = properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
        properties.iter().for_each(|property| arguments.extend(["-X", property]));
        arguments.extend(own);
        Self::start(name, &arguments)
    }

    pub fn out(&self) -> Vec<String> {
        self.out.lock().unwrap().clone()
    }

    /// Waits until it has printed a line like this.
    #[track_caller]
    pub fn says(&self, what: &str, line: impl Fn(&str) -> bool) {
        eventually(what, || self.out.lock().unwrap().iter().any(|each| line(each)));
    }

    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: a plain system call; the child has not been waited for, so that the number is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself, and gives what it said; fails if that was not well.
    #[track_caller]
    pub fn ends_well(self) -> Vec<String> {
        self.ends_well_within(PATIENCE)
    }

    #[track_caller]
    pub fn ends_well_within(mut self, patience: Duration) -> Vec<String> {
        let status = self.end(patience);
        assert!(status.success(), "{status:?} {:?} {:?}", self.out(), self.err);
        self.out()
    }

    /// Waits until it ends by itself with exit code 1, and gives what it said of that.
    #[track_caller]
    pub fn fails(mut self) -> Vec<String> {
        let status = self.end(PATIENCE);
        assert_eq!(status.code(), Some(1), "{:?} {:?}", self.out(), self.err);
        self.err.lock().unwrap().clone()
    }

    #[track_caller]
    fn end(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // Its pipes are closed now: their readers end, and have given up their share of the lines.
                let read = || Arc::strong_count(&self.out) == 1 && Arc::strong_count(&self.err) == 1;
                eventually("all it said is read", read);
                return status;
            }
            assert!(Instant::now() < until, "it does not end: {:?} {:?}", self.out(), self.err);
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that come, as they come.
fn lines(from: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::<Mutex<Vec<_>>>::default();
    let read = Arc::clone(&lines);
    std::thread::spawn(move || {
        let from = BufReader::new(from).lines();
        from.map_while(Result::ok).for_each(|line| read.lock().unwrap().push(line));
    });
    lines
}
