use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines that a thread of its own writes: who reads them slowly, or not at all, holds up nobody but that thread.
pub(super) struct Lines<L>(Arc<Shared<L>>);

struct Shared<L> {
    queue: Mutex<Queue<L>>,
    changed: Condvar,
}

struct Queue<L> {
    waiting: VecDeque<L>,
    most: usize,
    dropped: u64,
    /// More may come.
    open: bool,
    /// The thread has not ended.
    writing: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Lines for which there was no room, or no time in the end.
    pub(super) dropped: u64,
    /// Whether the thread is through; else it is at a line that nobody takes.
    pub(super) through: bool,
}

impl<L: Send + 'static> Lines<L> {
    /// At most so many lines wait. `writer` is called on the thread, and makes what writes a line there and says whether there is somebody to read more.
    ///
    /// # Errors
    /// Of the system: there is no thread.
    pub(super) fn start<W: FnMut(L) -> bool>(
        most: usize,
        writer: impl FnOnce() -> W + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Queue { waiting: VecDeque::new(), most, dropped: 0, open: true, writing: true };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), changed: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("load-lines".to_owned()).spawn(move || {
            let mut write = writer();
            while let Some(line) = of_thread.next() {
                if !write(line) {
                    break;
                }
            }
            drop(write);
            of_thread.is_through();
        })?;
        Ok(Self(shared))
    }

    /// Leaves a line to be written, without waiting: where too many wait already, it is dropped.
    pub(super) fn put(&self, line: L) {
        let mut queue = self.0.lock();
        if !queue.writing {
            // They went to who wanted no more.
        } else if queue.waiting.len() < queue.most {
            queue.waiting.push_back(line);
            self.0.changed.notify_all();
        } else {
            queue.dropped += 1;
        }
    }

    /// Has what waits written, as far as it goes in that time; the rest is dropped.
    pub(super) fn end(self, within: Duration) -> Ended {
        let mut queue = self.0.lock();
        queue.open = false;
        self.0.changed.notify_all();
        let waited = self.0.changed.wait_timeout_while(queue, within, |queue| queue.writing);
        queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        queue.dropped += queue.waiting.len() as u64;
        queue.waiting.clear();
        Ended { dropped: queue.dropped, through: !queue.writing }
    }
}

impl<L> Drop for Lines<L> {
    fn drop(&mut self) {
        self.0.lock().open = false;
        self.0.changed.notify_all();
    }
}

impl<L> Shared<L> {
    fn lock(&self) -> MutexGuard<'_, Queue<L>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next line; none when no more will come.
    fn next(&self) -> Option<L> {
        let queue = self.changed.wait_while(self.lock(), |queue| queue.open && queue.waiting.is_empty());
        queue.unwrap_or_else(PoisonError::into_inner).waiting.pop_front()
    }

    fn is_through(&self) {
        let mut queue = self.lock();
        queue.waiting.clear();
        queue.writing = false;
        self.changed.notify_all();
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// The writer waits for the reader, line by line.
    fn to_a_slow_reader(most: usize) -> (Lines<u32>, Receiver<u32>) {
        let (write, read) = sync_channel(0);
        (Lines::start(most, || move |line| write.send(line).is_ok()).unwrap(), read)
    }

    #[test]
    fn what_is_put_is_written_in_its_order_and_the_end_waits_for_it() {
        let (write, read) = sync_channel(100);
        let lines = Lines::start(100, || move |line| write.send(line).is_ok()).unwrap();
        (0..50).for_each(|line| lines.put(line));
        assert_eq!(lines.end(PATIENCE), Ended { dropped: 0, through: true });
        assert_eq!(read.into_iter().collect::<Vec<u32>>(), (0..50).collect::<Vec<_>>());
    }

    fn wait_until(lines: &Lines<u32>, holds: impl Fn(&Queue<u32>) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds(&lines.0.lock()) {
            assert!(Instant::now() < until, "not within {PATIENCE:?}");
            thread::yield_now();
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_who_does_not_and_what_has_no_room_is_counted() {
        let (lines, read) = to_a_slow_reader(5);
        lines.put(0);
        wait_until(&lines, |queue| queue.waiting.is_empty());
        // The thread is at one, five wait.
        (1..11).for_each(|line| lines.put(line));
        assert_eq!(lines.0.lock().dropped, 5);
        assert_eq!(lines.end(Duration::ZERO), Ended { dropped: 10, through: false });
        assert_eq!(read.into_iter().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_reader_who_goes_away_ends_it_and_misses_nothing() {
        let (lines, read) = to_a_slow_reader(5);
        drop(read);
        lines.put(0);
        wait_until(&lines, |queue| !queue.writing);
        (1..20).for_each(|line| lines.put(line));
        assert_eq!(lines.end(PATIENCE), Ended { dropped: 0, through: true });
    }
}
