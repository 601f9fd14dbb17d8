//! Tests a handler and its layers without a broker, under a clock of the test's own: what a `#[test]` would do, as a program.
//!
//! ```text
//! cargo run --example test_a_handler
//! ```
//! In Java: a `MockConsumer`, and the loop around it.

use std::time::Duration;

use kafka_troupe::consume::{Layer, Record, Timeout};
use kafka_troupe::testing::{HandlerTest, TestRecord, TestedEnd};

/// The code under test. The warehouse answers at the third attempt.
async fn reserve(order: Record) -> Result<(), &'static str> {
    match order.attempt() {
        1 => Err("the warehouse is closed"),
        2 => std::future::pending().await,
        _ => Ok(()),
    }
}

fn main() {
    let second = Duration::from_secs(1);
    let mut test = HandlerTest::async_handler(Timeout::new(30 * second).layer(reserve)).retry_pause(second, second);
    let tested = test.feed(TestRecord::value("order 1").key("customer-1"));
    for attempt in &tested.attempts {
        println!("{:?} after {:?}", attempt.outcome, attempt.took);
    }
    // Two pauses, and the attempt that was cut off: on the test's clock, and on no other.
    assert_eq!((&tested.end, tested.took), (&TestedEnd::Done, 32 * second));
    println!("{:?} after {:?}", tested.end, tested.took);
}
