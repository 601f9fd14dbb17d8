//! A worker, and how it is given a record and asked for its answer.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use kafka_troupe::Record;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep_until, timeout};

use super::process::Process;
use super::protocol::{Answer, Heard, NoAnswer, append_record};
use super::restarts::EndKind;

/// How long the one may lag behind the other where a worker closes its pipes and ends.
const MOMENT: Duration = Duration::from_secs(1);
/// Of a long line's memory, so much is kept for the next.
const KEPT: usize = 256 * 1024;
/// What is read at once. An answer is short.
const READ: usize = 4096;

#[derive(Debug)]
pub(super) struct Worker {
    /// From 1.
    pub(super) number: usize,
    pub(super) process: Arc<Process>,
    /// It has answered for a record.
    pub(super) answered: bool,
    /// Closed when it is to end.
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    /// The record's line, and how much of it is written.
    line: Vec<u8>,
    written: usize,
    heard: Heard,
    /// When the attempt has taken too long, and how long that is.
    deadline: Option<(Instant, Duration)>,
}

/// Why a worker is of no use any more.
#[derive(Debug)]
pub(super) enum Fault {
    Exited { status: ExitStatus, begun: Option<NoAnswer> },
    Closed(&'static str),
    Protocol(NoAnswer),
    Timeout(Duration),
    Pipe(io::Error),
}

/// A worker has ended, or has to.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its number.
    pub(super) worker: usize,
    pub(super) fault: Fault,
    /// It cannot have begun with the record.
    pub(super) before: bool,
}

impl Worker {
    pub(super) fn new(number: usize, process: Arc<Process>, stdin: pipe::Sender, stdout: pipe::Receiver) -> Self {
        Self {
            number,
            process,
            answered: false,
            stdin: Some(stdin),
            stdout,
            line: Vec::new(),
            written: 0,
            heard: Heard::default(),
            deadline: None,
        }
    }

    /// Takes a record to hand over.
    pub(super) fn take(&mut self, record: &Record, within: Option<Duration>) {
        append_record(&mut self.line, record.into(), record.headers(), record.attempt());
        self.deadline = within.map(|within| (Instant::now() + within, within));
    }

    /// Hands the record over and waits for its answer. It may be dropped, and called again to go on.
    ///
    /// # Errors
    /// The worker's end, or why it has to end: nothing it says any more can be trusted to be about the record it is given.
    pub(super) async fn answer(&mut self) -> Result<Answer, Ended> {
        let process = Arc::clone(&self.process);
        let deadline = self.deadline;
        let answered = tokio::select! {
            biased;
            answered = poll_fn(|cx| self.poll_answer(cx)) => answered,
            status = process.exited() => {
                // What it said last may still be on its way.
                match timeout(MOMENT, poll_fn(|cx| self.poll_answer(cx))).await {
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(Fault::Protocol(no))) => Err(Fault::Protocol(no)),
                    _ => Err(Fault::Exited { status, begun: self.heard.begun() }),
                }
            }
            within = passed(deadline) => Err(Fault::Timeout(within)),
        };
        let fault = match answered {
            Ok(answer) => {
                self.answered = true;
                self.forget();
                return Ok(answer);
            }
            // Mostly it has ended, and how says more than that its pipes are closed.
            Err(Fault::Closed(which)) => match timeout(MOMENT, process.exited()).await {
                Ok(status) => Fault::Exited { status, begun: self.heard.begun() },
                Err(_) => Fault::Closed(which),
            },
            Err(fault) => fault,
        };
        let unsaid = self.heard.begun().is_none();
        let in_good_order = self.answered && unsaid && fault.kind() == EndKind::InGoodOrder;
        Err(Ended { worker: self.number, before: self.written == 0 || in_good_order, fault })
    }

    fn forget(&mut self) {
        self.line.clear();
        self.line.shrink_to(KEPT);
        self.written = 0;
        self.heard.clear();
        self.deadline = None;
    }

    /// Closes its input, so that it ends when it is through with what it has.
    pub(super) fn close(&mut self) {
        self.stdin = None;
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Fault>> {
        if self.written < self.line.len() {
            // What is there now cannot be about this record.
            if let Poll::Ready(read) = self.poll_read(cx) {
                read?;
            }
            if let Some(no) = self.heard.unasked() {
                return Poll::Ready(Err(Fault::Protocol(no)));
            }
            ready!(self.poll_write(cx))?;
        }
        loop {
            match self.heard.answer() {
                Ok(None) => ready!(self.poll_read(cx))?,
                Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                Err(no) => return Poll::Ready(Err(Fault::Protocol(no))),
            }
        }
    }

    /// Ready when the whole line is written. A worker that writes instead of reading is found out meanwhile.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(stdin) = &mut self.stdin else { return Poll::Ready(Err(Fault::Closed("stdin"))) };
        while self.written < self.line.len() {
            match ready!(Pin::new(&mut *stdin).poll_write(cx, &self.line[self.written..])) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Poll::Ready(Err(Fault::Closed("stdin")));
                }
                Err(error) => return Poll::Ready(Err(Fault::Pipe(error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut bytes = [std::mem::MaybeUninit::uninit(); READ];
        let mut read = ReadBuf::uninit(&mut bytes);
        match ready!(Pin::new(&mut self.stdout).poll_read(cx, &mut read)) {
            Ok(()) if read.filled().is_empty() => Poll::Ready(Err(Fault::Closed("stdout"))),
            Ok(()) => {
                self.heard.push(read.filled());
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(Fault::Pipe(error))),
        }
    }
}

/// Ready when the deadline is passed, with how long that took.
async fn passed(deadline: Option<(Instant, Duration)>) -> Duration {
    match deadline {
        Some((at, within)) => {
            sleep_until(at).await;
            within
        }
        None => std::future::pending().await,
    }
}

impl Fault {
    pub(super) fn kind(&self) -> EndKind {
        match self {
            Self::Exited { status, begun: None } if status.success() => EndKind::InGoodOrder,
            Self::Exited { status, .. } if matches!(status.code(), Some(126 | 127)) => EndKind::NotRun,
            _ => EndKind::Died,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} {}", self.worker, self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { status, begun: None } => write!(f, "ended ({status})"),
            Self::Exited { status, begun: Some(begun) } => {
                write!(f, "ended ({status}) half way through its answer: {begun}")
            }
            Self::Closed(which) => write!(f, "closed its {which} and did not end"),
            Self::Protocol(no) => write!(f, "broke the protocol: {no}"),
            Self::Timeout(within) => write!(f, "took longer than {within:?}"),
            Self::Pipe(error) => write!(f, "cannot be talked to: {error}"),
        }
    }
}
