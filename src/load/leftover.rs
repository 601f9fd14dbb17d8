//! What the warm-up leaves to the load: records that were confirmed in it and are still to be handled.

use super::backlog::Backlog;

/// Who has not handled it so long into the load, and a handler's time, has piled it up.
const LONG: u64 = 2_000_000_000;

/// Follows it from the load's begin until it is handled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Leftover {
    /// When the load began, and how many records had been confirmed by then.
    begun: Option<(u64, u64)>,
    /// When it was last seen that not as many had been handled yet.
    left_at: Option<u64>,
}

impl Leftover {
    pub(crate) fn load_begins(&mut self, at: u64, confirmed: u64) {
        (self.begun, self.left_at) = (Some((at, confirmed)), None);
    }

    pub(crate) fn looked(&mut self, at: u64, handled: u64) {
        if self.begun.is_some_and(|(begun, confirmed)| at > begun && handled < confirmed) {
            self.left_at = Some(at);
        }
    }

    /// When it was last still worked off, where it had piled up: at the load's begin there were more than a second's worth of records behind, at that
    /// `rate`, and by that much fewer in the load's second half; and they took longer than a `handler` that takes its time, in nanoseconds.
    ///
    /// Who stands still for a second or two, around the load's begin or at any other time, has piled up nothing: a load is there to show that.
    pub(crate) fn worked_off(&self, backlog: &Backlog, load_end: u64, rate: f64, handler: u64) -> Option<u64> {
        let ((begun, _), left_at) = (self.begun?, self.left_at?.min(load_end));
        let long = left_at.saturating_sub(begun) > handler.saturating_add(LONG);
        let later = backlog.typical(begun.midpoint(load_end.max(begun)), load_end);
        let shrank = backlog.is_deep(begun, rate + later as f64);
        (long && shrank).then_some(left_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// The load's begin, and its end.
    const BEGIN: u64 = 10 * SECOND;
    const END: u64 = 40 * SECOND;

    /// A warm-up of 10 s and a load of 30 s with these rates, of handlers that can do so many a second and take so many seconds each. For how many seconds
    /// they had the warm-up's to do.
    fn worked_off(warm_up: u64, load: u64, capacity: impl Fn(u64) -> u64, takes: u64) -> Option<u64> {
        let (mut leftover, mut backlog) = (Leftover::default(), Backlog::default());
        let (mut confirmed, mut begun) = (0, vec![0]);
        for second in 0..=40 {
            let at = second * SECOND;
            let handled = begun[usize::try_from(second.saturating_sub(takes)).unwrap_or_default()];
            backlog.sampled(at, confirmed - handled);
            if at == BEGIN {
                leftover.load_begins(at, confirmed);
            }
            leftover.looked(at, handled);
            confirmed += if at < BEGIN { warm_up } else { load };
            begun.push(confirmed.min(begun[begun.len() - 1] + capacity(second)));
        }
        let found = leftover.worked_off(&backlog, END, load as f64, takes * SECOND);
        found.map(|at| (at - BEGIN) / SECOND)
    }

    #[test]
    fn what_a_warm_up_was_too_much_with_is_found_as_long_as_it_is_worked_off() {
        // 5,000 are left, and 500 more are done each second than come: the last of the warm-up's are done after 3.3 s.
        assert_eq!(worked_off(2_000, 1_000, |_| 1_500, 0), Some(3));
        // It is not done by half of the load, or never.
        assert_eq!(worked_off(3_000, 1_000, |_| 1_200, 0), Some(14));
        assert_eq!(worked_off(9_000, 1_000, |_| 1_100, 0), Some(30));
        // Beside handlers that take four seconds.
        assert_eq!(worked_off(3_000, 1_000, |_| 1_200, 4), Some(18));
    }

    #[test]
    fn handlers_that_take_their_time_have_piled_up_nothing_be_it_more_in_the_warm_up() {
        for takes in [0, 1, 3, 8] {
            assert_eq!(worked_off(1_000, 1_000, |_| 5_000, takes), None, "{takes}");
            assert_eq!(worked_off(2_000, 1_000, |_| 5_000, takes), None, "{takes}");
        }
    }

    #[test]
    fn a_pause_around_the_begin_of_the_load_is_none_of_the_warm_up() {
        for pause in [7..10, 8..11, 9..11, 10..13] {
            assert_eq!(worked_off(1_000, 1_000, |second| if pause.contains(&second) { 0 } else { 9_000 }, 0), None);
        }
        // What stays as it is, nobody works off.
        assert_eq!(worked_off(1_500, 1_000, |_| 1_000, 0), None);
    }

    #[test]
    fn without_a_warm_up_there_is_nothing_to_leave() {
        let (mut leftover, backlog) = (Leftover::default(), Backlog::default());
        assert_eq!(leftover.worked_off(&backlog, END, 1_000.0, 0), None);
        leftover.load_begins(0, 0);
        leftover.looked(9 * SECOND, 0);
        assert_eq!(leftover.worked_off(&backlog, END, 1_000.0, 0), None);
    }
}
