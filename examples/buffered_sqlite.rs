//! Copies records into SQLite, a thousand in a transaction, and commits what is copied: a hand-over or a stop loses and repeats nothing.
//!
//! ```text
//! cargo run --example buffered_sqlite -- copies.db localhost:9092 my-group my-topic [librdkafka.property=value ...]
//! ```
//! Ends when its input does: press Ctrl-D. Then look: `sqlite3 copies.db 'select * from copies'`. Start several on one database: they share
//! the partitions.
//!
//! A record is finished when it is buffered, so what is finished says nothing of what is stored: this app commits itself
//! (`CommitWhen::Manual`), after each transaction. When a partition goes, the listener stores what is buffered of it, and then the engine
//! commits that. A crash between transaction and commit repeats what was stored in between; `sqlite_offsets` shows how to avoid that too.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_troupe::consume::{
    CommitWhen, Consumer, Handler, ListenerError, Offsets, RebalanceListener, Record, Revoked, RevokedPartition,
};
use kafka_troupe::ids::{NextOffset, Offset, TopicPartition};
use rusqlite::{Connection, TransactionBehavior, params};

/// Stored at the latest when a partition has so many records buffered, or so long after the last time.
const ENOUGH: usize = 1000;
const OFTEN: Duration = Duration::from_secs(1);
/// A partition with so many records buffered takes no more: the database is behind.
const AT_MOST: usize = 10 * ENOUGH;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut required = |what: &str| args.next().ok_or_else(|| format!("missing: {what}"));
    let file = required("a file for the database")?;
    let (servers, group, topic) = (required("bootstrap servers")?, required("group")?, required("topic")?);
    let copies = Arc::new(Copies::open(Path::new(&file))?);
    let builder = Consumer::builder()
        .bootstrap_servers(servers)
        .group_id(group)
        .topics([topic])
        .commit_when(CommitWhen::Manual)
        .rebalance_listener(Listener(Arc::clone(&copies)));
    let builder = args.try_fold(builder, |builder, property| {
        let (name, value) = property.split_once('=').ok_or("a property is name=value")?;
        Ok::<_, &str>(builder.property(name, value))
    })?;
    let (wake, woken) = mpsc::sync_channel(1);
    let consumer = builder
        .partition_handler({
            let (copies, wake) = (Arc::clone(&copies), wake.clone());
            move |partition| Copier { buffer: copies.buffer(partition.topic_partition()), wake: wake.clone() }
        })
        .start()?;
    std::thread::spawn(move || {
        let read = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = wake.send(Wake::End);
        read
    });
    while let Ok(Wake::Full) | Err(RecvTimeoutError::Timeout) = woken.recv_timeout(OFTEN) {
        if consumer.cancellation_token().is_cancelled() {
            break;
        }
        match copies.store() {
            // The answer is not waited for. If a handler has not returned yet from the last record stored, or a partition has just been given
            // up, then nothing is committed now: the offsets are asked for again the next time.
            Ok(stored) => drop(consumer.commit_offsets(stored)),
            // What is buffered stays so.
            Err(error) => eprintln!("not stored yet: {error}"),
        }
    }
    consumer.shutdown_blocking(Duration::from_secs(20))?;
    Ok(())
}

enum Wake {
    Full,
    End,
}

/// The database, and what is to go there, by partition.
struct Copies {
    /// Locked for as long as anything is being stored: who gets it after that finds it stored, or still buffered.
    database: Mutex<Connection>,
    buffers: Mutex<HashMap<TopicPartition, Arc<Mutex<Buffer>>>>,
}

#[derive(Default)]
struct Buffer {
    /// In the order of their offsets.
    records: Vec<(Offset, Vec<u8>)>,
    /// Everything below is stored.
    stored: Option<NextOffset>,
}

impl Copies {
    fn open(file: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS copies (topic TEXT, partition INTEGER, position INTEGER, value BLOB)",
        )?;
        Ok(Self { database: Mutex::new(connection), buffers: Mutex::default() })
    }

    /// The partition's buffer, until the partition goes. A handler that is left behind by then keeps it, and spoils no other with it.
    fn buffer(&self, partition: &TopicPartition) -> Arc<Mutex<Buffer>> {
        Arc::clone(lock(&self.buffers).entry(partition.clone()).or_default())
    }

    /// Stores what is buffered, in one transaction; gives how far each partition is stored.
    fn store(&self) -> rusqlite::Result<Offsets> {
        let mut database = lock(&self.database);
        let buffers: Vec<_> = lock(&self.buffers).iter().map(|(name, buffer)| (name.clone(), buffer.clone())).collect();
        let mut taken: Vec<_> =
            buffers.iter().map(|(name, buffer)| (name, buffer, std::mem::take(&mut lock(buffer).records))).collect();
        let inserted =
            insert(&mut database, taken.iter().map(|(name, _, records)| (*name, records.as_slice())), || true);
        for (_, buffer, records) in &mut taken {
            let mut buffer = lock(buffer);
            match (&inserted, records.last()) {
                (Ok(()), Some((last, _))) => buffer.stored = Some(last.next()),
                (Ok(()), None) => {}
                (Err(_), _) => {
                    records.append(&mut buffer.records);
                    buffer.records = std::mem::take(records);
                }
            }
        }
        inserted?;
        Ok(buffers.iter().filter_map(|(name, buffer)| Some((name.clone(), lock(buffer).stored?))).collect())
    }

    /// Stores what is buffered and finished of partitions that go, if that still counts at the end.
    fn give_up(&self, revoked: &Revoked) -> rusqlite::Result<()> {
        let mut database = lock(&self.database);
        let taken: Vec<_> = revoked
            .partitions
            .iter()
            .filter_map(|partition| Some((partition, lock(&self.buffers).remove(&partition.topic_partition)?)))
            .map(|(partition, buffer)| (&partition.topic_partition, finished(&buffer, partition)))
            .collect();
        let taken = taken.iter().map(|(name, records)| (*name, records.as_slice()));
        insert(&mut database, taken, || revoked.still_counts())?;
        println!("gave up {} partitions", revoked.partitions.len());
        Ok(())
    }

    fn forget(&self, lost: &[TopicPartition]) {
        lost.iter().for_each(|partition| drop(lock(&self.buffers).remove(partition)));
    }
}

/// A record above is one whose handler was cut off: the next owner has it again.
fn finished(buffer: &Mutex<Buffer>, partition: &RevokedPartition) -> Vec<(Offset, Vec<u8>)> {
    let mut records = std::mem::take(&mut lock(buffer).records);
    records.retain(|(offset, _)| offset.next() <= partition.finished);
    records
}

type Records<'a> = (&'a TopicPartition, &'a [(Offset, Vec<u8>)]);

fn insert<'a>(
    database: &mut Connection,
    taken: impl Iterator<Item = Records<'a>>,
    still_counts: impl FnOnce() -> bool,
) -> rusqlite::Result<()> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut insert = transaction.prepare("INSERT INTO copies VALUES (?1, ?2, ?3, ?4)")?;
        for (partition, records) in taken {
            for (offset, value) in records {
                insert.execute(params![&*partition.topic, partition.partition.0, offset.0, value])?;
            }
        }
    }
    if still_counts() { transaction.commit() } else { transaction.rollback() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A partition's handler.
struct Copier {
    buffer: Arc<Mutex<Buffer>>,
    wake: SyncSender<Wake>,
}

impl Handler for Copier {
    // An error is tried again, after a pause.
    type Answer = Result<(), &'static str>;

    async fn handle(&mut self, record: &Record) -> Self::Answer {
        let mut buffer = lock(&self.buffer);
        if buffer.records.len() >= AT_MOST {
            return Err("the database is behind");
        }
        buffer.records.push((record.offset(), record.value().unwrap_or_default().to_vec()));
        if buffer.records.len() >= ENOUGH {
            // It is woken already where there is no room.
            let _ = self.wake.try_send(Wake::Full);
        }
        Ok(())
    }
}

struct Listener(Arc<Copies>);

impl RebalanceListener for Listener {
    /// Called when the handlers have finished. An error holds back the last commit: the next owner copies again what is not stored.
    fn on_revoked(&self, revoked: &Revoked) -> Result<Offsets, ListenerError> {
        self.0.give_up(revoked)?;
        Ok(revoked.partitions.iter().map(|each| (each.topic_partition.clone(), each.finished)).collect())
    }

    /// Others have them already, from what was committed.
    fn on_lost(&self, lost: &[TopicPartition]) {
        self.0.forget(lost);
    }
}
