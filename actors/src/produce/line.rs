//! Senders that wait for room, first come, first served. Pure.
//!
//! There is *room* for one when there is for the next record of each before it as well. All that have room are woken, each once until it has tried. So a
//! large record is not starved by small ones, and who is woken and does not come (its future may be kept without being polled) holds nobody up but by the
//! room that it waits for. Room beyond what those in line need is anybody's: where it is plenty, and they are only not scheduled yet, a sender that runs
//! need not stand behind them for each record.
//!
//! Those that have room are the first ones in line, and how many they are is kept from one change to the next: nobody walks along the line.
//!
//! Callbacks pass the line. They are counted, and the head may be *granted* its place for it: then it is let in whatever room there is.

use std::collections::VecDeque;
use std::ops::{AddAssign, SubAssign};
use std::task::Waker;

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What several senders wait for, together: the next record of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl AddAssign<usize> for Needs {
    fn add_assign(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
    }
}

impl SubAssign<usize> for Needs {
    fn sub_assign(&mut self, bytes: usize) {
        self.records -= 1;
        self.bytes -= bytes;
    }
}

struct Waits {
    ticket: Ticket,
    /// Of its next record.
    bytes: usize,
    /// None once it is woken, until it stands anew.
    waker: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Line {
    /// By ticket, ascending.
    waiting: VecDeque<Waits>,
    issued: u64,
    /// Of all.
    needs: Needs,
    /// Of the first so many, which are those that have room. All of them are woken.
    of_first: Needs,
    /// Records that were let in past those who wait since one of these was let in, or the first came.
    passed: usize,
    /// The head is let in whatever room there is.
    granted: bool,
}

impl Line {
    /// Who holds `ticket` wishes to send a record of `bytes` now. Its place, counted from 0.
    pub(super) fn ask(&mut self, ticket: Ticket, bytes: usize) -> Option<usize> {
        let place = self.place(ticket)?;
        let before = std::mem::replace(&mut self.waiting[place].bytes, bytes);
        if before != bytes {
            self.needs -= before;
            self.needs += bytes;
            if place < self.of_first.records {
                self.of_first -= before;
                self.of_first += bytes;
            }
        }
        Some(place)
    }

    /// Stands in line for room for `bytes`, at the place of `ticket`, whose holder [was refused](Self::ask) them, or at the end.
    pub(super) fn stand(&mut self, ticket: Option<Ticket>, bytes: usize, waker: &Waker) -> Ticket {
        if let Some(ticket) = ticket
            && let Some(place) = self.ask(ticket, bytes)
        {
            debug_assert!(place >= self.of_first.records, "it has room");
            match &mut self.waiting[place].waker {
                Some(before) => before.clone_from(waker),
                woken => *woken = Some(waker.clone()),
            }
            return ticket;
        }
        let ticket = Ticket(self.issued);
        self.issued += 1;
        self.waiting.push_back(Waits { ticket, bytes, waker: Some(waker.clone()) });
        self.needs += bytes;
        ticket
    }

    /// Gives the place up. True where it was granted, and is not used.
    #[must_use]
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        let Some(place) = self.place(ticket) else {
            return false;
        };
        if let Some(Waits { bytes, .. }) = self.waiting.remove(place) {
            self.needs -= bytes;
            if place < self.of_first.records {
                self.of_first -= bytes;
            }
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
        self.granted && ticket.is_some() && self.waiting.front().map(|head| head.ticket) == ticket
    }

    /// Whether the head, whoever it is, is let in whatever room there is.
    pub(super) fn has_granted(&self) -> bool {
        self.granted
    }

    /// What the head waits for, in bytes.
    pub(super) fn head(&self) -> Option<usize> {
        self.waiting.front().map(|head| head.bytes)
    }

    /// How many have room.
    pub(super) fn with_room(&self) -> usize {
        self.of_first.records
    }

    /// What those need that have room; and the same with the one behind them, for whom there may be room or not.
    pub(super) fn first_needs(&self) -> (Needs, Option<Needs>) {
        let mut with_next = self.of_first;
        let next = self.waiting.get(self.with_room()).map(|next| {
            with_next += next.bytes;
            with_next
        });
        (self.of_first, next)
    }

    /// One more has room. Hands back who is to be woken for it, unless it was before.
    pub(super) fn extend(&mut self) -> Option<Waker> {
        let next = self.waiting.get_mut(self.of_first.records)?;
        self.of_first += next.bytes;
        next.waker.take()
    }

    /// The last of those that had room has none any more.
    pub(super) fn shorten(&mut self) {
        if let Some(last) = self.with_room().checked_sub(1).and_then(|place| self.waiting.get(place)) {
            self.of_first -= last.bytes;
        }
    }

    /// Without the head where that has its place already.
    pub(super) fn but_granted(&self, mut needs: Needs) -> Needs {
        if self.has_granted()
            && needs.records > 0
            && let Some(head) = self.waiting.front()
        {
            needs -= head.bytes;
        }
        needs
    }

    /// Ends the line.
    pub(super) fn everybody(&mut self) -> Vec<Waker> {
        (self.needs, self.of_first) = Default::default();
        self.waiting.drain(..).filter_map(|waits| waits.waker).collect()
    }

    /// What all in line need.
    pub(super) fn needs(&self) -> Needs {
        self.needs
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn place(&self, ticket: Ticket) -> Option<usize> {
        self.waiting.binary_search_by_key(&ticket, |waits| waits.ticket).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn stand(line: &mut Line, bytes: usize) -> Ticket {
        line.stand(None, bytes, Waker::noop())
    }

    #[test]
    fn the_first_have_room_and_what_they_need_follows_what_they_ask_for_and_who_goes() {
        let mut line = Line::default();
        let tickets: Vec<_> = (1..=3).map(|bytes| stand(&mut line, bytes)).collect();
        assert!(line.extend().is_some() && line.extend().is_some());
        let needs = |line: &Line| (line.first_needs().0.bytes, line.first_needs().1.map(|needs| needs.bytes));
        assert_eq!(needs(&line), (3, Some(6)));
        assert_eq!(line.ask(tickets[1], 10), Some(1));
        assert_eq!((needs(&line), line.needs().bytes), ((11, Some(14)), 14));
        assert!(!line.leave(tickets[0]));
        assert_eq!((needs(&line), line.with_room(), line.head()), ((10, Some(13)), 1, Some(10)));
        line.shorten();
        assert_eq!((needs(&line), line.with_room()), ((0, Some(10)), 0));
        assert_eq!(line.ask(tickets[0], 1), None);
    }

    #[test]
    fn who_is_woken_is_not_woken_again_until_it_stands_anew() {
        let mut line = Line::default();
        let ticket = stand(&mut line, 1);
        assert!(line.extend().is_some());
        line.shorten();
        assert!(line.extend().is_none());
        line.shorten();
        assert_eq!(line.stand(Some(ticket), 1, Waker::noop()), ticket);
        assert!(line.extend().is_some());
    }

    #[test]
    fn the_head_is_granted_its_place_once_and_a_grant_that_is_not_used_is_told() {
        let mut line = Line::default();
        line.pass();
        let tickets: Vec<_> = (0..2).map(|bytes| stand(&mut line, bytes)).collect();
        assert!(!line.was_passed(1));
        line.pass();
        assert!(line.was_passed(1) && !line.was_passed(2));
        assert_eq!(line.but_granted(line.needs()).records, 2);
        line.grant();
        assert!(line.is_granted(Some(tickets[0])) && !line.is_granted(Some(tickets[1])) && !line.is_granted(None));
        assert_eq!(line.but_granted(line.needs()).records, 1);
        assert!(!line.was_passed(1));
        assert!(!line.leave(tickets[1]));
        assert!(line.leave(tickets[0]));
        assert!(!line.is_granted(Some(tickets[0])));
    }

    #[test]
    fn what_passed_who_gives_up_has_passed_the_next_as_well_but_no_line_that_was_not_there() {
        let mut line = Line::default();
        let tickets: Vec<_> = (0..3).map(|bytes| stand(&mut line, bytes)).collect();
        line.pass();
        assert!(!line.leave(tickets[0]) && line.was_passed(1));
        line.let_in();
        assert!(!line.leave(tickets[1]) && !line.was_passed(1));
        line.pass();
        assert!(!line.leave(tickets[2]));
        stand(&mut line, 1);
        assert!(!line.was_passed(1));
    }

    #[test]
    fn who_leaves_from_the_middle_holds_nobody_up() {
        let mut line = Line::default();
        let tickets: Vec<_> = (0..3).map(|bytes| stand(&mut line, bytes)).collect();
        assert!(!line.leave(tickets[1]) && !line.leave(tickets[0]));
        assert_eq!((line.ask(tickets[2], 2), line.len()), (Some(0), 1));
    }
}
