//! The examples that write to a database.

use rusqlite::Connection;

use crate::fixture::{Stage, eventually};
use crate::member;

/// Runs such an example until `count` gives the sum of what is stored.
fn stores(stage: &Stage, name: &str, count: &str) {
    stage.produce(0, 10, 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.db");
    let mut example = member(stage, name, &[file.to_str().unwrap()]);
    eventually("all is stored", || {
        let database = Connection::open(&file).unwrap();
        // Not there yet, until the example has made it.
        database.query_row(count, [], |row| row.get::<_, i64>(0)).is_ok_and(|stored| stored == 40)
    });
    drop(example.input());
    example.ends_well();
}

pub fn sqlite_offsets(stage: &Stage) {
    stores(stage, "sqlite_offsets", "SELECT coalesce(sum(count), 0) FROM counts");
    assert!(stage.committed("sqlite_offsets").is_empty(), "its offsets are with its counts");
}

pub fn buffered_sqlite(stage: &Stage) {
    stores(stage, "buffered_sqlite", "SELECT count(*) FROM copies");
    assert_eq!(stage.committed("buffered_sqlite").values().sum::<i64>(), 40);
}
