//! The open cut of one shard: its span and the objects it is becoming.
//!
//! Every record that is pushed goes into exactly one cut, and each of its lines into exactly one object
//! of it: that of its partition, or the error lines beside them. Which one is a function of the record
//! and of the settings alone. Lines that go to Firehose are in none; they are counted here, so that a cut
//! ends as it would with them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use crate::cut::{Cause, Limits, Size, Span};
use crate::encode::{Compression, Encoded, Encoder};
use crate::error_line::{Source, error_line};
use crate::layout::{Layout, LinesTo};
use crate::line::BadRecord;
use crate::pending::Kind;
use crate::prefix::Partition;
use crate::record::Record;
use crate::sequence::ShardId;
use crate::unpack::{Unpacked, unpack};

/// What decides how records become objects. Announced with each cut, so that it is finished under the
/// settings under which it was begun.
#[derive(Clone, Debug)]
pub struct Form {
    /// Keys, periods and partitions.
    pub layout: Arc<Layout>,
    /// How objects are compressed.
    pub compression: Compression,
}

/// What has been read of one shard since its last cut.
pub struct Buffer {
    shard: ShardId,
    limits: Limits,
    form: Form,
    open: Option<Open>,
}

struct Open {
    span: Span,
    lines: BTreeMap<Partition, Encoder>,
    errors: Option<Encoder>,
    size: Size,
}

/// A cut: a run of records and the objects that hold all of them.
#[derive(Debug)]
pub struct Cut {
    /// Which records.
    pub span: Span,
    /// Their lines: ordered by partition, error lines last. None where all lines went to Firehose.
    pub objects: Vec<CutObject>,
    /// Under which settings.
    pub form: Form,
}

/// One object of a cut.
#[derive(Clone, Debug)]
pub struct CutObject {
    /// What it holds.
    pub kind: Kind,
    /// Whose lines.
    pub partition: Partition,
    /// The lines.
    pub encoded: Encoded,
}

impl Buffer {
    /// An empty buffer.
    pub fn new(shard: ShardId, limits: Limits, form: Form) -> Self {
        Self {
            shard,
            limits,
            form,
            open: None,
        }
    }

    /// Whether what is held must be cut before `record` may be pushed.
    pub fn ends_before(&self, record: &Record) -> Option<Cause> {
        let open = self.open.as_ref()?;
        open.span.ends_before(self.form.layout.period(record.arrival))
    }

    /// Takes the next record of the shard. What is wrong with it or its user records, if anything, is
    /// in error lines already and returned to be counted.
    pub fn push(&mut self, record: &Record, now: Instant) -> io::Result<Vec<BadRecord>> {
        let unpacked = unpack(&record.data, &self.form.layout);
        self.take(record, unpacked, now)
    }

    /// The same of a record that has been unpacked. Where lines go to Firehose, they have been accepted.
    pub fn take(
        &mut self,
        record: &Record,
        unpacked: Unpacked<'_>,
        now: Instant,
    ) -> io::Result<Vec<BadRecord>> {
        let Form { layout, compression } = &self.form;
        let open = match &mut self.open {
            Some(open) => {
                open.span.extend(record);
                open
            }
            None => self.open.insert(Open {
                span: Span::open(record, layout.period(record.arrival), now),
                lines: BTreeMap::new(),
                errors: None,
                size: Size::default(),
            }),
        };
        for line in unpacked.lines {
            match layout.lines {
                LinesTo::Bucket => open.push_line(line.partition, &line.text, *compression)?,
                LinesTo::Firehose => open.size.bytes += line.text.len() as u64 + 1,
            }
        }
        let source = Source {
            stream: &layout.stream,
            shard: &self.shard,
        };
        for bad in &unpacked.bad {
            let line = error_line(bad.reason, &source, record, bad.data, bad.sub_sequence)?;
            open.push_error(&line, *compression)?;
        }
        Ok(unpacked.bad.iter().map(|bad| bad.reason).collect())
    }

    /// Whether what is held has reached a limit.
    pub fn is_full(&self) -> Option<Cause> {
        self.open.as_ref()?.size.is_full(&self.limits)
    }

    /// When what is held must be cut for its age; `None` while nothing is held.
    pub fn due(&self) -> Option<Instant> {
        Some(self.open.as_ref()?.span.due(&self.limits))
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.open.is_none()
    }

    /// Memory that is held, in bytes.
    pub fn footprint(&self) -> usize {
        self.open.as_ref().map_or(0, Open::footprint)
    }

    /// Takes everything as one cut; `None` when nothing is held.
    pub fn cut(&mut self) -> io::Result<Option<Cut>> {
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        let lines = open.lines.into_iter();
        let lines = lines.map(|(partition, encoder)| (Kind::Lines, partition, encoder));
        let errors = open.errors.into_iter();
        let errors = errors.map(|encoder| (Kind::Errors, Partition::default(), encoder));
        let objects = lines.chain(errors).map(|(kind, partition, encoder)| {
            Ok(CutObject {
                kind,
                partition,
                encoded: encoder.finish()?,
            })
        });
        Ok(Some(Cut {
            span: open.span,
            objects: objects.collect::<io::Result<_>>()?,
            form: self.form.clone(),
        }))
    }
}

impl Open {
    fn push_line(&mut self, partition: Partition, line: &[u8], compression: Compression) -> io::Result<()> {
        let encoder = self.lines.entry(partition);
        let encoder = encoder.or_insert_with(|| Encoder::new(compression));
        self.size.bytes += line.len() as u64 + 1;
        self.size.stored_bytes += encoder.push(line)? as u64;
        self.size.partitions = self.lines.len();
        Ok(())
    }

    fn push_error(&mut self, line: &[u8], compression: Compression) -> io::Result<()> {
        let encoder = self.errors.get_or_insert_with(|| Encoder::new(compression));
        self.size.bytes += line.len() as u64 + 1;
        self.size.stored_bytes += encoder.push(line)? as u64;
        Ok(())
    }

    fn footprint(&self) -> usize {
        let lines = self.lines.iter();
        let lines = lines.map(|(partition, encoder)| partition.bytes() + encoder.footprint());
        lines.sum::<usize>() + self.errors.as_ref().map_or(0, Encoder::footprint)
    }
}

#[cfg(test)]
mod tests;
