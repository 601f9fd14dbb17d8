//! `result.json`: what a run was and what came of it. Its fields are told in docs/load.md; a change that breaks a reader raises [`SCHEMA`].

use serde::Serialize;

use super::families::ByFamily;
use super::figures::Figures;
use super::gates::Gates;
use super::of_phases::OfPhase;
use super::plan::Plan;
use super::recovery::Recovered;
use super::resources::Resources;
use super::run::{Measured, OfPartition};
use super::sample::Sample;
use super::verdict::{Judgement, Verdict};

pub(crate) const SCHEMA: u32 = 1;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunResult {
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    pub(crate) plan: Plan,
    /// What came of the faults, in their order.
    pub(crate) faults: Vec<Recovered>,
    /// By number.
    pub(crate) partitions: Vec<OfPartition>,
}

/// What there is to tell of each run, be it through the engine or through somebody's application.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) schema: u32,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    pub(crate) figures: Figures,
    pub(crate) resources: Spending,
    /// The first record that was not confirmed, and why.
    pub(crate) first_error: Option<String>,
    pub(crate) stopped_early: bool,
    /// RFC 3339.
    pub(crate) started: String,
    pub(crate) versions: Versions,
    pub(crate) broker: String,
    pub(crate) host: Host,
    /// By latency, pairs of a share of the records and the microseconds within which they were.
    pub(crate) curves: ByFamily<Vec<(f64, u64)>>,
    /// Of a load with phases, each of them.
    pub(crate) phases: Vec<OfPhase>,
    pub(crate) settings: Effective,
    pub(crate) samples: Vec<Sample>,
}

/// Where a run took place, when, and what its clients were told.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) broker: String,
    pub(crate) settings: Effective,
    /// RFC 3339.
    pub(crate) started: String,
}

/// What producers and members were told.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Effective {
    pub(crate) producer: Vec<Told>,
    pub(crate) consumer: Vec<Told>,
}

/// A setting in force; `***` is the value of a secret one.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Told {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Who said it.
    pub(crate) from: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Spending {
    /// Processor time of this process during the load, the embedded broker's included where it is used.
    pub(crate) load_cpu_seconds: Option<f64>,
    pub(crate) cpu_seconds_per_million_records: Option<f64>,
    pub(crate) peak_rss_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Versions {
    pub(crate) troupe: &'static str,
    pub(crate) librdkafka: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Host {
    pub(crate) os: &'static str,
    pub(crate) architecture: &'static str,
    pub(crate) kernel: Option<String>,
    pub(crate) processors: Option<usize>,
    pub(crate) memory_bytes: Option<u64>,
}

impl RunResult {
    pub(crate) fn new(plan: &Plan, scene: Scene, gates: &Gates, measured: Measured) -> Self {
        Self {
            outcome: Outcome {
                schema: SCHEMA,
                verdict: Verdict::of(&measured.figures, &measured.around, gates),
                figures: measured.figures,
                resources: Spending::of(measured.cpu_seconds, measured.handled_meanwhile, &measured.resources),
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
            plan: plan.clone(),
            partitions: measured.partitions,
            faults: measured.recovered,
        }
    }
}

impl Outcome {
    pub(crate) fn judgement(&self) -> Judgement {
        self.verdict.verdict
    }
}

impl Spending {
    /// Processor time of the load, the records of that time, and what else was taken when it ended.
    pub(crate) fn of(cpu_seconds: Option<f64>, records: u64, at_the_end: &Resources) -> Self {
        Self {
            load_cpu_seconds: cpu_seconds,
            cpu_seconds_per_million_records: cpu_seconds.filter(|_| records > 0).map(|it| it * 1e6 / records as f64),
            peak_rss_bytes: at_the_end.peak_rss_bytes,
            threads: at_the_end.threads,
        }
    }
}

impl Versions {
    pub(crate) fn these() -> Self {
        Self { troupe: env!("CARGO_PKG_VERSION"), librdkafka: rdkafka::util::get_rdkafka_version().1 }
    }
}

impl Host {
    pub(crate) fn this() -> Self {
        let read = |file| std::fs::read_to_string(file).ok();
        let kib = |text: String| text.lines().next()?.split_whitespace().nth(1)?.parse::<u64>().ok();
        Self {
            os: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            kernel: read("/proc/sys/kernel/osrelease").map(|it| it.trim().to_owned()),
            processors: std::thread::available_parallelism().ok().map(Into::into),
            memory_bytes: read("/proc/meminfo").and_then(kib).map(|kib| kib * 1024),
        }
    }
}
