//! `troupe offsets`: what a group has committed, what the commits remember, and other commits in their place.
//!
//! - What a commit's metadata holds, and whether it is to be believed: [`remembered`].
//! - The commands: [`show`], [`decode`], [`reset`].

mod decode;
mod remembered;
mod reset;
mod show;

pub(crate) use reset::time::{parse_datetime, shown as shown_time};

use clap::{Args, Subcommand};

use super::exit::{self, Exit};
use super::shutdown::Shutdown;
use super::terminal::Terminal;

/// Show what a group has committed and what it remembers, or reset it
#[derive(Args, Debug)]
#[command(after_help = exit::help("  troupe offsets show --bootstrap-server localhost:9092 --group billing
                  commits, lag, and what is finished above them
  troupe offsets decode T1bAAAA…
                  what a commit's metadata says
  troupe offsets reset --bootstrap-server kafka:9092 --group billing --topic orders --to-latest
                  what that would do; with --execute, do it"))]
pub(crate) struct Offsets {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(show::Show),
    Decode(decode::Decode),
    Reset(reset::Reset),
}

impl Offsets {
    pub(crate) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        match &self.command {
            Command::Show(show) => show.run(terminal, shutdown).await,
            Command::Decode(decode) => decode.run(),
            Command::Reset(reset) => reset.run(terminal, shutdown).await,
        }
    }
}
