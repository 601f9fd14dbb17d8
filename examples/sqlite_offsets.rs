//! Counts the records of each key in SQLite, and keeps the offsets there too, in one transaction with the counts: a crash neither loses nor
//! repeats anything in the database.
//!
//! ```text
//! cargo run --example sqlite_offsets -- counts.db localhost:9092 my-group my-topic [librdkafka.property=value ...]
//! ```
//! Ends when its input does: press Ctrl-D. Then look: `sqlite3 counts.db 'select * from counts'`.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use kafka_troupe::consume::{Consumer, Handler, Outcome, Record};
use kafka_troupe::ids::{NextOffset, TopicPartition};
use rusqlite::{Connection, OptionalExtension, params};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut required = |what: &str| args.next().ok_or_else(|| format!("missing: {what}"));
    let file = PathBuf::from(required("a file for the database")?);
    let (servers, group, topic) = (required("bootstrap servers")?, required("group")?, required("topic")?);
    open(&file)?.execute_batch(
        "CREATE TABLE IF NOT EXISTS counts (key BLOB PRIMARY KEY, count INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS offsets (topic TEXT, partition INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, partition));",
    )?;
    let database = file.clone();
    let builder = Consumer::builder()
        .bootstrap_servers(servers)
        .group_id(group)
        .topics([topic])
        .external_offsets(move |partitions: &[TopicPartition]| kept(&database, partitions));
    let builder = args.try_fold(builder, |builder, property| {
        let (name, value) = property.split_once('=').ok_or("a property is name=value")?;
        Ok::<_, &str>(builder.property(name, value))
    })?;
    // A connection for each partition, opened where it is used.
    let consumer = builder.partition_handler(move |_| Counter { file: file.clone(), connection: None }).start()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    consumer.shutdown_blocking(Duration::from_secs(20))?;
    Ok(())
}

fn open(file: &PathBuf) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

/// Where the partitions go on that the database knows.
fn kept(file: &PathBuf, partitions: &[TopicPartition]) -> rusqlite::Result<Vec<(TopicPartition, NextOffset)>> {
    let connection = open(file)?;
    let mut found = Vec::new();
    for each in partitions {
        let next = connection
            .query_row(
                "SELECT next FROM offsets WHERE topic = ?1 AND partition = ?2",
                params![&*each.topic, each.partition.0],
                |row| row.get(0),
            )
            .optional()?;
        found.extend(next.map(|next| (each.clone(), NextOffset(next))));
    }
    Ok(found)
}

struct Counter {
    file: PathBuf,
    connection: Option<Connection>,
}

impl Counter {
    fn count(&mut self, record: &Record) -> rusqlite::Result<Outcome> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => empty.insert(open(&self.file)?),
        };
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT INTO counts VALUES (?1, 1) ON CONFLICT DO UPDATE SET count = count + 1",
            [record.key().unwrap_or_default()],
        )?;
        // Only forward: where another consumer has the partition by now, nothing is written.
        let (topic, partition, offset) = (record.topic(), record.partition().0, record.offset().0);
        let moved = transaction.execute(
            "INSERT INTO offsets VALUES (?1, ?2, ?3 + 1) ON CONFLICT DO UPDATE SET next = ?3 + 1 WHERE next <= ?3",
            params![topic, partition, offset],
        )?;
        if moved == 0 {
            return Ok(Outcome::Stop { cause: "another consumer has written past this record".into() });
        }
        transaction.commit()?;
        Ok(Outcome::Done)
    }
}

impl Handler for Counter {
    // An error is tried again, after a pause.
    type Answer = rusqlite::Result<Outcome>;

    async fn handle(&mut self, record: &Record) -> Self::Answer {
        self.count(record)
    }
}
