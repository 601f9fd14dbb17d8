//! `troupe consume --exec`, seen from outside: workers that do what they should, and all that they should not.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod ending;
mod examples;
mod faults;
mod figure;
mod orders;
mod outcomes;
mod stage;
