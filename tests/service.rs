//! The consumer as a guest in an existing service: the example that shares its runtime and its shutdown with a web server, run as a process;
//! and what a host must never notice.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[allow(dead_code, unreachable_pub)]
#[path = "scenarios/fixture.rs"]
mod fixture;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_troupe::broker::{RDKafkaApiKey, RDKafkaRespErr};
use kafka_troupe::consume::Record;

use fixture::{Journal, PATIENCE, Stage, eventually};

/// The example's process. It dies with the test.
struct Service {
    child: Child,
    out: Arc<Mutex<Vec<String>>>,
    err: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start(args: &[&str]) -> Self {
        let tests = std::env::current_exe().unwrap();
        let mut child = Command::new(tests.ancestors().nth(2).unwrap().join("examples/axum_service"))
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example is built by `cargo test`; with `--test` only, run `cargo build --examples` before");
        let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Self { child, out, err }
    }

    fn on(stage: &Stage) -> Self {
        Self::start(&["--bootstrap-server", stage.broker.bootstrap_servers(), "--topic", &stage.topic])
    }

    fn connect(&self) -> TcpStream {
        eventually("it says where it listens", || !self.out.lock().unwrap().is_empty());
        let first = self.out.lock().unwrap()[0].clone();
        let stream = TcpStream::connect(first.strip_prefix("listening on http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Status code and body of a path.
    fn get(&self, path: &str) -> (u16, String) {
        let (mut stream, mut answer) = (self.connect(), String::new());
        write!(stream, "GET {path} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n").unwrap();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn handled(&self) -> i64 {
        let (_, body) = self.get("/");
        body.split(' ').next().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: a plain system call; the child has not been waited for, so that the number is still its own.
        let sent = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0);
    }

    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Service {
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

#[test]
fn a_service_that_is_terminated_under_load_drains_and_commits_exactly_what_it_handled() {
    let stage = Stage::new(fixture::On::Embedded, 2);
    stage.produce(0, 5000, 20);
    let mut service = Service::on(&stage);
    eventually("records are handled", || service.handled() > 100);
    assert_eq!(service.get("/healthz"), (200, "ok\n".to_owned()));
    let (status, state) = service.get("/state");
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(status, 200);
    assert_eq!(state["partitions"].as_array().unwrap().len(), 2, "{state}");
    assert_eq!(state["partitions"][0]["phase"], "running", "{state}");
    // A client that only holds a connection open holds nobody up.
    let idle = service.connect();
    service.signal(libc::SIGTERM);
    assert_eq!(service.end().code(), Some(0), "{:?}", service.err);
    drop(idle);
    let mut handled = None;
    eventually("it says that it drained", || {
        let said = service.out.lock().unwrap().last().cloned().unwrap_or_default();
        let number = said.strip_prefix("drained and committed: ").and_then(|rest| rest.split(' ').next());
        handled = number.map(|number| number.parse::<i64>().unwrap());
        handled.is_some()
    });
    assert_eq!(Some(stage.committed_of("axum-service").values().sum()), handled);
    assert!(handled < Some(10_000), "it was under load");
}

#[test]
fn a_service_without_arguments_handles_traffic_of_its_own_until_it_is_interrupted() {
    let mut service = Service::start(&[]);
    eventually("records are handled", || service.handled() > 20);
    service.signal(libc::SIGINT);
    assert_eq!(service.end().code(), Some(0), "{:?}", service.err);
    eventually("it says that it drained", || {
        let out = service.out.lock().unwrap();
        out.last().is_some_and(|said| said.starts_with("drained and committed: "))
    });
}

#[test]
fn a_consumer_that_dies_takes_its_web_server_along_and_the_process_says_why() {
    let stage = Stage::new(fixture::On::Embedded, 2);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    stage.broker.embedded().fail_requests(RDKafkaApiKey::JoinGroup, &[refused; 20]);
    let mut service = Service::on(&stage);
    assert_eq!(service.end().code(), Some(1));
    eventually("it says why", || {
        let err = service.err.lock().unwrap();
        err.iter().any(|line| line.starts_with("error: ") && line.contains("GroupAuthorizationFailed"))
    });
}

/// What the process does at a signal: a handler's address, or the default.
fn disposition(signal: libc::c_int) -> libc::sighandler_t {
    // SAFETY: all zeros are a valid sigaction, and it is only written to.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(signal, std::ptr::null(), &mut now), 0);
        now.sa_sigaction
    }
}

#[test]
fn a_consumer_installs_no_signal_handler_no_panic_hook_and_no_subscriber() {
    const SIGNALS: [libc::c_int; 6] =
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE, libc::SIGCHLD, libc::SIGUSR1];
    let before = SIGNALS.map(disposition);
    let seen = Arc::new(AtomicUsize::new(0));
    let hook = std::panic::take_hook();
    std::panic::set_hook({
        let seen = Arc::clone(&seen);
        Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() == Some(&"torn") {
                seen.fetch_add(1, Ordering::SeqCst);
            } else {
                hook(panic);
            }
        })
    });
    let stage = Stage::new(fixture::On::Embedded, 1);
    stage.produce(0, 10, 20);
    let journal = Journal::default();
    let notes = journal.clone();
    let handler = move |record: &Record| {
        if record.offset().0 == 5 && record.attempt() < 3 {
            panic!("torn");
        }
        notes.note("a", record);
    };
    let builder = stage.consumer("g").handler(handler);
    let pause = Duration::from_millis(1);
    let consumer = builder.retry_pause(pause, pause).start().unwrap();
    eventually("all is handled", || journal.len() == 10);
    assert_eq!(SIGNALS.map(disposition), before);
    consumer.shutdown_blocking(Duration::from_secs(20)).unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 2, "the host's hook saw each panic");
    assert_eq!(SIGNALS.map(disposition), before);
    // The fixture shows the log where it is asked to.
    assert_eq!(tracing::dispatcher::has_been_set(), std::env::var_os("RUST_LOG").is_some());
}
