//! GetShardIterator and GetRecords.

use std::borrow::Cow;
use std::io::Write;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::answer;
use super::shapes::{StreamRef, WireRange, page_size, timestamp_ms};
use crate::kinesis::Kinesis;
use crate::kinesis::error::{invalid_argument, not_found, throughput_exceeded, validation};
use crate::kinesis::iterator::{LIFETIME_MS, ShardIterator};
use crate::kinesis::sequence::SequenceNumber;
use crate::kinesis::shard::{Shard, shard_id};
use crate::kinesis::stream::Stream;
use crate::wire::json::{ApiError, Call};

/// Records that one GetRecords returns at most.
const RECORDS_MAX: usize = 10_000;
/// Data and partition keys that one GetRecords returns at most.
const ANSWER_BYTES_MAX: u64 = 10 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetShardIterator<'a> {
    #[serde(borrow)]
    stream_name: Option<Cow<'a, str>>,
    #[serde(rename = "StreamARN", borrow)]
    stream_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    shard_id: Cow<'a, str>,
    #[serde(borrow)]
    shard_iterator_type: Cow<'a, str>,
    #[serde(borrow)]
    starting_sequence_number: Option<Cow<'a, str>>,
    timestamp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetRecords<'a> {
    #[serde(borrow)]
    shard_iterator: Cow<'a, str>,
    limit: Option<usize>,
    #[serde(rename = "StreamARN", borrow)]
    stream_arn: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ChildShard {
    shard_id: String,
    parent_shards: Vec<String>,
    hash_key_range: WireRange,
}

impl Kinesis {
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>
    pub(crate) fn get_shard_iterator(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: GetShardIterator<'_> = call.input()?;
        let stream = self.find(StreamRef::new(
            input.stream_name.as_ref(),
            input.stream_arn.as_ref(),
        ))?;
        let (stream, now_ms) = self.enter(&stream)?;
        let shard = self.find_shard(&stream, &input.shard_id, now_ms)?;
        let offset = starting_offset(&input, shard, now_ms)?;
        let iterator = ShardIterator {
            stream: stream.id,
            shard: shard.number,
            offset,
            created_ms: now_ms,
        };
        answer(&serde_json::json!({ "ShardIterator": iterator.encode() }))
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
    pub(crate) fn get_records(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: GetRecords<'_> = call.input()?;
        let limit = page_size(input.limit, RECORDS_MAX, RECORDS_MAX)?;
        let iterator = ShardIterator::decode(&input.shard_iterator)
            .ok_or_else(|| invalid_argument("Invalid ShardIterator."))?;
        let stream = self
            .find_by_id(iterator.stream)
            .ok_or_else(|| not_found("The stream of ShardIterator is gone."))?;
        let (mut stream, now_ms) = self.enter(&stream)?;
        if input
            .stream_arn
            .is_some_and(|arn| arn != self.stream_arn(&stream.name))
        {
            return Err(invalid_argument(
                "StreamARN and ShardIterator name different streams.",
            ));
        }
        if iterator.is_expired(now_ms) {
            return Err(expired(&iterator, now_ms));
        }
        let shard = self.find_shard(&stream, &shard_id(iterator.shard), now_ms)?;
        let number = shard.number;
        if let Some(limits) = &self.limits
            && !stream.shards[number as usize].meter.admits_read(limits, now_ms)
        {
            return Err(throughput_exceeded(self.rate_exceeded(&stream.name, number)));
        }
        let (json, payload_bytes) = read(&stream, number, iterator, limit, now_ms)?;
        stream.shards[number as usize]
            .meter
            .count_read_bytes(payload_bytes as u32);
        Ok(json)
    }
}

fn expired(iterator: &ShardIterator, now_ms: u64) -> ApiError {
    let message = format!(
        "Iterator expired. The iterator was created at time {} while right now it is {now_ms} (milliseconds since \
         the epoch) which is further in the future than the tolerated delay of {LIFETIME_MS} milliseconds.",
        iterator.created_ms
    );
    ApiError::new(400, "ExpiredIteratorException", message)
}

/// Copies records into an answer. Also returns how many bytes of data and keys they hold.
fn read(
    stream: &Stream,
    number: u32,
    iterator: ShardIterator,
    limit: usize,
    now_ms: u64,
) -> Result<(Bytes, u64), ApiError> {
    let shard = &stream.shards[number as usize];
    let mut json = Vec::with_capacity(4096);
    let (mut payload_bytes, mut last_arrival_ms) = (0_u64, 0);
    // An iterator that was overtaken by the trim horizon goes on there.
    let mut next = iterator.offset.max(shard.log.first());
    json.extend_from_slice(b"{\"Records\":[");
    for record in shard.log.records_from(next).take(limit) {
        let bytes = u64::from(record.payload_bytes);
        if payload_bytes > 0 && payload_bytes + bytes > ANSWER_BYTES_MAX {
            break;
        }
        if payload_bytes > 0 {
            json.push(b',');
        }
        let number = shard.sequence_number(record.offset);
        let (seconds, fraction) = (record.arrival_ms / 1_000, record.arrival_ms % 1_000);
        // Writing to a Vec cannot fail.
        let _ = write!(
            json,
            r#"{{"SequenceNumber":"{number}","ApproximateArrivalTimestamp":{seconds}.{fraction:03},"#
        );
        json.extend_from_slice(record.json_tail);
        payload_bytes += bytes;
        last_arrival_ms = record.arrival_ms;
        next = record.offset + 1;
    }
    let behind = shard.millis_behind_latest(next, last_arrival_ms, now_ms);
    let _ = write!(json, r#"],"MillisBehindLatest":{behind}"#);
    if !shard.is_open() && next >= shard.log.next() {
        json.extend_from_slice(b",\"NextShardIterator\":null,\"ChildShards\":");
        json.extend_from_slice(&answer(&child_shards(stream, number))?);
    } else {
        let next = ShardIterator {
            offset: next,
            created_ms: now_ms,
            ..iterator
        };
        let _ = write!(json, r#","NextShardIterator":"{}""#, next.encode());
    }
    json.push(b'}');
    Ok((Bytes::from(json), payload_bytes))
}

fn child_shards(stream: &Stream, parent: u32) -> Vec<ChildShard> {
    let children = stream.children(parent);
    children
        .map(|child| ChildShard {
            shard_id: child.id(),
            parent_shards: child
                .parent
                .into_iter()
                .chain(child.adjacent_parent)
                .map(shard_id)
                .collect(),
            hash_key_range: WireRange::of(&child.range),
        })
        .collect()
}

/// The offset of the first record that an iterator of the asked kind returns.
fn starting_offset(input: &GetShardIterator<'_>, shard: &Shard, now_ms: u64) -> Result<u64, ApiError> {
    let kind = input.shard_iterator_type.as_ref();
    let takes_number = matches!(kind, "AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER");
    let takes_time = kind == "AT_TIMESTAMP";
    if !takes_number && !takes_time && !matches!(kind, "TRIM_HORIZON" | "LATEST") {
        let kinds = "AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON";
        return Err(validation(
            "shardIteratorType",
            &format!("satisfy enum value set: [{kinds}]"),
        ));
    }
    if input.starting_sequence_number.is_some() != takes_number || input.timestamp.is_some() != takes_time {
        return Err(invalid_argument(format!(
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or \
             (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber or (3) AT_TIMESTAMP and Timestamp. \
             Request specified {kind}."
        )));
    }
    Ok(match kind {
        "LATEST" => shard.log.next(),
        "AT_SEQUENCE_NUMBER" => starting_number(input, shard)?.offset_at(),
        "AFTER_SEQUENCE_NUMBER" => starting_number(input, shard)?.offset_after(),
        "AT_TIMESTAMP" => {
            let time_ms = timestamp_ms(input.timestamp.unwrap_or_default());
            if time_ms > now_ms {
                return Err(invalid_argument(format!(
                    "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. \
                     timestampInMillis: {time_ms}, currentTimestampInMillis: {now_ms}"
                )));
            }
            shard.log.offset_at_time(time_ms)
        }
        _ => shard.log.first(),
    })
}

/// The sequence number that was given, which must be one of this shard.
fn starting_number(input: &GetShardIterator<'_>, shard: &Shard) -> Result<SequenceNumber, ApiError> {
    let text = input.starting_sequence_number.as_deref().unwrap_or_default();
    let invalid = |why: &str| {
        let id = shard.id();
        invalid_argument(format!(
            "StartingSequenceNumber used in GetShardIterator on shard {id} is invalid{why}."
        ))
    };
    let number = SequenceNumber::parse(text).ok_or_else(|| invalid(""))?;
    if number.shard != shard.number {
        return Err(invalid_argument(format!(
            "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard with {}",
            shard_id(number.shard),
            shard.id()
        )));
    }
    if number.birth_ms != shard.birth_ms {
        return Err(invalid(" because it did not come from this stream"));
    }
    if number > SequenceNumber::end(shard.birth_ms, shard.number, shard.log.next()) {
        return Err(invalid(" because no record has it yet"));
    }
    Ok(number)
}
