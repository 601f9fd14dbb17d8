//! `troupe load --topic IN --verify-topic OUT`: somebody's own application between the two.

mod report;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use kafka_troupe::config::tool::{Role, parse_duration};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Load, PAGE, folder};
use crate::cli::connect::Connection;
use crate::cli::data;
use crate::cli::exit::{Exit, Interrupted, Misuse};
use crate::cli::terminal::Terminal;
use crate::load::gates::Gates;
use crate::load::pipeline::expect::Expect;
use crate::load::pipeline::identity::Carried;
use crate::load::pipeline::manifest::{Manifest, RunId};
use crate::load::pipeline::moment::Moment;
use crate::load::pipeline::pointer::Pointer;
use crate::load::pipeline::result::{Part, PipelineResult, Settings};
use crate::load::pipeline::run::{self, Measured, Site, Source, Verify};
use crate::load::pipeline::template;
use crate::load::plan::Plan;
use crate::load::sizes::Content;
use crate::load::verdict::Judgement;
use report::Report;

const MANIFEST: &str = "manifest.json";

#[derive(Args, Debug)]
#[command(next_help_heading = "Your own pipeline")]
pub(super) struct Pipeline {
    /// IN: send to this topic, which your application reads
    #[arg(long, value_name = "IN")]
    #[arg(conflicts_with_all = ["kafka", "partitions", "members", "order", "concurrency", "drain"])]
    #[arg(conflicts_with_all = ["engine", "work", "failure_rate", "fault", "backlog", "no_verify"])]
    topic: Option<String>,
    /// OUT: verify what your application writes to this topic
    #[arg(long, value_name = "OUT")]
    verify_topic: Option<String>,
    /// Where a record's identity is in the JSON of OUT, for an application that keeps no headers
    ///
    /// A JSON pointer, as in /order/id. What goes into IN is JSON with the identity there: lines of
    /// --payload-file have {{id}} at that place. Your application has to carry it to there in OUT.
    #[arg(long, value_name = "POINTER", verbatim_doc_comment)]
    id_pointer: Option<Pointer>,
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
    #[arg(long, conflicts_with_all = ["verify_only", "expect", "settle", "manifest", "assert"])]
    produce_only: bool,
    /// Only verify what another host sends; --run says which run
    #[arg(long, requires = "run")]
    #[arg(conflicts_with_all = ["topic", "payload_file", "rate", "arrivals", "in_flight", "duration", "records", "warmup"])]
    #[arg(conflicts_with_all = ["record_size", "keys", "producers", "seed", "kafka", "partitions", "members", "order"])]
    #[arg(conflicts_with_all = ["concurrency", "engine", "work", "failure_rate", "fault", "drain", "backlog", "phases", "no_verify"])]
    verify_only: bool,
    /// The run's number, for both hosts: up to 16 hexadecimal digits
    #[arg(long, value_name = "ID")]
    run: Option<RunId>,
    /// The producing host's manifest.json; it may come later [default: that of the run in ./troupe-runs]
    #[arg(long, value_name = "FILE", requires = "verify_only")]
    manifest: Option<PathBuf>,
}

/// What is asked for.
enum Asked {
    Whole(String, Verify),
    /// And OUT, where this host can see it.
    ProduceOnly(String, Option<String>),
    VerifyOnly(Verify),
}

impl Pipeline {
    /// What is asked for; `None` where that is no pipeline of somebody's own.
    ///
    /// # Errors
    /// [`Misuse`], for what does not go together.
    fn asked(&self, gates: &Gates) -> Result<Option<Asked>, Misuse> {
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
        for name in ["redelivered", "redelivered_after_commit", "committed_ahead", "failed_attempts"] {
            if gates.name(name) {
                return Err(Misuse(format!(
                    "{name} is not to be seen from outside an application, so no gate can be on it"
                )));
            }
        }
        Ok(Some(asked))
    }

    fn carried(&self) -> Carried {
        self.id_pointer.clone().map_or(Carried::InHeader, Carried::InJson)
    }

    /// # Errors
    /// [`Misuse`], for a line that has no place for the identity.
    fn check(&self, content: &Content) -> Result<(), Misuse> {
        if let (Content::Lines(lines), Some(pointer)) = (content, &self.id_pointer) {
            for (number, line) in (1..).zip(lines.iter()) {
                template::check(line, pointer).map_err(|why| {
                    Misuse(format!("--payload-file, line {number} of those that are not empty: {why}"))
                })?;
            }
        }
        Ok(())
    }

    /// What the producing host has told of a run, if it has.
    fn told(&self, run: RunId) -> anyhow::Result<Option<Manifest>> {
        let manifest = match &self.manifest {
            None => folder::files(MANIFEST).filter_map(|text| Manifest::read(&text).ok()?).find(|it| it.run == run),
            Some(path) => match fs::read(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                text => {
                    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                    Manifest::read(&text).map_err(|why| Misuse(format!("{}: {why}", path.display())))?
                }
            },
        };
        if let Some(manifest) = &manifest {
            self.fits(manifest, run)?;
        }
        Ok(manifest)
    }

    /// # Errors
    /// [`Misuse`], where the hosts were told different things.
    fn fits(&self, manifest: &Manifest, run: RunId) -> Result<(), Misuse> {
        if manifest.run != run {
            return Err(Misuse(format!("the manifest is of run {}, and not of {run}", manifest.run)));
        }
        let here = self.id_pointer.as_ref().map(ToString::to_string);
        if manifest.id_pointer != here {
            let say = |pointer: &Option<String>| {
                pointer.clone().map_or("no --id-pointer".to_owned(), |it| format!("--id-pointer {it}"))
            };
            return Err(Misuse(format!(
                "the run was sent with {}, and is looked for with {}",
                say(&manifest.id_pointer),
                say(&here)
            )));
        }
        match (&manifest.verify_topic, &self.verify_topic) {
            (Some(there), Some(here)) if there.topic != *here => {
                Err(Misuse(format!("the run was sent with --verify-topic {}, and not {here}", there.topic)))
            }
            _ => Ok(()),
        }
    }
}

impl Load {
    /// The run through somebody's application, if it is asked for.
    ///
    /// # Errors
    /// [`Misuse`] for what does not go together, before anything is sent; [`Interrupted`] where a signal came before that; else the
    /// environment's.
    pub(super) async fn own_pipeline(
        &self,
        terminal: &Terminal,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Exit>> {
        let gates = Gates::all(&self.assert);
        let Some(asked) = self.pipeline.asked(&gates)? else { return Ok(None) };
        let (content, timing) = (self.shape.content()?, self.timing(self.shape.phases()?));
        self.pipeline.check(&content)?;
        let connection = self.connect.settings(Role::Neither, &[])?.with_brokers()?;
        let started = Timestamp::now();
        let seed = self.seed.unwrap_or_else(|| started.as_microsecond().unsigned_abs());
        let mut plan = self.plan(started, seed, false, content, timing);
        plan.run = self.pipeline.run.map_or(plan.run, |run| run.0);
        let run = RunId(plan.run);
        if let Asked::VerifyOnly(_) = asked {
            self.pipeline.told(run)?;
        }
        let folder = folder::make(self.out.as_ref(), started, seed)?;
        let measured = self.measure(&asked, plan, &connection, terminal, stop, &folder).await;
        let Some((measured, plan)) = measured.inspect_err(|_| folder::unmake(&folder))? else {
            folder::unmake(&folder);
            return Err(Interrupted.into());
        };
        let (part, verify) = match &asked {
            Asked::Whole(_, verify) => (Part::Whole, Some(verify)),
            Asked::ProduceOnly(..) => (Part::ProduceOnly, None),
            Asked::VerifyOnly(verify) => (Part::VerifyOnly, Some(verify)),
        };
        let plan = Some(&*plan).filter(|_| part != Part::VerifyOnly);
        let broker = connection.get("bootstrap.servers").unwrap_or_default().to_owned();
        let asked = Settings { plan, verify, id_pointer: self.pipeline.carried().pointer() };
        let result = PipelineResult::new(
            (run, part),
            asked,
            broker,
            &gates,
            started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            measured,
        )?;
        folder::write(&folder, folder::RESULT, &(serde_json::to_string_pretty(&result)? + "\n"))?;
        if self.json {
            data::print(serde_json::to_string(&result)?)?;
        } else if self.ndjson {
            data::print(json!({ "result": result }))?;
        } else {
            data::print(Report { result: &result, folder: &folder, manifest: MANIFEST })?;
        }
        Ok(Some(match result.judgement() {
            Judgement::Passed => Exit::Fine,
            Judgement::Failed => Exit::Failed,
            Judgement::Invalid => Exit::Invalid,
        }))
    }

    async fn measure(
        &self,
        asked: &Asked,
        mut plan: Plan,
        connection: &Connection,
        terminal: &Terminal,
        stop: &CancellationToken,
        folder: &Path,
    ) -> anyhow::Result<Option<(Measured, Arc<Plan>)>> {
        let run = RunId(plan.run);
        if let Asked::Whole(into, _) | Asked::ProduceOnly(into, _) = asked {
            plan.partitions = u32::try_from(connection.reach_topic(into, stop)?)?;
            plan.topic.clone_from(into);
        }
        if let Asked::Whole(_, Verify { topic, .. })
        | Asked::ProduceOnly(_, Some(topic))
        | Asked::VerifyOnly(Verify { topic, .. }) = asked
        {
            connection.reach_topic(topic, stop)?;
        }
        let plan = Arc::new(plan);
        let source = Source { plan: Arc::clone(&plan), producer: connection.producer() };
        let site = Site {
            run,
            carried: self.pipeline.carried(),
            client: connection.client_config(),
            timeout: connection.timeout(),
            stop,
        };
        let mut lines = 0;
        let show = |moment: &Moment| {
            if self.ndjson {
                // Whoever reads it has gone, or the result cannot be printed either, which is then told.
                let _ = data::print(json!({ "sample": moment }));
                return;
            }
            if lines % PAGE == 0 {
                terminal.summarize(Moment::HEADER, || {});
            }
            lines += 1;
            terminal.summarize(moment, || {
                tracing::info!(sample = serde_json::to_string(moment).unwrap_or_default(), "sample");
            });
        };
        let measured = match asked {
            Asked::Whole(_, verify) => run::whole(source, verify, site, show).await?,
            Asked::ProduceOnly(_, out) => {
                tracing::info!("this is run {run}: verify it with --verify-only --run {run}");
                match run::produce_only(source, out.as_deref(), site, show).await? {
                    Some((measured, manifest)) => {
                        folder::write(folder, MANIFEST, &(serde_json::to_string_pretty(&manifest)? + "\n"))?;
                        Some(measured)
                    }
                    None => None,
                }
            }
            Asked::VerifyOnly(verify) => Some(run::verify_only(verify, site, || self.pipeline.told(run), show).await?),
        };
        Ok(measured.map(|measured| (measured, plan)))
    }
}
