//! Histograms by the second, in the log format of HdrHistogram, version 1.3, which its tools read (`HistogramLogProcessor`, `hdrhistogramplot`).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use hdrhistogram::Histogram;

use super::families::{ByFamily, Family};
use super::latencies::Latencies;

/// Of an encoding, and of a compressed one: version 2, word size in the second digit from the right.
const ENCODED: u32 = 0x1c84_9303 | 0x10;
const COMPRESSED: u32 = 0x1c84_9304 | 0x10;
/// Values are microseconds; a line's maximum is in milliseconds.
const MICROS_IN_MAX: f64 = 1e3;

/// A file for each latency, which begins with the run.
#[derive(Debug)]
pub(crate) struct HdrLogs {
    /// None for a latency that the run does not measure.
    files: ByFamily<Option<BufWriter<File>>>,
    /// When the run's clock showed 0, in seconds since 1970.
    epoch: f64,
}

impl HdrLogs {
    /// Makes the files of what is `measured` in that folder: `end_to_end.hlog` and so on. Times are counted from `epoch`, in seconds since 1970.
    pub(crate) fn create(folder: &Path, epoch: f64, measured: impl Fn(Family) -> bool) -> io::Result<Self> {
        let files = ByFamily::try_new(|family| {
            if !measured(family) {
                return Ok(None);
            }
            let mut file = BufWriter::new(File::create(folder.join(file_name(family)))?);
            write_head(&mut file, family, epoch)?;
            file.flush()?;
            io::Result::Ok(Some(file))
        })?;
        Ok(Self { files, epoch })
    }

    /// Adds what came from `from` to `until`, in seconds since the epoch of [`create`](Self::create). Nothing is written where nothing came.
    pub(crate) fn add(&mut self, from: f64, until: f64, latencies: &ByFamily<Latencies>) -> io::Result<()> {
        for (family, latencies) in latencies.each() {
            let histogram = latencies.histogram();
            if !histogram.is_empty()
                && let Some(file) = self.files.of_mut(family)
            {
                write_line(file, None, self.epoch + from, until - from, histogram)?;
                file.flush()?;
            }
        }
        Ok(())
    }

    /// Adds what belongs to a phase of that name, as a tagged line: readers of the format leave those out unless they are asked for.
    pub(crate) fn add_tagged(
        &mut self,
        family: Family,
        phase: &str,
        (from, until): (f64, f64),
        latencies: &Latencies,
    ) -> io::Result<()> {
        let tag = phase.replace(' ', "-");
        let Some(file) = self.files.of_mut(family) else { return Ok(()) };
        write_line(file, Some(&tag), self.epoch + from, until - from, latencies.histogram())?;
        file.flush()
    }
}

pub(crate) fn file_name(family: Family) -> String {
    format!("{}.hlog", family.name())
}

fn write_head(file: &mut impl Write, family: Family, epoch: f64) -> io::Result<()> {
    writeln!(file, "#[{}, microseconds; logged by troupe {}]", family.title(), env!("CARGO_PKG_VERSION"))?;
    writeln!(file, "#[Histogram log format version 1.3]")?;
    writeln!(file, "#[StartTime: {epoch:.3} (seconds since epoch)]")?;
    writeln!(file, r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#)
}

fn write_line(
    file: &mut impl Write,
    tag: Option<&str>,
    from: f64,
    length: f64,
    histogram: &Histogram<u64>,
) -> io::Result<()> {
    if let Some(tag) = tag {
        write!(file, "Tag={tag},")?;
    }
    let max = histogram.max() as f64 / MICROS_IN_MAX;
    writeln!(file, "{from:.3},{length:.3},{max:.3},{}", STANDARD.encode(compressed(histogram)?))
}

fn compressed(histogram: &Histogram<u64>) -> io::Result<Vec<u8>> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&encoded(histogram))?;
    let content = zlib.finish()?;
    let mut bytes = COMPRESSED.to_be_bytes().to_vec();
    bytes.extend((content.len() as u32).to_be_bytes());
    bytes.extend(content);
    Ok(bytes)
}

fn encoded(histogram: &Histogram<u64>) -> Vec<u8> {
    let counts = counts(histogram);
    let mut bytes = ENCODED.to_be_bytes().to_vec();
    bytes.extend((counts.len() as u32).to_be_bytes());
    bytes.extend(0_u32.to_be_bytes());
    bytes.extend(u32::from(histogram.sigfig()).to_be_bytes());
    bytes.extend(histogram.low().to_be_bytes());
    bytes.extend(histogram.high().to_be_bytes());
    bytes.extend(1_f64.to_be_bytes());
    bytes.extend(counts);
    bytes
}

/// Bucket by bucket up to the last that is not empty: a count as it is, and so many empty buckets as that number below zero.
fn counts(histogram: &Histogram<u64>) -> Vec<u8> {
    let (mut bytes, mut empty, mut left) = (Vec::new(), 0_i64, histogram.len());
    for bucket in histogram.iter_all() {
        let count = bucket.count_at_value();
        if count == 0 {
            empty += 1;
            continue;
        }
        if empty > 0 {
            put(&mut bytes, -empty);
            empty = 0;
        }
        put(&mut bytes, i64::try_from(count).unwrap_or(i64::MAX));
        left -= count;
        if left == 0 {
            break;
        }
    }
    bytes
}

/// Zigzag, and LEB128 with at most nine bytes.
fn put(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    for _ in 0..8 {
        if rest < 0x80 {
            bytes.push(rest as u8);
            return;
        }
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use std::io::Read;

    use flate2::read::ZlibDecoder;
    use proptest::prelude::*;

    use super::*;

    /// Counts by bucket, as a reader of the format finds them.
    fn decoded(compressed: &[u8]) -> Vec<u64> {
        assert_eq!(compressed[..4], [0x1c, 0x84, 0x93, 0x14]);
        assert_eq!(compressed[4..8], (compressed.len() as u32 - 8).to_be_bytes());
        let mut bytes = Vec::new();
        ZlibDecoder::new(&compressed[8..]).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes[..4], [0x1c, 0x84, 0x93, 0x13]);
        assert_eq!(bytes[4..8], (bytes.len() as u32 - 40).to_be_bytes());
        assert_eq!(bytes[12..16], 3_u32.to_be_bytes());
        let (mut rest, mut counts) = (bytes[40..].iter(), Vec::new());
        while let Some(first) = rest.next() {
            let (mut byte, mut number, mut shift) = (*first, 0_u64, 0);
            loop {
                let last = byte < 0x80 || shift == 56;
                number |= u64::from(if shift == 56 { byte } else { byte & 0x7f }) << shift;
                if last {
                    break;
                }
                shift += 7;
                byte = *rest.next().unwrap();
            }
            let number = (number >> 1) as i64 ^ -((number & 1) as i64);
            match u64::try_from(number) {
                Ok(count) => counts.push(count),
                Err(_) => counts.resize(counts.len() + number.unsigned_abs() as usize, 0),
            }
        }
        counts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_reader_of_the_format_finds_each_bucket(values in proptest::collection::vec((0_u64..200_000_000_000, 1_u64..1 << 60), 1..40)) {
            let mut latencies = Latencies::new().unwrap();
            for (value, times) in &values {
                latencies.record_many(*value, times >> 8);
            }
            let found = decoded(&compressed(latencies.histogram()).unwrap());
            let wanted: Vec<u64> = latencies.histogram().iter_all().map(|it| it.count_at_value()).take(found.len()).collect();
            prop_assert_eq!(found.iter().sum::<u64>(), latencies.histogram().len());
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn a_log_has_its_head_and_a_line_for_each_second_in_which_something_came() {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = HdrLogs::create(folder.path(), 1_700_000_000.25, |family| family != Family::Commit).unwrap();
        let mut latencies = ByFamily::try_new(|_| Latencies::new()).unwrap();
        logs.add(0.0, 1.0, &latencies).unwrap();
        latencies.end_to_end.record(1_500_000);
        logs.add(1.0, 2.0, &latencies).unwrap();
        let log = std::fs::read_to_string(folder.path().join("end_to_end.hlog")).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(
            lines[1..3],
            ["#[Histogram log format version 1.3]", "#[StartTime: 1700000000.250 (seconds since epoch)]"]
        );
        assert!(lines[4].starts_with("1700000001.250,1.000,1.500,HISTFAAAA"), "{log}");
        assert_eq!(lines.len(), 5);
        logs.add_tagged(Family::E2e, "3 step 1 of 2", (1.0, 2.0), &latencies.end_to_end).unwrap();
        let tagged = std::fs::read_to_string(folder.path().join("end_to_end.hlog")).unwrap();
        let wanted = format!("{log}Tag=3-step-1-of-2,{}\n", lines[4]);
        assert_eq!(tagged, wanted);
        let empty = std::fs::read_to_string(folder.path().join("handler.hlog")).unwrap();
        assert_eq!(empty.lines().count(), 4);
        assert!(!folder.path().join("commit_lag.hlog").exists());
    }
}
