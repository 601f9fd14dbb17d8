//! An actor of the app's own as the handler.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler, Message, Recipient, System};
use kafka_troupe::consume::{ConsumerError, FailureKind, Order, Outcome, Record};

use crate::fixture::{Journal, On, Stage, eventually};
use crate::seeking::committed;

scenarios! {
    on both brokers:
        an_actor_handles_records_and_its_answers_are_their_outcomes,
        a_closed_mailbox_fails_records_and_loses_none;
}

const STOP: Duration = Duration::from_secs(20);

struct Book(Record);

impl Message for Book {
    type Result = Result<Outcome, String>;
}

/// Books records one after the other, until it has booked so many.
struct Bookkeeper {
    journal: Journal,
    calls: Arc<AtomicUsize>,
    until: usize,
}

impl Actor for Bookkeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
    }
}

impl Handler<Book> for Bookkeeper {
    type Result = Result<Outcome, String>;

    fn handle(&mut self, Book(record): Book, ctx: &mut Self::Context) -> Self::Result {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match (record.offset().0 % 20, record.attempt()) {
            (7, 1) => return Err("not yet".to_owned()),
            (9, 1) => return Ok(Outcome::Retry { after: Duration::ZERO, cause: "later".into() }),
            _ => {}
        }
        self.journal.note("a", &record);
        if self.journal.len() == self.until {
            ctx.stop();
        }
        Ok(Outcome::Done)
    }
}

/// The app's own system, on a thread of its own.
struct App {
    system: System,
    thread: Option<JoinHandle<()>>,
}

impl App {
    fn start(bookkeeper: Bookkeeper) -> (Self, Recipient<Book>) {
        let (tells, told) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let system = System::new();
            let recipient = system.block_on(async { bookkeeper.start().recipient() });
            tells.send((System::current(), recipient)).unwrap();
            system.run().unwrap();
        });
        let (system, recipient) = told.recv().unwrap();
        (Self { system, thread: Some(thread) }, recipient)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.system.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn an_actor_handles_records_and_its_answers_are_their_outcomes(on: On) {
    for order in [Order::Partition, Order::Key, Order::Unordered] {
        let stage = Stage::new(on, 2);
        stage.produce(0, 100, 20);
        let (journal, calls) = (Journal::default(), Arc::new(AtomicUsize::new(0)));
        let bookkeeper = Bookkeeper { journal: journal.clone(), calls: Arc::clone(&calls), until: usize::MAX };
        let (_app, recipient) = App::start(bookkeeper);
        let pause = Duration::from_millis(1);
        let builder = stage.lone_consumer("g").order(order).retry_pause(pause, pause);
        let consumer = builder.async_handler(move |record: Record| recipient.send(Book(record))).start().unwrap();
        eventually("all is committed", || committed(&consumer, 0, 100) && committed(&consumer, 1, 100));
        consumer.shutdown_blocking(STOP).unwrap();
        assert_eq!((journal.len(), journal.distinct()), (200, 200), "{order:?}");
        assert_eq!(calls.load(Ordering::SeqCst), 200 + 2 * 5 * 2, "{order:?}: each that was refused came once more");
        if order == Order::Partition {
            journal.assert_exactly_once_in_order(2, 100);
        }
    }
}

fn a_closed_mailbox_fails_records_and_loses_none(on: On) {
    let stage = Stage::new(on, 1);
    stage.produce(0, 100, 20);
    let (journal, failed) = (Journal::default(), Arc::new(Mutex::new(Vec::new())));
    let bookkeeper = |until| Bookkeeper { journal: journal.clone(), calls: Arc::default(), until };
    let (_app, recipient) = App::start(bookkeeper(50));
    let pause = Duration::from_millis(1);
    let builder = stage.consumer("g").retry_pause(pause, pause).max_attempts(3).on_failure({
        let failed = Arc::clone(&failed);
        move |each| {
            failed.lock().unwrap().push((each.kind, each.record.offset().0));
            None
        }
    });
    let consumer = builder.async_handler(move |record: Record| recipient.send(Book(record))).start().unwrap();
    let ended = consumer.wait_blocking().unwrap_err();
    let ConsumerError::Exhausted { offset, attempts: 3, cause, .. } = &ended else { panic!("{ended:?}") };
    assert!((offset.0, cause.as_str()) == (50, "Mailbox has closed"), "{ended}");
    assert_eq!(failed.lock().unwrap()[3..], [(FailureKind::Error, 50); 3], "after three that the actor refused");
    assert_eq!(stage.committed("g")[&0], 50);
    let (_app, recipient) = App::start(bookkeeper(usize::MAX));
    let builder = stage.consumer("g").retry_pause(pause, pause);
    let successor = builder.async_handler(move |record: Record| recipient.send(Book(record))).start().unwrap();
    eventually("all is committed", || committed(&successor, 0, 100));
    successor.shutdown_blocking(STOP).unwrap();
    journal.assert_exactly_once_in_order(1, 100);
}
