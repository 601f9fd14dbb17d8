//! A plan of resets from a file: `topic,partition,offset` on each line, as Kafka's own tool exports and takes it.

use std::collections::BTreeMap;

use kafka_troupe::ids::TopicPartition;

/// Reads the plan. A header that names these columns may come first.
pub(super) fn parse(file: &[u8]) -> Result<BTreeMap<TopicPartition, i64>, String> {
    let text = str::from_utf8(file).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut plan = BTreeMap::new();
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || (number == 1 && line == "topic,partition,offset") {
            continue;
        }
        let (partition, offset) = row(line).ok_or_else(|| format!("line {number} is not topic,partition,offset"))?;
        let again = format!("line {number} names {partition} a second time");
        if plan.insert(partition, offset).is_some() {
            return Err(again);
        }
    }
    if plan.is_empty() { Err("it names no partition".to_owned()) } else { Ok(plan) }
}

fn row(line: &str) -> Option<(TopicPartition, i64)> {
    let mut cells = line.split(',').map(str::trim);
    let (topic, partition, offset) = (cells.next()?, cells.next()?, cells.next()?);
    // Kafka's tool puts long topics between quotes. No topic has a comma or a quote in its name.
    let topic = topic.strip_prefix('"').and_then(|topic| topic.strip_suffix('"')).unwrap_or(topic);
    let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
    let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
    let whole = !topic.is_empty() && cells.next().is_none();
    whole.then(|| (TopicPartition::new(topic, partition), offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_partition_and_its_offset_with_or_without_a_header() {
        let plan = BTreeMap::from([(TopicPartition::new("a", 0), 5), (TopicPartition::new("b", 12), 0)]);
        for file in ["a,0,5\nb,12,0", "topic,partition,offset\r\n\"a\",0,5\r\n b , 12 , 0\r\n", "b,12,0\n\na,0,5\n"] {
            assert_eq!(parse(file.as_bytes()).as_ref(), Ok(&plan), "{file:?}");
        }
    }

    #[test]
    fn a_line_that_is_something_else_is_named() {
        for (file, line) in [
            ("a,0,5\na,x,5", 2),
            ("a,0", 1),
            ("a,0,5,6", 1),
            ("a,0,-1", 1),
            ("a,-1,0", 1),
            (",0,0", 1),
            ("a,0,5\n\na,0,6", 3),
        ] {
            let error = parse(file.as_bytes()).err().unwrap_or_default();
            assert!(error.contains(&format!("line {line} ")), "{file:?}: {error}");
        }
        assert!(parse(b"").is_err() && parse(b"topic,partition,offset\n").is_err());
        assert!(parse(b"\xff,0,1").is_err());
    }
}
