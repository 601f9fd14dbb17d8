//! Who is let in, and when: the bounds of one intake and the line before them. Pure.
//!
//! 1. In turn, and within the bounds. Room beyond what those in line need is anybody's.
//! 2. A delivery callback may *hand on* the place of the record that it is told of, once, past the line. That record's credit comes back only behind the
//!    callback, so for a while both count: callbacks have room within twice the bounds.
//! 3. Callbacks that hand on for ever keep all places. So for the head of the line that was passed by as many as the buffer holds the next room there is is
//!    kept, or it is let in one above the bounds, and those rise by that record until what is held is within them again.
//! 4. Only one is above the bounds at a time. If it hands its place on for ever as well, they never come down. So the head that was passed by
//!    [`PATIENCE`] times as many gets the place of the next record that a callback would have handed its own to, and that callback has none.
//!
//! What holds of it, with `M` records and `B` bytes as bounds:
//! - Held, with what is kept for the head, are no more than `2(M + 1)` records, and `2(B + r)` bytes, where `r`, at most `B`, is the record above the bounds.
//! - There are `M + 1` places at most: rules 2 and 4 add none. A place counts twice at most, where a record's credit is back before the one in its place is
//!   answered. The delivery thread sees to that; a record that is refused on its way to librdkafka may be answered sooner. So every callback finds room
//!   for one record, but for one callback per head that is let in by rule 4. So it is with bytes too, where no record is larger than the one whose place
//!   it gets.
//! - The head is let in after `12 M + 4` answers at most: `PATIENCE * M` of those are followed by a record that passes; every other leaves one record less
//!   of the `2(M + 1)` that may be held before, and again of as many after; and where nothing is held there is room for it.

use std::task::Waker;

use super::credits::Credits;
use super::line::{Line, Ticket};
use super::succession::Handed;

/// The head is passed by so many times as many records as the buffer holds before a callback's place is taken for it. A record that was let in above the
/// bounds is answered by then, as a rule: those that are on their way before it on its partition are twice the buffer at most.
const PATIENCE: usize = 8;

/// See the module.
pub(super) struct Gate {
    pub(super) credits: Credits,
    line: Line,
}

impl Gate {
    pub(super) fn new(credits: Credits) -> Self {
        Self { credits, line: Line::default() }
    }

    /// Takes the credit for a record of `bytes`, if it is its sender's turn and there is room, or there is room beside what those in line need.
    pub(super) fn admit(&mut self, ticket: Option<Ticket>, bytes: usize) -> bool {
        if self.line.is_granted(ticket) {
            self.line.let_in();
            self.credits.take_kept(bytes);
            return true;
        }
        let admits = self.line.is_next(ticket) && self.credits.has_room(bytes)
            || ticket.is_none() && self.credits.has_room_beside(bytes, self.line.len(), self.line.bytes());
        if admits {
            self.credits.take(bytes);
            if ticket.is_some() {
                self.line.let_in();
            }
        }
        admits
    }

    /// Offers the place of the record that a callback is told of to a record of `bytes` that [is not admitted](Self::admit).
    pub(super) fn hand_on(&mut self, bytes: usize) -> Handed {
        if self.line.was_passed(PATIENCE.saturating_mul(self.credits.max_records()))
            && let Some((_, of_head)) = self.line.head()
        {
            if !self.credits.keep_within_twice(of_head) {
                return Handed::Nowhere;
            }
            // It is woken when the credit of the record that is answered comes back.
            self.line.grant();
            return Handed::Away;
        }
        if !self.credits.has_room_twice(bytes) {
            return Handed::Nowhere;
        }
        self.line.pass();
        self.credits.take(bytes);
        Handed::On
    }

    /// Stands in line for `bytes`; see [`Line::stand`]. The sender was refused just now, so its waker need not be called before credit comes back, or its
    /// place in line changes.
    pub(super) fn stand(&mut self, ticket: Option<Ticket>, bytes: usize, waker: &Waker) -> Ticket {
        self.line.stand(ticket, bytes, waker)
    }

    /// Gives a place in line up. Hands back who is to be woken for it: another than before may be first.
    pub(super) fn leave(&mut self, ticket: Option<Ticket>) -> Option<Waker> {
        if ticket.is_none() || !self.line.is_next(ticket) {
            let granted = self.line.leave(ticket);
            debug_assert!(!granted, "only the head is");
            return None;
        }
        if self.line.leave(ticket) {
            self.credits.give_up_kept();
        }
        self.next()
    }

    /// Whose turn it is, once credit came back: the head of the line if there is room for it now, or it was passed long enough.
    ///
    /// To be asked when room may have grown, or the head has changed ([`leave`](Self::leave) does). What comes in takes room, so it makes nobody next.
    pub(super) fn next(&mut self) -> Option<Waker> {
        let (waker, bytes) = self.line.head()?;
        let waker = waker.clone();
        if self.line.has_granted() {
            return Some(waker);
        }
        let (has_room, was_passed) = (self.credits.has_room(bytes), self.line.was_passed(self.credits.max_records()));
        // Until it has come, callbacks might take the room that there is now.
        if was_passed && (if has_room { self.credits.keep_within_twice(bytes) } else { self.credits.keep_above(bytes) })
        {
            self.line.grant();
            return Some(waker);
        }
        has_room.then_some(waker)
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
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
