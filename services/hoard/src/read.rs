//! Reading one shard: strictly after the last record that was read, within the shard's limits.
//!
//! Invariants: records come out in order, each once; a failed, late or abandoned call changes nothing,
//! so [`Reader::attempt`] may be dropped at any time. When it is asked is [`crate::pace`]'s.

use std::time::Duration;

use aws_clients::Failure;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record as GivenRecord, ShardIteratorType};
use tokio::time::Instant;

use crate::error_line::ERROR_LINE_BYTES;
use crate::firehose::request::{REQUEST_BYTES_MAX, REQUESTS_AT_ONCE};
use crate::horizon::Shown;
use crate::metrics::{Metrics, Step};
use crate::pace::{Pace, Pacer};
use crate::record::{Arrival, Record};
use crate::retry::{FailedCall, Retry, call};
use crate::sequence::{SequenceNumber, ShardId};
use crate::served_at::ServedAt;
use crate::start::{self, Origin};

/// One answer moves at most 10 MiB inside a region.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// What a call asks for. A shard gives 2 MB/s, and after a 10 MB answer nothing for five seconds; more
/// at a time would only take memory.
const TARGET_BYTES: usize = 2 * 1024 * 1024;
/// The most records that a call may ask for.
const RECORDS_MAX: usize = 10_000;
/// What a record is thought to be before any was seen, in bytes.
const RECORD_BYTES_AT_FIRST: usize = 1024;
/// What the buffers of new objects may be larger than their lines, in bytes.
const SLACK_BYTES: usize = 2 * 1024 * 1024;

/// Reads one shard.
pub struct Reader {
    client: Client,
    stream: String,
    shard: ShardId,
    origin: Origin,
    /// The last record that was read, exclusive start of the next.
    after: Option<SequenceNumber>,
    iterator: Option<String>,
    record_bytes: usize,
    pacer: Pacer,
    next_call: Instant,
    retry_iterator: Retry,
    retry_read: Retry,
    metrics: Metrics,
}

/// One answer.
#[derive(Debug)]
pub struct Batch {
    /// The records, in order.
    pub records: Vec<Record>,
    /// No record of the shard was newer when the answer was given.
    pub up_to_date: bool,
    /// When the answer was given, by Kinesis' clock.
    pub served_at: Option<Arrival>,
    /// The shard is closed and this was the last of it.
    pub end: bool,
}

impl Batch {
    /// The records' bytes.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.data.len()).sum()
    }

    /// What the answer shows of time.
    pub fn shown(&self) -> Shown {
        let arrival = |record: &Record| record.arrival;
        let (first, last) = (
            self.records.first().map(arrival),
            self.records.last().map(arrival),
        );
        Shown {
            served_at: self.served_at,
            up_to_date: self.up_to_date,
            records: first.zip(last),
        }
    }

    /// Memory that these records can take at worst while they are sent to Firehose: as they are, and as
    /// far as they are in calls, as copies and as their base64.
    pub fn footprint_to_send_max(&self) -> u64 {
        let bytes = self.bytes();
        let in_calls = bytes.min(REQUESTS_AT_ONCE * REQUEST_BYTES_MAX);
        let sent = bytes + in_calls + in_calls / 3 * 4 + SLACK_BYTES;
        self.footprint_max().max(sent as u64)
    }

    /// Memory that these records can take at worst: as they are, and as error lines that do not
    /// compress.
    pub fn footprint_max(&self) -> u64 {
        let bytes = self.bytes();
        let encoded = bytes / 3 * 4 + self.records.len() * ERROR_LINE_BYTES;
        (bytes + encoded / 8 * 9 + SLACK_BYTES) as u64
    }
}

impl Reader {
    /// Reads after the record `after`, or from the origin when there is none.
    pub fn new(
        client: &Client,
        stream: &str,
        shard: &ShardId,
        origin: Origin,
        after: Option<SequenceNumber>,
        pace: Pace,
        metrics: &Metrics,
    ) -> Self {
        Self {
            client: client.clone(),
            stream: stream.to_owned(),
            shard: shard.clone(),
            origin,
            after,
            iterator: None,
            record_bytes: RECORD_BYTES_AT_FIRST,
            pacer: Pacer::new(pace),
            next_call: Instant::now(),
            retry_iterator: Retry::new(Step::Iterator, shard.as_str(), metrics),
            retry_read: Retry::new(Step::Read, shard.as_str(), metrics),
            metrics: metrics.clone(),
        }
    }

    /// Waits until the shard may be asked again.
    pub async fn turn(&self) {
        tokio::time::sleep_until(self.next_call).await;
    }

    /// Asks once. `None` after a failure, which is counted and moves the next turn.
    pub async fn attempt(&mut self) -> Option<Batch> {
        let asked = Instant::now();
        let Some(iterator) = self.iterator.clone() else {
            self.renew().await;
            return None;
        };
        // Also for a call that is abandoned: it counts against the shard's limit all the same.
        self.next_call = asked + self.pacer.least();
        let limit = (TARGET_BYTES / self.record_bytes.max(1)).clamp(1, RECORDS_MAX);
        let request = self
            .client
            .get_records()
            .shard_iterator(iterator)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let served_at = ServedAt::default();
        let request = request.customize().interceptor(served_at.clone());
        let answer = call(READ_TIMEOUT, request.send()).await;
        match answer.and_then(|answer| self.take(answer, served_at.time())) {
            Ok(batch) => {
                self.retry_read.reset();
                self.next_call = asked + self.pacer.answered(batch.bytes(), batch.up_to_date);
                Some(batch)
            }
            Err(failed) => {
                self.fail(&failed);
                None
            }
        }
    }

    /// An iterator lives for five minutes and may be refused before; the position does not depend
    /// on it.
    fn fail(&mut self, failed: &FailedCall) {
        let pause = self.retry_read.pause(failed);
        if failed.failure == Failure::Throttled {
            self.pacer.throttled();
        }
        self.next_call = self.next_call.max(Instant::now() + pause);
        if matches!(failed.failure, Failure::Invalid | Failure::NotFound) {
            self.iterator = None;
        }
    }

    async fn renew(&mut self) {
        let request = self
            .client
            .get_shard_iterator()
            .stream_name(&self.stream)
            .shard_id(self.shard.as_str());
        let request = match (&self.after, self.origin) {
            (Some(after), _) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(after.as_str()),
            (None, Origin::TrimHorizon) => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            (None, Origin::At(arrival)) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(arrival.as_millis())),
        };
        let answer = call(READ_TIMEOUT, request.send()).await;
        let missing = || FailedCall::new(Failure::Invalid, "the answer has no iterator");
        match answer.and_then(|answer| answer.shard_iterator.ok_or_else(missing)) {
            Ok(iterator) => {
                self.retry_iterator.reset();
                self.iterator = Some(iterator);
            }
            Err(failed) => self.next_call = Instant::now() + self.retry_iterator.pause(&failed),
        }
    }

    /// Takes an answer in whole or not at all.
    fn take(&mut self, answer: GetRecordsOutput, served_at: Option<Arrival>) -> Result<Batch, FailedCall> {
        let millis_behind = answer.millis_behind_latest.unwrap_or(0);
        let mut after = self.after.clone();
        let mut records = Vec::with_capacity(answer.records.len());
        for given in answer.records {
            let record = read_record(given)?;
            if after
                .as_ref()
                .is_some_and(|after| record.sequence_number <= *after)
            {
                self.metrics.record_repeated();
                continue;
            }
            after = Some(record.sequence_number.clone());
            records.push(record);
        }
        self.after = after;
        self.iterator = answer.next_shard_iterator;
        self.measure(&records, millis_behind);
        Ok(Batch {
            records,
            up_to_date: millis_behind == 0,
            served_at,
            end: self.iterator.is_none(),
        })
    }

    fn measure(&mut self, records: &[Record], millis_behind: i64) {
        let bytes: usize = records.iter().map(|record| record.data.len()).sum();
        self.metrics
            .read(&self.shard, records.len(), bytes, millis_behind);
        if let Some(last) = records.last() {
            self.record_bytes = (self.record_bytes + bytes / records.len()) / 2;
            self.metrics
                .record_age(&self.shard, start::now().as_millis() - last.arrival.as_millis());
        }
    }
}

fn read_record(given: GivenRecord) -> Result<Record, FailedCall> {
    let invalid = |what: &str| FailedCall::new(Failure::Invalid, format!("a record has {what}"));
    let sequence_number = SequenceNumber::try_from(given.sequence_number)
        .map_err(|error| FailedCall::new(Failure::Invalid, error.to_string()))?;
    let arrival = match given.approximate_arrival_timestamp {
        Some(time) => time.to_millis().ok().and_then(Arrival::from_millis),
        None => Some(Arrival::UNKNOWN),
    };
    let arrival = arrival.ok_or_else(|| invalid("an arrival time outside the calendar"))?;
    Ok(Record {
        sequence_number,
        arrival,
        data: given.data.into_inner(),
    })
}
