//! `troupe load --topic IN --verify-topic OUT`: somebody's own application between the two.

mod asked;
mod report;
mod told;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use kafka_troupe::config::tool::Role;

use super::folder::{Folder, REPORT};
use super::telling::{self, Live};
use super::{Load, effective, folder};
use crate::cli::connect::Connection;
use crate::cli::exit::{Exit, Interrupted};
use crate::cli::produce::topic;
use crate::cli::terminal::Terminal;
use crate::load::gates::Gates;
use crate::load::pipeline::manifest::RunId;
use crate::load::pipeline::measured::Measured;
use crate::load::pipeline::part::Part;
use crate::load::pipeline::result::{PipelineResult, Settings};
use crate::load::pipeline::run::{self, Site, Source};
use crate::load::plan::Plan;
use crate::load::report::ApplicationPage;
use crate::load::result::Scene;
use crate::load::stops::Stops;
use asked::Asked;
pub(super) use asked::Pipeline;
use report::Report;
use told::MANIFEST;

impl Load {
    /// The run through somebody's application, if it is asked for.
    ///
    /// # Errors
    /// [`Misuse`](crate::cli::exit::Misuse) for what does not go together, before anything is sent; [`Interrupted`] where a signal came before
    /// that; else the environment's.
    pub(super) async fn own_pipeline(&self, terminal: &Terminal, stops: &Stops) -> anyhow::Result<Option<Exit>> {
        let gates = Gates::all(&self.assert);
        let Some(asked) = self.pipeline.asked(&gates)? else { return Ok(None) };
        let part = asked.part();
        let (content, timing) = (self.shape.content()?, self.timing(self.shape.phases()?));
        self.pipeline.check(&content)?;
        let mut connection = self.connect.settings(Role::Neither, &[])?.with_brokers()?;
        let started = Timestamp::now();
        let seed = self.seed.unwrap_or_else(|| started.as_microsecond().unsigned_abs());
        let mut plan = self.plan(started, seed, false, content, timing);
        plan.run = self.pipeline.run.map_or(plan.run, |run| run.0);
        let run = RunId(plan.run);
        if !part.sends() {
            self.pipeline.told(run)?;
        }
        let folder = Folder::make(self.out.as_ref(), started, seed)?;
        let live = Live::start(terminal, self.format(), &stops.load)?;
        let (measured, plan, told) = match self.measure(&asked, plan, &mut connection, &live, stops, &folder).await {
            Ok(Some(measured)) => measured,
            nothing => {
                live.end();
                folder.unmake();
                nothing?;
                return Err(Interrupted.into());
            }
        };
        let scene = Scene {
            broker: connection.get("bootstrap.servers").unwrap_or_default().to_owned(),
            settings: effective::of_pipeline(&connection, part, run, self.producers),
            started: folder::written(started),
        };
        let settings = Settings {
            plan: Some(&*plan).filter(|_| part.sends()),
            verify: asked.verify(),
            id_pointer: self.pipeline.carried().pointer(),
        };
        let result = PipelineResult::new((run, part), settings, scene, &gates, measured)?;
        let kept = folder::keep(&folder, &result, &ApplicationPage(&result));
        live.end();
        let report = Report {
            result: &result,
            report: kept.is_ok().then(|| folder.join(REPORT)),
            manifest: (told.is_ok() && part == Part::ProduceOnly).then(|| folder.join(MANIFEST)),
        };
        self.format().print(&result, report)?;
        told.and(kept).map(|()| Some(telling::exit(result.outcome.judgement())))
    }

    /// What was measured by which plan, and whether the other host is told.
    async fn measure(
        &self,
        asked: &Asked,
        mut plan: Plan,
        connection: &mut Connection,
        live: &Live,
        stops: &Stops,
        folder: &Path,
    ) -> anyhow::Result<Option<(Measured, Arc<Plan>, anyhow::Result<()>)>> {
        let mut told = Ok(());
        let run = RunId(plan.run);
        if let Some(into) = asked.into() {
            let since = Instant::now();
            plan.partitions = u32::try_from(connection.reach_topic(into, stops.first())?)?;
            into.clone_into(&mut plan.topic);
            self.fit_to_topic(connection, into, &plan.content, topic::about_as_long(since.elapsed())).await?;
        }
        if let Some(out) = asked.out() {
            connection.reach_topic(out, stops.first())?;
        }
        let plan = Arc::new(plan);
        let source = Source { plan: Arc::clone(&plan), producer: connection.producer() };
        let site = Site {
            run,
            carried: self.pipeline.carried(),
            client: connection.client_config(),
            timeout: connection.timeout(),
            folder,
            stops,
        };
        let show = |sample: &_| live.show(sample);
        let measured = match asked {
            Asked::Whole(_, verify) => run::whole(source, verify, site, show).await?,
            Asked::ProduceOnly(_, out) => {
                tracing::info!("this is run {run}: verify it with --verify-only --run {run}");
                match run::produce_only(source, out.as_deref(), site, show).await? {
                    Some((measured, manifest)) => {
                        told = told::tell(folder, &manifest);
                        Some(measured)
                    }
                    None => None,
                }
            }
            Asked::VerifyOnly(verify) => Some(run::verify_only(verify, site, || self.pipeline.told(run), show).await?),
        };
        Ok(measured.map(|measured| (measured, plan, told)))
    }
}
