//! The commit metadata's codec alone: how long it takes, and how many characters it needs.
//!
//! `cargo bench --bench memory`. Targets: 10,000 holes encoded within 1 ms; 12,000 random holes in 100,000 offsets, and 6,500 in a million,
//! within 4,095 characters. The allocator is mimalloc, as in the binary.

use std::hint::black_box;
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use troupe_actors::ids::{NextOffset, Offset};
use troupe_actors::offsets::FinishedRange;
use troupe_actors::offsets::memory::{LogIdentity, Packing, decode, encode};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const LIMIT: usize = 4095;
const RUNS: usize = 200;

fn main() {
    for (name, width, holes) in [
        ("10,000 random holes in 100,000", 100_000, 10_000),
        ("12,000 random holes in 100,000", 100_000, 12_000),
        ("6,500 random holes in 1,000,000", 1_000_000, 6_500),
        ("50,000 random holes in 100,000: a prefix", 100_000, 50_000),
        ("10,000 holes, each second offset", 20_000, 10_000),
    ] {
        let finished = finished(width, holes);
        let log = LogIdentity::of("cluster", "topic", None, 0);
        let write = || encode(NextOffset(0), finished.iter().copied(), log, Packing::Dense, LIMIT).unwrap_or_default();
        let text = write();
        let held = decode(text.as_bytes()).map_or(0, |memory| memory.finished.len());
        let encoding = median(|| drop(black_box(write())));
        let decoding = median(|| drop(black_box(decode(text.as_bytes()))));
        println!(
            "{name:<42} {:>5} characters, {held:>6} of {:>6} runs, encoded in {:>6.1} us, decoded in {:>6.1} us",
            text.chars().count(),
            finished.len(),
            micros(encoding),
            micros(decoding),
        );
    }
}

/// What is finished of `width` offsets with so many holes; with holes in half of them, at every second offset, else anywhere.
fn finished(width: i64, holes: usize) -> Vec<FinishedRange> {
    let mut open = vec![false; width as usize];
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut left = holes;
    for at in (0..width as usize).step_by(2).filter(|_| holes * 2 == width as usize && width < 100_000) {
        open[at] = true;
        left -= 1;
    }
    while left > 0 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = ((random >> 11) % width as u64) as usize;
        left -= usize::from(!std::mem::replace(&mut open[at], true));
    }
    let mut runs: Vec<FinishedRange> = Vec::new();
    for at in (0..width).filter(|at| !open[*at as usize]) {
        match runs.last_mut() {
            Some(run) if run.last.next().0 == at => run.last = Offset(at),
            _ => runs.push(FinishedRange { first: Offset(at), last: Offset(at) }),
        }
    }
    runs
}

fn median(run: impl Fn()) -> Duration {
    let mut took: Vec<_> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    took.sort();
    took[RUNS / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
