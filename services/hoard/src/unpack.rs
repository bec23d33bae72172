//! What one Kinesis record holds: one line, or, when the Kinesis Producer Library has packed it, one for
//! each of its user records, in their order.
//!
//! Invariants: nothing is dropped. Each user record is a line or in an error line, and a record that
//! holds none is an error line itself, so that every record leaves a trace in its cut. What becomes of a
//! record is a function of its bytes and the layout alone. And its error lines take no more memory than
//! one that holds it whole: an aggregate with so many bad user records that they would is kept whole.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::error_line::ERROR_LINE_BYTES;
use crate::layout::Layout;
use crate::line::{BadRecord, json_line};
use crate::prefix::Partition;

/// What becomes of a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unpacked<'a> {
    /// Its lines, in order.
    pub lines: Vec<Line<'a>>,
    /// What is not a line, in order.
    pub bad: Vec<Bad<'a>>,
}

/// A line of the archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// One JSON object without a line break.
    pub text: Cow<'a, [u8]>,
    /// Whose it is.
    pub partition: Partition,
}

/// Bytes that are not a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad<'a> {
    /// Why.
    pub reason: BadRecord,
    /// The bytes.
    pub data: &'a [u8],
    /// Their place in the aggregate, from 0; `None` for a whole record.
    pub sub_sequence: Option<usize>,
}

/// Opens `record` and decides about each of its user records.
pub fn unpack<'a>(record: &'a [u8], layout: &Layout) -> Unpacked<'a> {
    if !kpl::is_aggregate(record) {
        return plain(record, layout);
    }
    let whole = |reason| Bad {
        reason,
        data: record,
        sub_sequence: None,
    };
    let user_records = match kpl::open(record) {
        Ok(user_records) if user_records.is_empty() => return Unpacked::only(whole(BadRecord::Empty)),
        Ok(user_records) => user_records,
        // Text never begins like an aggregate, so what is none is no line either.
        Err(_) => return Unpacked::only(whole(BadRecord::BrokenAggregate)),
    };
    let mut unpacked = Unpacked::default();
    for (index, user_record) in user_records.iter().enumerate() {
        unpacked.take(user_record.data, layout, Some(index));
    }
    let partitions: BTreeSet<&Partition> = unpacked.lines.iter().map(|line| &line.partition).collect();
    if partitions.len() > layout.record_partitions_max {
        return Unpacked::only(whole(BadRecord::TooManyPartitions));
    }
    if unpacked.bytes_max() > error_line_bytes_max(record) {
        unpacked.bad = vec![whole(BadRecord::BadUserRecords)];
    }
    unpacked
}

fn plain<'a>(record: &'a [u8], layout: &Layout) -> Unpacked<'a> {
    let mut unpacked = Unpacked::default();
    unpacked.take(record, layout, None);
    unpacked
}

impl<'a> Unpacked<'a> {
    fn only(bad: Bad<'a>) -> Self {
        Self {
            lines: Vec::new(),
            bad: vec![bad],
        }
    }

    fn take(&mut self, data: &'a [u8], layout: &Layout, sub_sequence: Option<usize>) {
        match json_line(data, layout.prefix.fields()) {
            Ok((text, _)) if text.len() > layout.line_bytes_max() => self.bad.push(Bad {
                reason: BadRecord::TooLong,
                data,
                sub_sequence,
            }),
            Ok((text, partition)) => self.lines.push(Line { text, partition }),
            Err(reason) => self.bad.push(Bad {
                reason,
                data,
                sub_sequence,
            }),
        }
    }

    /// What its lines and error lines take at most, in bytes.
    fn bytes_max(&self) -> usize {
        let lines = self.lines.iter().map(|line| line.text.len() + 1);
        let bad = self.bad.iter().map(|bad| error_line_bytes_max(bad.data));
        lines.chain(bad).sum()
    }
}

/// What an error line with these bytes takes at most, in bytes.
fn error_line_bytes_max(data: &[u8]) -> usize {
    data.len().div_ceil(3) * 4 + ERROR_LINE_BYTES
}

#[cfg(test)]
mod tests;
