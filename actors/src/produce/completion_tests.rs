#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::mpsc;

use super::*;

fn delivery(offset: i64) -> Delivery {
    Delivery { topic: "t".into(), partition: PartitionId(1), offset: Some(Offset(offset)), timestamp: None }
}

fn stored(offset: i64) -> Verdict {
    Ok(Stored { partition: PartitionId(1), offset: Some(Offset(offset)), timestamp: -1 })
}

fn confirmed(records: usize) -> (Listeners, Vec<Confirmation>) {
    let (mut listeners, mut slots) = (Listeners::with_room_for(records), Slots::new("t".into()));
    let confirmations = (0..records).map(|_| listeners.confirm(&mut slots, 1)).collect();
    (listeners, confirmations)
}

fn answer(listeners: &mut Listeners, place: usize, verdict: Verdict) -> Result<(), CallbackPanicked> {
    listeners.answer(place, verdict).finish(&"t".into(), Origin::default())
}

#[test]
fn each_confirmation_gets_the_answer_of_its_own_record() {
    let (mut listeners, senders) = confirmed(100);
    for place in (0..100).rev() {
        answer(&mut listeners, place, stored(place as i64)).unwrap();
    }
    assert_eq!(listeners.left(), 0);
    for (offset, sender) in senders.into_iter().enumerate() {
        assert_eq!(sender.wait_blocking(), Ok(delivery(offset as i64)));
    }
}

/// What is sent by callbacks, by confirmations and in a group, in turn.
#[test]
fn the_last_of_many_are_told_as_the_first() {
    let (mut listeners, mut slots) = (Listeners::with_room_for(600), Slots::new("t".into()));
    let (tell, told) = mpsc::channel();
    let group = Group::stream();
    group.expect(200);
    let mut confirmations = Vec::new();
    for place in 0..200 {
        confirmations.push(listeners.confirm(&mut slots, 1));
        let tell = tell.clone();
        listeners.call_back(Callback::new(move |answer| tell.send(answer).unwrap()), 2);
        listeners.join(&group, place, 3);
    }
    // A permutation, with the neighbours far apart.
    for (answered, number) in (0..600).enumerate() {
        let place = number * 7 % 600;
        assert_eq!(listeners.bytes(place), Some(place % 3 + 1));
        answer(&mut listeners, place, stored(place as i64)).unwrap();
        let left = 600 - answered - 1;
        listeners.compact();
        assert_eq!((listeners.left(), listeners.unanswered().len(), listeners.bytes(place)), (left, left, None));
        assert!(listeners.kept().0 < SPARSE * left.max(FEW) + 1);
    }
    for (number, confirmation) in confirmations.into_iter().enumerate() {
        assert_eq!(confirmation.wait_blocking(), Ok(delivery(3 * number as i64)));
    }
    let mut called: Vec<_> = told.try_iter().map(|answer| answer.unwrap().offset.unwrap().0).collect();
    called.sort_unstable();
    assert!(called.into_iter().eq((0..200).map(|number| 3 * number + 1)));
    assert_eq!(group.ended().confirmed, 200);
}

#[test]
fn only_the_first_answer_counts() {
    let (mut listeners, mut senders) = confirmed(1);
    assert_eq!(listeners.bytes(0), Some(1));
    for offset in [3, 4] {
        answer(&mut listeners, 0, stored(offset)).unwrap();
        assert_eq!((listeners.left(), listeners.bytes(0)), (0, None));
    }
    assert_eq!(senders.remove(0).wait_blocking(), Ok(delivery(3)));
}

#[test]
fn a_sender_that_waits_on_another_thread_is_woken() {
    let (mut listeners, mut senders) = confirmed(1);
    let sender = senders.remove(0);
    let (waits, waiting) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        waits.send(()).unwrap();
        sender.wait_blocking()
    });
    waiting.recv().unwrap();
    answer(&mut listeners, 0, stored(7)).unwrap();
    assert_eq!(waiter.join().unwrap(), Ok(delivery(7)));
}

#[test]
fn a_callback_is_called_once_and_not_before_the_lock_is_gone() {
    let (tell, told) = mpsc::channel();
    let mut listeners = Listeners::with_room_for(1);
    listeners.call_back(Callback::new(move |answer| tell.send(answer).unwrap()), 1);
    let rest = listeners.answer(0, stored(3));
    assert!(told.try_recv().is_err());
    rest.finish(&"t".into(), Origin::default()).unwrap();
    assert_eq!(told.try_recv().unwrap(), Ok(delivery(3)));
    answer(&mut listeners, 0, stored(4)).unwrap();
    assert!(told.try_recv().is_err());
}

#[test]
fn a_callback_that_panics_is_reported_to_the_caller() {
    let mut listeners = Listeners::with_room_for(1);
    listeners.call_back(Callback::new(|_| panic!("on purpose")), 1);
    assert_eq!(answer(&mut listeners, 0, stored(0)), Err(CallbackPanicked));
}
