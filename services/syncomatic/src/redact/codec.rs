//! How an object's lines are compressed, undone and done again a bounded piece at a time.
//!
//! What an object is compressed with is told from its first bytes: no JSON line begins like a gzip member
//! or a zstd frame. The copy's lines are cut into blocks of one size, and each block is a member or frame
//! of its own; both formats are sequences of them (RFC 1952, section 2.2; RFC 8878, section 3). So the
//! copy depends on the lines alone and not on how they arrived, and no compressor is kept from one block
//! to the next.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{CompressionLvl, Compressor};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::Room;
use super::transform::Fault;

/// What is decoded at a time, in bytes.
pub(super) const PIECE: usize = 64 << 10;
/// What is compressed at a time, in bytes. docs/benchmarks.md has what other sizes cost hoard.
pub(super) const BLOCK: usize = 256 << 10;
/// How many bytes it takes to tell the encoding.
pub(super) const MAGIC_BYTES: usize = 4;
/// gzip's window, 32 KiB, as a power of two (RFC 1951, section 2).
const GZIP_WINDOW_LOG: u8 = 15;
/// The largest window that a zstd decoder has to offer, 8 MiB (RFC 9659, section 3), as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What zstd uses up to level 9 or so.
const ZSTD_WINDOW_LOG_USUAL: u32 = 21;
/// What zstd answers when a window is larger (`ZSTD_error_frameParameter_windowTooLarge`, 16, of
/// zstd_errors.h, whose numbers are fixed; errors are negative).
const ZSTD_WINDOW_TOO_LARGE: usize = 0_usize.wrapping_sub(16);
const GZIP_LEVEL: i32 = 5;
const ZSTD_LEVEL: i32 = 1;
/// What the encoders' output depends on beside the lines.
pub(super) const FORMAT: &str = "gzip 5, zstd 1, blocks of 256 KiB";

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
    pub(super) fn new(encoding: Encoding, room: Room) -> Self {
        match encoding {
            Encoding::Plain => Self::Plain,
            Encoding::Gzip => Self::Gzip {
                stream: Box::new(Decompress::new_gzip(GZIP_WINDOW_LOG)),
                inside: true,
            },
            Encoding::Zstd => {
                let window_log = match room {
                    Room::Usual => ZSTD_WINDOW_LOG_USUAL,
                    Room::Full => ZSTD_WINDOW_LOG_MAX,
                };
                let mut stream = DCtx::create();
                stream
                    .set_parameter(DParameter::WindowLogMax(window_log))
                    .expect("zstd offers windows of up to 2 GiB");
                Self::Zstd { stream, inside: true }
            }
        }
    }

    /// Reads and writes as much as there is and fits. Members and frames may follow each other.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Fault> {
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
                    .map_err(|_| Fault::Corrupt("it is corrupt"))?;
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
                    .map_err(|code| match code {
                        ZSTD_WINDOW_TOO_LARGE => Fault::LargeWindow,
                        _ => Fault::Corrupt("it is corrupt"),
                    })?;
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
    blocks: Blocks,
    /// Not yet compressed.
    lines: Vec<u8>,
    begun: bool,
}

/// What becomes of a block.
enum Blocks {
    Plain,
    Gzip(Box<Compressor>),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Encoder {
    pub(super) fn new(encoding: Encoding) -> io::Result<Self> {
        let blocks = match encoding {
            Encoding::Plain => Blocks::Plain,
            Encoding::Gzip => {
                let level = CompressionLvl::new(GZIP_LEVEL).expect("from 1 to 12");
                Blocks::Gzip(Box::new(Compressor::new(level)))
            }
            Encoding::Zstd => Blocks::Zstd(Box::new(zstd::bulk::Compressor::new(ZSTD_LEVEL)?)),
        };
        Ok(Self {
            blocks,
            lines: Vec::with_capacity(BLOCK + PIECE),
            begun: false,
        })
    }

    /// Where lines are appended, before the next [`Self::feed`].
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// Compresses whole blocks, behind what is in `into`.
    pub(super) fn feed(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        let whole = self.lines.len() - self.lines.len() % BLOCK;
        for block in self.lines[..whole].chunks(BLOCK) {
            self.blocks.append(block, into)?;
            self.begun = true;
        }
        self.lines.drain(..whole);
        Ok(())
    }

    /// Compresses the rest. An object without lines is an empty member or frame.
    pub(super) fn finish(mut self, into: &mut Vec<u8>) -> io::Result<()> {
        self.feed(into)?;
        if self.begun && self.lines.is_empty() {
            return Ok(());
        }
        self.blocks.append(&self.lines, into)
    }
}

impl Blocks {
    fn append(&mut self, block: &[u8], into: &mut Vec<u8>) -> io::Result<()> {
        let begin = into.len();
        match self {
            Self::Plain => into.extend_from_slice(block),
            Self::Gzip(compressor) => {
                into.resize(begin + compressor.gzip_compress_bound(block.len()), 0);
                let member = compressor.gzip_compress(block, &mut into[begin..]);
                into.truncate(begin + member.map_err(io::Error::other)?);
            }
            Self::Zstd(compressor) => into.extend_from_slice(&compressor.compress(block)?),
        }
        Ok(())
    }
}
