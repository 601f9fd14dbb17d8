//! A zstd file: one frame after the other, and each frame's checksum looked at.

use std::error::Error;
use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// See the module.
pub(super) struct ZstdFrames<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
    /// The data ended within a frame. What came of the frame before is given out first.
    cut_off: bool,
}

/// A block without content that ends its frame, and room for a checksum.
///
/// The decoder holds back what later blocks may refer to, in a small file all of it. Where no later block comes, this one sets it free.
const LAST_BLOCK: &[u8] = &[1, 0, 0, 0, 0, 0, 0];

impl<R: BufRead> ZstdFrames<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), in_frame: false, cut_off: false }
    }

    /// Begins the next frame, or passes over one that holds no data. False at the end.
    fn begin(&mut self) -> io::Result<bool> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        match self.decoder.reset(&mut self.source) {
            Ok(()) => self.in_frame = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let length = u64::from(length);
                if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? < length {
                    return Err(cut_off());
                }
            }
            Err(error) => return Err(broken(&error)),
        }
        Ok(true)
    }

    fn decode(&mut self) -> io::Result<()> {
        let decoded = self.decoder.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1));
        match decoded {
            Ok(_) => Ok(()),
            Err(error) if is_end(&error) => {
                self.cut_off = true;
                let ended = self.decoder.decode_blocks(LAST_BLOCK, BlockDecodingStrategy::All);
                ended.map(|_| ()).map_err(|error| broken(&error))
            }
            // A block that is broken may have left something behind that is no data.
            Err(error) => Err(broken(&error)),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.in_frame = false;
        if self.cut_off {
            return Err(cut_off());
        }
        let stored = self.decoder.get_checksum_from_data();
        if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
            return Err(io::Error::other("the zstd data are broken: their checksum is another"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame {
                if !self.begin()? {
                    return Ok(0);
                }
                continue;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decode()?;
            }
            match self.decoder.read(buffer)? {
                0 if self.decoder.is_finished() && self.decoder.can_collect() == 0 => self.end()?,
                read => return Ok(read),
            }
        }
    }
}

fn cut_off() -> io::Error {
    io::Error::other("the zstd data are cut off")
}

fn broken(error: &FrameDecoderError) -> io::Error {
    if is_end(error) { cut_off() } else { io::Error::other(format!("the zstd data are broken: {error}")) }
}

/// Whether it is the source's end that the decoder did not expect.
fn is_end(error: &FrameDecoderError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = error.source();
    }
    false
}
