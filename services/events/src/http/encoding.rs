//! Undoes the content encoding of a body, within its bounds.
//!
//! A body of a few bytes can stand for gigabytes. What bounds that:
//!
//! | what | bound |
//! |---|---|
//! | bytes that come out | a setting; the first byte beyond it is a refusal and is held nowhere |
//! | bytes held, sent and come out | taken from the budget of all that is in flight, as they grow |
//! | decoders at work | one a processor; each has a window of at most 8 MiB |
//! | gzip members or zstd frames of a body | [`MAX_STREAMS`]: empty ones cost work and bring nothing |
//! | time away from the runtime | one piece of [`PIECE`] bytes, then other tasks have their turn |

use std::{num::NonZero, thread::available_parallelism, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use flate2::{Decompress, FlushDecompress, Status};
use tokio::{sync::Semaphore, task::yield_now, time::timeout};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, is_error_kind, zstd_sys::ZSTD_ErrorCode};

use crate::{admission::Admitted, decode::single, refusal::Refusal};

/// How much is decompressed at a time: some tenths of a millisecond.
const PIECE: usize = 64 << 10;

/// The most gzip members or zstd frames in one body: more than one for each event of a request.
const MAX_STREAMS: usize = 1024;

/// The largest window that a zstd decoder has to offer, 8 MiB, as a power of two
/// (RFC 9659, section 3).
const ZSTD_WINDOW_LOG: u32 = 23;

/// gzip's own window, 32 KiB, as a power of two (RFC 1951, section 2).
const GZIP_WINDOW_LOG: u8 = 15;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// What the header says. Encodings on top of each other are refused: nobody gains by them.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(value) = single(headers, header::CONTENT_ENCODING) else {
            return Ok(Self::Identity);
        };
        match value.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "identity" => Ok(Self::Identity),
            // An alias that is to be taken for the same (RFC 9110, section 8.4.1.3).
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Refusal::ContentEncoding),
        }
    }
}

/// Undoes content encodings, a bounded number of them at the same time.
pub(crate) struct Decompressor {
    limit: usize,
    patience: Duration,
    turns: Semaphore,
}

impl Decompressor {
    /// `limit` is the most bytes that a body may become; `patience` is how long a body may wait for
    /// its turn. Who has a turn waits for nothing but the processor.
    pub(crate) fn new(limit: usize, patience: Duration) -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Self {
            limit,
            patience,
            turns: Semaphore::new(processors),
        }
    }

    /// The body as it was before its encoding. `admitted` grows by what comes out, and afterwards
    /// covers that alone.
    pub(crate) async fn undo(
        &self,
        encoding: Encoding,
        sent: Bytes,
        admitted: &mut Admitted,
    ) -> Result<Bytes, Refusal> {
        let stream = match encoding {
            Encoding::Identity => return Ok(sent),
            Encoding::Gzip => Stream::gzip,
            Encoding::Zstd => Stream::zstd,
        };
        // A decoder is made only by who has a turn, so that turns bound what decoders hold.
        let turn = timeout(self.patience, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Refusal::Overloaded);
        };
        let mut output = Output {
            bytes: Vec::new(),
            limit: self.limit,
        };
        decompress(stream(), &sent, &mut output, admitted).await?;
        drop(sent);
        admitted.resize(output.bytes.capacity())?;
        Ok(output.bytes.into())
    }
}

/// Goes through every stream of a body, one piece at a time.
async fn decompress(
    mut stream: Stream,
    sent: &[u8],
    output: &mut Output,
    admitted: &mut Admitted,
) -> Result<(), Refusal> {
    let mut offset = 0;
    for _ in 0..MAX_STREAMS {
        loop {
            output.make_room(|capacity| admitted.resize(sent.len() + capacity))?;
            let step = output.fill(|room| {
                let step = stream.step(&sent[offset..], room);
                step.map_err(|problem| stream.bad(offset, problem))
            })?;
            offset += step.consumed;
            yield_now().await;
            if step.ended {
                break;
            }
            if step.consumed == 0 && step.produced == 0 {
                return Err(stream.bad(offset, "it ends too early"));
            }
        }
        let rest = &sent[offset..];
        if rest.is_empty() {
            return Ok(());
        }
        if !stream.may_begin(rest) {
            return Err(stream.bad(offset, "there are other bytes after its end"));
        }
        stream.begin();
    }
    Err(stream.bad(offset, "it has more than 1024 parts"))
}

/// What came out, never longer than the limit.
struct Output {
    bytes: Vec<u8>,
    limit: usize,
}

impl Output {
    /// Room for the next piece, once `admit` allows the new capacity. The capacity doubles, so that
    /// the cost of moving stays linear, and ends at the limit.
    fn make_room(&mut self, admit: impl FnOnce(usize) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        if length < capacity || length >= self.limit {
            return Ok(());
        }
        let capacity = capacity.saturating_mul(2).max(PIECE).min(self.limit);
        admit(capacity)?;
        self.bytes.reserve_exact(capacity - length);
        Ok(())
    }

    /// Lets `step` write into the room there is. At the limit the room is one byte that is not
    /// kept: a stream may still end there, or show that it goes on.
    fn fill(&mut self, step: impl FnOnce(&mut [u8]) -> Result<Step, Refusal>) -> Result<Step, Refusal> {
        let (length, limit) = (self.bytes.len(), self.limit);
        if length >= limit {
            let step = step(&mut [0])?;
            let fits = step.produced == 0;
            return fits.then_some(step).ok_or(Refusal::BodyTooLarge { limit });
        }
        let room = (self.bytes.capacity().min(limit) - length).min(PIECE);
        self.bytes.resize(length + room, 0);
        let step = step(&mut self.bytes[length..]);
        let produced = step.as_ref().map_or(0, |step| step.produced);
        self.bytes.truncate(length + produced);
        step
    }
}

/// What one step did.
struct Step {
    consumed: usize,
    produced: usize,
    /// The stream is at its end; another may follow.
    ended: bool,
}

/// A decoder that is fed by hand.
enum Stream {
    Gzip(Decompress),
    Zstd(DCtx<'static>),
}

impl Stream {
    fn gzip() -> Self {
        Self::Gzip(Decompress::new_gzip(GZIP_WINDOW_LOG))
    }

    fn zstd() -> Self {
        let mut context = DCtx::create();
        context
            .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
            .expect("zstd offers windows of up to 2 GiB");
        Self::Zstd(context)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
        }
    }

    fn bad(&self, offset: usize, problem: &'static str) -> Refusal {
        Refusal::BadEncoding {
            encoding: self.name(),
            offset,
            problem,
        }
    }

    /// Whether these bytes begin another stream of the same kind.
    fn may_begin(&self, bytes: &[u8]) -> bool {
        match self {
            // RFC 1952, section 2.3.1.
            Self::Gzip(_) => bytes.starts_with(&[0x1f, 0x8b]),
            // RFC 8878, section 3.1.1.
            Self::Zstd(_) => bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
        }
    }

    /// Makes ready for another stream. The zstd decoder is so by itself.
    fn begin(&mut self) {
        if let Self::Gzip(decoder) = self {
            decoder.reset(true);
        }
    }

    /// Reads and writes as much as there is and fits.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, &'static str> {
        match self {
            Self::Gzip(decoder) => gzip_step(decoder, input, output),
            Self::Zstd(decoder) => zstd_step(decoder, input, output),
        }
    }
}

fn gzip_step(decoder: &mut Decompress, input: &[u8], output: &mut [u8]) -> Result<Step, &'static str> {
    let (read, written) = (decoder.total_in(), decoder.total_out());
    let status = decoder
        .decompress(input, output, FlushDecompress::None)
        .map_err(|_| "it is corrupt")?;
    let difference = |now: u64, before: u64| usize::try_from(now - before).expect("no more than a slice");
    Ok(Step {
        consumed: difference(decoder.total_in(), read),
        produced: difference(decoder.total_out(), written),
        ended: status == Status::StreamEnd,
    })
}

fn zstd_step(decoder: &mut DCtx<'_>, input: &[u8], output: &mut [u8]) -> Result<Step, &'static str> {
    let mut from = InBuffer::around(input);
    let mut to = OutBuffer::around(output);
    let hint = decoder.decompress_stream(&mut to, &mut from).map_err(|error| {
        let is = |kind| is_error_kind(error, kind);
        if is(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
            "its window is larger than 8 MiB"
        } else if is(ZSTD_ErrorCode::ZSTD_error_dictionary_wrong) {
            "it needs a dictionary"
        } else {
            "it is corrupt"
        }
    })?;
    Ok(Step {
        consumed: from.pos(),
        produced: to.pos(),
        ended: hint == 0,
    })
}

#[cfg(test)]
#[path = "encoding/tests.rs"]
mod tests;
