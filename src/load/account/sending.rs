//! What producers did of what they were to do.

use hdrhistogram::CreationError;

use crate::load::by_phase::ByPhase;

/// Producers' side, of the load.
#[derive(Debug)]
pub(crate) struct Sending {
    /// Since it was last taken.
    pub(crate) schedule_delay: ByPhase,
    /// Records whose time came, those included that were not sent any more.
    pub(crate) scheduled: u64,
    pub(crate) late: u64,
    /// Those of them that were not sent any more.
    pub(crate) given_up: u64,
    /// How often a producer waited in the load for room that the broker would not have had.
    pub(crate) held_back: u64,
    /// How long they did, all producers together, in nanoseconds.
    pub(crate) held_back_for: u64,
    /// The same but for that phase by phase, where a schedule has phases.
    pub(crate) phases: Vec<Due>,
}

/// What was due in a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) scheduled: u64,
    pub(crate) late: u64,
    pub(crate) given_up: u64,
    /// How often a producer waited for room for a record that was due in it, or while it was on.
    pub(crate) held_back: u64,
}

impl Sending {
    /// # Errors
    /// None that can be, see [`ByPhase::new`].
    pub(super) fn new(phases: usize) -> Result<Self, CreationError> {
        let (schedule_delay, phases) = (ByPhase::new()?, vec![Due::default(); phases]);
        Ok(Self { schedule_delay, scheduled: 0, late: 0, given_up: 0, held_back: 0, held_back_for: 0, phases })
    }

    /// A record of that phase was sent so many nanoseconds after its time.
    pub(crate) fn sent(&mut self, phase: usize, delay: u64, late: bool) {
        self.schedule_delay.record(phase, delay);
        self.add(phase, Due { scheduled: 1, late: u64::from(late), ..Due::default() });
    }

    /// So many were due, and were not sent any more.
    pub(crate) fn gave_up(&mut self, phase: usize, records: u64) {
        self.add(phase, Due { scheduled: records, late: records, given_up: records, held_back: 0 });
    }

    /// A producer waited for room for a record that was due in one phase until another was on, so many nanoseconds of the load.
    pub(crate) fn waited_for_room(&mut self, due: usize, until: usize, waited: u64) {
        self.held_back += 1;
        self.held_back_for += waited;
        for phase in [due].into_iter().chain(Some(until).filter(|until| *until != due)) {
            if let Some(of) = self.phases.get_mut(phase) {
                of.held_back += 1;
            }
        }
    }

    fn add(&mut self, phase: usize, due: Due) {
        self.scheduled += due.scheduled;
        self.late += due.late;
        self.given_up += due.given_up;
        if let Some(of) = self.phases.get_mut(phase) {
            of.scheduled += due.scheduled;
            of.late += due.late;
            of.given_up += due.given_up;
        }
    }
}
