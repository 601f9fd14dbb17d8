//! What must not break, told as scenarios on a running broker. Each test is named as the sentence it proves.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod fixture;

mod bounds;
mod embedding;
mod failing;
mod killing;
mod rebalancing;
mod standalone;
mod stopping;
