use std::collections::BTreeMap;

use super::by_phase::Kept;
use super::families::{ByFamily, FromIntended};
use super::hdr_log::HdrLogs;
use super::latencies::Latencies;

/// The latencies of a run: what comes by the second goes to the logs, and to the whole.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) whole: ByFamily<Latencies>,
    /// None where they could not be written.
    logs: Option<HdrLogs>,
    /// On the run's clock: up to here they are in.
    pub(crate) until: u64,
}

impl Collected {
    /// From `start` on, which is on the run's clock.
    ///
    /// # Errors
    /// None that can be: see [`Latencies::new`].
    pub(crate) fn new(start: u64, logs: HdrLogs) -> anyhow::Result<Self> {
        Ok(Self { whole: ByFamily::try_new(|_| Latencies::new())?, logs: Some(logs), until: start })
    }

    /// Adds what came until now. Where the logs cannot be written they end, with a warning, and the run goes on.
    pub(crate) fn add(&mut self, now: u64, came: &ByFamily<Latencies>) {
        for (family, latencies) in came.each() {
            self.whole.of_mut(family).add(latencies);
        }
        let (from, until) = (self.until as f64 / 1e9, now as f64 / 1e9);
        self.log(|logs| Ok(logs.add(from, until, came)?));
        self.until = now;
    }

    /// Has the logs tell apart what of that came of which phase. `names` are theirs; of one without a name nothing is said.
    pub(crate) fn add_phases(&mut self, from: u64, names: &[String], came: &FromIntended<BTreeMap<usize, Kept>>) {
        let (from, until) = (from as f64 / 1e9, self.until as f64 / 1e9);
        self.log(|logs| {
            for (family, phases) in came.each() {
                for (phase, kept) in phases {
                    if let Some(name) = names.get(*phase) {
                        logs.add_tagged(family, name, (from, until), &kept.latencies()?)?;
                    }
                }
            }
            Ok(())
        });
    }

    /// Writes to the logs, as long as they can be written.
    fn log(&mut self, write: impl FnOnce(&mut HdrLogs) -> anyhow::Result<()>) {
        let logged = self.logs.as_mut().map_or(Ok(()), write);
        if let Err(error) = logged {
            tracing::warn!("the HDR logs end here, for they cannot be written: {error}");
            self.logs = None;
        }
    }
}
