use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::load::clock::nanoseconds;
use crate::load::sample::{Phase, Sample};
use crate::load::stops::Stops;

use super::carrier::WallClock;
use super::ledger::Sent;
use super::out::{Reader, Seen};
use super::verdict::Waited;
use super::watch::Watch;

/// How often it is looked whether all has come.
const LOOK: Duration = Duration::from_millis(20);

/// How long to wait.
pub(super) struct Waiting<'a> {
    pub(super) settle: Duration,
    pub(super) clock: WallClock,
    pub(super) stops: &'a Stops,
    /// The next signal after the load, or after the look at OUT began.
    pub(super) stop: CancellationToken,
}

/// Has all read that stands in OUT by now. Why it was not waited any longer, and whether all is read. A signal that ended the wait does not end this too.
pub(super) async fn read_to_the_end(
    waiting: &Waiting<'_>,
    reader: Reader,
    waited: Waited,
) -> anyhow::Result<(Waited, bool)> {
    Ok(if reader.finish(&waiting.stops.next()).await? { (waited, true) } else { (Waited::Stopped, false) })
}

/// Waits for what has not come out yet, until it is told to stop. `sent` says what there is to come, if that is known, and looks again where it is asked to.
pub(super) async fn wait<S: FnMut(&Sample)>(
    waiting: &Waiting<'_>,
    reader: &mut Reader,
    seen: &Seen,
    watch: &mut Watch<'_, S>,
    sent: &mut impl FnMut(bool) -> anyhow::Result<Option<Sent>>,
) -> anyhow::Result<Waited> {
    let since = waiting.clock.now();
    let mut known = sent(true)?;
    loop {
        {
            let book = seen.book();
            if known.as_ref().is_some_and(|sent| book.ledger.count_missing(sent) == 0) {
                return Ok(Waited::AllCame);
            }
            if waiting.clock.now() > since.max(book.last_new) + nanoseconds(waiting.settle) {
                return Ok(Waited::Settled(waiting.settle));
            }
        }
        if waiting.stop.is_cancelled() {
            return Ok(Waited::Stopped);
        }
        tokio::select! {
            early = reader.ended() => return Err(early.err().unwrap_or_else(|| anyhow::anyhow!("the reader ended early"))),
            () = watch.tick() => {
                watch.look(Phase::Wait);
                known = sent(true)?;
            }
            () = sleep(LOOK) => {}
        }
    }
}
