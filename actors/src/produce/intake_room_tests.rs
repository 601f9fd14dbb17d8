//! Full buffers: who is woken, and what is sent for those who wait.

use super::*;

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
    assert_eq!(sizes, [0, 2, 0, 2], "half a buffer, and the rest of it");
}
