//! How a record comes in, alone or with others of its group: in turn, and where there is room.

use std::sync::Arc;
use std::task::Waker;

use super::super::Confirmation;
use super::super::batch::TopicIndex;
use super::super::callback::Callback;
use super::super::completion::{Listeners, Slots};
use super::super::group::Group;
use super::super::line::Ticket;
use super::super::succession::{self, Origin};
use super::super::waking::wake_task;
use super::super::{ProducerRecord, SendError};
use super::{Intake, MAX_RECORD_BYTES, State};

/// Who hears of the record's end.
pub(in crate::produce) enum Listener {
    Confirmation,
    Callback(Callback),
}

/// What became of the offer of a record.
pub(in crate::produce) enum Offered {
    /// In; a confirmation where one was asked for.
    Accepted(Option<Confirmation>),
    /// No room, or not this sender's turn; here is the listener again. The ticket, if the sender wished to wait, keeps its place.
    NoRoom(Listener, Option<Ticket>),
    /// Never.
    Refused(SendError),
}

/// What became of the offer of several records.
pub(in crate::produce) struct OfferedAll {
    /// So many of the first are dealt with: in, or answered with an error.
    pub(in crate::produce) taken: usize,
    /// The place of a sender that waits for room for the next.
    pub(in crate::produce) ticket: Option<Ticket>,
}

/// Whether a record can be let in.
enum Admission {
    In(TopicIndex),
    /// For what its sender needs.
    NoRoom,
    Refused(SendError),
}

impl Intake {
    /// Offers a record. With `waits`, a sender that finds no room stands in line: its waker is called when it may try again, and its ticket is
    /// to be handed in then, or given back through [`leave`](Self::leave).
    pub(in crate::produce) fn offer(
        self: &Arc<Self>,
        record: &ProducerRecord<'_>,
        listener: Listener,
        waits: Option<(&Waker, Option<Ticket>)>,
    ) -> Offered {
        let ticket = waits.and_then(|(_, ticket)| ticket);
        let mut state = self.lock();
        let topic = match state.admit(self, record, ticket) {
            Admission::In(topic) => topic,
            Admission::Refused(error) => {
                let woken = state.gate.leave(ticket);
                drop(state);
                woken.into_iter().for_each(wake_task);
                return Offered::Refused(error);
            }
            Admission::NoRoom => {
                let ticket = waits.map(|(waker, ticket)| state.gate.stand(ticket, record.bytes(), waker));
                let wake = state.seal_what_fills();
                drop(state);
                if wake {
                    self.wake_actor();
                }
                return Offered::NoRoom(listener, ticket);
            }
        };
        let woken = state.gate.leave(ticket);
        let bytes = record.bytes();
        let (ready, confirmation) = state.append(self, topic, record, |listeners, slots| match listener {
            Listener::Confirmation => Some(listeners.confirm(slots, bytes)),
            Listener::Callback(callback) => {
                listeners.call_back(callback, bytes);
                None
            }
        });
        let wake = state.seal_for_line() || ready && !std::mem::replace(&mut state.notified, true);
        drop(state);
        woken.into_iter().for_each(wake_task);
        if wake {
            self.wake_actor();
        }
        Offered::Accepted(confirmation)
    }

    /// Offers records of a group, the first of them at `place`, as many as there is room for, under one lock. Those that are refused are answered.
    ///
    /// A sender that finds no room stands in line, as in [`offer`](Self::offer). Once it has room it may take all that those in line do not need.
    pub(in crate::produce) fn offer_all(
        self: &Arc<Self>,
        records: &[ProducerRecord<'_>],
        group: &Arc<Group>,
        place: u32,
        waker: &Waker,
        mut ticket: Option<Ticket>,
    ) -> OfferedAll {
        let mut refused = Vec::new();
        let mut last_topic = None;
        let (mut ready, mut taken, mut stands, mut woken) = (false, 0, None, Vec::new());
        let mut state = self.lock();
        for record in records {
            let place = place.wrapping_add(taken as u32);
            match state.admit(self, record, ticket) {
                Admission::In(topic) => {
                    woken.append(&mut state.gate.leave(ticket.take()));
                    if last_topic.replace(topic) != Some(topic) {
                        group.topic_from(place, state.batching.name(topic));
                    }
                    let bytes = record.bytes();
                    let listen = |listeners: &mut Listeners, _: &mut Slots| listeners.join(group, place, bytes);
                    ready |= state.append(self, topic, record, listen).0;
                }
                Admission::Refused(error) => refused.push((place, error)),
                Admission::NoRoom => {
                    stands = Some(state.gate.stand(ticket.take(), record.bytes(), waker));
                    break;
                }
            }
            taken += 1;
        }
        woken.append(&mut state.gate.leave(ticket));
        let sealed = if stands.is_some() { state.seal_what_fills() } else { state.seal_for_line() };
        let wake = sealed || ready && !std::mem::replace(&mut state.notified, true);
        drop(state);
        woken.into_iter().for_each(wake_task);
        if wake {
            self.wake_actor();
        }
        for (place, error) in refused {
            if let Some(waker) = group.answer(place, Err(Box::new(error))) {
                wake_task(waker);
            }
        }
        OfferedAll { taken, ticket: stands }
    }

    /// A sender that stood in line goes away.
    pub(in crate::produce) fn leave(&self, ticket: Ticket) {
        let mut state = self.lock();
        let woken = state.gate.leave(Some(ticket));
        let wake = state.seal_for_line();
        drop(state);
        woken.into_iter().for_each(wake_task);
        if wake {
            self.wake_actor();
        }
    }
}

impl State {
    /// Takes the credit for a record, if the [`Gate`](super::super::gate::Gate) lets it in, or a callback hands its own place on to it.
    fn admit(&mut self, intake: &Intake, record: &ProducerRecord<'_>, ticket: Option<Ticket>) -> Admission {
        let topic_name = || Arc::<str>::from(&*record.topic);
        if !self.open {
            let (error, reason) = self.closed_because.clone().unzip();
            return Admission::Refused(SendError::Closed { topic: topic_name(), error, reason });
        }
        let Some(topic) = self.batching.topic(&record.topic) else {
            return Admission::Refused(SendError::InvalidTopic { topic: topic_name() });
        };
        if let Some(cause) = &record.fault {
            return Admission::Refused(SendError::NotEncoded { topic: topic_name(), cause: cause.clone() });
        }
        let bytes = record.bytes();
        if bytes > MAX_RECORD_BYTES || !self.gate.credits.can_ever_take(bytes) {
            let partition = record.partition;
            return Admission::Refused(SendError::TooLarge { topic: topic_name(), partition, bytes, by_broker: false });
        }
        if !self.gate.admit(ticket, bytes) && !succession::hand_on(Origin::of(intake), || self.gate.hand_on(bytes)) {
            return Admission::NoRoom;
        }
        self.counts.accepted += 1;
        Admission::In(topic)
    }

    /// Where there was no room: sends what lingers on its way if that is half of what is held, by records or by bytes, for it would hold its room until its
    /// linger ends. True where the actor is to be woken for it.
    pub(super) fn seal_what_fills(&mut self) -> bool {
        let (records, bytes) = self.batching.lingering();
        let held = &self.gate.credits;
        let fills = records > 0 && (2 * records >= held.records() || bytes > 0 && 2 * bytes >= held.bytes());
        fills && self.batching.seal_all() && !std::mem::replace(&mut self.notified, true)
    }

    /// The same for those in line, who do not try again by themselves. Before that come those of them that have room, or there is half a buffer to send, or
    /// nothing else is held: those that have room may never come.
    pub(super) fn seal_for_line(&mut self) -> bool {
        let (waiting, with_room) = (self.gate.waiting(), self.gate.with_room());
        if with_room == waiting {
            return false;
        }
        let (records, bytes) = self.batching.lingering();
        let held = &self.gate.credits;
        (with_room == 0 || records == held.records() || held.is_half(records, bytes)) && self.seal_what_fills()
    }

    /// Appends a record that is let in; see [`Batching::append`](super::batching::Batching::append).
    fn append<T>(
        &mut self,
        intake: &Arc<Intake>,
        topic: TopicIndex,
        record: &ProducerRecord<'_>,
        listen: impl FnOnce(&mut Listeners, &mut Slots) -> T,
    ) -> (bool, T) {
        let generation = self.gate.credits.open_generation();
        self.batching.append(intake, (topic, generation), record, listen)
    }
}
