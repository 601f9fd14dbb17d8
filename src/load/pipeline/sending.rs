use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::load::account::Account;
use crate::load::borders::Borders;
use crate::load::clock::nanoseconds;
use crate::load::figures::Figures;
use crate::load::plan::Plan;
use crate::load::producers::generate;
use crate::load::sample::{Phase, Sample};
use crate::load::stops::Stops;

use super::carrier::{Carrier, WallClock};
use super::identity::Carried;
use super::ledger::Sent;
use super::run::Source;
use super::watch::Watch;

/// How long a producer may take to end, once all is answered or the time for that is over.
const PRODUCER_END: Duration = Duration::from_secs(5);

/// Sends all, and waits until all is answered. With it comes what ends the wait for answers, and for all that comes after the load: the next signal.
pub(super) async fn produce<S: FnMut(&Sample)>(
    source: Source,
    account: &Arc<Account>,
    carried: &Carried,
    (clock, start): (WallClock, u64),
    stops: &Stops,
    watch: &mut Watch<'_, S>,
) -> anyhow::Result<(Sent, CancellationToken)> {
    let Source { plan, producer } = source;
    let producer = producer.actors(plan.actors()).start().context("the producer cannot start")?;
    let carrier = Carrier::new(&plan, clock, carried);
    let sequences = {
        // What had piled up when the load began is told from what did later.
        let mut borders = Borders::new(&account.timeline, account.clock, start).and(start + nanoseconds(plan.warmup));
        let mut sending = pin!(generate(&plan, account, &producer, start, Some(&carrier)));
        loop {
            tokio::select! {
                sequences = &mut sending => break sequences?,
                border = borders.passed() => watch.note_behind(border),
                () = watch.tick() => watch.look(watch.sending_phase()),
            }
        }
    };
    watch.load_is_over();
    let stop = stops.next();
    if account.answers().fatal {
        anyhow::bail!("the producer failed: {}", account.answers().first_error.clone().unwrap_or_default());
    }
    {
        let mut flushed = pin!(producer.flush(plan.drain));
        loop {
            tokio::select! {
                // What is not answered in time is given up by the producer's end, and counted.
                _ = &mut flushed => break,
                () = stop.cancelled() => break,
                () = watch.tick() => watch.look(Phase::Wait),
            }
        }
    }
    producer.shutdown(PRODUCER_END).await.context("the producer ended before its time")?;
    let book = account.book();
    let failed: Vec<BTreeSet<u64>> = (0..plan.producers).map(|producer| book.ledger.given_up(producer)).collect();
    Ok((Sent { sequences, failed }, stop))
}

/// What the producers' side comes to, without latencies, and whether the broker fell behind for good.
pub(super) fn figures<S: FnMut(&Sample)>(
    account: &Account,
    plan: &Plan,
    sent: &Sent,
    start: u64,
    watch: &Watch<'_, S>,
) -> (Figures, bool) {
    let load_start = start + nanoseconds(plan.warmup);
    let rate = account.answers().rate(load_start, watch.at_load_end.at);
    let sending = account.sending();
    let figures = Figures {
        sent: sent.sequences.iter().sum(),
        acked: account.acked.load(Ordering::Acquire),
        failed: sent.count_failed(),
        late: sending.late,
        never_sent: sending.given_up,
        scheduled: sending.scheduled,
        rate,
        ..Figures::default()
    };
    let open_loop = plan.pace.in_flight().is_none();
    (figures, open_loop && watch.queued(load_start, rate))
}
