//! The command line: a file per command, and the manners that every command keeps.
//!
//! - stdout carries data only; logs, bars and summaries go to stderr: [`terminal`].
//! - The exit code says what became of it: [`exit`].
//! - The first SIGINT or SIGTERM ends the work in good order, the second at once: [`shutdown`].
//! - A reader of stdout that goes away is no error: [`data`].
//! - Durations carry their unit: [`duration`].
//! - Every command that connects does so in the same way: [`connect`].
//! - A record is printed and read as JSON in one way: [`record_json`].

mod connect;
mod consume;
mod data;
mod demo;
mod duration;
pub(crate) mod exit;
mod produce;
mod record_json;
pub(crate) mod shutdown;
pub(crate) mod terminal;

use clap::{Parser, Subcommand};

use exit::Exit;
use shutdown::Shutdown;
use terminal::{Manners, Terminal};

/// Work through Kafka partitions with actors, and test that it is done exactly
#[derive(Debug, Parser)]
#[command(name = "troupe", version)]
#[command(after_help = exit::help("  troupe demo              see it work, with nothing installed
  troupe demo --json | jq  the same, for a program to read
  troupe demo --help       what the demo does and how it judges
  troupe consume --bootstrap-server localhost:9092 --topic orders
                           print a topic, from its start and on
  troupe produce --bootstrap-server localhost:9092 --topic orders orders.ndjson
                           write a file to a topic, a record per line"))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) manners: Manners,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Consume(consume::Consume),
    Demo(demo::Demo),
    Produce(produce::Produce),
}

impl Command {
    pub(crate) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        match self {
            Self::Consume(consume) => consume.run(terminal, shutdown).await,
            Self::Demo(demo) => demo.run(terminal, shutdown).await,
            Self::Produce(produce) => produce.run(terminal, shutdown).await,
        }
    }
}
