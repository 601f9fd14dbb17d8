//! Whatever bytes a commit's metadata holds: decoding them neither panics nor believes what is not there.
//!
//! `cargo +nightly fuzz run commit_metadata`. The same body runs in the tests, on 100,000 seeded mutations.
#![cfg_attr(fuzzing, no_main)]

use troupe_actors::testing::fuzz_commit_metadata;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_commit_metadata(bytes));

/// So that CI can check the rest without libFuzzer.
#[cfg(not(fuzzing))]
fn main() {
    let target: fn(&[u8]) = fuzz_commit_metadata;
    target(&[]);
}
