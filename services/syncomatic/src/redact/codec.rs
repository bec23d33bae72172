//! How an object's lines are compressed, undone and done again a bounded piece at a time.
//!
//! What an object is compressed with is told from its first bytes: no JSON line begins like a gzip member
//! or a zstd frame. The encoder is fed blocks of one size, so that its output depends on the lines alone
//! and not on how they arrived.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flate2::{Decompress, FlushDecompress, GzBuilder, Status};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

/// What is decoded at a time, and what the encoder takes at a time.
pub(super) const PIECE: usize = 64 << 10;
/// How many bytes it takes to tell the encoding.
pub(super) const MAGIC_BYTES: usize = 4;
/// gzip's window, 32 KiB, as a power of two (RFC 1951, section 2).
const GZIP_WINDOW_LOG: u8 = 15;
/// The largest window that a zstd decoder has to offer, 8 MiB (RFC 9659, section 3).
const ZSTD_WINDOW_LOG: u32 = 23;
const GZIP_LEVEL: u32 = 3;
const ZSTD_LEVEL: i32 = 3;
/// What the encoders' output depends on beside the lines.
pub(super) const FORMAT: &str = "gzip 3, zstd 3, blocks of 64 KiB";

/// How lines are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

impl Encoding {
    /// By the first [`MAGIC_BYTES`] of an object, or all that it has.
    pub(super) fn of(first: &[u8]) -> Self {
        match first {
            // RFC 1952, section 2.3.1.
            [0x1f, 0x8b, ..] => Self::Gzip,
            // RFC 8878, section 3.1.1.
            [0x28, 0xb5, 0x2f, 0xfd] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// What one step of a decoder did.
pub(super) struct Step {
    pub(super) consumed: usize,
    pub(super) produced: usize,
}

/// Undoes the compression.
pub(super) enum Decoder {
    Plain,
    Gzip { stream: Box<Decompress>, inside: bool },
    Zstd { stream: DCtx<'static>, inside: bool },
}

impl Decoder {
    pub(super) fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Plain => Self::Plain,
            Encoding::Gzip => Self::Gzip {
                stream: Box::new(Decompress::new_gzip(GZIP_WINDOW_LOG)),
                inside: true,
            },
            Encoding::Zstd => {
                let mut stream = DCtx::create();
                stream
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .expect("zstd offers windows of up to 2 GiB");
                Self::Zstd { stream, inside: true }
            }
        }
    }

    /// Reads and writes as much as there is and fits. Members and frames may follow each other.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, &'static str> {
        match self {
            Self::Plain => {
                let length = input.len().min(output.len());
                output[..length].copy_from_slice(&input[..length]);
                let (consumed, produced) = (length, length);
                Ok(Step { consumed, produced })
            }
            Self::Gzip { stream, inside } => {
                if !*inside {
                    if input.is_empty() {
                        let (consumed, produced) = (0, 0);
                        return Ok(Step { consumed, produced });
                    }
                    stream.reset(true);
                    *inside = true;
                }
                let (read, written) = (stream.total_in(), stream.total_out());
                let status = stream
                    .decompress(input, output, FlushDecompress::None)
                    .map_err(|_| "it is corrupt")?;
                *inside = status != Status::StreamEnd;
                let moved =
                    |now: u64, before: u64| usize::try_from(now - before).expect("no more than a slice");
                Ok(Step {
                    consumed: moved(stream.total_in(), read),
                    produced: moved(stream.total_out(), written),
                })
            }
            Self::Zstd { stream, inside } => {
                let mut from = InBuffer::around(input);
                let mut to = OutBuffer::around(output);
                let hint = stream
                    .decompress_stream(&mut to, &mut from)
                    .map_err(|_| "it is corrupt, or has a window of more than 8 MiB")?;
                let (consumed, produced) = (from.pos(), to.pos());
                if consumed > 0 || produced > 0 {
                    *inside = hint != 0;
                }
                Ok(Step { consumed, produced })
            }
        }
    }

    /// Whether the input may end here.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Gzip { inside, .. } | Self::Zstd { inside, .. } => !inside,
        }
    }
}

/// Compresses again.
pub(super) struct Encoder {
    stream: Output,
    /// Not yet fed.
    lines: Vec<u8>,
}

enum Output {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    pub(super) fn new(encoding: Encoding) -> io::Result<Self> {
        let stream = match encoding {
            Encoding::Plain => Output::Plain(Vec::new()),
            Encoding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Output::Gzip(Box::new(GzBuilder::new().mtime(0).write(Vec::new(), level)))
            }
            Encoding::Zstd => Output::Zstd(Box::new(zstd::stream::write::Encoder::new(
                Vec::new(),
                ZSTD_LEVEL,
            )?)),
        };
        let lines = Vec::with_capacity(2 * PIECE);
        Ok(Self { stream, lines })
    }

    /// Where lines are appended, before the next [`Self::feed`].
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// Compresses whole blocks and moves what came of them to `into`.
    pub(super) fn feed(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        let whole = self.lines.len() - self.lines.len() % PIECE;
        for block in self.lines[..whole].chunks(PIECE) {
            self.stream.write(block)?;
        }
        self.lines.drain(..whole);
        into.append(self.stream.output());
        Ok(())
    }

    /// Compresses the rest and ends the stream.
    pub(super) fn finish(mut self, into: &mut Vec<u8>) -> io::Result<()> {
        self.feed(into)?;
        self.stream.write(&self.lines)?;
        let mut rest = match self.stream {
            Output::Plain(output) => output,
            Output::Gzip(stream) => stream.finish()?,
            Output::Zstd(stream) => stream.finish()?,
        };
        into.append(&mut rest);
        Ok(())
    }
}

impl Output {
    fn write(&mut self, block: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.write_all(block),
            Self::Gzip(stream) => stream.write_all(block),
            Self::Zstd(stream) => stream.write_all(block),
        }
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Plain(output) => output,
            Self::Gzip(stream) => stream.get_mut(),
            Self::Zstd(stream) => stream.get_mut(),
        }
    }
}
