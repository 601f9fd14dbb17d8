//! This engine beside bare rdkafka, on one broker, in one run.
//!
//! `cargo bench --bench against_bare -- [--quick] [--runs N] [--seed N] [--bootstrap-server HOST:PORT] [--json FILE]`. Without a server it
//! starts an Apache Kafka of its own (Java 17; Maven the first time). `--quick` takes under 10 minutes.
//!
//! Each figure is a process of its own: this program starts itself for it, or `against_bare_glibc`, the same program without mimalloc,
//! which it has cargo build first. The processor time is only worth something on a machine that does nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../shared/arm.rs"]
mod arm;
mod arms;
#[path = "../shared/columns.rs"]
mod columns;
#[path = "../shared/command_line.rs"]
mod command_line;
mod drain;
mod driver;
mod end_to_end;
#[path = "../shared/machine.rs"]
mod machine;
#[path = "../shared/measure.rs"]
mod measure;
mod options;
#[path = "../shared/runs.rs"]
mod runs;
#[path = "../shared/settings.rs"]
mod settings;
#[path = "../shared/stats.rs"]
mod stats;
mod table;
#[path = "../shared/topics.rs"]
mod topics;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() {
    if arms::ran_as_arm() {
        return;
    }
    let options = options::Options::from_arguments(std::env::args().skip(1));
    driver::run(&command_line::or_exit(options));
}
