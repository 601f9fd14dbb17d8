//! The ledger alone: completions per second, in order and in random order within a window.
//!
//! `cargo bench --bench ledger`. Targets: 50 M/s in order with chunks of 512 records, 10 M/s in random order within a
//! window of 100,000. The allocator is mimalloc, as in the binary.

use std::hint::black_box;
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use troupe_actors::ids::NextOffset;
use troupe_actors::offsets::{Finished, LedgerError, OffsetLedger, Tile, TileProgress};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const CHUNK: u32 = 512;
const WINDOW: u32 = 100_000;
const RUNS: usize = 5;

fn main() -> Result<(), LedgerError> {
    report("in order, a report per chunk of 512", in_order)?;
    report("in order, a report per 16 records", in_order_in_sixteenths)?;
    report("random order within 100k, a report per record", || random_order(1))?;
    report("random order within 100k, a report per 8 records", || random_order(8))?;
    Ok(())
}

/// Completions, and the time the ledger took for them.
type Sample = (u64, Duration);

fn report(name: &str, run: impl Fn() -> Result<Sample, LedgerError>) -> Result<(), LedgerError> {
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let (completions, took) = run()?;
        rates.push(completions as f64 / took.as_secs_f64() / 1e6);
    }
    rates.sort_by(f64::total_cmp);
    let (low, median, high) = (rates[0], rates[RUNS / 2], rates[RUNS - 1]);
    println!("{name:<50} {median:>9.1} M/s  ({low:.1} to {high:.1} in {RUNS} runs)");
    Ok(())
}

fn in_order() -> Result<Sample, LedgerError> {
    const CHUNKS: u32 = 1_000_000;
    let mut ledger = OffsetLedger::new(NextOffset(0));
    let start = Instant::now();
    for chunk in 0..CHUNKS {
        ledger.record(black_box(progress(chunk, Finished::All)))?;
    }
    let took = start.elapsed();
    assert_eq!(ledger.watermark().0, i64::from(CHUNKS) * i64::from(CHUNK));
    Ok((ledger.finished(), took))
}

fn in_order_in_sixteenths() -> Result<Sample, LedgerError> {
    const CHUNKS: u32 = 100_000;
    let mut ledger = OffsetLedger::new(NextOffset(0));
    let start = Instant::now();
    for chunk in 0..CHUNKS {
        for prefix in (16..=CHUNK).step_by(16) {
            ledger.record(black_box(progress(chunk, Finished::Prefix(prefix))))?;
        }
    }
    let took = start.elapsed();
    assert_eq!(ledger.watermark().0, i64::from(CHUNKS) * i64::from(CHUNK));
    Ok((ledger.finished(), took))
}

/// Every record of a window of tiles in a random order; a report once `every` records of a tile are finished.
///
/// Building the reports is timed too, as a worker pays for it: a bitmap is copied and boxed each time.
fn random_order(every: u32) -> Result<Sample, LedgerError> {
    const WINDOWS: u32 = 20;
    let tiles = WINDOW.div_ceil(CHUNK);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut order: Vec<u32> = (0..tiles * CHUNK).collect();
    let mut ledger = OffsetLedger::new(NextOffset(0));
    let mut took = Duration::ZERO;
    for window in 0..WINDOWS {
        for index in (1..order.len()).rev() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            order.swap(index, (random % (index as u64 + 1)) as usize);
        }
        let mut marks = vec![(0_u32, [0_u64; CHUNK as usize / 64]); tiles as usize];
        let start = Instant::now();
        for record in &order {
            let (tile, index) = (record / CHUNK, record % CHUNK);
            let (finished, words) = &mut marks[tile as usize];
            *finished += 1;
            words[index as usize / 64] |= 1 << (index % 64);
            if finished.is_multiple_of(every) {
                let finished = Finished::Bitmap(Box::from(*words));
                ledger.record(black_box(progress(window * tiles + tile, finished)))?;
            }
        }
        took += start.elapsed();
    }
    assert!(ledger.is_settled());
    Ok((ledger.finished(), took))
}

fn progress(chunk: u32, finished: Finished) -> TileProgress {
    let from = i64::from(chunk) * i64::from(CHUNK);
    TileProgress {
        tile: Tile::new(NextOffset(from), NextOffset(from + i64::from(CHUNK))),
        records: CHUNK,
        offsets: None,
        finished,
    }
}
