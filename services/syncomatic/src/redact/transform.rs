//! An object's bytes, as they arrive, into the copy's bytes and the quarantine's.
//!
//! One step decodes one piece, cuts it into lines and redacts them; what it holds is bounded: a piece, a
//! line, and what has come of the piece, which the caller takes away after each step. Lines are cut at
//! `\n` alone; blank ones are left out. A line that may not pass becomes a line of the quarantine: its
//! number, the reason, its length, its bytes in base64 (the first of them, where it is too long).

use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::codec::{Decoder, Encoder, Encoding, MAGIC_BYTES, PIECE};
use super::{Reason, Redaction, Room, Tally};

/// Why an object cannot be redacted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its compression cannot be undone.
    #[error("the object cannot be decompressed: {0}")]
    Corrupt(&'static str),
    /// It would take more memory than there is for it.
    #[error("the object cannot be decompressed: its zstd window is larger than there is room for")]
    LargeWindow,
    /// It cannot be compressed again.
    #[error("the copy cannot be compressed: {0}")]
    Encoder(String),
}

/// One object on its way.
pub struct Transform<'a> {
    redaction: &'a Redaction,
    room: Room,
    /// Before the encoding is known.
    first: Vec<u8>,
    codec: Option<Codec>,
    piece: Box<[u8]>,
    line: Line,
    line_number: u64,
    tally: Tally,
    output: Vec<u8>,
    quarantine: Vec<u8>,
}

struct Codec {
    decoder: Decoder,
    encoder: Encoder,
}

/// The line that is not whole yet.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    /// How long it is so far, which may be more than is kept.
    length: u64,
}

impl<'a> Transform<'a> {
    pub(super) fn new(redaction: &'a Redaction, room: Room) -> Self {
        Self {
            redaction,
            room,
            first: Vec::with_capacity(MAGIC_BYTES),
            codec: None,
            piece: vec![0; PIECE].into_boxed_slice(),
            line: Line::default(),
            line_number: 0,
            tally: Tally::new(redaction.event_types().len()),
            output: Vec::new(),
            quarantine: Vec::new(),
        }
    }

    /// Takes some of `input` and returns how much, and whether there is more to come of what was taken
    /// already: call it until all is taken and nothing more comes.
    ///
    /// # Errors
    /// The object cannot be read as what it seems to be.
    pub fn step(&mut self, input: &[u8]) -> Result<(usize, bool), Fault> {
        let Some(codec) = &mut self.codec else {
            let taken = input.len().min(MAGIC_BYTES - self.first.len());
            self.first.extend_from_slice(&input[..taken]);
            if self.first.len() == MAGIC_BYTES {
                self.begin()?;
            }
            return Ok((taken, false));
        };
        let step = codec.decoder.step(input, &mut self.piece)?;
        if step.consumed == 0 && step.produced == 0 && !input.is_empty() {
            return Err(Fault::Corrupt("it does not go on"));
        }
        let piece = std::mem::take(&mut self.piece);
        self.cut(&piece[..step.produced]);
        self.piece = piece;
        self.feed()?;
        Ok((step.consumed, step.produced == PIECE))
    }

    /// Ends the object: what is left comes with the next [`Self::take_output`].
    ///
    /// # Errors
    /// As for a step, or the object ends in the middle of its compression.
    pub fn finish(&mut self) -> Result<Tally, Fault> {
        if self.codec.is_none() {
            self.begin()?;
        }
        if self.line.length > 0 {
            self.end_line(&[]);
        }
        if let Some(codec) = self.codec.take() {
            if !codec.decoder.is_whole() {
                return Err(Fault::Corrupt("it ends too early"));
            }
            codec.encoder.finish(&mut self.output).map_err(encoder)?;
        }
        Ok(std::mem::take(&mut self.tally))
    }

    /// The copy's next bytes.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// The quarantine's next bytes.
    pub fn take_quarantine(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.quarantine)
    }

    /// The first bytes tell the encoding, and then are input like any others.
    fn begin(&mut self) -> Result<(), Fault> {
        let encoding = if self.first.len() < MAGIC_BYTES {
            Encoding::Plain
        } else {
            Encoding::of(&self.first)
        };
        self.codec = Some(Codec {
            decoder: Decoder::new(encoding, self.room),
            encoder: Encoder::new(encoding).map_err(encoder)?,
        });
        let first = std::mem::take(&mut self.first);
        let mut rest = first.as_slice();
        while !rest.is_empty() {
            let (taken, _) = self.step(rest)?;
            rest = &rest[taken..];
        }
        Ok(())
    }

    fn feed(&mut self) -> Result<(), Fault> {
        match &mut self.codec {
            Some(codec) => codec.encoder.feed(&mut self.output).map_err(encoder),
            None => Ok(()),
        }
    }

    fn cut(&mut self, piece: &[u8]) {
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            self.end_line(&piece[begin..end]);
            begin = end + 1;
        }
        let limit = self.redaction.options.line_bytes_max;
        self.line.push(&piece[begin..], limit);
    }

    /// `rest` is the end of the line; most lines are whole in one piece.
    fn end_line(&mut self, rest: &[u8]) {
        let mut begun = std::mem::take(&mut self.line);
        if begun.length == 0 {
            self.put(rest, rest.len() as u64);
        } else {
            begun.push(rest, self.redaction.options.line_bytes_max);
            self.put(&begun.bytes, begun.length);
            begun.clear();
            self.line = begun;
        }
    }

    /// One line, whole or cut.
    fn put(&mut self, line: &[u8], length: u64) {
        self.line_number += 1;
        if line.trim_ascii().is_empty() && length == line.len() as u64 {
            return;
        }
        let limit = self.redaction.options.line_bytes_max;
        let redacted = match &mut self.codec {
            Some(codec) if length <= limit as u64 => {
                self.redaction
                    .redact_line(line, codec.encoder.lines(), &mut self.tally)
            }
            _ => Err(Reason::TooLong),
        };
        if let Err(reason) = redacted {
            self.tally.quarantine(reason);
            let raw = BASE64_STANDARD.encode(&line[..line.len().min(limit)]);
            let (number, reason) = (self.line_number, reason.as_str());
            writeln!(
                self.quarantine,
                r#"{{"line":{number},"reason":"{reason}","bytes":{length},"raw":"{raw}"}}"#
            )
            .expect("a vector takes every byte");
        }
    }
}

impl Line {
    fn push(&mut self, bytes: &[u8], limit: usize) {
        self.length += bytes.len() as u64;
        let room = limit.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.length = 0;
    }
}

/// Writing to memory fails for want of it alone.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn encoder(error: std::io::Error) -> Fault {
    Fault::Encoder(error.to_string())
}

#[cfg(test)]
#[path = "transform/tests.rs"]
mod tests;
