//! `result.json` of a run through somebody's application, or of one host's part of it. Its fields are told in docs/load.md.

use serde::Serialize;
use serde_json::Value;

use crate::load::gates::Gates;
use crate::load::plan::Plan;
use crate::load::result::{Host, Outcome, Scene, Spending, Versions};
use crate::load::sample::{Phase, Sample};

use super::ledger::Fault;
use super::manifest::RunId;
use super::measured::{Measured, Verified};
use super::part::Part;
use super::run::Verify;
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
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    pub(crate) run: RunId,
    pub(crate) part: Part,
    pub(crate) verification: Option<Verification>,
    /// What was sent, where this host did that.
    pub(crate) plan: Option<Value>,
    pub(crate) id_pointer: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verification {
    pub(crate) topic: String,
    pub(crate) expect: String,
    pub(crate) settle_seconds: f64,
    /// Why it was not waited longer.
    pub(crate) waited_until: String,
    /// End-to-end latency compares the clocks of two hosts.
    pub(crate) two_clocks: bool,
    pub(crate) before_sent: u64,
    pub(crate) not_timed: u64,
    pub(crate) without_identity: u64,
    /// It is known how many records there were.
    pub(crate) sent_known: bool,
    /// Different records that came out, by partition of OUT.
    pub(crate) partitions: Vec<u64>,
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
        scene: Scene,
        gates: &Gates,
        measured: Measured,
    ) -> anyhow::Result<Self> {
        let Settings { plan, verify, id_pointer } = settings;
        let verification = verify.zip(measured.verified).map(|(verify, verified)| {
            let Verified { waited, two_clocks, before_sent, not_timed, without_identity, partitions, faults } =
                verified;
            Verification {
                topic: verify.topic.clone(),
                expect: verify.expect.to_string(),
                settle_seconds: verify.settle.as_secs_f64(),
                waited_until: waited.to_string(),
                two_clocks,
                before_sent,
                not_timed,
                without_identity,
                sent_known: measured.around.sent_known,
                partitions,
                faults,
            }
        });
        let (cpu_seconds, records) = of_the_load(part, &measured.samples);
        Ok(Self {
            outcome: Outcome {
                schema: SCHEMA,
                verdict: judge(&measured.figures, &measured.around, gates),
                figures: measured.figures,
                resources: Spending::of(cpu_seconds, records, &measured.resources),
                first_error: measured.first_error,
                stopped_early: measured.stopped,
                started: scene.started,
                versions: Versions::these(),
                broker: scene.broker,
                host: Host::this(),
                curves: measured.curves,
                phases: measured.phases,
                settings: scene.settings,
                samples: measured.samples,
            },
            run,
            part,
            verification,
            plan: plan.map(without_the_engine).transpose()?,
            id_pointer,
        })
    }

    /// How much was sent is known here, be it from the manifest.
    pub(crate) fn knows_sent(&self) -> bool {
        self.verification.as_ref().is_none_or(|it| it.sent_known)
    }
}

/// Processor time, and the records that were confirmed, in the seconds of the load; where another host sends, those that came out all the time.
fn of_the_load(part: Part, samples: &[Sample]) -> (Option<f64>, u64) {
    let samples = || samples.iter().filter(|it| !part.sends() || it.phase == Phase::Load);
    let records = samples().filter_map(|it| if part.sends() { it.acked } else { it.done }).sum();
    (samples().map(|it| it.cpu_seconds).sum::<Option<f64>>().filter(|_| samples().next().is_some()), records)
}

fn without_the_engine(plan: &Plan) -> serde_json::Result<Value> {
    let mut plan = serde_json::to_value(plan)?;
    if let Some(fields) = plan.as_object_mut() {
        fields.retain(|name, _| !OF_THE_ENGINE.contains(&name.as_str()));
    }
    Ok(plan)
}
