#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by panicking")]

mod docs;
mod places;
mod precedence;
mod secrets;
mod settings;
