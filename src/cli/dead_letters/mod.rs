//! `troupe dead-letters`: what a topic of dead letters holds, and its records back to where they came from.
//!
//! - A dead letter and its story: [`letter`]. Which ones are meant: [`filter`]. All that a topic holds: [`reader`].
//! - The commands: [`list`], [`replay`].

mod filter;
mod letter;
mod list;
mod reader;
mod replay;

use clap::{Args, Subcommand};

use super::exit::{self, Exit};
use super::shutdown::Shutdown;
use super::terminal::Terminal;

/// List the records in a topic of dead letters, or send them back
#[derive(Args, Debug)]
#[command(after_help = exit::help("  troupe dead-letters list --bootstrap-server localhost:9092 --topic orders.dead-letters
                  each with where it comes from and why
  troupe dead-letters replay --bootstrap-server localhost:9092 --topic orders.dead-letters \\
      --error 'no such customer' --since 2024-06-30T18:00:00
                  what would go back; with --execute, send it"))]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::List),
    Replay(replay::Replay),
}

impl DeadLetters {
    pub(crate) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        match &self.command {
            Command::List(list) => list.run(terminal, shutdown).await,
            Command::Replay(replay) => replay.run(terminal, shutdown).await,
        }
    }
}
