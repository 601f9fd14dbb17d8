//! An actor as the handler: it gets each record in a message of its own, and its answer says what became of the record.
//!
//! ```text
//! cargo run --example actor_handler               # on a broker in this process, until its orders are processed
//! cargo run --example actor_handler -- --bootstrap-server localhost:9092 --topic orders
//! ```
//! A mailbox that is closed, or an actor that ends, fails the record: it is tried again, and never lost.

mod stage;

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use kafka_troupe::consume::{Consumer, Order, Record};
use stage::{Stage, until_done};

/// Counts each customer's orders. As an actor it has its state to itself.
#[derive(Default)]
struct Accounts(HashMap<Vec<u8>, usize>);

impl Actor for Accounts {
    type Context = Context<Self>;
}

struct Book(Record);

impl Message for Book {
    /// Or `()`, or an `Outcome`.
    type Result = Result<(), String>;
}

impl Handler<Book> for Accounts {
    type Result = Result<(), String>;

    fn handle(&mut self, Book(order): Book, _: &mut Self::Context) -> Self::Result {
        let customer = order.key().ok_or("an order without a customer")?;
        *self.0.entry(customer.to_vec()).or_default() += 1;
        Ok(())
    }
}

struct Customers;

impl Message for Customers {
    type Result = usize;
}

impl Handler<Customers> for Accounts {
    type Result = usize;

    fn handle(&mut self, _: Customers, _: &mut Self::Context) -> usize {
        self.0.len()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::with_orders(50)?;
    actix::System::new().block_on(async {
        let accounts = Accounts::default().start();
        let recipient = accounts.clone().recipient();
        let consumer = Consumer::builder()
            .bootstrap_servers(&stage.servers)
            .group_id(&stage.group)
            .topics([&stage.topic])
            .properties(stage.properties)
            .order(Order::Key)
            .async_handler(move |order: Record| recipient.send(Book(order)))
            .start()?;
        until_done(&consumer).await?;
        let stopped = consumer.shutdown(Duration::from_secs(20)).await?;
        let (finished, customers) = (consumer.state().counters.finished, accounts.send(Customers).await?);
        println!("{finished} orders of {customers} customers; all is committed: {}", stopped.drained);
        Ok(())
    })
}
