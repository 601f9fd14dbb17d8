//! One answer for many records: of a batch, or of a stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::completion::{Stored, Verdict};
use super::{Delivery, SendError};

/// The records that one call sends, and what is known of them.
pub(super) struct Group(Mutex<State>);

struct State {
    /// Where each is stored, by place: for a batch. A stream counts only.
    stored: Option<Vec<Option<Stored>>>,
    /// The topics of a batch's records: each from this place on, until the next.
    topics: Vec<(u32, Arc<str>)>,
    /// By place; of a stream the first to be known.
    failures: Vec<(u32, SendError)>,
    confirmed: u64,
    failed: u64,
    /// Expected and not answered.
    open: u64,
    waker: Option<Waker>,
}

/// What became of them.
pub(super) struct Ended {
    pub(super) deliveries: Vec<Option<Delivery>>,
    pub(super) failures: Vec<(u32, SendError)>,
    pub(super) confirmed: u64,
    pub(super) failed: u64,
}

impl Group {
    /// Of a batch: each record's delivery is kept.
    pub(super) fn batch() -> Arc<Self> {
        Arc::new(Self::new(Some(Vec::new())))
    }

    /// Of a stream: in bounded memory.
    pub(super) fn stream() -> Arc<Self> {
        Arc::new(Self::new(None))
    }

    fn new(stored: Option<Vec<Option<Stored>>>) -> Self {
        let (topics, failures, waker) = (Vec::new(), Vec::new(), None);
        Self(Mutex::new(State { stored, topics, failures, confirmed: 0, failed: 0, open: 0, waker }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that panics runs under this lock, and any content is valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many more are going to be answered. To be said before the first of them is sent.
    pub(super) fn expect(&self, records: usize) {
        let mut state = self.lock();
        state.open += records as u64;
        if let Some(stored) = &mut state.stored {
            let length = stored.len() + records;
            stored.resize(length, None);
        }
    }

    /// From `place` on, which is above those that were said before, the records are of this topic.
    pub(super) fn topic_from(&self, place: u32, topic: &Arc<str>) {
        let mut state = self.lock();
        if state.stored.is_some() && state.topics.last().is_none_or(|(_, last)| last != topic) {
            state.topics.push((place, topic.clone()));
        }
    }

    /// The answer to the record at `place`. Who waits for it is handed back, to be woken where nobody holds a lock.
    #[must_use]
    pub(super) fn answer(&self, place: u32, verdict: Verdict) -> Option<Waker> {
        let mut state = self.lock();
        state.open -= 1;
        let mut wakes = state.open == 0;
        match verdict {
            Ok(stored) => {
                state.confirmed += 1;
                if let Some(kept) = state.stored.as_mut().and_then(|kept| kept.get_mut(place as usize)) {
                    *kept = Some(stored);
                }
            }
            Err(error) => {
                state.failed += 1;
                if state.stored.is_some() || state.failures.is_empty() {
                    state.failures.push((place, *error));
                }
                wakes = true;
            }
        }
        if wakes { state.waker.take() } else { None }
    }

    /// Whether one of them has failed. Wakes the caller's task when the first does.
    pub(super) fn has_failed(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        state.waker = Some(cx.waker().clone());
        state.failed > 0
    }

    /// Waits until all that were expected are answered.
    pub(super) fn poll_answered(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.open == 0 {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// What became of them, by place.
    pub(super) fn ended(&self) -> Ended {
        let mut state = self.lock();
        let stored = state.stored.take().unwrap_or_default();
        // Here, on the sender's own thread, the topic's name is counted for each.
        let mut topics = std::mem::take(&mut state.topics).into_iter().peekable();
        let mut topic = None;
        let deliveries = (0_u32..)
            .zip(stored)
            .map(|(place, stored)| {
                while let Some((_, next)) = topics.next_if(|(from, _)| *from <= place) {
                    topic = Some(next);
                }
                Some(stored?.delivery(topic.as_ref()?))
            })
            .collect();
        let mut failures = std::mem::take(&mut state.failures);
        failures.sort_by_key(|(place, _)| *place);
        Ended { deliveries, failures, confirmed: state.confirmed, failed: state.failed }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::ids::{Offset, PartitionId};

    #[test]
    fn each_delivery_of_a_batch_names_the_topic_of_its_own_record() {
        let (group, [a, b]) = (Group::batch(), ["a", "b"].map(Arc::<str>::from));
        group.expect(5);
        for (place, topic) in [(0, &a), (1, &b), (3, &a), (4, &a)] {
            group.topic_from(place, topic);
        }
        for place in [4, 0, 3, 1] {
            let stored = Stored { partition: PartitionId(0), offset: Some(Offset(i64::from(place))), timestamp: -1 };
            assert!(group.answer(place, Ok(stored)).is_none());
        }
        let error = SendError::UnknownTopic { topic: b.clone() };
        assert!(group.answer(2, Err(Box::new(error))).is_none());
        let Ended { deliveries, failures, confirmed, failed } = group.ended();
        let topics: Vec<_> = deliveries.iter().map(|delivery| Some(&*delivery.as_ref()?.topic)).collect();
        assert_eq!(topics, [Some("a"), Some("b"), None, Some("a"), Some("a")]);
        assert_eq!((failures.len(), failures[0].0, confirmed, failed), (1, 2, 4, 1));
    }
}
