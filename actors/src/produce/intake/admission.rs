//! How a record comes in, alone or with others of its group: in turn, and where there is room.

use std::sync::Arc;
use std::task::Waker;

use super::super::batch::{TopicIndex, Unanswered};
use super::super::completion::{Callback, Completion, Confirmation};
use super::super::group::{Group, Member};
use super::super::line::Ticket;
use super::super::{ProducerRecord, SendError};
use super::{Intake, MAX_RECORD_BYTES, State};
use crate::blocking;

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
        let topic = match state.admit(record, ticket) {
            Admission::In(topic) => topic,
            Admission::Refused(error) => {
                state.line.leave(ticket);
                let next = state.next_in_line();
                drop(state);
                if let Some(next) = next {
                    next.wake();
                }
                return Offered::Refused(error);
            }
            Admission::NoRoom => {
                let ticket = waits.map(|(waker, ticket)| state.line.stand(ticket, record.bytes(), waker));
                return Offered::NoRoom(listener, ticket);
            }
        };
        state.line.leave(ticket);
        let (completion, confirmation) = match listener {
            Listener::Confirmation => {
                let (completion, confirmation) = state.topics[topic.0].slots.pair();
                (completion, Some(confirmation))
            }
            Listener::Callback(callback) => (Completion::callback(state.topics[topic.0].name.clone(), callback), None),
        };
        let wake = state.append(self, topic, record, Unanswered::new(completion, record.bytes()))
            && !std::mem::replace(&mut state.notified, true);
        let next = state.next_in_line();
        drop(state);
        if let Some(next) = next {
            next.wake();
        }
        if wake {
            self.wake_actor();
        }
        Offered::Accepted(confirmation)
    }

    /// Offers records of a group, the first of them at `place`, as many as there is room for, under one lock. Those that are refused are answered.
    ///
    /// A sender that finds no room stands in line, as in [`offer`](Self::offer). One whose turn it is may take all the room there is.
    pub(in crate::produce) fn offer_all(
        self: &Arc<Self>,
        records: &[ProducerRecord<'_>],
        group: &Arc<Group>,
        place: u32,
        waker: &Waker,
        ticket: Option<Ticket>,
    ) -> OfferedAll {
        let mut refused = Vec::new();
        let mut member: Option<(TopicIndex, Arc<Member>)> = None;
        let (mut ready, mut taken, mut stands) = (false, 0, None);
        let mut state = self.lock();
        for record in records {
            let place = place.wrapping_add(taken as u32);
            match state.admit(record, ticket) {
                Admission::In(topic) => {
                    let member = match &member {
                        Some((of, member)) if *of == topic => member.clone(),
                        _ => {
                            let topic_name = state.topics[topic.0].name.clone();
                            let made = Arc::new(Member { topic: topic_name, group: group.clone() });
                            member = Some((topic, made.clone()));
                            made
                        }
                    };
                    let unanswered = Unanswered::new(Completion::of_group(member, place), record.bytes());
                    ready |= state.append(self, topic, record, unanswered);
                }
                Admission::Refused(error) => refused.push((place, error)),
                Admission::NoRoom => {
                    stands = Some(state.line.stand(ticket, record.bytes(), waker));
                    break;
                }
            }
            taken += 1;
        }
        if stands.is_none() {
            state.line.leave(ticket);
        }
        let wake = ready && !std::mem::replace(&mut state.notified, true);
        let next = if stands.is_none() { state.next_in_line() } else { None };
        drop(state);
        if let Some(next) = next {
            next.wake();
        }
        if wake {
            self.wake_actor();
        }
        for (place, error) in refused {
            group.answer(place, Err(error));
        }
        OfferedAll { taken, ticket: stands }
    }

    /// A sender that stood in line goes away.
    pub(in crate::produce) fn leave(&self, ticket: Ticket) {
        let mut state = self.lock();
        state.line.leave(Some(ticket));
        let next = state.next_in_line();
        drop(state);
        if let Some(next) = next {
            next.wake();
        }
    }
}

impl State {
    /// Takes the credit for a record, if there is room and nobody waits before it.
    ///
    /// In a delivery callback the bound is twice as high, and nobody is waited for: the record that is answered there still holds its own place, so
    /// that sending one again for each always finds room, and who would wait there would wait for itself.
    fn admit(&mut self, record: &ProducerRecord<'_>, ticket: Option<Ticket>) -> Admission {
        let topic_name = || Arc::<str>::from(&*record.topic);
        if !self.open {
            let (error, reason) = self.closed_because.clone().unzip();
            return Admission::Refused(SendError::Closed { topic: topic_name(), error, reason });
        }
        let Some(topic) = self.topic(&record.topic) else {
            return Admission::Refused(SendError::InvalidTopic { topic: topic_name() });
        };
        if let Some(cause) = &record.fault {
            return Admission::Refused(SendError::NotEncoded { topic: topic_name(), cause: cause.clone() });
        }
        let bytes = record.bytes();
        if bytes > MAX_RECORD_BYTES || !self.credits.can_ever_take(bytes) {
            let partition = record.partition;
            return Admission::Refused(SendError::TooLarge { topic: topic_name(), partition, bytes });
        }
        let has_room = self.line.is_next(ticket) && self.credits.has_room(bytes)
            || blocking::is_callback() && self.credits.has_room_twice(bytes);
        if !has_room {
            return Admission::NoRoom;
        }
        self.credits.take(bytes);
        self.counts.accepted += 1;
        Admission::In(topic)
    }
}
