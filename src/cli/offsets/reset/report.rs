use std::fmt;

use serde::Serialize;

use super::plan::Planned;
use crate::cli::table::{Column, Table, or_dash};

/// What is, or would be, reset.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    pub(super) group: &'a str,
    /// Whether it was done.
    pub(super) executed: bool,
    /// How many of the commits have metadata, which goes.
    pub(super) metadata_dropped: usize,
    pub(super) partitions: Vec<Row<'a>>,
    #[serde(skip)]
    pub(super) title: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    topic: &'a str,
    partition: i32,
    current: Option<i64>,
    new: i64,
    change: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    /// Why it was not reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl<'a> Row<'a> {
    pub(super) fn new(planned: &'a Planned) -> Self {
        Self {
            topic: &planned.partition.topic,
            partition: planned.partition.partition.0,
            current: planned.current,
            new: planned.new,
            change: planned.change(),
            note: planned.note.as_deref(),
            error: None,
        }
    }
}

impl Report<'_> {
    pub(super) fn table(&self) -> Table<6> {
        let mut table = Table::new([
            Column::Text("topic"),
            Column::Number("partition"),
            Column::Number("current"),
            Column::Number("new"),
            Column::Number("change"),
            Column::Text("note"),
        ]);
        for row in &self.partitions {
            let error = row.error.as_ref().map(|error| format!("NOT RESET: {error}"));
            let notes: Vec<_> = error.into_iter().chain(row.note.map(str::to_owned)).collect();
            table.row([
                row.topic.to_owned(),
                row.partition.to_string(),
                or_dash(row.current),
                row.new.to_string(),
                or_dash(row.change.map(|change| format!("{change:+}"))),
                notes.join("; "),
            ]);
        }
        table
    }

    pub(super) fn failed(&self) -> usize {
        self.partitions.iter().filter(|row| row.error.is_some()).count()
    }

    pub(super) fn log(&self) {
        let (group, executed, partitions) = (self.group, self.executed, self.partitions.len());
        tracing::info!(
            group,
            executed,
            partitions,
            failed = self.failed(),
            metadata_dropped = self.metadata_dropped,
            "reset"
        );
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moved = self.partitions.iter().filter(|row| row.change != Some(0)).count();
        let (partitions, failed) = (self.partitions.len(), self.failed());
        let noun = if partitions == 1 { "partition" } else { "partitions" };
        match (self.executed, failed) {
            (true, 0) => write!(f, "{}: {partitions} {noun} reset, {moved} of them to another offset", self.title)?,
            (true, failed) => write!(f, "{}: of {partitions} {noun} {failed} NOT reset", self.title)?,
            (false, _) => write!(
                f,
                "{}: would reset {partitions} {noun}, {moved} of them to another offset; \
                 nothing is changed without --execute",
                self.title
            )?,
        }
        if self.metadata_dropped > 0 {
            let (goes, count) = (if self.executed { "went" } else { "would go" }, self.metadata_dropped);
            let noun = if count == 1 { "commit" } else { "commits" };
            write!(
                f,
                "\nthe metadata of {count} {noun} {goes}: what is finished above the new offsets is processed again"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kafka_troupe::ids::TopicPartition;

    use super::*;

    fn planned(partition: i32, current: Option<i64>, new: i64, note: Option<&str>) -> Planned {
        Planned { partition: TopicPartition::new("t", partition), current, new, note: note.map(str::to_owned) }
    }

    #[test]
    fn the_table_shows_where_from_where_to_and_how_far() {
        let plan = [planned(0, Some(50), 7, None), planned(1, None, 100, Some("a note")), planned(2, Some(5), 5, None)];
        let partitions = plan.iter().map(Row::new).collect();
        let mut report =
            Report { group: "g", executed: false, metadata_dropped: 1, partitions, title: "group g".to_owned() };
        assert_eq!(
            report.table().to_string(),
            "topic  partition  current  new  change  note\n\
             t              0       50    7     -43\n\
             t              1        -  100       -  a note\n\
             t              2        5    5      +0"
        );
        assert_eq!(
            report.to_string(),
            "group g: would reset 3 partitions, 2 of them to another offset; nothing is changed without --execute\n\
             the metadata of 1 commit would go: what is finished above the new offsets is processed again"
        );
        (report.executed, report.metadata_dropped) = (true, 0);
        assert_eq!(report.to_string(), "group g: 3 partitions reset, 2 of them to another offset");
        report.partitions[1].error = Some("no permission".to_owned());
        assert_eq!(report.to_string(), "group g: of 3 partitions 1 NOT reset");
        assert!(report.table().to_string().contains("-  NOT RESET: no permission; a note\n"));
    }
}
