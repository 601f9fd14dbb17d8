//! stub
use crate::ids::{NextOffset, Offset};
pub(crate) enum Admission {
    Next,
    Gap(u64),
    Refetch,
    Rewind { expected: NextOffset, got: Offset },
}
pub(crate) struct PositionGuard {
    expected: i64,
}
impl PositionGuard {
    pub(crate) fn new(start: NextOffset) -> Self {
        Self { expected: start.0 }
    }
    pub(crate) fn admit(&mut self, offset: i64, _timestamp: i64) -> Admission {
        if offset == self.expected {
            self.expected += 1;
            return Admission::Next;
        }
        if offset > self.expected {
            let g = offset - self.expected;
            self.expected = offset + 1;
            return Admission::Gap(g as u64);
        }
        if offset < 0 {
            return Admission::Rewind {
                expected: NextOffset(self.expected),
                got: Offset(offset),
            };
        }
        Admission::Refetch
    }
    pub(crate) fn end_of_partition(&mut self, end: NextOffset) -> bool {
        if end.0 > self.expected {
            self.expected = end.0
        }
        true
    }
}
