//! Places in a partition's log that a person may name, and the positions that they are.

use std::collections::HashMap;

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};

use crate::consume::resolver::{Failure, Lookup, Positions, TRY, list, positions};
use crate::ids::{NextOffset, TopicPartition};

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Beginning,
    End,
    Offset(NextOffset),
    /// The first record with this timestamp or a later one, milliseconds since the Unix epoch.
    Timestamp(i64),
}

/// A place that was looked up, and the ends of the log that it was looked up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) position: NextOffset,
    pub(crate) low: NextOffset,
    pub(crate) high: NextOffset,
}

impl Found {
    /// `by_time` is where the log has a record of that time. Where it has none, the place is the end, as it was *before* that was asked: a
    /// record that was appended since may be of that time.
    fn new(place: Place, low: NextOffset, high: NextOffset, by_time: Option<NextOffset>) -> Self {
        let high = high.max(low);
        let position = match place {
            Place::Beginning => low,
            Place::End => high,
            Place::Offset(offset) => offset,
            Place::Timestamp(_) => by_time.unwrap_or(high),
        };
        Self { position, low, high }
    }

    /// Whether the log can be read from there on.
    pub(crate) fn is_in_range(&self) -> bool {
        (self.low..=self.high).contains(&self.position)
    }
}

impl Lookup {
    /// Looks places up: at most three requests per broker, however many there are.
    pub(super) fn find(&self, wanted: &[(TopicPartition, Place)]) -> Result<HashMap<TopicPartition, Found>, Failure> {
        let partitions: Vec<_> = wanted.iter().map(|(partition, _)| partition.clone()).collect();
        // The ends first: see `Found::new`.
        let highs = self.edges_at(&partitions, ListOffset::End)?;
        let lows = self.edges_at(&partitions, ListOffset::Beginning)?;
        let times = self.by_time(wanted)?;
        let found = wanted.iter().map(|(partition, place)| {
            let untold = || Failure::Passing(format!("{partition}: the broker told no offset"));
            let low = *lows.get(partition).ok_or_else(untold)?;
            let high = *highs.get(partition).ok_or_else(untold)?;
            Ok((partition.clone(), Found::new(*place, low, high, times.get(partition).copied())))
        });
        found.collect()
    }

    /// Where the logs begin and end.
    ///
    /// Not `fetch_watermarks`, which takes the lower of the two for the start: where a transaction is not over whose first records are
    /// deleted, a reader of what is committed is told an end below the start.
    pub(super) fn ranges(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, (NextOffset, NextOffset)>, Failure> {
        let wanted: Vec<_> = partitions.iter().map(|each| (each.clone(), Place::Beginning)).collect();
        Ok(self.find(&wanted)?.into_iter().map(|(each, found)| (each, (found.low, found.high))).collect())
    }

    /// The logs' starts or ends: ListOffsets with the special timestamps -2 and -1.
    pub(super) fn edges_at(&self, partitions: &[TopicPartition], edge: ListOffset) -> Result<Positions, Failure> {
        if partitions.is_empty() {
            return Ok(Positions::new());
        }
        positions(&self.consumer.offsets_for_times(list(partitions, edge)?, TRY)?)
    }

    fn by_time(&self, wanted: &[(TopicPartition, Place)]) -> Result<Positions, Failure> {
        let mut times = TopicPartitionList::new();
        for (partition, place) in wanted {
            if let Place::Timestamp(timestamp) = place {
                // Below 0 lie times that mean something else, and no record.
                let timestamp = ListOffset::Offset((*timestamp).max(0));
                times.add_partition_offset(&partition.topic, partition.partition.0, timestamp)?;
            }
        }
        if times.count() == 0 {
            return Ok(Positions::new());
        }
        positions(&self.consumer.offsets_for_times(times, TRY)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(place: Place, by_time: Option<i64>) -> Found {
        Found::new(place, NextOffset(10), NextOffset(20), by_time.map(NextOffset))
    }

    #[test]
    fn a_place_is_a_position_of_its_log() {
        assert_eq!(found(Place::Beginning, None).position, NextOffset(10));
        assert_eq!(found(Place::End, None).position, NextOffset(20));
        assert_eq!(found(Place::Offset(NextOffset(15)), None).position, NextOffset(15));
        assert_eq!(found(Place::Timestamp(7), Some(12)).position, NextOffset(12));
    }

    #[test]
    fn where_no_record_is_of_the_time_the_place_is_the_end() {
        assert_eq!(found(Place::Timestamp(7), None).position, NextOffset(20));
    }

    #[test]
    fn a_log_never_ends_before_it_begins() {
        let found = Found::new(Place::End, NextOffset(10), NextOffset(4), None);
        assert_eq!((found.position, found.is_in_range()), (NextOffset(10), true));
    }

    #[test]
    fn an_offset_is_in_range_from_the_first_record_to_the_one_that_is_yet_to_come() {
        let is_in_range = |offset| found(Place::Offset(NextOffset(offset)), None).is_in_range();
        assert_eq!([9, 10, 20, 21].map(is_in_range), [false, true, true, false]);
    }
}
