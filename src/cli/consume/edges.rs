use std::collections::BTreeMap;

/// Partitions of a topic, each with its log's begin and the end to reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Edges(BTreeMap<i32, Edge>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edge {
    begin: i64,
    end: i64,
}

impl Edges {
    /// Those partitions of which both is known.
    pub(super) fn new(begins: &BTreeMap<i32, i64>, ends: &BTreeMap<i32, i64>) -> Self {
        let edge =
            |(partition, end): (&i32, &i64)| Some((*partition, Edge { begin: *begins.get(partition)?, end: *end }));
        Self(ends.iter().filter_map(edge).collect())
    }

    /// Takes out the partitions whose end is reached: by their position, or because nothing lies before it. One without a position counts
    /// as reached if `none_is_reached`.
    pub(super) fn reached(&mut self, position: impl Fn(i32) -> Option<i64>, none_is_reached: bool) {
        self.0.retain(|partition, edge| {
            let reached = position(*partition).map_or(none_is_reached, |position| position >= edge.end);
            !reached && edge.begin < edge.end
        });
    }

    /// The logs begin here now.
    pub(super) fn begin_at(&mut self, begins: &BTreeMap<i32, i64>) {
        for (partition, begin) in begins {
            if let Some(edge) = self.0.get_mut(partition) {
                edge.begin = *begin;
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn partitions(&self) -> Vec<i32> {
        self.0.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Edges {
        let begins = BTreeMap::from([(0, 0), (1, 5), (2, 7), (3, 0)]);
        Edges::new(&begins, &BTreeMap::from([(0, 10), (1, 10), (2, 7), (3, 0)]))
    }

    #[test]
    fn a_partition_without_records_is_reached_from_the_start() {
        let mut edges = open();
        edges.reached(|_| None, false);
        assert_eq!(edges.partitions(), [0, 1]);
    }

    #[test]
    fn the_end_is_reached_at_the_position_of_the_end_and_not_before() {
        let mut edges = open();
        edges.reached(|partition| (partition == 0).then_some(9), false);
        assert_eq!(edges.partitions(), [0, 1]);
        edges.reached(|partition| (partition == 0).then_some(10), false);
        assert_eq!(edges.partitions(), [1]);
        edges.reached(|partition| (partition == 1).then_some(11), false);
        assert!(edges.is_empty());
    }

    #[test]
    fn what_begins_at_the_end_is_reached_without_a_position_and_otherwise_not() {
        let mut edges = open();
        edges.reached(|partition| (partition == 0).then_some(9), true);
        assert_eq!(edges.partitions(), [0], "a committed position below the end is gone on from");
    }

    #[test]
    fn a_log_that_was_emptied_meanwhile_is_reached() {
        let mut edges = open();
        edges.begin_at(&BTreeMap::from([(0, 10), (1, 9)]));
        edges.reached(|_| None, false);
        assert_eq!(edges.partitions(), [1]);
    }
}
