//! The way from the input to the producer: a thread reads and hands over, and the command waits for what comes first, the end or a signal.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use kafka_troupe::produce::{ProducerError, SendError};
use kafka_troupe::{Producer, Sender};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::report::{End, Report};
use super::row::Rows;
use super::tally::{Tally, no_permission};
use crate::cli::pace::Pace;

/// How long a signal leaves for what is on its way.
const AFTER_A_SIGNAL: Duration = Duration::from_secs(30);
/// How often the progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(100);

/// Sends all rows, and waits until each is answered.
pub(super) async fn all(
    rows: Rows,
    topic: &str,
    producer: Producer,
    pace: Option<Pace>,
    stop: &CancellationToken,
    show: impl Fn(&Tally),
) -> anyhow::Result<Report> {
    let started = Instant::now();
    let tally = Arc::new(Tally::default());
    let mut reading = start_reading(rows, topic, producer.sender(), pace, &tally)?;
    let mut ticks = tokio::time::interval(SHOWN_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break End::Signal,
            () = tally.given_up.cancelled() => break End::GivenUp(String::new()),
            read = &mut reading => break read.unwrap_or_else(|_| End::GivenUp("the thread that reads died".to_owned())),
            _ = ticks.tick() => show(&tally),
        }
    };
    // librdkafka gives each record up some time, so it comes to an end. After a signal there is less patience.
    while !matches!(end, End::Signal) && !stop.is_cancelled() {
        match producer.flush(SHOWN_EVERY).await {
            Err(ProducerError::DeadlinePassed { .. }) => show(&tally),
            _ => break,
        }
    }
    // No more is taken from here on, also where the thread still waits for its input. All that was taken is answered.
    let ended = producer.shutdown(AFTER_A_SIGNAL).await;
    let end = match ended {
        Err(error) => End::GivenUp(explained(topic, &error)),
        Ok(_) => end,
    };
    Ok(Report::new(&tally, &end, started.elapsed()))
}

/// Why a producer failed. An idempotent one fails as a whole where it may write to no topic at all.
fn explained(topic: &str, error: &ProducerError) -> String {
    let error = error.to_string();
    if error.contains("authorization failed") { no_permission(topic, error) } else { error }
}

fn start_reading(
    rows: Rows,
    topic: &str,
    sender: Sender,
    pace: Option<Pace>,
    tally: &Arc<Tally>,
) -> anyhow::Result<oneshot::Receiver<End>> {
    let (tell, told) = oneshot::channel();
    let (topic, tally, runtime) = (topic.to_owned(), Arc::clone(tally), Handle::current());
    // A thread of its own, for reading blocks. It may be left behind in that when a signal comes.
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            let end = runtime.block_on(hand_over(rows, &topic, &sender, pace, &tally));
            let _ = tell.send(end);
        })
        .context("no thread to read with")?;
    Ok(told)
}

async fn hand_over(mut rows: Rows, topic: &str, sender: &Sender, pace: Option<Pace>, tally: &Arc<Tally>) -> End {
    let started = Instant::now();
    for number in 0.. {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return End::All,
            Err(bad) => return End::Bad(bad),
        };
        if let Some(wait) = pace.and_then(|pace| pace.wait(number, started.elapsed())) {
            tokio::time::sleep(wait).await;
        }
        let (line, bytes, answered) = (row.line, row.bytes(), Arc::clone(tally));
        let accepted = sender.send_with(row.record(topic), move |answer| answered.answer(line, bytes, answer)).await;
        match accepted {
            Ok(()) => {}
            // The command has ended the producer, or it ended itself and says why.
            Err(SendError::Closed { .. }) => return End::Signal,
            Err(error) => tally.fail(line, &error),
        }
    }
    End::All
}
