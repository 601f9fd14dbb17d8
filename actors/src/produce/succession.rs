//! A delivery callback may send one record in place of the one that it is told of: that one's credit comes back behind it.

use std::cell::Cell;

use super::intake::Intake;
use crate::blocking;

/// The intake that a record came through. By default none at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin(usize);

impl Origin {
    /// It means this intake for as long as the intake lives. Who calls a callback holds the record's.
    pub(super) fn of(intake: &Intake) -> Self {
        Self(std::ptr::from_ref(intake).addr())
    }
}

/// What became of a place that was offered to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// The record has it.
    On,
    /// Another has it, and the callback has none any more.
    Away,
    /// There was no room for the record. The callback may try a smaller one.
    Nowhere,
}

thread_local! {
    /// Where the record came through whose callback runs here, until its place is handed on.
    static PLACE: Cell<Origin> = const { Cell::new(Origin(0)) };
}

/// Calls the callback of a record that came through `origin`.
pub(super) fn in_callback<T>(origin: Origin, callback: impl FnOnce() -> T) -> T {
    struct Before(Origin);
    impl Drop for Before {
        fn drop(&mut self) {
            PLACE.set(self.0);
        }
    }
    let _before = Before(PLACE.replace(origin));
    blocking::in_callback(callback)
}

/// Hands the place of the record whose callback runs on this thread on, by `hand`, if it came through `intake` and the place is there still. Says whether
/// the record that was sent has it.
pub(super) fn hand_on(intake: Origin, hand: impl FnOnce() -> Handed) -> bool {
    if PLACE.get() != intake {
        return false;
    }
    let handed = hand();
    if handed != Handed::Nowhere {
        PLACE.set(Origin::default());
    }
    handed == Handed::On
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_hands_on_one_place_and_that_of_its_own_intake() {
        let (own, other) = (Origin(1), Origin(2));
        assert!(!hand_on(own, || Handed::On));
        in_callback(own, || {
            assert!(!hand_on(other, || Handed::On) && !hand_on(own, || Handed::Nowhere));
            // One callback within another.
            in_callback(other, || assert!(hand_on(other, || Handed::On) && !hand_on(other, || Handed::On)));
            assert!(hand_on(own, || Handed::On) && !hand_on(own, || Handed::On));
        });
        in_callback(own, || assert!(!hand_on(own, || Handed::Away) && !hand_on(own, || Handed::On)));
        assert!(!hand_on(own, || Handed::On));
    }
}
