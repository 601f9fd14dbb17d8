//! The command line tool `troupe`.

mod cli;
mod load;
mod warden;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use cli::exit::Exit;
use cli::shutdown::Shutdown;
use cli::terminal::Terminal;

// librdkafka allocates a record on one thread and frees it on another, which glibc's arena locks make twice as dear.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help_or_complaint) => return Exit::after(&help_or_complaint).into(),
    };
    let terminal = match Terminal::set_up(&cli.manners, cli.command.brings_about()) {
        Ok(terminal) => terminal,
        Err(complaint) => return Exit::after(&complaint).into(),
    };
    let exit = run(&cli, &terminal).unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        if exit != Exit::Fine {
            terminal.report(&error);
        }
        exit
    });
    exit.into()
}

fn run(cli: &Cli, terminal: &Terminal) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(cli.command.run(terminal, &shutdown))
}
