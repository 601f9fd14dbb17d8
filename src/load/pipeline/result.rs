//! `result.json` of a run through somebody's application, or of one host's part of it. Its fields are told in docs/load.md.

use serde::Serialize;
use serde_json::Value;

use crate::load::figures::Figures;
use crate::load::gates::Gates;
use crate::load::plan::Plan;
use crate::load::result::{Host, Versions};
use crate::load::verdict::{Judgement, Verdict};

use super::ledger::Fault;
use super::manifest::RunId;
use super::moment::Moment;
use super::run::{Measured, Verified, Verify};
use super::verdict::judge;

const SCHEMA: u32 = 1;
/// Of a plan, what only the engine has.
const OF_THE_ENGINE: [&str; 11] = [
    "group",
    "partitions",
    "members",
    "order",
    "concurrency",
    "engine",
    "work",
    "failure_rate",
    "faults",
    "drain_seconds",
    "most_outstanding",
];

#[derive(Clone, Debug, Serialize)]
pub(crate) struct PipelineResult {
    schema: u32,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    pub(crate) run: RunId,
    pub(crate) part: Part,
    pub(crate) figures: Figures,
    pub(crate) verification: Option<Verification>,
    pub(crate) first_error: Option<String>,
    pub(crate) stopped_early: bool,
    /// RFC 3339.
    started: String,
    versions: Versions,
    pub(crate) broker: String,
    /// What was sent, where this host did that.
    plan: Option<Value>,
    id_pointer: Option<String>,
    host: Host,
    samples: Vec<Moment>,
}

/// Which part of a run this host had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    Whole,
    ProduceOnly,
    VerifyOnly,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verification {
    pub(crate) topic: String,
    pub(crate) expect: String,
    settle_seconds: f64,
    /// Why it was not waited longer.
    pub(crate) waited_until: String,
    /// End-to-end latency compares the clocks of two hosts.
    pub(crate) two_clocks: bool,
    pub(crate) before_sent: u64,
    pub(crate) not_timed: u64,
    pub(crate) without_identity: u64,
    pub(crate) faults: Vec<Fault>,
}

/// What was in force.
pub(crate) struct Settings<'a> {
    /// Where this host sent.
    pub(crate) plan: Option<&'a Plan>,
    /// Where it looked at OUT.
    pub(crate) verify: Option<&'a Verify>,
    pub(crate) id_pointer: Option<String>,
}

impl PipelineResult {
    pub(crate) fn new(
        (run, part): (RunId, Part),
        settings: Settings<'_>,
        broker: String,
        gates: &Gates,
        started: String,
        measured: Measured,
    ) -> anyhow::Result<Self> {
        let Settings { plan, verify, id_pointer } = settings;
        let verification = verify.zip(measured.verified).map(|(verify, verified)| {
            let Verified { waited, two_clocks, before_sent, not_timed, without_identity, faults } = verified;
            Verification {
                topic: verify.topic.clone(),
                expect: verify.expect.to_string(),
                settle_seconds: verify.settle.as_secs_f64(),
                waited_until: waited.to_string(),
                two_clocks,
                before_sent,
                not_timed,
                without_identity,
                faults,
            }
        });
        Ok(Self {
            schema: SCHEMA,
            verdict: judge(&measured.figures, measured.around, gates),
            run,
            part,
            figures: measured.figures,
            verification,
            first_error: measured.first_error,
            stopped_early: measured.stopped,
            started,
            versions: Versions::these(),
            broker,
            plan: plan.map(without_the_engine).transpose()?,
            id_pointer,
            host: Host::this(),
            samples: measured.moments,
        })
    }

    pub(crate) fn judgement(&self) -> Judgement {
        self.verdict.verdict
    }
}

fn without_the_engine(plan: &Plan) -> serde_json::Result<Value> {
    let mut plan = serde_json::to_value(plan)?;
    if let Some(fields) = plan.as_object_mut() {
        fields.retain(|name, _| !OF_THE_ENGINE.contains(&name.as_str()));
    }
    Ok(plan)
}
