//! The open cut of one shard: its span and the objects it is becoming.
//!
//! Every record that is pushed goes into exactly one object of exactly one cut: the lines, or the
//! error lines beside them.

use std::io;

use tokio::time::Instant;

use crate::cut::{Cause, Limits, Span};
use crate::encode::{Compression, Encoded, Encoder};
use crate::line::{self, BadRecord};
use crate::pending::Kind;
use crate::record::Record;
use crate::sequence::ShardId;

/// What has been read of one shard since its last cut.
pub struct Buffer {
    stream: String,
    shard: ShardId,
    limits: Limits,
    compression: Compression,
    open: Option<Open>,
}

struct Open {
    span: Span,
    lines: Option<Encoder>,
    errors: Option<Encoder>,
}

/// A cut: a run of records and the objects that hold all of them.
#[derive(Debug)]
pub struct Cut {
    /// Which records.
    pub span: Span,
    /// Their lines; at least one object, at most one of each kind.
    pub objects: Vec<(Kind, Encoded)>,
}

impl Buffer {
    /// An empty buffer.
    pub fn new(stream: &str, shard: ShardId, limits: Limits, compression: Compression) -> Self {
        Self {
            stream: stream.to_owned(),
            shard,
            limits,
            compression,
            open: None,
        }
    }

    /// Whether what is held must be cut before `record` may be pushed.
    pub fn ends_before(&self, record: &Record) -> Option<Cause> {
        self.open.as_ref()?.span.ends_before(record)
    }

    /// Takes the next record of the shard. What is wrong with it, if anything, is in its error line
    /// already and returned to be counted.
    pub fn push(&mut self, record: &Record, now: Instant) -> io::Result<Result<(), BadRecord>> {
        let open = match &mut self.open {
            Some(open) => {
                open.span.extend(record);
                open
            }
            None => self.open.insert(Open {
                span: Span::open(record, now),
                lines: None,
                errors: None,
            }),
        };
        let compression = self.compression;
        match line::json_line(&record.data) {
            Ok(line) => {
                open.lines
                    .get_or_insert_with(|| Encoder::new(compression))
                    .push(&line)?;
                Ok(Ok(()))
            }
            Err(reason) => {
                let line = line::error_line(reason, &self.stream, &self.shard, record)?;
                open.errors
                    .get_or_insert_with(|| Encoder::new(compression))
                    .push(&line)?;
                Ok(Err(reason))
            }
        }
    }

    /// Whether what is held has reached the flush size.
    pub fn is_full(&self) -> Option<Cause> {
        let open = self.open.as_ref()?;
        let bytes = open.encoders().map(Encoder::bytes).sum();
        open.span.is_full(bytes, &self.limits)
    }

    /// When what is held must be cut for its age; `None` while nothing is held.
    pub fn due(&self) -> Option<Instant> {
        Some(self.open.as_ref()?.span.due(&self.limits))
    }

    /// Memory that is held, in bytes.
    pub fn footprint(&self) -> usize {
        self.open
            .iter()
            .flat_map(Open::encoders)
            .map(Encoder::footprint)
            .sum()
    }

    /// Takes everything as one cut; `None` when nothing is held.
    pub fn cut(&mut self) -> io::Result<Option<Cut>> {
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        let mut objects = Vec::with_capacity(2);
        for (kind, encoder) in [(Kind::Lines, open.lines), (Kind::Errors, open.errors)] {
            if let Some(encoder) = encoder {
                objects.push((kind, encoder.finish()?));
            }
        }
        Ok(Some(Cut {
            span: open.span,
            objects,
        }))
    }
}

impl Open {
    fn encoders(&self) -> impl Iterator<Item = &Encoder> {
        self.lines.iter().chain(&self.errors)
    }
}

#[cfg(test)]
mod tests;
