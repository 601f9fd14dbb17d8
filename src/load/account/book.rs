//! What handlers did, and what was committed of it.

use crate::load::by_phase::ByPhase;
use crate::load::commits::Commits;
use crate::load::latencies::Latencies;
use crate::load::ledger::{Held, Ledger, Place};
use crate::load::payload::{Odd, Payload};

/// How a record came to its handler, on the run's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// When the engine had taken it over from librdkafka; without an engine, when it was polled.
    pub(crate) received: u64,
    /// When its handler was called, where that is known.
    pub(crate) called: Option<u64>,
}

/// Handlers' side.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) ledger: Ledger,
    pub(crate) commits: Commits,
    /// Calls for an offset that was known to be committed when its record was received.
    pub(crate) redelivered_after_commit: u64,
    /// By partition, what members in other processes have committed, as far as is known.
    pub(super) committed: Vec<u64>,
    /// So many records may have been repeated for the faults of the run.
    pub(crate) excused: u64,
    /// Of the load since they were last taken.
    pub(crate) end_to_end: ByPhase,
    /// When the first record was handled, and the last that none had been before, on the run's clock.
    span: Option<(u64, u64)>,
    pub(crate) residence: Latencies,
    pub(crate) handler: Latencies,
    pub(crate) commit_lag: Latencies,
}

impl Book {
    pub(super) fn new(held: Held, producers: u16, partitions: u32) -> anyhow::Result<Self> {
        Ok(Self {
            ledger: Ledger::new(held, producers, partitions),
            commits: Commits::new(partitions),
            redelivered_after_commit: 0,
            committed: vec![0; partitions as usize],
            excused: 0,
            end_to_end: ByPhase::new()?,
            residence: Latencies::new()?,
            handler: Latencies::new()?,
            commit_lag: Latencies::new()?,
            span: None,
        })
    }

    /// A handler is through with a record of that phase; says whether it is a record of this run that none had before.
    pub(super) fn handled(
        &mut self,
        read: Result<Payload, Odd>,
        phase: usize,
        place: Place,
        call: Call,
        ended: u64,
    ) -> bool {
        let Call { received, called } = call;
        let anew = self.ledger.handled(read, place);
        if !anew {
            self.redelivered_after_commit += u64::from(place.offset < self.commits.known_at(place.partition, received));
            return false;
        }
        let (first, last) = self.span.unwrap_or((ended, ended));
        self.span = Some((first, last.max(ended)));
        if let Ok(payload) = read
            && !payload.warm_up
        {
            self.end_to_end.record(phase, ended.saturating_sub(payload.intended));
            self.residence.record(ended.saturating_sub(received));
            if let Some(called) = called {
                self.handler.record(ended.saturating_sub(called));
            }
            self.commits.handled(place, ended);
        }
        true
    }

    /// Different records handled a second, from the first to the last.
    pub(crate) fn handled_rate(&self) -> f64 {
        let seconds = self.span.map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e9);
        if seconds > 0.0 { self.ledger.count_handled() as f64 / seconds } else { 0.0 }
    }

    /// It became known that all of a partition below `next` is committed.
    pub(super) fn confirmed(&mut self, partition: u32, next: u64, now: u64) {
        self.commits.confirmed(partition, next, now, &mut self.commit_lag);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    fn read(sequence: u64) -> Result<Payload, Odd> {
        let (key, warm_up) = (None, false);
        Ok(Payload { producer: 0, sequence, key, key_sequence: sequence, intended: 1_000, warm_up })
    }

    #[test]
    fn what_comes_again_counts_against_the_commit_where_that_was_known_when_it_was_received() {
        let mut book = Book::new(Held::ToKeys, 1, 1).unwrap();
        let place = Place { partition: 0, offset: 5 };
        let handled = |book: &mut Book, received| {
            let anew = book.handled(read(0), 0, place, Call { received, called: None }, received + 10);
            (anew, book.redelivered_after_commit)
        };
        assert_eq!(handled(&mut book, 100), (true, 0));
        // A second member has it, and the first has not committed.
        assert_eq!(handled(&mut book, 200), (false, 0));
        book.confirmed(0, 6, 300);
        assert_eq!(handled(&mut book, 299), (false, 0));
        assert_eq!(handled(&mut book, 300), (false, 1));
        // The producer stored a record twice, which is no redelivery.
        let above = Place { offset: 6, ..place };
        assert!(!book.handled(read(0), 0, above, Call { received: 400, called: None }, 410));
        assert_eq!(book.redelivered_after_commit, 1);
    }

    #[test]
    fn each_latency_has_its_beginning_and_warm_up_and_repeats_have_none() {
        let mut book = Book::new(Held::ToKeys, 1, 1).unwrap();
        let call = Call { received: 101_000, called: Some(201_000) };
        let at = |offset| Place { partition: 0, offset };
        assert!(book.handled(read(0), 0, at(0), call, 501_000));
        assert!(!book.handled(read(0), 0, at(0), call, 501_000));
        assert!(book.handled(read(1).map(|it| Payload { warm_up: true, ..it }), 0, at(1), call, 501_000));
        book.confirmed(0, 2, 1_101_000);
        let micros = |latencies: &Latencies| latencies.summary().map(|it| (it.max, it.count));
        assert_eq!(book.end_to_end.summary().map(|it| (it.max, it.count)), Some((500, 1)));
        assert_eq!(micros(&book.residence), Some((400, 1)));
        assert_eq!(micros(&book.handler), Some((300, 1)));
        assert_eq!(micros(&book.commit_lag), Some((600, 1)));
    }
}
