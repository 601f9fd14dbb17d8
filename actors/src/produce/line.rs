//! Senders that wait for room, first come, first served. Pure.
//!
//! Only the head is woken; when it has taken its room it wakes the next. A large record is therefore not starved by small ones. Room beyond what those
//! in line need is anybody's: where it is plenty, and they are only not scheduled yet, a sender that runs need not stand behind them for each record.
//!
//! Callbacks pass the line. They are counted, and the head may be *granted* its place for it: then it is let in whatever room there is.

use std::collections::VecDeque;
use std::task::Waker;

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

#[derive(Default)]
pub(super) struct Line {
    /// By ticket, ascending.
    waiting: VecDeque<(Ticket, usize, Waker)>,
    issued: u64,
    /// What they wait for, together.
    bytes: usize,
    /// Records that were let in past those who wait since one of these was let in, or the first came.
    passed: usize,
    granted: bool,
}

impl Line {
    /// Whether the holder of `ticket`, or a newcomer without one, has nobody before it.
    pub(super) fn is_next(&self, ticket: Option<Ticket>) -> bool {
        match self.waiting.front() {
            None => true,
            Some((head, ..)) => ticket == Some(*head),
        }
    }

    /// Stands in line, at the place of `ticket` or at the end, for room for `bytes`.
    pub(super) fn stand(&mut self, ticket: Option<Ticket>, bytes: usize, waker: &Waker) -> Ticket {
        if let Some(ticket) = ticket
            && let Ok(place) = self.place(ticket)
        {
            self.bytes = self.bytes - self.waiting[place].1 + bytes;
            self.waiting[place].1 = bytes;
            self.waiting[place].2.clone_from(waker);
            return ticket;
        }
        let ticket = Ticket(self.issued);
        self.issued += 1;
        self.waiting.push_back((ticket, bytes, waker.clone()));
        self.bytes += bytes;
        ticket
    }

    /// Gives the place up. True where it was granted, and is not used.
    #[must_use]
    pub(super) fn leave(&mut self, ticket: Option<Ticket>) -> bool {
        let Some(place) = ticket.and_then(|ticket| self.place(ticket).ok()) else {
            return false;
        };
        if let Some((_, bytes, _)) = self.waiting.remove(place) {
            self.bytes -= bytes;
        }
        if self.waiting.is_empty() {
            self.passed = 0;
        }
        place == 0 && self.take_grant()
    }

    /// The head is let in: the next is passed anew before it is granted its place.
    pub(super) fn let_in(&mut self) {
        self.passed = 0;
        self.granted = false;
    }

    /// True where the head was granted its place.
    pub(super) fn take_grant(&mut self) -> bool {
        std::mem::take(&mut self.granted)
    }

    /// A record was let in past those who wait.
    pub(super) fn pass(&mut self) {
        self.passed += usize::from(!self.waiting.is_empty());
    }

    /// So many have passed that the head is to be let in.
    pub(super) fn was_passed(&self, often: usize) -> bool {
        self.passed >= often && !self.granted
    }

    /// Lets the head in whatever room there is.
    pub(super) fn grant(&mut self) {
        self.granted = true;
    }

    /// Whether the holder of `ticket` is the head, and let in whatever room there is.
    pub(super) fn is_granted(&self, ticket: Option<Ticket>) -> bool {
        self.granted && ticket.is_some() && self.is_next(ticket)
    }

    /// Whether the head, whoever it is, is let in whatever room there is.
    pub(super) fn has_granted(&self) -> bool {
        self.granted
    }

    /// Who is next, and for how many bytes.
    pub(super) fn head(&self) -> Option<(&Waker, usize)> {
        self.waiting.front().map(|(_, bytes, waker)| (waker, *bytes))
    }

    /// Ends the line.
    pub(super) fn everybody(&mut self) -> Vec<Waker> {
        self.bytes = 0;
        self.waiting.drain(..).map(|(.., waker)| waker).collect()
    }

    /// What all in line wait for, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn place(&self, ticket: Ticket) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&ticket, |(ticket, ..)| *ticket)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn nobody_overtakes_who_waits() {
        let mut line = Line::default();
        let waker = Waker::noop();
        assert!(line.is_next(None));
        let first = line.stand(None, 1, waker);
        let second = line.stand(None, 2, waker);
        assert!(!line.is_next(None));
        assert!(!line.is_next(Some(second)));
        assert!(line.is_next(Some(first)));
        assert_eq!(line.bytes(), 3);
        assert_eq!(line.stand(Some(first), 4, waker), first);
        assert_eq!(line.bytes(), 6);
        assert!(!line.leave(Some(first)));
        assert!(line.is_next(Some(second)));
        assert_eq!((line.head().unwrap().1, line.bytes()), (2, 2));
    }

    #[test]
    fn the_head_is_granted_its_place_once_and_a_grant_that_is_not_used_is_told() {
        let mut line = Line::default();
        line.pass();
        let tickets: Vec<_> = (0..2).map(|bytes| line.stand(None, bytes, Waker::noop())).collect();
        assert!(!line.was_passed(1));
        line.pass();
        assert!(line.was_passed(1) && !line.was_passed(2));
        line.grant();
        assert!(line.is_granted(Some(tickets[0])) && !line.is_granted(Some(tickets[1])) && !line.is_granted(None));
        assert!(!line.was_passed(1));
        assert!(!line.leave(Some(tickets[1])));
        assert!(line.leave(Some(tickets[0])));
        assert!(!line.is_granted(Some(tickets[0])));
    }

    #[test]
    fn what_passed_who_gives_up_has_passed_the_next_as_well_but_no_line_that_was_not_there() {
        let mut line = Line::default();
        let tickets: Vec<_> = (0..3).map(|bytes| line.stand(None, bytes, Waker::noop())).collect();
        line.pass();
        assert!(!line.leave(Some(tickets[0])) && line.was_passed(1));
        line.let_in();
        assert!(!line.leave(Some(tickets[1])) && !line.was_passed(1));
        line.pass();
        assert!(!line.leave(Some(tickets[2])));
        line.stand(None, 1, Waker::noop());
        assert!(!line.was_passed(1));
    }

    #[test]
    fn who_leaves_from_the_middle_holds_nobody_up() {
        let mut line = Line::default();
        let tickets: Vec<_> = (0..3).map(|bytes| line.stand(None, bytes, Waker::noop())).collect();
        assert!(!line.leave(Some(tickets[1])) && !line.leave(Some(tickets[0])));
        assert!(line.is_next(Some(tickets[2])));
        assert_eq!(line.len(), 1);
    }
}
