use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kafka_troupe::config::tool::parse_duration;

use crate::cli::exit::Misuse;
use crate::load::gates::Gates;
use crate::load::pipeline::expect::Expect;
use crate::load::pipeline::identity::Carried;
use crate::load::pipeline::manifest::RunId;
use crate::load::pipeline::part::Part;
use crate::load::pipeline::pointer::Pointer;
use crate::load::pipeline::run::Verify;
use crate::load::pipeline::template;
use crate::load::sizes::Content;

#[derive(Args, Debug)]
#[command(next_help_heading = "Your own pipeline")]
pub(in crate::cli::load) struct Pipeline {
    /// IN: send to this topic, which your application reads
    #[arg(long, value_name = "IN")]
    #[arg(conflicts_with_all = ["kafka", "partitions", "members", "order", "concurrency", "drain"])]
    #[arg(conflicts_with_all = ["engine", "work", "failure_rate", "fault", "backlog", "no_verify"])]
    topic: Option<String>,
    /// OUT: verify what your application writes to this topic
    #[arg(long, value_name = "OUT")]
    pub(super) verify_topic: Option<String>,
    /// Where a record's identity is in the JSON of OUT, for an application that keeps no headers
    ///
    /// A JSON pointer, as in /order/id. What goes into IN is JSON with the identity there: lines of
    /// --payload-file have {{id}} at that place. Your application has to carry it to there in OUT.
    #[arg(long, value_name = "POINTER", verbatim_doc_comment)]
    pub(super) id_pointer: Option<Pointer>,
    /// each, or some of filtered, at-least-once, unordered, unchanged, separated by commas
    ///
    /// each: every record comes out once, those of a key in order. filtered: some may be left out;
    /// at-least-once: some may come again; unordered: in any order; unchanged: with the value that
    /// was sent.
    #[arg(long, value_name = "WHAT", default_value = "each", verbatim_doc_comment)]
    expect: Expect,
    /// Wait for what is missing until nothing new has come for so long [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    settle: Option<Duration>,
    /// Only send; what the verifying host has to know goes to manifest.json in the run's folder
    #[arg(long, conflicts_with_all = ["verify_only", "expect", "settle", "manifest"])]
    produce_only: bool,
    /// Only verify what another host sends; --run says which run
    #[arg(long, requires = "run")]
    #[arg(conflicts_with_all = ["topic", "payload_file", "rate", "arrivals", "in_flight", "duration", "records", "warmup"])]
    #[arg(conflicts_with_all = ["record_size", "keys", "producers", "seed", "kafka", "partitions", "members", "order"])]
    #[arg(conflicts_with_all = ["concurrency", "engine", "work", "failure_rate", "fault", "drain", "backlog", "phases", "no_verify"])]
    verify_only: bool,
    /// The run's number, for both hosts: up to 16 hexadecimal digits
    #[arg(long, value_name = "ID")]
    pub(super) run: Option<RunId>,
    /// The producing host's manifest.json; it may come later [default: that of the run in ./troupe-runs]
    #[arg(long, value_name = "FILE", requires = "verify_only")]
    pub(super) manifest: Option<PathBuf>,
}

/// What is asked for.
pub(super) enum Asked {
    Whole(String, Verify),
    /// And OUT, where this host can see it.
    ProduceOnly(String, Option<String>),
    VerifyOnly(Verify),
}

impl Asked {
    pub(super) fn part(&self) -> Part {
        match self {
            Self::Whole(..) => Part::Whole,
            Self::ProduceOnly(..) => Part::ProduceOnly,
            Self::VerifyOnly(_) => Part::VerifyOnly,
        }
    }

    /// IN, where this host sends to it.
    pub(super) fn into(&self) -> Option<&str> {
        match self {
            Self::Whole(into, _) | Self::ProduceOnly(into, _) => Some(into),
            Self::VerifyOnly(_) => None,
        }
    }

    /// OUT, where this host can see it.
    pub(super) fn out(&self) -> Option<&str> {
        match self {
            Self::Whole(_, verify) | Self::VerifyOnly(verify) => Some(&verify.topic),
            Self::ProduceOnly(_, out) => out.as_deref(),
        }
    }

    /// What this host verifies.
    pub(super) fn verify(&self) -> Option<&Verify> {
        match self {
            Self::Whole(_, verify) | Self::VerifyOnly(verify) => Some(verify),
            Self::ProduceOnly(..) => None,
        }
    }
}

impl Pipeline {
    /// What is asked for; `None` where that is no pipeline of somebody's own.
    ///
    /// # Errors
    /// [`Misuse`], for what does not go together.
    pub(super) fn asked(&self, gates: &Gates) -> Result<Option<Asked>, Misuse> {
        let no = |why: &str| Err(Misuse(why.to_owned()));
        let settle = self.settle.unwrap_or(Duration::from_secs(30));
        let verify = |topic: &String| Verify { topic: topic.clone(), expect: self.expect, settle };
        let asked = match (&self.topic, &self.verify_topic) {
            _ if self.produce_only && self.verify_only => {
                return no("--produce-only and --verify-only are for two hosts");
            }
            (_, None) if self.verify_only => return no("--verify-only looks at OUT: give it with --verify-topic"),
            (None, _) if self.produce_only => return no("--produce-only sends to IN: give it with --topic"),
            (_, Some(out)) if self.verify_only => Asked::VerifyOnly(verify(out)),
            (Some(into), out) if self.produce_only => Asked::ProduceOnly(into.clone(), out.clone()),
            (Some(into), Some(out)) => Asked::Whole(into.clone(), verify(out)),
            (Some(_), None) => {
                return no("what goes into --topic is verified in OUT: give --verify-topic, or --produce-only");
            }
            (None, Some(_)) => {
                return no("--verify-topic verifies what was sent: give IN with --topic, or --verify-only and --run");
            }
            (None, None) => {
                let alone = [
                    (self.id_pointer.is_some(), "--id-pointer"),
                    (self.expect != Expect::default(), "--expect"),
                    (self.settle.is_some(), "--settle"),
                    (self.run.is_some(), "--run"),
                ];
                return match alone.into_iter().find(|(given, _)| *given) {
                    Some((_, option)) => {
                        no(&format!("{option} is for a pipeline of your own: give --topic and --verify-topic"))
                    }
                    None => Ok(None),
                };
            }
        };
        if self.topic.is_some() && self.topic == self.verify_topic {
            return no("IN and OUT are one topic: what is sent would count as what came out");
        }
        if self.expect.unchanged && self.id_pointer.is_some() {
            return no("--expect unchanged compares with a checksum in the header, which --id-pointer does without");
        }
        if self.run.is_some() && matches!(asked, Asked::Whole(..)) {
            return no("--run is for --produce-only and --verify-only: a run on one host has a number of its own");
        }
        refuse_gates_beyond(asked.part(), gates)?;
        Ok(Some(asked))
    }

    pub(in crate::cli::load) fn carried(&self) -> Carried {
        self.id_pointer.clone().map_or(Carried::InHeader, Carried::InJson)
    }

    /// # Errors
    /// [`Misuse`], for a line that has no place for the identity.
    pub(super) fn check(&self, content: &Content) -> Result<(), Misuse> {
        if let (Content::Lines(lines), Some(pointer)) = (content, &self.id_pointer) {
            for (number, line) in (1..).zip(lines.iter()) {
                template::check(line, pointer).map_err(|why| {
                    Misuse(format!("--payload-file, line {number} of those that are not empty: {why}"))
                })?;
            }
        }
        Ok(())
    }
}

/// # Errors
/// [`Misuse`], for a gate on what this part of a run cannot know.
fn refuse_gates_beyond(part: Part, gates: &Gates) -> Result<(), Misuse> {
    let Some(name) = gates.beyond(|metric| part.knows(metric)) else { return Ok(()) };
    let why = match part {
        _ if gates.beyond(|metric| Part::Whole.knows(metric)).is_some() => {
            "is not to be seen from outside an application"
        }
        Part::ProduceOnly => "is known to who verifies, and not with --produce-only",
        Part::Whole | Part::VerifyOnly => "is known to who sends, and not with --verify-only",
    };
    Err(Misuse(format!("{name} {why}: no gate of --assert can be on it")))
}
