use std::fmt;

use crate::cli::table::{Column, Table};
use crate::load::latencies::Summary;
use crate::load::sample::milliseconds;

/// Latencies by their names; dashes where there is none.
pub(super) fn latency_table<'a>(rows: impl IntoIterator<Item = (&'a str, Option<Summary>)>) -> impl fmt::Display {
    const COLUMNS: [Column; 9] = [
        Column::Text("latency"),
        Column::Number("min"),
        Column::Number("p50"),
        Column::Number("p90"),
        Column::Number("p99"),
        Column::Number("p99.9"),
        Column::Number("p99.99"),
        Column::Number("max"),
        Column::Number("count"),
    ];
    let mut table = Table::new(COLUMNS);
    for (name, summary) in rows {
        let cells = summary.map_or_else(
            || ["-"; 8].map(str::to_owned),
            |it| {
                let [min, p50, p90, p99, p99_9, p99_99, max] =
                    [it.min, it.p50, it.p90, it.p99, it.p99_9, it.p99_99, it.max].map(milliseconds);
                [min, p50, p90, p99, p99_9, p99_99, max, it.count.to_string()]
            },
        );
        let [min, p50, p90, p99, p99_9, p99_99, max, count] = cells;
        table.row([name.to_owned(), min, p50, p90, p99, p99_9, p99_99, max, count]);
    }
    table
}
