//! Calls what the app wants to be told, on a thread of its own: it may block and panic without harm.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Sender, TrySendError};
use tracing::warn;

use crate::consume::commit::CommitReport;
use crate::consume::state::{Board, Counters};

/// Reports that may wait for a callback that is slow; those beyond are not told.
const WAITING: usize = 1024;

/// What the app wants to be told of each commit's answer.
pub(crate) type OnCommit = Arc<dyn Fn(&CommitReport) + Send + Sync>;

/// Where reports go in. The thread ends with this.
#[derive(Debug, Clone)]
pub(crate) struct Callback {
    reports: Sender<CommitReport>,
    board: Arc<Board>,
}

impl Callback {
    pub(crate) fn start(call: OnCommit, board: Arc<Board>) -> std::io::Result<Self> {
        let (reports, inbox) = crossbeam_channel::bounded(WAITING);
        std::thread::Builder::new().name("troupe-callback".to_owned()).spawn(move || {
            for report in inbox {
                if catch_unwind(AssertUnwindSafe(|| call(&report))).is_err() {
                    warn!("the callback of a commit panicked");
                }
            }
        })?;
        Ok(Self { reports, board })
    }

    pub(crate) fn tell(&self, report: CommitReport) {
        if let Err(TrySendError::Full(_)) = self.reports.try_send(report) {
            Counters::add(&self.board.counters.reports_dropped, 1);
        }
    }
}
