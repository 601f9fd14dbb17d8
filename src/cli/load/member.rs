//! A member of a run's group in a process of its own: `troupe load` starts itself so, for runs in which members are killed.

use std::env;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::stage::Stage;
use super::target::members;
use super::{Load, explained};
use crate::cli::exit::Exit;
use crate::load::account::Account;
use crate::load::crew::Crew;
use crate::load::frame::Frame;
use crate::load::plan::Plan;
use crate::load::processes::MemberCommand;
use crate::load::relay::Relay;

/// How often it says what it holds.
const TELL: Duration = Duration::from_millis(20);

/// What a member has to know beside the options of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Of {
    run: u64,
    seed: u64,
    topic: String,
    group: String,
    servers: String,
    embedded: bool,
}

/// Makes this process's command line again, as a member's.
pub(super) fn command(plan: &Plan, stage: &Stage) -> anyhow::Result<MemberCommand> {
    let troupe = env::current_exe().context("cannot find the program again, to start it as a member")?;
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let of = serde_json::to_string(&Of {
        run: plan.run,
        seed: plan.seed,
        topic: plan.topic.clone(),
        group: plan.group.clone(),
        servers: stage.connection.get("bootstrap.servers").unwrap_or_default().to_owned(),
        embedded: stage.is_embedded(),
    })?;
    Ok(Arc::new(move || {
        let mut command = Command::new(&troupe);
        // Ctrl-C is for the run, which tells its members what to do.
        command.args(&arguments).arg("--member-of").arg(&of).process_group(0);
        command
    }))
}

impl FromStr for Of {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

/// Is a member until its stdin ends, or nobody reads its stdout.
///
/// # Errors
/// The engine's own.
pub(super) async fn run(load: &Load, of: &Of) -> anyhow::Result<Exit> {
    let stage = Stage::of_member(&load.connect, &of.servers, of.embedded)?;
    let timing = load.timing(load.shape.phases()?);
    let plan = Plan {
        run: of.run,
        topic: of.topic.clone(),
        group: of.group.clone(),
        members: 1,
        ..load.plan(Timestamp::now(), of.seed, of.embedded, load.shape.content()?, timing)
    };
    let relay = Arc::new(Relay::stdout().context("cannot write to the run")?);
    let account = Arc::new(Account::of_member(&plan, Arc::clone(&relay))?);
    let crew = Crew::start(&plan, &account, &members(&stage)).map_err(explained)?;
    let gone = relay.gone.clone();
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        gone.cancel();
    })?;
    let told =
        |uncommitted| Frame::Told { uncommitted, failed_attempts: account.failed_attempts.load(Ordering::Relaxed) };
    let mut ticks = tokio::time::interval(TELL);
    loop {
        tokio::select! {
            () = relay.gone.cancelled() => break,
            _ = ticks.tick() => {
                // Before what it holds: what it gave up meanwhile is still among what it said last.
                let uncommitted = crew.uncommitted();
                let committed = crew.committed(&plan);
                for partition in crew.shares().into_iter().flatten() {
                    let committed = committed.get(partition as usize).and_then(|it| u64::try_from(*it).ok());
                    relay.say(Frame::Holds { partition, committed: committed.unwrap_or_default() });
                }
                relay.say(told(uncommitted));
                crew.check().await?;
            }
        }
    }
    let all = crew.leave().await?;
    relay.say(told(if all { 0 } else { u64::MAX }));
    Ok(Exit::Fine)
}
