//! Whatever bytes a commit's metadata holds: decoding them neither panics nor believes what is not there.
//!
//! `cargo +nightly fuzz run commit_metadata`. The same body runs in the tests, on 100,000 seeded mutations.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| troupe_actors::testing::fuzz_commit_metadata(bytes));
