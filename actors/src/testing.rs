//! Handlers without a broker: [`HandlerTest`] feeds records to a handler and its layers, and tells what became of each.
//!
//! With the feature `testing`, which belongs among the dev-dependencies. No broker, no network, no thread of the engine; the calls, the layers,
//! the policy for failures and what a partition that is given up means are the engine's own. The clock is the test's: an hour's timeout takes no
//! time.
//!
//! ```
//! use std::time::Duration;
//! use serde::Deserialize;
//! use troupe_actors::consume::{Failure, FailureKind, Json, Layer, Outcome, Record, Timeout, typed};
//! use troupe_actors::testing::{HandlerTest, TestRecord, TestedEnd};
//!
//! #[derive(Deserialize)]
//! struct Payment {
//!     amount: u64,
//! }
//!
//! // The code under test: it books a payment, and waits for the ledger as long as that takes.
//! async fn book(payment: Payment, record: Record) -> Result<Outcome, String> {
//!     match (payment.amount, record.attempt()) {
//!         (0, _) => Err("an amount of 0".to_owned()),
//!         (100.., 1) => {
//!             tokio::time::sleep(Duration::from_secs(60)).await;
//!             Ok(Outcome::Done)
//!         }
//!         (99, _) => {
//!             // The ledger is down; it is left to whoever has the partition next, if this one gives it up meanwhile.
//!             record.revoking().cancelled().await;
//!             Ok(Outcome::Retry { after: Duration::from_secs(1), cause: "the ledger is down".into() })
//!         }
//!         _ => Ok(Outcome::Done),
//!     }
//! }
//!
//! let handler = typed(|Json(payment): Json<Payment>, record: Record| book(payment, record));
//! let handler = Timeout::new(Duration::from_secs(30)).layer(handler);
//! let second = Duration::from_secs(1);
//! let mut test = HandlerTest::async_handler(handler).max_attempts(3).retry_pause(second, second);
//!
//! // A record that is handled.
//! let fine = test.feed(TestRecord::value(r#"{"amount": 5}"#).key("customer-1"));
//! assert_eq!(fine.end, TestedEnd::Done);
//!
//! // One that fails each time: three attempts, and two pauses of a second.
//! let refused = test.feed(TestRecord::value(r#"{"amount": 0}"#));
//! assert_eq!((refused.attempts.len(), refused.took), (3, 2 * second));
//! assert_eq!(refused.end, TestedEnd::Exhausted { cause: "an amount of 0".into() });
//!
//! // One that takes too long at first: cut off after 30 s, and done a second later.
//! let slow = test.feed(TestRecord::value(r#"{"amount": 100}"#));
//! let too_long = Failure::new(FailureKind::Timeout, "took longer than 30s");
//! assert_eq!(slow.attempts[0].outcome, Err(too_long));
//! assert_eq!((slow.end, slow.took), (TestedEnd::Done, 31 * second));
//!
//! // One that is no payment: the handler is not called, and there is no second attempt.
//! let undecodable = test.feed(TestRecord::value("{}"));
//! assert_eq!(undecodable.attempts.len(), 1);
//!
//! // And one whose partition is given up while it is handled.
//! test.revoke_after(10 * second);
//! let left = test.feed(TestRecord::value(r#"{"amount": 99}"#));
//! assert_eq!((left.end, left.took), (TestedEnd::Left, 10 * second));
//! ```
//!
//! A batch handler gets the records of [`feed_batch`](HandlerTest::feed_batch) in one call:
//!
//! ```
//! use troupe_actors::consume::{Failure, Record};
//! use troupe_actors::testing::{HandlerTest, TestRecord, TestedEnd};
//!
//! fn insert(rows: &[Record]) -> Result<(), Failure> {
//!     if rows.iter().any(|row| row.value().is_none()) { Err("a row without a value")? }
//!     Ok(())
//! }
//!
//! let mut test = HandlerTest::batch_handler(insert).max_attempts(1);
//! let tested = test.feed_batch([TestRecord::value("a"), TestRecord::tombstone(), TestRecord::value("b")]);
//! // The call with all three failed; then each was given alone, and the one to blame was found.
//! assert_eq!((&tested[0].end, &tested[2].end), (&TestedEnd::Done, &TestedEnd::Done));
//! assert_eq!(tested[1].end, TestedEnd::Exhausted { cause: "a row without a value".into() });
//! ```
//!
//! The rest are hooks for benchmarks, hidden here: they change with the engine.

mod engine_alone;
mod fed;
mod handler_test;
mod subject;
mod test_record;
mod tested;

#[doc(hidden)]
pub use engine_alone::{EngineAlone, Measured};
pub use handler_test::HandlerTest;
pub use test_record::TestRecord;
pub use tested::{Tested, TestedAttempt, TestedEnd};

use crate::offsets::memory::mutation;

/// The body of the fuzz target `commit_metadata`: whatever the bytes, nothing panics, and what decodes is encoded again.
///
/// # Panics
/// When that does not hold.
#[doc(hidden)]
pub fn fuzz_commit_metadata(bytes: &[u8]) {
    mutation::fuzz_one(bytes);
}
