/// How far OUT is to be read: to where each partition ended when that was asked. What others write meanwhile moves it no further.
#[derive(Debug)]
pub(super) struct Ends {
    /// By partition: where it ends, until it is read so far.
    left: Vec<Option<i64>>,
}

impl Ends {
    pub(super) fn new(ends: Vec<i64>) -> Self {
        Self { left: ends.into_iter().map(|end| Some(end).filter(|end| *end > 0)).collect() }
    }

    /// A partition is read up to the offset `next`. Whether it was not at its end before, and is now.
    ///
    /// What stands last may be no record, but the mark of a transaction: then the next record, or the end of the partition, tells.
    pub(super) fn read_to(&mut self, partition: usize, next: i64) -> bool {
        let Some(left) = self.left.get_mut(partition) else { return false };
        let reached = left.is_some_and(|end| next >= end);
        if reached {
            *left = None;
        }
        reached
    }

    /// The partition has no more, whatever it was said to have.
    pub(super) fn read_all(&mut self, partition: usize) -> bool {
        self.read_to(partition, i64::MAX)
    }

    /// Partitions with more to read.
    pub(super) fn left(&self) -> impl Iterator<Item = usize> {
        self.left.iter().enumerate().filter(|(_, left)| left.is_some()).map(|(partition, _)| partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_is_read_to_where_it_ended_and_no_further() {
        let mut ends = Ends::new(vec![5, 0, 9, 3]);
        assert_eq!(ends.left().collect::<Vec<_>>(), [0, 2, 3]);
        assert!(!ends.read_to(0, 4) && ends.read_to(0, 5));
        // What comes behind the end is told of no more.
        assert!(!ends.read_to(0, 6) && !ends.read_to(1, 1));
        // Its last place held no record, and others went on to write.
        assert!(!ends.read_to(2, 8) && ends.read_to(2, 10));
        assert!(ends.read_all(3) && !ends.read_all(3) && !ends.read_all(7));
        assert_eq!(ends.left().count(), 0);
    }
}
