//! The command line: a file per command, and the manners that every command keeps.
//!
//! - stdout carries data only; logs, bars and summaries go to stderr: [`terminal`].
//! - The exit code says what became of it: [`exit`].
//! - The first SIGINT or SIGTERM ends the work in good order, the second at once: [`shutdown`].
//! - Tables line up: [`table`].
//! - A reader of stdout that goes away is no error: [`data`].
//! - Every command that connects finds its Kafka and its settings in the same way: [`connect`].
//! - A look that waits for a broker is made on a thread of its own: [`apart`].
//! - A group is looked at from outside in one way: [`group`].
//! - Records are sent at a rate in one way: [`pace`].
//! - A record is printed and read as JSON in one way: [`record_json`].

mod apart;
mod connect;
mod consume;
mod data;
mod dead_letters;
mod demo;
pub(crate) mod exit;
mod group;
mod lag;
mod load;
mod offsets;
mod pace;
mod produce;
mod record_json;
pub(crate) mod shutdown;
mod table;
pub(crate) mod terminal;
mod verifiable_consumer;
mod verifiable_producer;

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
  troupe load              put it under load for half a minute, and get a verdict
  troupe consume --bootstrap-server localhost:9092 --topic orders
                           print a topic, from its start and on
  troupe produce --bootstrap-server localhost:9092 --topic orders orders.ndjson
                           write a file to a topic, a record per line
  troupe dead-letters list --bootstrap-server localhost:9092 --topic orders.dead-letters
                           what could not be processed, and why; replay sends it back
  troupe lag --bootstrap-server localhost:9092 --group billing --max 10000
                           how far a group is behind, and whether that is too much
  troupe offsets show --bootstrap-server localhost:9092 --group billing
                           what it has committed, and what is finished above"))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) manners: Manners,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Consume(consume::Consume),
    DeadLetters(dead_letters::DeadLetters),
    Demo(demo::Demo),
    Lag(lag::Lag),
    Load(Box<load::Load>),
    Offsets(offsets::Offsets),
    Produce(produce::Produce),
    VerifiableConsumer(verifiable_consumer::VerifiableConsumer),
    VerifiableProducer(verifiable_producer::VerifiableProducer),
}

impl Command {
    /// Modules whose warnings tell of what the command itself brings about: no news, unless more is asked for.
    pub(crate) fn brings_about(&self) -> &'static [&'static str] {
        match self {
            Self::Load(load) => load.brings_about(),
            _ => &[],
        }
    }

    pub(crate) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        match self {
            Self::Consume(consume) => consume.run(terminal, shutdown).await,
            Self::DeadLetters(letters) => letters.run(terminal, shutdown).await,
            Self::Demo(demo) => demo.run(terminal, shutdown).await,
            Self::Lag(lag) => lag.run(terminal, shutdown).await,
            Self::Load(load) => load.run(terminal, shutdown).await,
            Self::Offsets(offsets) => offsets.run(terminal, shutdown).await,
            Self::Produce(produce) => produce.run(terminal, shutdown).await,
            Self::VerifiableConsumer(consumer) => consumer.run(terminal, shutdown).await,
            Self::VerifiableProducer(producer) => producer.run(shutdown).await,
        }
    }
}
