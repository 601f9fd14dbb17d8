//! How many handler calls run at once in all partitions together, shared out fairly.
//!
//! A pump keeps the permits it has from record to record as long as nobody waits for one, so that they cost nothing. Where others wait, it
//! keeps its share, the bound divided by the pumps that have work, and gives what is above to whoever waits longest below theirs. With more
//! pumps than permits there are no shares: each record's permit goes round.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bound, and who has what of it.
#[derive(Debug)]
pub(crate) struct Limiter {
    most: usize,
    /// Somebody waits. A hint, to be looked at without the lock.
    contended: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_use: usize,
    /// Pumps that hold a permit or wait for one.
    active: usize,
    /// Those below their share that wait for one.
    line: VecDeque<Arc<Ticket>>,
    /// Those that have their share and could use more, if nobody else can.
    hungry: Vec<Arc<Ticket>>,
}

/// A pump's place in the line, and what was given to it there.
pub(crate) struct Ticket {
    granted: AtomicUsize,
    /// It is among the hungry. Changed under the lock only.
    hungry: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("granted", &self.granted).finish_non_exhaustive()
    }
}

/// The permits of one pump. Dropped, it gives all of them back.
#[derive(Debug)]
pub(crate) struct Permits {
    /// `None`: as many as it likes.
    limiter: Option<Arc<Limiter>>,
    ticket: Arc<Ticket>,
    held: usize,
    used: usize,
    /// Of what is held and not used: given to it in the line, so that it need not stand there again.
    fresh: usize,
    waits: bool,
}

impl Limiter {
    /// At most `most` at once, and at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), contended: AtomicBool::new(false), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes permits from a pump: to who waits, or back.
    fn give_back(&mut self, permits: usize, contended: &AtomicBool) -> Vec<Arc<Ticket>> {
        let mut woken = Vec::new();
        for _ in 0..permits {
            match self.line.pop_front() {
                // It stays in use, by another.
                Some(next) => {
                    next.granted.fetch_add(1, Ordering::AcqRel);
                    woken.push(next);
                }
                None => self.in_use -= 1,
            }
        }
        if permits > 0 && self.line.is_empty() {
            woken.extend(self.hungry.drain(..).inspect(|ticket| ticket.hungry.store(false, Ordering::Relaxed)));
        }
        contended.store(!self.line.is_empty(), Ordering::Release);
        woken
    }
}

impl Permits {
    /// None yet. `wake` is called, from any thread, when the pump has been given one that it waited for.
    pub(crate) fn new(limiter: Option<Arc<Limiter>>, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let ticket =
            Arc::new(Ticket { granted: AtomicUsize::new(0), hungry: AtomicBool::new(false), wake: Box::new(wake) });
        Self { limiter, ticket, held: 0, used: 0, fresh: 0, waits: false }
    }

    /// Takes one for a call that begins now. If there is none the pump stands in line, and is woken when it has been given one.
    pub(crate) fn take(&mut self) -> bool {
        if self.limiter.is_none() {
            return true;
        }
        if self.waits {
            self.collect();
        }
        if self.used < self.held && (self.fresh > 0 || !self.owes()) {
            self.used += 1;
            self.fresh = self.fresh.saturating_sub(1);
            return true;
        }
        self.take_from_limiter()
    }

    /// What was given to it in the line.
    fn collect(&mut self) {
        let granted = self.ticket.granted.swap(0, Ordering::AcqRel);
        self.held += granted;
        self.fresh += granted;
        self.waits &= granted == 0;
    }

    /// Whether others wait and it holds more than its share.
    fn owes(&self) -> bool {
        self.limiter.as_ref().is_some_and(|limiter| {
            limiter.contended.load(Ordering::Acquire) && self.held > limiter.most / limiter.lock().active.max(1)
        })
    }

    #[cold]
    fn take_from_limiter(&mut self) -> bool {
        let Some(limiter) = self.limiter.clone() else { return true };
        let mut state = limiter.lock();
        let was_active = self.held > 0 || self.waits;
        // What it has and does not use goes first to who waits.
        let idle = self.held - self.used;
        let woken = state.give_back(idle, &limiter.contended);
        self.held -= idle;
        let got = !self.waits && state.line.is_empty() && state.in_use < limiter.most;
        if got {
            state.in_use += 1;
            self.held += 1;
            self.used += 1;
        }
        if !was_active {
            state.active += 1;
        }
        if !got && self.held < (limiter.most / state.active).max(1) {
            if !self.waits {
                state.line.push_back(Arc::clone(&self.ticket));
                limiter.contended.store(true, Ordering::Release);
                self.waits = true;
            }
        } else if !got && !self.ticket.hungry.swap(true, Ordering::Relaxed) {
            state.hungry.push(Arc::clone(&self.ticket));
        }
        drop(state);
        woken.iter().for_each(|ticket| (ticket.wake)());
        got
    }

    /// The call has ended, or was not made after all.
    #[inline]
    pub(crate) fn finish(&mut self) {
        // Without a limiter nothing is counted.
        self.used = self.used.saturating_sub(1);
    }

    /// There is nothing to start for now: what is not in use goes back, and the place in the line is given up.
    pub(crate) fn give_back_idle(&mut self) {
        if self.limiter.is_none()
            || (self.held == self.used && !self.waits && !self.ticket.hungry.load(Ordering::Relaxed))
        {
            return;
        }
        self.release(self.used);
    }

    fn release(&mut self, keep: usize) {
        let Some(limiter) = &self.limiter else { return };
        let mut state = limiter.lock();
        let was_active = self.held > 0 || self.waits;
        if self.waits {
            state.line.retain(|each| !Arc::ptr_eq(each, &self.ticket));
            self.waits = false;
        }
        if self.ticket.hungry.swap(false, Ordering::Relaxed) {
            state.hungry.retain(|each| !Arc::ptr_eq(each, &self.ticket));
        }
        // Under the lock nobody gives it another one.
        self.held += self.ticket.granted.swap(0, Ordering::AcqRel);
        let woken = state.give_back(self.held - keep, &limiter.contended);
        (self.held, self.fresh) = (keep, 0);
        if was_active && keep == 0 {
            state.active -= 1;
        }
        drop(state);
        woken.iter().for_each(|ticket| (ticket.wake)());
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.release(0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use proptest::prelude::*;

    use super::*;

    fn pumps(most: usize, count: usize) -> (Arc<Limiter>, Vec<(Permits, Arc<AtomicU32>)>) {
        let limiter = Arc::new(Limiter::new(most));
        let pump = |_| {
            let woken = Arc::new(AtomicU32::new(0));
            let wakes = Arc::clone(&woken);
            let wake = move || {
                wakes.fetch_add(1, Ordering::Relaxed);
            };
            (Permits::new(Some(Arc::clone(&limiter)), wake), woken)
        };
        let pumps = (0..count).map(pump).collect();
        (limiter, pumps)
    }

    #[test]
    fn one_that_took_all_of_it_gives_others_their_share_as_its_calls_end() {
        let (_, mut pumps) = pumps(10, 2);
        assert_eq!((0..10).filter(|_| pumps[0].0.take()).count(), 10);
        let mut second = usize::from(pumps[1].0.take());
        // Each call of the first that ends: the permit goes over, until both have five.
        for _ in 0..5 {
            pumps[0].0.finish();
            assert!(!pumps[0].0.take(), "it has more than its share");
            while pumps[1].0.take() {
                second += 1;
            }
        }
        assert_eq!(second, 5);
        pumps[0].0.finish();
        assert!(pumps[0].0.take(), "its share is its own");
    }

    #[test]
    fn one_that_has_its_share_is_woken_for_more_when_nobody_else_needs_it() {
        let (_, mut pumps) = pumps(4, 2);
        for which in [0, 0, 1, 1] {
            assert!(pumps[which].0.take());
        }
        assert!(!pumps[0].0.take());
        pumps[1].0.finish();
        pumps[1].0.give_back_idle();
        assert_eq!(pumps[0].1.load(Ordering::Relaxed), 1);
        assert!(pumps[0].0.take());
    }

    #[test]
    fn with_more_pumps_than_permits_each_gets_its_turn() {
        let (_, mut pumps) = pumps(1, 3);
        let mut turns = [0; 3];
        for at in [0, 1, 2, 0, 1, 2, 0, 1, 2] {
            for (each, (permits, _)) in pumps.iter_mut().enumerate() {
                if each != at && permits.used == 0 {
                    let _ = permits.take().then(|| permits.finish());
                }
            }
            if pumps[at].0.used == 0 && pumps[at].0.take() {
                turns[at] += 1;
                pumps[at].0.finish();
            }
        }
        assert!(turns.iter().all(|turns| *turns > 0), "{turns:?}");
    }

    proptest! {
        #[test]
        fn never_more_than_the_bound_are_in_use_and_none_is_lost(
            most in 1..6_usize,
            count in 1..6_usize,
            steps in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8), 0..300),
        ) {
            let (limiter, mut pumps) = pumps(most, count);
            let mut running = vec![0_usize; count];
            for (which, what) in steps {
                let which = which.index(count);
                let permits = &mut pumps[which].0;
                match what {
                    0 | 1 => running[which] += usize::from(permits.take()),
                    2 if running[which] > 0 => {
                        permits.finish();
                        running[which] -= 1;
                    }
                    2 => {}
                    _ => permits.give_back_idle(),
                }
                prop_assert!(running.iter().sum::<usize>() <= most);
                let held: usize = pumps.iter().map(|(permits, _)| permits.held + permits.ticket.granted.load(Ordering::Relaxed)).sum();
                let state = limiter.lock();
                prop_assert_eq!(held, state.in_use);
                prop_assert!(state.line.is_empty() || state.in_use == most, "somebody waits though there is room");
                let active = pumps.iter().filter(|(permits, _)| permits.held > 0 || permits.waits).count();
                prop_assert_eq!(active, state.active);
                prop_assert!(state.hungry.is_empty() || state.in_use == most, "somebody could use more though there is room");
                prop_assert_eq!(!state.line.is_empty(), limiter.contended.load(Ordering::Relaxed));
            }
            drop(pumps);
            let state = limiter.lock();
            prop_assert_eq!((state.in_use, state.active, state.line.len(), state.hungry.len()), (0, 0, 0, 0));

        }
    }
}
