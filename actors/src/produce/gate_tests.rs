#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;
use crate::produce::credits::Generation;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        assert!(!self.0.swap(true, Ordering::Relaxed), "woken twice");
    }
}

struct Waits {
    ticket: Ticket,
    bytes: usize,
    woken: Arc<Woken>,
}

impl Waits {
    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::Relaxed)
    }
}

struct Held {
    number: usize,
    of: Generation,
    bytes: usize,
    /// The number of the record whose callback handed its place on to this one.
    successor_of: Option<usize>,
}

/// Records in the hand of a thread that answers: the callback was called, the credit is not back.
struct InHand {
    number: usize,
    of: Generation,
    bytes: usize,
    has_heir: bool,
}

/// A gate, a plain list of what it let in, and everybody around it.
struct World {
    max_records: usize,
    max_bytes: usize,
    gate: Gate,
    held: Vec<Held>,
    numbered: usize,
    in_hand: VecDeque<InHand>,
    line: VecDeque<Waits>,
    /// Answers since the head is the head, or was last refused.
    answers: usize,
    let_in: usize,
    /// The same, and who went away.
    gone: usize,
    refused_callbacks: usize,
}

impl World {
    fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            max_records,
            max_bytes,
            gate: Gate::new(Credits::new(max_records, max_bytes)),
            held: Vec::new(),
            numbered: 0,
            in_hand: VecDeque::new(),
            line: VecDeque::new(),
            answers: 0,
            let_in: 0,
            gone: 0,
            refused_callbacks: 0,
        }
    }

    fn hold(&mut self, bytes: usize, successor_of: Option<usize>) {
        let of = self.gate.credits.open_generation();
        self.held.push(Held { number: self.numbered, of, bytes, successor_of });
        self.numbered += 1;
    }

    /// Whether the credit of the record whose place it has is back.
    fn is_alone(&self, which: usize) -> bool {
        let before = self.held[which].successor_of;
        before.is_none_or(|before| self.in_hand.iter().all(|in_hand| in_hand.number != before))
    }

    fn send(&mut self, bytes: usize, waits: bool) {
        if self.gate.admit(None, bytes) {
            self.hold(bytes, None);
        } else if waits {
            let woken = Arc::new(Woken::default());
            let ticket = self.gate.stand(None, bytes, &Waker::from(woken.clone()));
            self.line.push_back(Waits { ticket, bytes, woken });
            if self.line.len() == 1 {
                self.answers = 0;
            }
        }
    }

    /// Whether there is room for a record of each in line up to this one. Counted anew from what is held; the head's place may be kept already.
    fn has_room(&self, at: usize) -> bool {
        let held_records = self.held.len() + self.in_hand.len();
        let held_bytes: usize =
            self.held.iter().map(|held| held.bytes).chain(self.in_hand.iter().map(|held| held.bytes)).sum();
        let kept = usize::from(self.gate.line.has_granted());
        if at < kept {
            return true;
        }
        let upto = || self.line.iter().take(at + 1).map(|waits| waits.bytes);
        held_records + upto().count() <= self.max_records && held_bytes + upto().sum::<usize>() <= self.max_bytes
    }

    /// A record is answered, and its callback sends records of these sizes.
    fn answer(&mut self, which: usize, sends: &[usize]) {
        let Held { number, of, bytes, .. } = self.held.swap_remove(which);
        let mut has_place = true;
        let mut has_heir = false;
        for bytes in sends {
            if self.gate.admit(None, *bytes) {
                self.hold(*bytes, None);
                continue;
            }
            match has_place.then(|| self.gate.hand_on(*bytes)) {
                Some(Handed::On) => {
                    self.hold(*bytes, Some(number));
                    (has_place, has_heir) = (false, true);
                }
                Some(Handed::Away) => {
                    (has_place, has_heir) = (false, true);
                    self.refused_callbacks += 1;
                }
                Some(Handed::Nowhere) => self.refused_callbacks += 1,
                None => {}
            }
        }
        self.in_hand.push_back(InHand { number, of, bytes, has_heir });
        self.answers += 1;
    }

    /// The credit of so many that are answered comes back.
    fn settle(&mut self, records: usize) {
        for InHand { of, bytes, .. } in self.in_hand.drain(..records.min(self.in_hand.len())) {
            self.gate.credits.give_back(of, 1, bytes);
        }
        self.gate.next().into_iter().for_each(Waker::wake);
        if let Some(head) = self.line.front() {
            assert!(!self.gate.line.has_granted() || head.is_woken());
        }
    }

    /// Whoever is woken tries again.
    fn poll(&mut self) {
        while let Some(at) = self.line.iter().position(Waits::is_woken) {
            self.poll_one(at);
        }
    }

    /// One tries again, woken or not, while those before it may not have come.
    fn poll_one(&mut self, at: usize) {
        self.line[at].woken.0.store(false, Ordering::Relaxed);
        let has_room = self.has_room(at);
        let (ticket, bytes) = (self.line[at].ticket, self.line[at].bytes);
        let is_in = self.gate.admit(Some(ticket), bytes);
        assert_eq!(is_in, has_room, "place {at}: who has room for all before it is let in, and nobody else");
        if is_in {
            self.let_in += 1;
            self.hold(bytes, None);
            return self.go(at);
        }
        let waker = Waker::from(self.line[at].woken.clone());
        assert_eq!(self.gate.stand(Some(ticket), bytes, &waker), ticket);
    }

    fn go(&mut self, at: usize) {
        let gone = self.line.remove(at).unwrap();
        self.gone += 1;
        if at == 0 {
            self.answers = 0;
        }
        self.gate.leave(Some(gone.ticket)).into_iter().for_each(Waker::wake);
    }

    fn check(&self, all_of_a_size: bool) {
        let (m, credits) = (self.max_records, &self.gate.credits);
        assert_eq!(credits.records(), self.held.len() + self.in_hand.len());
        assert_eq!(self.gate.waiting(), self.line.len());
        assert!(credits.records() <= 2 * (m + 1), "{} records", credits.records());
        assert!(credits.bytes() <= 4 * self.max_bytes, "{} bytes", credits.bytes());
        let places = credits.records() - self.in_hand.iter().filter(|answered| answered.has_heir).count();
        assert!(places <= m + 1, "{places} places");
        let Some(head) = self.line.front() else {
            return assert!(!self.gate.line.has_granted());
        };
        let woken = head.is_woken();
        assert!(woken || !credits.has_room(head.bytes), "the head has room, and nobody tells it");
        // A head that gets the place of a record in hand is woken when that one's credit is back.
        let is_to_be_woken = usize::from(self.gate.line.has_granted() && !self.in_hand.is_empty());
        for (at, waits) in self.line.iter().enumerate().skip(is_to_be_woken) {
            assert!(waits.is_woken() || !self.has_room(at), "place {at} has room, and nobody tells it");
        }
        assert!(woken || self.answers <= 12 * m + 4, "{} answers, and the head waits", self.answers);
        assert!(!all_of_a_size || self.refused_callbacks <= self.gone + 1, "a callback found no room");
    }
}

/// Every callback sends more than one record, and whoever is let in goes on in the same way.
#[test]
fn whatever_callbacks_send_everybody_is_let_in_and_one_callback_at_most_goes_without_for_each() {
    for max_records in [1, 2, 7, 100] {
        for sends in 1..4 {
            let mut world = World::new(max_records, 1_000);
            (0..max_records + 20).for_each(|_| world.send(1, true));
            while !world.line.is_empty() {
                (0..world.held.len()).for_each(|_| world.answer(0, &[1; 4][..sends]));
                world.check(true);
                world.settle(usize::MAX);
                world.check(true);
                world.poll();
                world.check(true);
            }
            assert_eq!(world.let_in, 20);
        }
    }
}

/// Those who are let in above the bound send no more, and so take nobody's place.
#[test]
fn no_callback_goes_without_where_only_its_own_chain_is_endless() {
    let mut world = World::new(10, 1_000);
    (0..30).for_each(|_| world.send(1, true));
    let mut above = 0;
    while !world.line.is_empty() {
        // The ten chains stand first, and who was let in behind them.
        let answered = world.held.len();
        for place in 0..answered {
            world.answer(0, if place < 10 { &[1] } else { &[] });
        }
        // In the order in which they came, for `answer` takes the last to the first place.
        above += answered - 10;
        world.settle(usize::MAX);
        world.poll();
        world.check(true);
    }
    assert_eq!(world.refused_callbacks, 0);
    assert!(above > 0);
}

#[test]
fn a_head_that_has_a_place_and_goes_away_leaves_it_to_the_next() {
    let mut world = World::new(1, 10);
    (0..3).for_each(|_| world.send(1, true));
    world.answer(0, &[1]);
    world.settle(1);
    assert!(world.gate.line.has_granted());
    world.go(0);
    world.check(true);
    assert!(world.gate.line.has_granted());
    world.answer(0, &[]);
    world.settle(1);
    world.poll();
    assert_eq!(world.let_in, 1);
}

/// Callbacks take the room that comes back before the head has looked.
#[test]
fn room_that_callbacks_keep_taking_is_kept_for_who_was_passed_by_a_buffer() {
    let mut world = World::new(10, 1_000);
    (0..11).for_each(|_| world.send(1, true));
    world.answer(0, &[]);
    let mut passed = 0;
    while world.let_in == 0 {
        // There is room now, and the head is woken; the callbacks of the next event come before it.
        world.settle(usize::MAX);
        for _ in 0..9 {
            world.answer(0, &[1]);
            passed += 1;
        }
        world.check(true);
        world.poll();
        assert!(passed < 30, "{passed} passed");
    }
}

/// Two answers are on their way back at any time, so that what callbacks hand on leaves the head no room within twice the bounds either.
#[test]
fn a_head_too_large_for_twice_the_bounds_is_passed_by_a_buffer_more_and_then_callbacks_go_without() {
    const RECORDS: usize = 4;
    let mut world = World::new(RECORDS, 100);
    (0..RECORDS).for_each(|_| world.send(25, true));
    world.send(100, true);
    (0..2).for_each(|_| world.answer(0, &[25]));
    let mut passed = 2;
    while world.let_in == 0 {
        world.answer(0, &[25]);
        passed += usize::from(world.refused_callbacks == 0);
        world.settle(1);
        world.check(false);
        world.poll();
    }
    assert_eq!((passed, world.refused_callbacks), ((PATIENCE + 1) * RECORDS, 2));
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize, bool),
    Answer(prop::sample::Index, Vec<usize>),
    Settle(usize),
    Poll,
    PollOne(prop::sample::Index),
    Leave(prop::sample::Index),
}

fn steps(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let answer = (any::<prop::sample::Index>(), prop::collection::vec(sizes.clone(), 0..4));
    let answers_again = (any::<prop::sample::Index>(), sizes.clone()).prop_map(|(which, size)| (which, vec![size]));
    let step = prop_oneof![
        4 => (sizes, any::<bool>()).prop_map(|(bytes, waits)| Step::Send(bytes, waits)),
        3 => answer.prop_map(|(which, sends)| Step::Answer(which, sends)),
        20 => answers_again.prop_map(|(which, sends)| Step::Answer(which, sends)),
        4 => (0..8_usize).prop_map(Step::Settle),
        2 => Just(Step::Poll),
        4 => any::<prop::sample::Index>().prop_map(Step::PollOne),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 0..600)
}

fn run(steps: Vec<Step>, max_records: usize, all_of_a_size: bool) {
    let mut world = World::new(max_records, if all_of_a_size { 1_000_000 } else { 100 });
    for step in steps {
        match step {
            Step::Send(bytes, waits) => world.send(bytes, waits),
            Step::Answer(which, sends) if !world.held.is_empty() => {
                let which = which.index(world.held.len());
                if !all_of_a_size || world.is_alone(which) {
                    world.answer(which, &sends);
                }
            }
            Step::Settle(records) => world.settle(records),
            Step::Poll => world.poll(),
            Step::PollOne(which) if !world.line.is_empty() => world.poll_one(which.index(world.line.len())),
            Step::Leave(which) if !world.line.is_empty() => world.go(which.index(world.line.len())),
            Step::Answer(..) | Step::PollOne(_) | Step::Leave(_) => {}
        }
        world.check(all_of_a_size);
    }
    // Without callbacks that send, everybody is let in.
    while !world.line.is_empty() {
        (0..world.held.len()).for_each(|_| world.answer(0, &[]));
        world.settle(usize::MAX);
        world.poll();
        world.check(all_of_a_size);
    }
}

proptest! {
    #[test]
    fn bounds_and_promises_hold_whatever_is_sent_and_answered_in_any_order(
        steps in steps(0..101),
        max_records in 1..5_usize,
    ) {
        run(steps, max_records, false);
    }

    /// And where the credit of a record is back before the one in its place is answered.
    #[test]
    fn callbacks_find_room_where_all_records_are_of_a_size(steps in steps(1..2), max_records in 1..5_usize) {
        run(steps, max_records, true);
    }
}
