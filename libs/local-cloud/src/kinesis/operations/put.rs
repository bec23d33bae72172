//! PutRecord and PutRecords: check everything, then append to each shard at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use serde::Deserialize;

use super::answer;
use super::shapes::{StreamRef, read_hash_key};
use crate::kinesis::error::{THROUGHPUT_EXCEEDED, invalid_argument, throughput_exceeded, validation};
use crate::kinesis::hash::hash_key;
use crate::kinesis::log::Segment;
use crate::kinesis::sequence::SequenceNumber;
use crate::kinesis::shard::shard_id;
use crate::kinesis::stream::Stream;
use crate::kinesis::{Kinesis, store};
use crate::wire::json::{ApiError, Call};

/// Records of one PutRecords.
const RECORDS_MAX: usize = 500;
/// Data and partition keys of one PutRecords. AWS takes 10 MiB where records may exceed 1 MiB and
/// 5 MiB elsewhere; a producer that stays within the smaller limit is right everywhere.
const REQUEST_BYTES_MAX: usize = 5 << 20;
/// Data and partition key of one record.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Unicode characters of a partition key.
const KEY_CHARS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecords<'a> {
    #[serde(borrow)]
    stream_name: Option<Cow<'a, str>>,
    #[serde(rename = "StreamARN", borrow)]
    stream_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    records: Vec<Entry<'a>>,
}

/// Borrows from the request's body: nothing is copied until the record is in its shard.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
    #[serde(borrow)]
    partition_key: Cow<'a, str>,
    #[serde(borrow)]
    explicit_hash_key: Option<Cow<'a, str>>,
}

/// `SequenceNumberForOrdering` is left out: numbers increase strictly within a shard anyway.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecord<'a> {
    #[serde(borrow)]
    stream_name: Option<Cow<'a, str>>,
    #[serde(rename = "StreamARN", borrow)]
    stream_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Cow<'a, str>,
    #[serde(borrow)]
    partition_key: Cow<'a, str>,
    #[serde(borrow)]
    explicit_hash_key: Option<Cow<'a, str>>,
}

/// What was found out about an entry before the stream is locked.
struct Checked {
    hash_key: u128,
    payload_bytes: u32,
}

/// What became of an entry.
enum Outcome {
    Stored(SequenceNumber),
    Throttled { shard: u32 },
}

impl Kinesis {
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
    pub(crate) fn put_records(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: PutRecords<'_> = call.input()?;
        let checked = check_records(&input.records)?;
        let throttled = call.throttle.choose(checked.len());
        let stream = StreamRef::new(input.stream_name.as_ref(), input.stream_arn.as_ref());
        let (name, outcomes) = self.append(stream, &input.records, &checked, &throttled)?;
        Ok(self.put_records_answer(&name, &outcomes))
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecord.html>
    pub(crate) fn put_record(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let PutRecord {
            stream_name,
            stream_arn,
            data,
            partition_key,
            explicit_hash_key,
        } = call.input()?;
        let entry = [Entry {
            data,
            partition_key,
            explicit_hash_key,
        }];
        let checked = check_record("", &entry[0], &mut Vec::new())?;
        let stream = StreamRef::new(stream_name.as_ref(), stream_arn.as_ref());
        let (name, outcomes) = self.append(stream, &entry, &[checked], &call.throttle.choose(1))?;
        match outcomes[0] {
            Outcome::Stored(number) => answer(&serde_json::json!({
                "ShardId": shard_id(number.shard),
                "SequenceNumber": number.to_string(),
                "EncryptionType": "NONE",
            })),
            Outcome::Throttled { shard } => Err(throughput_exceeded(self.rate_exceeded(&name, shard))),
        }
    }

    /// Routes the entries, keeps them, and only then lets them be read. Returns the stream's name.
    fn append(
        &self,
        stream: StreamRef<'_>,
        entries: &[Entry<'_>],
        checked: &[Checked],
        throttled: &[bool],
    ) -> Result<(String, Vec<Outcome>), ApiError> {
        let stream = self.find(stream)?;
        let (mut stream, now_ms) = self.enter(&stream)?;
        let mut batches: BTreeMap<u32, Segment> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(entries.len());
        for (index, (entry, checked)) in entries.iter().zip(checked).enumerate() {
            let Checked {
                hash_key,
                payload_bytes,
            } = checked;
            let number = stream.route(*hash_key);
            let shard = &mut stream.shards[number as usize];
            let refused = throttled.get(index).copied().unwrap_or(false)
                || self
                    .limits
                    .is_some_and(|limits| !shard.meter.admits_record(&limits, *payload_bytes, now_ms));
            if refused {
                outcomes.push(Outcome::Throttled { shard: number });
                continue;
            }
            let batch = batches.entry(number).or_default();
            outcomes.push(Outcome::Stored(
                shard.sequence_number(shard.log.next() + batch.len()),
            ));
            batch.push(
                &entry.data,
                &entry.partition_key,
                *payload_bytes,
                shard.arrival_ms(now_ms),
            );
        }
        self.keep(&mut stream, &batches)?;
        Ok((stream.name.clone(), outcomes))
    }

    fn keep(&self, stream: &mut Stream, batches: &BTreeMap<u32, Segment>) -> Result<(), ApiError> {
        let durable = self.state.is_durable();
        if durable {
            let mut batch = self.state.batch();
            for (number, records) in batches {
                store::put_records(&mut batch, stream.id, &stream.shards[*number as usize], records);
            }
            batch.commit()?;
        }
        for (number, records) in batches {
            let shard = &mut stream.shards[*number as usize];
            if durable {
                shard.append_stored(records);
            } else {
                shard.log.append(records);
            }
        }
        Ok(())
    }

    fn put_records_answer(&self, name: &str, outcomes: &[Outcome]) -> Bytes {
        let failed = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Throttled { .. }))
            .count();
        let mut json = Vec::with_capacity(64 + outcomes.len() * 128);
        // Writing to a Vec cannot fail; every text here is free of characters that JSON escapes.
        let _ = write!(
            json,
            r#"{{"FailedRecordCount":{failed},"EncryptionType":"NONE","Records":["#
        );
        for (index, outcome) in outcomes.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = match outcome {
                Outcome::Stored(number) => {
                    let shard = number.shard;
                    write!(
                        json,
                        r#"{comma}{{"SequenceNumber":"{number}","ShardId":"shardId-{shard:012}"}}"#
                    )
                }
                Outcome::Throttled { shard } => {
                    let message = self.rate_exceeded(name, *shard);
                    write!(
                        json,
                        r#"{comma}{{"ErrorCode":"{THROUGHPUT_EXCEEDED}","ErrorMessage":"{message}"}}"#
                    )
                }
            };
        }
        json.extend_from_slice(b"]}");
        Bytes::from(json)
    }

    pub(super) fn rate_exceeded(&self, stream: &str, shard: u32) -> String {
        let account = &self.account.id;
        format!(
            "Rate exceeded for shard {} in stream {stream} under account {account}.",
            shard_id(shard)
        )
    }
}

/// All entries must be valid: one that is not refuses the whole request.
fn check_records(entries: &[Entry<'_>]) -> Result<Vec<Checked>, ApiError> {
    if entries.is_empty() {
        return Err(validation("records", "have length greater than or equal to 1"));
    }
    if entries.len() > RECORDS_MAX {
        return Err(validation("records", "have length less than or equal to 500"));
    }
    let (mut checked, mut total, mut scratch) = (Vec::with_capacity(entries.len()), 0, Vec::new());
    for (index, entry) in entries.iter().enumerate() {
        let record = check_record(&format!("records.{}.member.", index + 1), entry, &mut scratch)?;
        total += record.payload_bytes as usize;
        checked.push(record);
    }
    if total > REQUEST_BYTES_MAX {
        return Err(invalid_argument(format!(
            "Records size exceeds {} MB limit",
            REQUEST_BYTES_MAX >> 20
        )));
    }
    Ok(checked)
}

/// `scratch` takes the decoded data; the text itself is kept.
fn check_record(place: &str, entry: &Entry<'_>, scratch: &mut Vec<u8>) -> Result<Checked, ApiError> {
    let key = entry.partition_key.as_ref();
    if key.is_empty() {
        return Err(validation(
            &format!("{place}partitionKey"),
            "have length greater than or equal to 1",
        ));
    }
    if key.len() > KEY_CHARS_MAX && key.chars().count() > KEY_CHARS_MAX {
        return Err(validation(
            &format!("{place}partitionKey"),
            "have length less than or equal to 256",
        ));
    }
    scratch.clear();
    BASE64_STANDARD
        .decode_vec(entry.data.as_bytes(), scratch)
        .map_err(|_| {
            ApiError::new(
                400,
                "SerializationException",
                format!("{place}data is not base64"),
            )
        })?;
    if scratch.len() + key.len() > RECORD_BYTES_MAX {
        return Err(validation(
            &format!("{place}data"),
            "have length less than or equal to 1048576",
        ));
    }
    let hash_key = match &entry.explicit_hash_key {
        Some(text) => read_hash_key(&format!("{place}explicitHashKey"), text)?,
        None => hash_key(key),
    };
    Ok(Checked {
        hash_key,
        payload_bytes: (scratch.len() + key.len()) as u32,
    })
}
