//! Where the rows come from: a file or stdin, compressed or not.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use flate2::read::MultiGzDecoder;

use super::zstd::ZstdFrames;

/// How far an input has been read, as it lies there: compressed bytes count as they are.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadSoFar(Arc<AtomicU64>);

impl ReadSoFar {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An input that is open.
pub(super) struct Input {
    /// Its content, decompressed.
    pub(super) content: Box<dyn Read + Send>,
    pub(super) read_so_far: ReadSoFar,
    /// The size of a file. Nobody knows a pipe's.
    pub(super) size: Option<u64>,
}

/// Opens a file, or stdin for `-`. What is compressed with zstd or gzip is told by its first bytes.
pub(super) fn open(path: &Path) -> anyhow::Result<Input> {
    let cannot = || format!("cannot read {}", path.display());
    let read_so_far = ReadSoFar::default();
    let (source, size): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path).with_context(cannot)?;
        let metadata = file.metadata().with_context(cannot)?;
        anyhow::ensure!(!metadata.is_dir(), "cannot read {}: it is a directory", path.display());
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let counted = Counted { source, read_so_far: read_so_far.clone() };
    let content = decompressed(counted).with_context(cannot)?;
    Ok(Input { content, read_so_far, size })
}

/// What compressed data begin with.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const GZIP: &[u8] = &[0x1f, 0x8b];

fn decompressed(mut source: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    // No more is waited for than it takes to see that it is neither: a line may be shorter than what zstd begins with.
    let mut start = Vec::new();
    while [ZSTD, GZIP].iter().any(|magic| magic.len() > start.len() && magic.starts_with(&start)) {
        let mut byte = [0];
        match source.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => start.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let (zstd, gzip) = (start == ZSTD, start == GZIP);
    let source = io::Cursor::new(start).chain(source);
    Ok(if zstd {
        Box::new(ZstdFrames::new(BufReader::with_capacity(128 * 1024, source)))
    } else if gzip {
        Box::new(Gzip(MultiGzDecoder::new(BufReader::with_capacity(128 * 1024, source))))
    } else {
        Box::new(source)
    })
}

struct Counted {
    source: Box<dyn Read + Send>,
    read_so_far: ReadSoFar,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.read_so_far.0.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Says what it was that could not be read.
struct Gzip<R>(MultiGzDecoder<R>);

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            io::ErrorKind::UnexpectedEof => io::Error::other("the gzip data are cut off"),
            _ => io::Error::other(format!("the gzip data are broken: {error}")),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::super::split::tests::Trickle;
    use super::*;

    fn read(bytes: Vec<u8>, step: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        decompressed(Trickle { bytes, at: 0, step })?.read_to_end(&mut content)?;
        Ok(content)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
    }

    proptest! {
        #[test]
        fn an_input_is_read_as_it_was_however_it_was_compressed(
            content in proptest::collection::vec(any::<u8>(), 0..5000),
            step in 1..700_usize,
        ) {
            let plain = if content.starts_with(GZIP) || content.starts_with(ZSTD) { Vec::new() } else { content.clone() };
            prop_assert_eq!(read(plain.clone(), step).unwrap(), plain);
            for compressed in [gzip(&content), zstd(&content)] {
                // Several in a row are one, as with `cat a.zst b.zst`.
                let twice = [compressed.as_slice(), compressed.as_slice()].concat();
                prop_assert_eq!(read(compressed, step).unwrap(), content.clone());
                prop_assert_eq!(read(twice, step).unwrap(), [content.as_slice(), content.as_slice()].concat());
            }
        }

        #[test]
        fn what_is_cut_off_is_an_error(content in proptest::collection::vec(any::<u8>(), 1..2000), cut in 4..60_usize) {
            for whole in [gzip(&content), zstd(&content)] {
                let left = whole.len() - cut.min(whole.len() - 4);
                let error = read(whole[..left].to_vec(), 100).unwrap_err().to_string();
                prop_assert!(error.contains("cut off"), "{}", error);
            }
        }
    }

    #[test]
    fn all_that_stands_before_the_cut_is_read() {
        let flights = include_bytes!("../../../examples/data/flights-2013-01.csv.zst");
        let half = flights[..flights.len() / 2].to_vec();
        let (mut content, mut rest) = (Vec::new(), decompressed(Trickle { bytes: half, at: 0, step: 1000 }).unwrap());
        let error = rest.read_to_end(&mut content).unwrap_err().to_string();
        assert!(error.contains("cut off"), "{error}");
        let whole = read(flights.to_vec(), 1000).unwrap();
        // Blocks are of 128 KiB.
        assert!(whole.starts_with(&content) && content.len() > whole.len() / 3, "{} of {}", content.len(), whole.len());
    }

    #[test]
    fn a_short_line_that_begins_like_zstd_is_a_line() {
        for line in [&b""[..], b"(", b"(\xb5", b"\x1f"] {
            assert_eq!(read(line.to_vec(), 1).unwrap(), line);
        }
    }

    #[test]
    fn what_is_broken_is_an_error() {
        let content = vec![b'x'; 1000];
        let mut broken = gzip(&content);
        let middle = broken.len() - 6;
        broken[middle] ^= 1;
        assert!(read(broken, 100).unwrap_err().to_string().contains("the gzip data are broken"));
        let mut behind = zstd(&content);
        behind.extend_from_slice(b"behind it");
        assert!(read(behind, 100).unwrap_err().to_string().contains("zstd"));
    }
}
