//! Senders that wait for room, first come, first served. Pure.
//!
//! Only the head is woken; when it has taken its room it wakes the next. A large record is therefore not starved by small ones.

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
            self.waiting[place].1 = bytes;
            self.waiting[place].2.clone_from(waker);
            return ticket;
        }
        let ticket = Ticket(self.issued);
        self.issued += 1;
        self.waiting.push_back((ticket, bytes, waker.clone()));
        ticket
    }

    /// Gives the place up.
    pub(super) fn leave(&mut self, ticket: Option<Ticket>) {
        if let Some(place) = ticket.and_then(|ticket| self.place(ticket).ok()) {
            self.waiting.remove(place);
        }
    }

    /// Who is next, and for how many bytes.
    pub(super) fn head(&self) -> Option<(&Waker, usize)> {
        self.waiting.front().map(|(_, bytes, waker)| (waker, *bytes))
    }

    /// Ends the line.
    pub(super) fn everybody(&mut self) -> Vec<Waker> {
        self.waiting.drain(..).map(|(.., waker)| waker).collect()
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
        assert_eq!(line.stand(Some(first), 1, waker), first);
        line.leave(Some(first));
        assert!(line.is_next(Some(second)));
        assert_eq!(line.head().unwrap().1, 2);
    }

    #[test]
    fn who_leaves_from_the_middle_holds_nobody_up() {
        let mut line = Line::default();
        let tickets: Vec<_> = (0..3).map(|bytes| line.stand(None, bytes, Waker::noop())).collect();
        line.leave(Some(tickets[1]));
        line.leave(Some(tickets[0]));
        assert!(line.is_next(Some(tickets[2])));
        assert_eq!(line.len(), 1);
    }
}
