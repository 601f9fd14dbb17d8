#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::mutation::fuzz_one;
use super::*;

const FULL: usize = 4095;

fn log() -> LogIdentity {
    LogIdentity::of("cluster", "topic", None, 3)
}

fn run(first: i64, last: i64) -> FinishedRange {
    FinishedRange { first: Offset(first), last: Offset(last) }
}

#[test]
fn a_text_tells_its_packing() {
    for packing in [Packing::Dense, Packing::Base64] {
        let text = encode(NextOffset(0), [run(3, 4)].into_iter(), log(), packing, FULL).unwrap();
        assert_eq!(Packing::of(text.as_bytes()), Some(packing));
    }
    assert_eq!([&b""[..], b"T2d", b"T1x", b"note"].map(Packing::of), [None; 4]);
}

/// Random numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end.max(1)
    }
}

fn random() -> Random {
    Random(0x9E37_79B9_7F4A_7C15)
}

/// What is finished of `width` offsets from `base` on with so many holes in random places; the first is a hole.
fn with_holes(base: i64, width: i64, holes: usize) -> Vec<FinishedRange> {
    let mut random = random();
    let mut open = BTreeSet::from([base]);
    while open.len() < holes {
        open.insert(base + random.below(width as usize - 1) as i64);
    }
    open.insert(base + width);
    let pairs = open.iter().zip(open.iter().skip(1));
    pairs.filter(|(hole, next)| *next - *hole > 1).map(|(hole, next)| run(hole + 1, next - 1)).collect()
}

fn encoded(base: i64, finished: &[FinishedRange], packing: Packing, limit: usize) -> Option<String> {
    encode(NextOffset(base), finished.iter().copied(), log(), packing, limit)
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Whether `part` is what `whole` begins with, where its last run may be cut.
fn begins(whole: &[FinishedRange], part: &[FinishedRange]) -> bool {
    let Some((last, before)) = part.split_last() else { return false };
    whole.len() >= part.len()
        && whole[..before.len()] == *before
        && whole[before.len()].first == last.first
        && whole[before.len()].last >= last.last
}

#[test]
fn twelve_thousand_random_holes_in_a_hundred_thousand_fit_and_six_and_a_half_thousand_in_a_million() {
    for (width, holes) in [(100_000, 12_000), (1_000_000, 6_500)] {
        let finished = with_holes(123_456_789, width, holes);
        let text = encoded(123_456_789, &finished, Packing::Dense, FULL).unwrap();
        assert!(units(&text) <= FULL);
        let memory = decode(text.as_bytes()).unwrap();
        assert_eq!(memory.finished, finished, "{holes} in {width}");
        assert_eq!(super::holes(&memory.finished, NextOffset(123_456_789)), holes as u64);
    }
}

#[test]
fn of_what_does_not_fit_the_longest_prefix_is_kept() {
    let finished = with_holes(0, 400_000, 60_000);
    let text = encoded(0, &finished, Packing::Dense, FULL).unwrap();
    let held = decode(text.as_bytes()).unwrap().finished;
    assert!(begins(&finished, &held));
    // One bit of four thousand characters is used up for each offset at the very least.
    assert!(held.last().unwrap().last.0 > 95_000, "{:?}", held.last());
    let text = encoded(0, &finished, Packing::Base64, FULL).unwrap();
    let less = decode(text.as_bytes()).unwrap().finished;
    assert!(begins(&held, &less) && less.last().unwrap().last.0 > 37_000, "{:?}", less.last());
}

#[test]
fn a_run_of_millions_or_a_gap_of_millions_costs_next_to_nothing() {
    let finished = [run(5, 5_000_000), run(90_000_000, 90_000_000), run(i64::MAX - 1, i64::MAX)];
    let text = encoded(0, &finished, Packing::Base64, FULL).unwrap();
    assert!(text.len() < 80, "{}", text.len());
    assert_eq!(decode(text.as_bytes()).unwrap().finished, finished);
}

#[test]
fn nothing_finished_or_no_room_is_no_text() {
    assert_eq!(encoded(0, &[], Packing::Dense, FULL), None);
    assert_eq!(encoded(-1, &[run(1, 2)], Packing::Dense, FULL), None);
    assert_eq!(encoded(0, &[run(1, 2)], Packing::Base64, 10), None);
}

fn cases() -> impl Strategy<Value = (i64, Vec<FinishedRange>)> {
    let lengths = prop_oneof![4 => 1..4_i64, 2 => 1..100_i64, 1 => 1..1_000_000_i64];
    let pairs = prop::collection::vec((lengths.clone(), lengths), 1..300);
    (prop_oneof![Just(0_i64), 0..1_000_000_i64, 0..1_i64 << 60], pairs, any::<bool>()).prop_map(
        |(base, pairs, at_base)| {
            let mut at = if at_base { base - pairs[0].0 } else { base };
            let runs = pairs.into_iter().map(|(gap, length)| {
                let first = at + gap;
                at = first + length;
                run(first, at - 1)
            });
            (base, runs.collect())
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_or_a_prefix_of_it_within_the_limit(
        (base, finished) in cases(), dense in any::<bool>(), limit in prop_oneof![Just(FULL), 0..FULL, 0..60_usize]
    ) {
        let packing = if dense { Packing::Dense } else { Packing::Base64 };
        let Some(text) = encoded(base, &finished, packing, limit) else {
            // The head and one offset take up to 200 bits.
            prop_assert!(limit < 40, "nothing in {limit}");
            return Ok(());
        };
        prop_assert!(units(&text) <= limit);
        let memory = decode(text.as_bytes()).unwrap();
        prop_assert!(begins(&finished, &memory.finished), "{:?}", memory.finished);
        prop_assert_eq!((memory.version, memory.base), (1, NextOffset(base)));
        // A run takes 50 bits at most in any of the layouts.
        if limit == FULL && dense {
            prop_assert_eq!(&memory.finished, &finished);
        }
        let again = memory.shortened(packing, units(&text)).unwrap();
        prop_assert_eq!(&decode(again.as_bytes()).unwrap().finished, &memory.finished);
        if let Some(half) = memory.shortened(packing, limit / 2) {
            prop_assert!(begins(&memory.finished, &decode(half.as_bytes()).unwrap().finished));
        }
    }
}

#[test]
fn a_memory_holds_for_its_own_base_and_log_only_and_not_beyond_the_logs_end() {
    let id = |id: u8| Some([id; 16]);
    let (with_id, without) = (LogIdentity::of("c", "t", id(1), 3), LogIdentity::of("c", "t", None, 3));
    let memory = |log| {
        let text = encode(NextOffset(10), [run(20, 29)].into_iter(), log, Packing::Dense, FULL).unwrap();
        decode(text.as_bytes()).unwrap()
    };
    let check = |log, base, high| memory(log).check(NextOffset(base), with_id, without, NextOffset(high));
    for log in [with_id, without] {
        assert_eq!(check(log, 10, 30), Ok(vec![run(20, 29)]));
        assert!(matches!(check(log, 11, 30), Err(Mismatch::Base { .. })), "as MirrorMaker shifts it");
        assert!(matches!(check(log, 10, 29), Err(Mismatch::BeyondEnd { .. })));
    }
    assert!(memory(with_id).names_topic_id() && !memory(without).names_topic_id());
    let others = [
        LogIdentity::of("c", "t", id(1), 4),
        LogIdentity::of("c", "t", id(2), 3),
        LogIdentity::of("c", "u", id(1), 3),
        LogIdentity::of("d", "t", id(1), 3),
        LogIdentity::of("c", "t", None, 4),
        LogIdentity::of("d", "t", None, 3),
    ];
    for other in others {
        assert_eq!(check(other, 10, 30), Err(Mismatch::Log), "{other:?}");
    }
}

#[test]
fn what_others_write_is_not_ours_and_what_is_damaged_is_told() {
    for text in ["", "hello", "T", "T1", "{\"T1d\":1}", "T0dabc", "T1xabc", "bm9uZQ=="] {
        assert_eq!(decode(text.as_bytes()), Err(DecodeError::NotOurs), "{text}");
    }
    assert_eq!(decode(&[0xff, 0xfe, 0]), Err(DecodeError::NotOurs));
    assert_eq!(decode(b"T9dabc"), Err(DecodeError::Version(9)));
    let text = encoded(0, &[run(1, 2)], Packing::Base64, FULL).unwrap();
    for at in 3..text.len() {
        let mut damaged = text.clone().into_bytes();
        damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
        assert!(matches!(decode(&damaged), Err(DecodeError::Corrupt(_))), "at {at}");
        assert!(matches!(decode(&text.as_bytes()[..at]), Err(DecodeError::Corrupt(_))), "cut at {at}");
    }
    assert!(matches!(decode(b"T1d\xff\xfe"), Err(DecodeError::Corrupt(_))));
}

#[test]
fn a_hundred_thousand_mutations_do_no_harm() {
    let mut random = random();
    let seeds: Vec<Vec<u8>> = [
        encoded(77, &with_holes(77, 300, 40), Packing::Base64, FULL),
        encoded(0, &[run(1, 1), run(5, 900), run(70_000, 70_001)], Packing::Base64, FULL),
        encoded(5, &with_holes(5, 300, 150), Packing::Dense, 120),
        Some("{\"offset\":17}".to_owned()),
    ]
    .into_iter()
    .map(|text| text.unwrap().into_bytes())
    .collect();
    for round in 0..100_000_usize {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
                1 => bytes.truncate(at),
                2 => bytes.insert(at.min(bytes.len()), random.next() as u8),
                _ => {
                    let other = &seeds[random.below(seeds.len())];
                    bytes.splice(..at.min(bytes.len()), other[..at.min(other.len())].iter().copied());
                }
            }
        }
        fuzz_one(&bytes);
    }
    // And without a valid text to begin with, below a right checksum: the parser is reached each time.
    for _ in 0..20_000 {
        let bytes: Vec<_> = (0..4 + random.below(60)).map(|_| random.next() as u8).collect();
        fuzz_one(&bytes);
    }
}

/// What version 1 looks like: a text of each layout and packing. These files never change.
#[test]
fn golden_files_pin_the_version() {
    let scattered = with_holes(1000, 400, 30);
    let (sparse, runs) = ([run(12, 12), run(90, 90), run(250, 251)], [run(100, 5000), run(9000, 20_000)]);
    let alternating: Vec<_> = (0..60).map(|n| run(2 * n + 1 + n / 7, 2 * n + 1 + n / 7)).collect();
    let golden: [(&str, i64, &[FinishedRange], Packing); 6] = [
        (include_str!("golden/v1-holes-dense.txt"), 1000, &scattered, Packing::Dense),
        (include_str!("golden/v1-holes-base64.txt"), 1000, &scattered, Packing::Base64),
        (include_str!("golden/v1-sparse-base64.txt"), 5, &sparse, Packing::Base64),
        (include_str!("golden/v1-runs-dense.txt"), 7, &runs, Packing::Dense),
        (include_str!("golden/v1-bitmap-base64.txt"), 0, &alternating, Packing::Base64),
        (include_str!("golden/v1-bitmap-dense.txt"), 0, &alternating, Packing::Dense),
    ];
    for (file, base, finished, packing) in golden {
        let text = file.trim_end();
        assert_eq!(encoded(base, finished, packing, FULL).unwrap(), text);
        let memory = decode(text.as_bytes()).unwrap();
        assert_eq!((memory.base, &*memory.finished, memory.log), (NextOffset(base), finished, log()));
    }
}

/// A memory whose identity is hashed otherwise by a later version is lost at the upgrade: this value never changes.
#[test]
fn the_identity_of_a_log_is_pinned_with_its_topic_id() {
    let log = |id| LogIdentity::of("cluster", "topic", id, 3).hash;
    let id: [u8; 16] = std::array::from_fn(|at| at as u8);
    assert_eq!([log(None), log(Some(id))], [0x8598_DD2F, 0x266B_B905]);
}
