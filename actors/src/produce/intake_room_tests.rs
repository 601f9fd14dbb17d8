//! Full buffers: who is woken, and what is sent for those who wait.

use super::*;
use crate::produce::group::Group;

#[derive(Default)]
struct Counted(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Whoever is woken and not scheduled yet need not hear of each record that comes in or is answered meanwhile.
#[test]
fn who_waits_is_woken_once_where_it_has_room_and_not_for_each_record() {
    let limits = Limits { batch: BatchBounds { records: 1, ..Limits::for_tests().batch }, ..Limits::for_tests() };
    let intake = intake(limits);
    let mut kept: Vec<_> = (0..100).map(|_| accept(&intake, &ProducerRecord::to("t"))).collect();
    let wakes: [_; 2] = std::array::from_fn(|_| Arc::new(Counted::default()));
    let waits = |at: usize, ticket| {
        let waker = Waker::from(wakes[at].clone());
        intake.offer(&ProducerRecord::to("t"), Listener::Confirmation, Some((&waker, ticket)))
    };
    let tickets = [0, 1].map(|at| match waits(at, None) {
        Offered::NoRoom(_, ticket) => ticket,
        _ => panic!("there was room"),
    });
    let woken = || wakes.each_ref().map(|wakes| wakes.0.load(std::sync::atomic::Ordering::Relaxed));
    let mut batches = intake.take_ready(Instant::now()).batches;
    assert_eq!(woken(), [0, 0]);
    drop(batches.pop());
    assert_eq!(woken(), [1, 0]);
    batches.truncate(50);
    assert_eq!(woken(), [1, 1], "credit came back fifty times");
    kept.extend((0..40).map(|_| accept(&intake, &ProducerRecord::to("t"))));
    assert!(matches!(waits(0, tickets[0]), Offered::Accepted(_)));
    assert!(matches!(waits(1, tickets[1]), Offered::Accepted(_)));
    assert_eq!((woken(), intake.counts().waiting_senders), ([1, 1], 0));
}

/// Java's producer, too, sends at once what it has when its buffer is full.
#[test]
fn a_full_buffer_sends_what_lingers_where_that_is_half_of_it() {
    let limits = Limits { buffer_records: 8, buffer_bytes: 100, ..Limits::for_tests() };
    let ready = |intake: &Intake| intake.take_ready(Instant::now()).batches;
    // Of the records held, a half; by bytes none.
    for (sealed, is_half) in [(0, true), (4, true), (5, false)] {
        let intake = intake(limits);
        let mut kept: Vec<_> = (0..sealed).map(|_| accept(&intake, &ProducerRecord::to("t"))).collect();
        intake.flush();
        let _under_way = ready(&intake);
        kept.extend((sealed..8).map(|n| accept(&intake, &ProducerRecord::to(if n % 2 == 0 { "a" } else { "b" }))));
        assert!(ready(&intake).is_empty());
        assert!(matches!(offer(&intake, &ProducerRecord::to("t")), Offered::NoRoom(..)));
        assert_eq!(!ready(&intake).is_empty(), is_half, "{sealed} of 8 are under way");
    }
    // A sender stands in line, and what was under way beside what lingers is answered.
    let intake = intake(limits);
    let mut kept: Vec<_> = (0..5).map(|_| accept(&intake, &ProducerRecord::to("t").value(&[0; 10]))).collect();
    intake.flush();
    let under_way = ready(&intake);
    kept.push(accept(&intake, &ProducerRecord::to("t").value(&[0; 40])));
    let waits = Some((Waker::noop(), None));
    let offered = intake.offer(&ProducerRecord::to("t").value(&[0; 70]), Listener::Confirmation, waits);
    assert!(matches!(offered, Offered::NoRoom(_, Some(_))));
    assert!(ready(&intake).is_empty(), "40 bytes of 90 linger");
    drop(under_way);
    assert_eq!(ready(&intake).len(), 1, "all that is held lingers");
}

/// Those in line do not try again by themselves.
#[test]
fn what_lingers_is_sent_for_those_in_line_when_all_have_come_that_have_room() {
    let intake = intake(Limits { buffer_records: 4, ..Limits::for_tests() });
    let mut kept: Vec<_> = (0..4).map(|_| accept(&intake, &ProducerRecord::to("t"))).collect();
    let offer = |ticket| intake.offer(&ProducerRecord::to("t"), Listener::Confirmation, Some((Waker::noop(), ticket)));
    let tickets: Vec<_> = (0..5)
        .map(|_| match offer(None) {
            Offered::NoRoom(_, ticket) => ticket,
            _ => panic!("there was room"),
        })
        .collect();
    let ready = || intake.take_ready(Instant::now()).batches;
    drop(ready());
    let (mut sizes, mut under_way) = (Vec::new(), Vec::new());
    for ticket in &tickets[..4] {
        match offer(*ticket) {
            Offered::Accepted(confirmation) => kept.extend(confirmation),
            _ => panic!("there was room"),
        }
        let batches = ready();
        sizes.push(batches.iter().map(|batch| batch.answers.records.len()).sum::<usize>());
        under_way.extend(batches);
    }
    assert_eq!(sizes, [1, 0, 2, 0], "what stands alone, and half a buffer");
}

/// A group has a place in line for one record, be there ever so many behind it.
#[test]
fn a_group_that_does_not_come_leaves_others_their_room_and_takes_what_they_leave() {
    let limits = Limits {
        buffer_records: 10,
        batch: BatchBounds { records: 1, ..Limits::for_tests().batch },
        ..Limits::for_tests()
    };
    let intake = intake(limits);
    let _kept: Vec<_> = (0..10).map(|_| accept(&intake, &ProducerRecord::to("t"))).collect();
    let mut batches = intake.take_ready(Instant::now()).batches;
    let (group, records) = (Group::batch(), vec![ProducerRecord::to("t"); 8]);
    group.expect(records.len());
    let stands = intake.offer_all(&records, &group, 0, Waker::noop(), None);
    assert!(stands.taken == 0 && stands.ticket.is_some());
    let wakes = Arc::new(Counted::default());
    let waker = Waker::from(wakes.clone());
    let Offered::NoRoom(_, ticket) =
        intake.offer(&ProducerRecord::to("t"), Listener::Confirmation, Some((&waker, None)))
    else {
        panic!("there was room")
    };
    // Most of the buffer is held on, and what comes back would be too little for the group.
    batches.truncate(7);
    assert_eq!(wakes.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    let offered = intake.offer(&ProducerRecord::to("t"), Listener::Confirmation, Some((&waker, ticket)));
    assert!(matches!(offered, Offered::Accepted(_)));
    let Offered::NoRoom(..) = (0..3).fold(offered, |_, _| offer(&intake, &ProducerRecord::to("t"))) else {
        panic!("a newcomer has taken the place of the group")
    };
    let came = intake.offer_all(&records, &group, 0, Waker::noop(), stands.ticket);
    assert!(came.taken == 1 && came.ticket.is_some_and(|again| Some(again) != stands.ticket));
}

/// Who has room and does not come keeps it, and that is no reason to let all linger.
#[test]
fn what_lingers_is_sent_where_nothing_else_is_held_though_one_that_has_room_does_not_come() {
    let intake = intake(Limits { buffer_bytes: 1_000, ..Limits::for_tests() });
    let _kept: Vec<_> = (0..13).map(|_| accept(&intake, &ProducerRecord::to("t").value(&[0; 50]))).collect();
    intake.flush();
    let under_way = intake.take_ready(Instant::now()).batches;
    let _lingers: Vec<_> = (0..3).map(|_| accept(&intake, &ProducerRecord::to("t").value(&[0; 100]))).collect();
    for bytes in [100, 650] {
        let value = vec![0; bytes];
        let record = ProducerRecord::to("t").value(&value);
        let offered = intake.offer(&record, Listener::Confirmation, Some((Waker::noop(), None)));
        assert!(matches!(offered, Offered::NoRoom(_, Some(_))));
    }
    assert!(intake.take_ready(Instant::now()).batches.is_empty());
    drop(under_way);
    assert_eq!(intake.take_ready(Instant::now()).batches.len(), 1);
}
