use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use kafka_troupe::consume::Order;
use serde::{Serialize, Serializer};

use super::backlog::Rate;
use super::faults::Fault;
use super::keys::{KeyText, Keys};
use super::phases::{self, Phase};
use super::schedule::Arrivals;
use super::sizes::Content;
use super::work::{Tasks, Work};

/// What a run does, with nothing left open.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    /// What the records of this run are told by.
    #[serde(serialize_with = "as_hex")]
    pub(crate) run: u64,
    pub(crate) seed: u64,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) partitions: u32,
    pub(crate) producers: u16,
    pub(crate) members: u16,
    pub(crate) pace: Pace,
    #[serde(serialize_with = "as_seconds", rename = "warmup_seconds")]
    pub(crate) warmup: Duration,
    pub(crate) length: Length,
    #[serde(serialize_with = "as_seconds", rename = "drain_seconds")]
    pub(crate) drain: Duration,
    #[serde(serialize_with = "as_text", rename = "record_size")]
    pub(crate) content: Content,
    #[serde(serialize_with = "as_text")]
    pub(crate) keys: Keys,
    #[serde(serialize_with = "as_debug")]
    pub(crate) order: Order,
    pub(crate) engine: Engine,
    pub(crate) concurrency: Option<usize>,
    #[serde(serialize_with = "as_text")]
    pub(crate) work: Work,
    /// The share of attempts that fail.
    pub(crate) failure_rate: f64,
    /// Records say who they are, and are looked at; and latencies are taken.
    pub(crate) verify: bool,
    /// What is done to members, in the order of time. With any, each member has a process of its own.
    pub(crate) faults: Vec<Fault>,
    /// What may be sent and not handled, where the broker could not keep more.
    pub(crate) most_outstanding: Option<Outstanding>,
}

/// What handles the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    /// The engine of this library.
    Troupe,
    /// A plain loop of librdkafka's consumer, one record after the other.
    Bare,
}

/// A bound on what is sent and not handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Outstanding {
    pub(crate) records: u64,
    /// In the log; where all records have the same size, their count says it.
    pub(crate) bytes: Option<u64>,
}

/// When producers send.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pace {
    /// By a schedule, whatever becomes of what was sent before: so many records a second, of all producers.
    OpenLoop {
        rate: u64,
        #[serde(serialize_with = "as_name")]
        arrivals: Arrivals,
    },
    /// By a schedule, phase by phase.
    Phases(Vec<Phase>),
    /// As answers come: so many records are unanswered at any time.
    ClosedLoop { in_flight: u32 },
    /// As answers come, and before there is anybody to handle them: what is measured is how fast that is made good.
    Backlog,
}

#[cfg(test)]
impl Plan {
    /// A thousand small records of three keys, for tests.
    pub(crate) fn small(producers: u16, pace: Pace) -> Self {
        Self {
            run: 1,
            seed: 1,
            topic: "t".to_owned(),
            group: "g".to_owned(),
            partitions: 1,
            producers,
            members: 1,
            pace,
            warmup: Duration::ZERO,
            length: Length::Records(1_000),
            drain: Duration::ZERO,
            content: Content::Filler(super::sizes::Sizes::Fixed(super::payload::MINIMUM)),
            keys: Keys::RoundRobin { keys: 3 },
            order: Order::Key,
            engine: Engine::Troupe,
            concurrency: None,
            work: Work::None,
            failure_rate: 0.0,
            verify: true,
            faults: Vec::new(),
            most_outstanding: None,
        }
    }
}

/// So many records are at their handlers at once, of a member, where it is not said and a partition has not one at a time.
pub(crate) const AT_HANDLERS: usize = 100;
/// Records that are unanswered at any time while a backlog is made.
const BACKLOG_IN_FLIGHT: u32 = 10_000;
/// The length of a phase that no run outlives.
const ENDLESS: Duration = Duration::from_secs(500 * 366 * 86_400);

/// How long the load lasts, after the warm-up.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Length {
    #[serde(serialize_with = "as_seconds")]
    Seconds(Duration),
    Records(u64),
}

impl Pace {
    /// What is wanted when; `None` where answers say it.
    pub(crate) fn phases(&self) -> Option<Vec<Phase>> {
        match self {
            Self::OpenLoop { rate, arrivals } => Some(vec![Phase {
                number: 1,
                step: None,
                from: *rate,
                to: *rate,
                arrivals: *arrivals,
                duration: ENDLESS,
                warmup: false,
            }]),
            Self::Phases(phases) => Some(phases.clone()),
            Self::ClosedLoop { .. } | Self::Backlog => None,
        }
    }

    /// Records a second that are wanted so many nanoseconds after the start; `None` where there is no schedule, or none any more.
    pub(crate) fn rate_at(&self, at: u64) -> Option<u64> {
        match self {
            Self::OpenLoop { rate, .. } => Some(*rate),
            Self::Phases(phases) => phases::rate_at(phases, at),
            Self::ClosedLoop { .. } | Self::Backlog => None,
        }
    }

    /// Records that all producers are to send between two times, in nanoseconds after the start.
    pub(crate) fn due_between(&self, from: u64, to: u64) -> f64 {
        match self {
            Self::OpenLoop { rate, .. } => *rate as f64 * to.saturating_sub(from) as f64 / 1e9,
            Self::Phases(phases) => phases::due_between(phases, from, to),
            Self::ClosedLoop { .. } | Self::Backlog => 0.0,
        }
    }

    /// The rate that came of it.
    pub(crate) fn came_to(&self, rate: f64) -> Rate {
        match self {
            Self::Phases(phases) if phases.iter().any(|it| (it.from, it.to) != (phases[0].from, phases[0].from)) => {
                Rate::Varying(rate)
            }
            _ => Rate::Steady(rate),
        }
    }

    /// Records that are unanswered at any time; `None` where a schedule says when they are sent.
    pub(crate) fn in_flight(&self) -> Option<u32> {
        match self {
            Self::OpenLoop { .. } | Self::Phases(_) => None,
            Self::ClosedLoop { in_flight } => Some(*in_flight),
            Self::Backlog => Some(BACKLOG_IN_FLIGHT),
        }
    }

    pub(crate) fn is_backlog(&self) -> bool {
        matches!(self, Self::Backlog)
    }
}

impl Plan {
    /// How many records handlers have at hand that keep up and take so long, in nanoseconds, at a time since the start: those that were due within a
    /// call, and no more than there are calls at once. Told where the rate may change; where it stays, so do they.
    pub(crate) fn at_hand(&self, handler: u64) -> impl Fn(u64) -> f64 {
        move |at| match &self.pace {
            Pace::Phases(_) => self.pace.due_between(at.saturating_sub(handler), at).min(self.calls_at_once()),
            _ => 0.0,
        }
    }

    /// Producing actors.
    pub(crate) fn actors(&self) -> usize {
        actors(self.producers)
    }

    fn calls_at_once(&self) -> f64 {
        let most = self.concurrency.map(|calls| calls as f64 * f64::from(self.members));
        match (self.engine, self.order) {
            (Engine::Bare, _) => self.members.into(),
            (_, Order::Partition) => most.unwrap_or(f64::MAX).min(self.partitions.into()),
            _ => most.unwrap_or(AT_HANDLERS as f64 * f64::from(self.members)),
        }
    }

    /// What the phases of its schedule are called, by number; none where not more than one is measured.
    pub(crate) fn names_of_phases(&self) -> Vec<String> {
        let phases = self.pace.phases().unwrap_or_default();
        let measured = phases.iter().filter(|it| !it.warmup).count();
        phases.iter().filter(|_| measured > 1).map(Phase::name).collect()
    }

    /// What handlers do, record by record.
    pub(crate) fn tasks(&self) -> Tasks {
        Tasks::new(self.work, self.failure_rate, self.seed)
    }

    /// What a record takes in a log that is written record by record: its batch's head comes on top.
    pub(crate) fn bytes_in_log(record_size: usize) -> u64 {
        const BATCH_HEAD_AND_LENGTHS: usize = 61 + 32;
        (record_size + KeyText::LEN + BATCH_HEAD_AND_LENGTHS) as u64
    }
}

/// One for each thread that sends, as far as a producer has so many.
pub(crate) fn actors(producers: u16) -> usize {
    usize::from(producers).min(64)
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_hex<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:016x}"))
}

fn as_seconds<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.as_secs_f64())
}

fn as_name<S: Serializer>(value: &Arrivals, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.name())
}

fn as_debug<S: Serializer>(value: &Order, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:?}").to_string().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::super::backlog::Backlog;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// From 0 to 1,000 a second in ten.
    fn ramp() -> Plan {
        let duration = Duration::from_secs(10);
        let ramp =
            Phase { number: 1, step: None, from: 0, to: 1_000, arrivals: Arrivals::Constant, duration, warmup: false };
        Plan { members: 2, ..Plan::small(1, Pace::Phases(vec![ramp])) }
    }

    #[test]
    fn handlers_have_at_hand_what_comes_within_a_call_up_to_as_many_as_there_are_calls() {
        let at_hand = |plan: &Plan, handler: u64, second: u64| plan.at_hand(handler * SECOND)(second * SECOND).round();
        let plan = Plan { concurrency: Some(1_000), ..ramp() };
        assert_eq!([0, 1, 5, 10, 11].map(|second| at_hand(&plan, 2, second)), [0.0, 50.0, 800.0, 1_800.0, 950.0]);
        assert_eq!(at_hand(&plan, 0, 10), 0.0);
        // Two members with a hundred each, a partition with one, a plain loop of each member.
        let partition = Plan { order: Order::Partition, partitions: 8, ..ramp() };
        let bare = Plan { engine: Engine::Bare, ..ramp() };
        assert_eq!([ramp(), partition, bare].map(|plan| at_hand(&plan, 2, 10)), [200.0, 8.0, 2.0]);
        let steady = Plan::small(1, Pace::OpenLoop { rate: 1_000, arrivals: Arrivals::Constant });
        assert_eq!(at_hand(&steady, 2, 10), 0.0);
    }

    #[test]
    fn what_is_at_hand_is_not_behind() {
        let plan = Plan { concurrency: Some(2_000), ..ramp() };
        let grew = |handler: u64, excess: u64| {
            let mut behind = Backlog::default();
            let at_hand = plan.at_hand(handler);
            (0..=10).map(|it| it * SECOND).for_each(|at| behind.sampled(at, at_hand(at) as u64 + excess * at / SECOND));
            let beyond = behind.beyond(&at_hand);
            let grew = |it: &Backlog| it.grew(0, 10 * SECOND, it.at(10 * SECOND), Rate::Varying(500.0));
            (grew(&behind), grew(&beyond))
        };
        assert_eq!(
            [grew(SECOND, 0), grew(2 * SECOND, 0), grew(SECOND, 100)],
            [(true, false), (true, false), (true, true)]
        );
    }
}
