use clap::Args;

use super::filter::Filter;
use super::letter::Letter;
use super::reader::read;
use crate::cli::apart::apart_until;
use crate::cli::connect::Connect;
use crate::cli::data;
use crate::cli::exit::{self, Exit};
use crate::cli::offsets::shown_time;
use crate::cli::shutdown::Shutdown;
use crate::cli::table::{Column, Table};
use crate::cli::terminal::Terminal;

/// Of a key or an error so many characters are shown.
const SHOWN: usize = 60;

/// Show the dead letters of a topic: where each comes from, and why
///
/// The topic is read from its start to where it ends now, and nothing is committed. Records without
/// the headers of a dead letter are passed over, and counted.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = exit::help("  troupe dead-letters list --bootstrap-server localhost:9092 --topic orders.dead-letters
                  each in a row of a table
  … --source orders:3 --error 'no such customer' --json
                  those of a partition with an error, whole, as NDJSON"))]
pub(super) struct List {
    /// The topic of dead letters
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Print each as one JSON object a line, as troupe consume does
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    connect: Connect,
}

impl List {
    pub(super) async fn run(&self, terminal: &Terminal, shutdown: &Shutdown) -> anyhow::Result<Exit> {
        let connection = self.connect.resolve()?;
        let partitions = connection.reach_topic(&self.topic, shutdown.requested())?;
        let (topic, filter, json) = (self.topic.clone(), self.filter.clone(), self.json);
        let stop = shutdown.requested().clone();
        let look = apart_until(shutdown.requested(), move || {
            let (mut found, mut others) = (Found::new(json), 0_u64);
            read(&connection, &topic, partitions, None, &stop, |letter| {
                match letter.story() {
                    Some(story) if filter.takes(&letter, &story) => found.add(&letter)?,
                    Some(_) => {}
                    None => others += 1,
                }
                Ok(())
            })?;
            Ok((found, others))
        });
        let (found, others) = look.await?;
        let count = found.count;
        found.print()?;
        terminal.summarize(format!("{count} dead letters{}", passed_over(others)), || {
            tracing::info!(count, others, "listed")
        });
        Ok(Exit::Fine)
    }
}

pub(super) fn passed_over(others: u64) -> String {
    if others == 0 { String::new() } else { format!(", and {others} records that are none") }
}

struct Found {
    table: Option<Table<6>>,
    count: u64,
}

impl Found {
    fn new(json: bool) -> Self {
        let columns = [
            Column::Text("place"),
            Column::Text("given up"),
            Column::Text("source"),
            Column::Number("attempts"),
            Column::Text("key"),
            Column::Text("error"),
        ];
        Self { table: (!json).then(|| Table::new(columns)), count: 0 }
    }

    fn add(&mut self, letter: &Letter) -> anyhow::Result<()> {
        self.count += 1;
        let Some(story) = letter.story() else { return Ok(()) };
        match &mut self.table {
            None => data::print(letter.json()),
            Some(table) => {
                let key = letter.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                table.row([
                    format!("{}:{}", letter.partition, letter.offset),
                    letter.timestamp.map(shown_time).unwrap_or_default(),
                    one_line(&story.to_string()),
                    one_line(&story.attempts),
                    short(&key),
                    short(&story.message),
                ]);
                Ok(())
            }
        }
    }

    fn print(self) -> anyhow::Result<()> {
        self.table.map_or(Ok(()), data::print)
    }
}

/// On one line, and nothing in it that a terminal obeys: anybody who may write to the topic may have written it.
fn one_line(text: &str) -> String {
    text.split(char::is_control).collect::<Vec<_>>().join(" ")
}

/// On one line, and not too long.
fn short(text: &str) -> String {
    let line = one_line(text);
    if line.chars().count() <= SHOWN {
        return line;
    }
    line.chars().take(SHOWN - 1).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::of;
    use super::*;

    #[test]
    fn what_the_headers_say_does_not_steer_the_terminal() {
        let mut letter = of("or\u{1b}[2Jders", "0", "no\u{1b}[2J good");
        letter.headers.push(("__troupe.errors.attempts".to_owned(), Some(b"\x1b[2J".to_vec())));
        let mut found = Found::new(false);
        assert!(found.add(&letter).is_ok());
        let table = found.table.map(|table| table.to_string()).unwrap_or_default();
        assert!(table.contains("ders-0@7") && !table.contains('\u{1b}'), "{table:?}");
    }

    #[test]
    fn what_is_long_or_has_lines_is_shown_on_one_line_and_short() {
        assert_eq!(short("no\nsuch\tcustomer"), "no such customer");
        assert_eq!(short(&"ä".repeat(60)), "ä".repeat(60));
        assert_eq!(short(&"ä".repeat(61)), format!("{}…", "ä".repeat(59)));
    }
}
