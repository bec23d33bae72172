//! What an object's bytes really are: decompressed as they arrive, counted, checksummed, and never
//! held as a whole.

use std::io::{self, Write};

use crc_fast::{CrcAlgorithm, Digest};
use flate2::write::MultiGzDecoder;
use zstd::stream::write::Decoder as ZstdDecoder;

/// The widest zstd window that is accepted, as a power of two: 8 MiB, which no level that the archive
/// is written with exceeds.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// What the lines of an object are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// How many.
    pub lines: u64,
    /// Their size, line breaks included.
    pub bytes: u64,
    /// Their CRC-64/NVME.
    pub crc: u64,
    /// Whether each is ended by one `\n`, and none is empty.
    pub is_lines: bool,
}

/// Reads the content of one object, chunk by chunk.
pub enum ContentReader {
    /// `.jsonl`
    Plain(Box<Measure>),
    /// `.jsonl.gz`; several members count as one text.
    Gzip(Box<MultiGzDecoder<Measure>>),
    /// `.jsonl.zst`; several frames count as one text.
    Zstd(Box<ZstdDecoder<'static, Measure>>),
}

/// Counts and checksums what is written to it.
pub struct Measure {
    crc: Digest,
    lines: u64,
    bytes: u64,
    last: u8,
    has_empty_line: bool,
}

impl ContentReader {
    /// Chosen by the key's extension, as query engines do.
    pub fn for_key(key: &str) -> io::Result<Self> {
        let measure = Measure::new();
        if key.ends_with(".gz") {
            Ok(Self::Gzip(Box::new(MultiGzDecoder::new(measure))))
        } else if key.ends_with(".zst") {
            let mut decoder = ZstdDecoder::new(measure)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Ok(Self::Zstd(Box::new(decoder)))
        } else {
            Ok(Self::Plain(Box::new(measure)))
        }
    }

    /// Takes the next bytes of the object.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(measure) => measure.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        }
    }

    /// The object has ended.
    pub fn finish(self) -> io::Result<Content> {
        let measure = match self {
            Self::Plain(measure) => *measure,
            Self::Gzip(decoder) => decoder.finish()?,
            Self::Zstd(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner()
            }
        };
        Ok(Content {
            lines: measure.lines,
            bytes: measure.bytes,
            crc: measure.crc.finalize(),
            is_lines: measure.last == b'\n' && !measure.has_empty_line && measure.bytes > 0,
        })
    }
}

impl Measure {
    fn new() -> Self {
        Self {
            crc: Digest::new(CrcAlgorithm::Crc64Nvme),
            lines: 0,
            bytes: 0,
            // An object that begins with a line break begins with an empty line.
            last: b'\n',
            has_empty_line: false,
        }
    }
}

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(&last) = bytes.last() else {
            return Ok(0);
        };
        self.crc.update(bytes);
        self.bytes += bytes.len() as u64;
        self.lines += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let breaks_meet = |(before, byte): (&u8, &u8)| *before == b'\n' && *byte == b'\n';
        self.has_empty_line |=
            breaks_meet((&self.last, &bytes[0])) || bytes.iter().zip(&bytes[1..]).any(breaks_meet);
        self.last = last;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
