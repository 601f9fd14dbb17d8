//! Offsets that the app keeps itself, read by its own code: on a thread that holds nothing of librdkafka's, for it may hang.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tracing::warn;

use crate::consume::reminder::Reminder;
use crate::ids::{NextOffset, TopicPartition};

/// How often who waits looks whether the answer is still wanted: a stop is seen so soon.
const LOOK: Duration = Duration::from_millis(20);

/// Gives the positions of those partitions for which the app keeps one.
pub(crate) type LoadOffsets =
    Arc<dyn Fn(&[TopicPartition]) -> Result<Vec<(TopicPartition, NextOffset)>, String> + Send + Sync>;

type Loaded = Result<HashMap<TopicPartition, NextOffset>, String>;

struct Call {
    number: u64,
    partitions: Vec<TopicPartition>,
}

/// Where the app's `load` is called, one call at a time. Whoever waits may go: what a call gives that nobody waits for any more is dropped, and a
/// call that never returns keeps its thread and nothing else.
pub(crate) struct Loader {
    calls: Sender<Call>,
    answers: Receiver<(u64, Loaded)>,
    last: u64,
}

impl Loader {
    pub(crate) fn start(load: LoadOffsets) -> std::io::Result<Self> {
        let (calls, inbox) = crossbeam_channel::unbounded::<Call>();
        let (answer, answers) = crossbeam_channel::unbounded();
        // Not joined by anyone.
        std::thread::Builder::new().name("troupe-load".to_owned()).spawn(move || {
            for call in &inbox {
                // What was asked while a call hung is not wanted any more, but for the last.
                let Call { number, partitions } = inbox.try_iter().last().unwrap_or(call);
                if answer.send((number, kept_by_the_app(&load, &partitions))).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { calls, answers, last: 0 })
    }

    /// What the app keeps of these; `None` as soon as that is not wanted any more.
    pub(crate) fn load(&mut self, partitions: &[TopicPartition], is_wanted: impl Fn() -> bool) -> Option<Loaded> {
        self.last += 1;
        let begun = Instant::now();
        let mut overdue = Reminder::after_a_while(begun);
        let _ = self.calls.send(Call { number: self.last, partitions: partitions.to_vec() });
        while is_wanted() {
            match self.answers.recv_timeout(LOOK) {
                Ok((number, loaded)) if number == self.last => return Some(loaded),
                // Of an earlier assignment.
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    if overdue.is_due(now) {
                        let seconds = (now - begun).as_secs();
                        warn!(
                            partitions = partitions.len(),
                            seconds, "the app's offsets are waited for: load has not returned"
                        );
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Some(Err("its thread has ended".to_owned())),
            }
        }
        None
    }
}

/// User code: what it panics with is a failure of the look-up.
fn kept_by_the_app(load: &LoadOffsets, partitions: &[TopicPartition]) -> Loaded {
    let loaded = catch_unwind(AssertUnwindSafe(|| load(partitions)));
    Ok(loaded.unwrap_or_else(|_| Err("it panicked".to_owned()))?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("t", number)
    }

    #[test]
    fn who_no_longer_wants_an_answer_gets_none_and_the_next_one_gets_its_own() {
        let (release, released) = crossbeam_channel::bounded::<()>(0);
        let calls = Arc::new(AtomicU32::new(0));
        let called = Arc::clone(&calls);
        let mut loader = Loader::start(Arc::new(move |partitions| {
            if called.fetch_add(1, Ordering::AcqRel) == 0 {
                let _ = released.recv();
            }
            Ok(partitions.iter().map(|each| (each.clone(), NextOffset(i64::from(each.partition.0)))).collect())
        }))
        .unwrap();
        let wanted = AtomicBool::new(true);
        let hung = loader.load(&[partition(1)], || {
            // Once it hangs, the partition is revoked.
            wanted.store(calls.load(Ordering::Acquire) == 0, Ordering::Release);
            wanted.load(Ordering::Acquire)
        });
        assert_eq!(hung, None);
        assert_eq!(loader.load(&[partition(2)], || false), None, "asked, and not waited for");
        drop(release);
        let loaded = loader.load(&[partition(3)], || true).unwrap().unwrap();
        assert_eq!(loaded, HashMap::from([(partition(3), NextOffset(3))]));
    }

    #[test]
    fn a_load_that_fails_or_panics_says_so_and_may_be_called_again() {
        let calls = AtomicU32::new(0);
        let mut loader = Loader::start(Arc::new(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
            0 => Err("the database is away".to_owned()),
            1 => panic!("as asked"),
            _ => Ok(Vec::new()),
        }))
        .unwrap();
        let mut load = || loader.load(&[partition(0)], || true).unwrap();
        assert_eq!(load(), Err("the database is away".to_owned()));
        assert_eq!(load(), Err("it panicked".to_owned()));
        assert_eq!(load(), Ok(HashMap::new()));
    }
}
