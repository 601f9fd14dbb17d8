//! Who is let in, and when: the bounds of one intake and the line before them. Pure.
//!
//! 1. In turn, and within the bounds: who waits is let in where there is room for a record of each before it too, come they or not. All that have room
//!    are woken, once, and those that have none are not. Room beyond what those in line need is anybody's.
//! 2. A delivery callback may *hand on* the place of the record that it is told of, once, past the line. That record's credit comes back only behind the
//!    callback, so for a while both count: callbacks have room within twice the bounds.
//! 3. Callbacks that hand on for ever keep all places. So for the head of the line that was passed by as many as the buffer holds the next room there is is
//!    kept, or it is let in one above the bounds, and those rise by that record until what is held is within them again.
//! 4. Only one is above the bounds at a time. If it hands its place on for ever as well, they never come down. So the head that was passed by
//!    [`PATIENCE`] times as many gets the place of the next record that a callback would have handed its own to, and that callback has none. A head too large
//!    for what is left of twice the bounds at that moment lets callbacks hand on until it has room, or was passed by a buffer more. From then on all of them
//!    go without a place until it has room.
//!
//! Who sends many at once, as groups do, comes in line with the first of them only. The others are a newcomer's: so a group takes all that is left by those
//! in line, and is in nobody's way where it does not come.
//!
//! What holds of it, with `M` records and `B` bytes as bounds:
//! - Held, with what is kept for the head, are no more than `2(M + 1)` records, and `2(B + r)` bytes, where `r`, at most `B`, is the record above the bounds.
//! - There are `M + 1` places at most: rules 2 and 4 add none. A place counts twice at most, where a record's credit is back before the one in its place is
//!   answered. The delivery thread sees to that; a record that is refused on its way to librdkafka may be answered sooner. So every callback finds room
//!   for one record, but for one callback per head that is let in by rule 4. So it is with bytes too, where no record is larger than the one whose place
//!   it gets, the head's among them. A larger head may cost several callbacks in a row theirs, but only if none of the last `M` that passed it left it room;
//!   right after credits came back there is, since what is held is within the bounds then, raised as they may be.
//! - The head is let in after `12 M + 4` answers at most: `(PATIENCE + 1) M` of those are followed by a record that passes; every other leaves one record
//!   less of the `2(M + 1)` that may be held before, and again of as many after; and where nothing is held there is room for it.
//! - Whoever does not come when it is woken keeps from others the room of what it waits for, and no more. The head counts as the first to come in rules 3 and 4:
//!   where it stays away and callbacks hand on for ever, they are in the way of those behind it.

use std::task::Waker;

use super::credits::Credits;
use super::line::{Line, Needs, Ticket};
use super::succession::Handed;

/// The head is passed by so many times as many records as the buffer holds before a callback's place is taken for it. A record that was let in above the
/// bounds is answered by then, as a rule: those that are on their way before it on its partition are twice the buffer at most.
const PATIENCE: usize = 7;

/// See the module.
pub(super) struct Gate {
    pub(super) credits: Credits,
    line: Line,
}

impl Gate {
    pub(super) fn new(credits: Credits) -> Self {
        Self { credits, line: Line::default() }
    }

    /// Takes the credit for the next record of a sender, if it has room in line, or beside what those in line need.
    pub(super) fn admit(&mut self, ticket: Option<Ticket>, bytes: usize) -> bool {
        if self.line.is_granted(ticket) {
            self.line.let_in();
            self.credits.take_kept(bytes);
            return true;
        }
        let place = ticket.and_then(|ticket| self.line.ask(ticket, bytes));
        let admits = match place {
            Some(place) => self.has_room_at(place),
            None => {
                let others = self.line.but_granted(self.line.needs());
                self.credits.has_room_for(others.records + 1, others.bytes + bytes)
            }
        };
        if admits {
            self.credits.take(bytes);
            if place == Some(0) {
                self.line.let_in();
            }
        }
        admits
    }

    /// Offers the place of the record that a callback is told of to a record of `bytes` that [is not admitted](Self::admit).
    pub(super) fn hand_on(&mut self, bytes: usize) -> Handed {
        let was_passed = |times| self.line.was_passed(self.credits.max_records().saturating_mul(times));
        if was_passed(PATIENCE)
            && let Some(of_head) = self.line.head()
        {
            let is_at_end = was_passed(PATIENCE + 1);
            if self.credits.keep_within_twice(of_head) {
                // It is woken when the credit of the record that is answered comes back.
                self.line.grant();
                return Handed::Away;
            }
            if is_at_end {
                return Handed::Nowhere;
            }
        }
        if !self.credits.has_room_twice(bytes) {
            return Handed::Nowhere;
        }
        self.line.pass();
        self.credits.take(bytes);
        Handed::On
    }

    /// Stands in line; see [`Line::stand`]. The sender was refused just now, so its waker need not be called before credit comes back, or its place in
    /// line changes.
    pub(super) fn stand(&mut self, ticket: Option<Ticket>, bytes: usize, waker: &Waker) -> Ticket {
        self.line.stand(ticket, bytes, waker)
    }

    /// Gives a place in line up. Hands back who is to be woken for it: those behind may have room.
    pub(super) fn leave(&mut self, ticket: Option<Ticket>) -> Vec<Waker> {
        let Some(ticket) = ticket else {
            return Vec::new();
        };
        if self.line.leave(ticket) {
            self.credits.give_up_kept();
        }
        self.next()
    }

    /// Who is to be woken, once credit came back: those who have room now and had none before, and the head that was passed long enough.
    ///
    /// To be asked when room may have grown, or the line has changed ([`leave`](Self::leave) does). What comes in takes room, so it makes nobody next.
    pub(super) fn next(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        let Some(of_head) = self.line.head() else {
            return woken;
        };
        // Until it has come, callbacks might take the room that there is now.
        if self.line.was_passed(self.credits.max_records())
            && (if self.credits.has_room(of_head) {
                self.credits.keep_within_twice(of_head)
            } else {
                self.credits.keep_above(of_head)
            })
        {
            self.line.grant();
        }
        self.recount();
        while self.next_has_room() {
            woken.extend(self.line.extend());
        }
        woken
    }

    /// Ends the line.
    pub(super) fn everybody(&mut self) -> Vec<Waker> {
        if self.line.take_grant() {
            self.credits.give_up_kept();
        }
        self.line.everybody()
    }

    /// Senders in line.
    pub(super) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// How many of them have room, and have not come yet.
    pub(super) fn with_room(&self) -> usize {
        self.line.with_room()
    }

    fn has_room_at(&mut self, place: usize) -> bool {
        self.recount();
        if place == self.line.with_room() && self.next_has_room() {
            self.line.extend();
        }
        place < self.line.with_room()
    }

    /// Callbacks may have taken the room of some that had it.
    fn recount(&mut self) {
        while self.line.with_room() > 0 && !self.has_room_for(self.line.but_granted(self.line.first_needs().0)) {
            self.line.shorten();
        }
    }

    /// Whether there is room for one more of those in line.
    fn next_has_room(&self) -> bool {
        let (_, with_next) = self.line.first_needs();
        with_next.is_some_and(|needs| self.has_room_for(self.line.but_granted(needs)))
    }

    /// Whether there is room for one record of each.
    fn has_room_for(&self, needs: Needs) -> bool {
        needs.records == 0 || self.credits.has_room_for(needs.records, needs.bytes)
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
