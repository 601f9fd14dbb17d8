//! `--print-config`, and what `--help` says of settings.

use std::fmt::Write;

use clap::Args;
use kafka_troupe::config::tool::Role;
use kafka_troupe::config::{ConsumerConfig, ProducerConfig, SettingDoc};
use serde::Serialize;

use super::Connection;
use crate::cli::data;
use crate::cli::table::{Column, Table};

/// The option of every command that consumes or produces.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct PrintConfig {
    /// Print the settings in force and where each comes from, and end
    ///
    /// With their defaults; with --json as one object. It connects to nothing. Secrets are ***.
    #[arg(long)]
    print_config: bool,
}

#[derive(Serialize)]
struct Rows<'a> {
    settings: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    value: &'a str,
    default: &'a str,
    from: String,
}

impl PrintConfig {
    /// Prints what is in force, if that was asked for.
    pub(crate) fn print(&self, connection: &Connection, json: bool) -> anyhow::Result<bool> {
        if !self.print_config {
            return Ok(false);
        }
        let config = connection.config();
        let settings = match connection.role {
            Role::Producer => config.producer_settings(),
            Role::Consumer | Role::Neither => config.consumer_settings(),
        };
        let rows = settings.iter().map(|it| Row {
            name: &it.name,
            value: &it.value,
            default: &it.default,
            from: it.origin.to_string(),
        });
        if json {
            data::print(serde_json::to_string(&Rows { settings: rows.collect() })?)?;
        } else {
            let columns = ["setting", "value", "default", "from"].map(Column::Text);
            let mut table = Table::new(columns);
            let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
            rows.for_each(|it| table.row([it.name.to_owned(), or_dash(it.value), or_dash(it.default), it.from]));
            data::print(table)?;
        }
        Ok(true)
    }
}

/// What `--help` says of the settings of such clients: each with its default, and why it is that.
pub(crate) fn help(role: Role) -> String {
    let (table, settings) = match role {
        Role::Producer => ("producer", ProducerConfig::SETTINGS),
        Role::Consumer | Role::Neither => ("consumer", ConsumerConfig::SETTINGS),
    };
    let mut help = format!(
        "Settings, in the table [{table}] of --config FILE, or as TROUPE_{}__NAME:\n",
        table.to_ascii_uppercase()
    );
    for SettingDoc { name, values, default, why, .. } in settings {
        let default = if default.is_empty() { String::new() } else { format!(" [default: {default}]") };
        let _ = writeln!(help, "  {name}{default}");
        wrap(&mut help, &format!("{why} Values: {values}.").replace('`', ""));
    }
    help
}

const INDENT: &str = "          ";
const WIDTH: usize = 100;

fn wrap(into: &mut String, text: &str) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && INDENT.len() + line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(into, "{INDENT}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(into, "{INDENT}{line}");
}
