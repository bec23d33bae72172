//! The line that a record becomes which cannot be a line of the archive: its original bytes, and why.
//!
//! Names and meanings are Firehose's
//! (<https://docs.aws.amazon.com/firehose/latest/dev/record-format-conversion-error-handling.html>), so
//! that what reads its error objects reads these; `stream` and `shardId` are added. Its
//! `attemptEndingTimestamp` is left out: a line is a function of the record alone, so that a cut that
//! is written again is the same to the byte.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::line::BadRecord;
use crate::record::Record;
use crate::sequence::ShardId;

/// The most that an error line has beside its base64, in bytes.
pub const ERROR_LINE_BYTES: usize = 768;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorLine<'a> {
    /// Always 1: the same bytes would be refused again.
    attempts_made: u32,
    /// Milliseconds since 1970.
    arrival_timestamp: i64,
    error_code: &'a str,
    error_message: &'a str,
    /// The original bytes, base64.
    raw_data: String,
    sequence_number: &'a str,
    /// The place of a user record in its aggregate, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_sequence_number: Option<usize>,
    stream: &'a str,
    shard_id: &'a str,
}

/// Where error lines come from.
pub struct Source<'a> {
    /// The stream's name.
    pub stream: &'a str,
    /// The shard.
    pub shard: &'a ShardId,
}

/// The error line of `record`, whose bytes are `data` or, when `sub_sequence` is given, hold them as
/// the user record of that place.
pub fn error_line(
    reason: BadRecord,
    source: &Source<'_>,
    record: &Record,
    data: &[u8],
    sub_sequence: Option<usize>,
) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&ErrorLine {
        attempts_made: 1,
        arrival_timestamp: record.arrival.as_millis(),
        error_code: reason.as_str(),
        error_message: reason.message(),
        raw_data: STANDARD.encode(data),
        sequence_number: record.sequence_number.as_str(),
        sub_sequence_number: sub_sequence,
        stream: source.stream,
        shard_id: source.shard.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Arrival;
    use crate::sequence::SequenceNumber;

    #[test]
    fn an_error_line_keeps_the_bytes_and_says_where_they_stood() {
        let record = Record {
            sequence_number: SequenceNumber::try_from("42".to_owned()).expect("valid"),
            arrival: Arrival::from_millis(1_000).expect("in range"),
            data: b"\xff\n".to_vec(),
        };
        let shard = ShardId::try_from("shardId-000000000000".to_owned()).expect("valid");
        let source = Source {
            stream: "events",
            shard: &shard,
        };
        let line = |sub_sequence| {
            let line = error_line(BadRecord::NotUtf8, &source, &record, &record.data, sub_sequence);
            serde_json::from_slice::<serde_json::Value>(&line.expect("serialisable")).expect("JSON")
        };
        let mut expected = serde_json::json!({
            "attemptsMade": 1, "arrivalTimestamp": 1000, "errorCode": "not-utf-8",
            "errorMessage": "the bytes are not UTF-8", "rawData": "/wo=", "sequenceNumber": "42",
            "stream": "events", "shardId": "shardId-000000000000",
        });
        assert_eq!(line(None), expected);
        expected["subSequenceNumber"] = 3.into();
        assert_eq!(line(Some(3)), expected);
    }

    #[test]
    fn no_error_line_is_longer_than_is_counted_for_it() {
        let name = |digit: &str, length| digit.repeat(length);
        let record = Record {
            sequence_number: SequenceNumber::try_from(name("9", 129)).expect("valid"),
            arrival: Arrival::from_millis(-99_999_999_999_999).expect("in range"),
            data: Vec::new(),
        };
        let shard = ShardId::try_from(name("s", 128)).expect("valid");
        let source = Source {
            stream: &name("s", 128),
            shard: &shard,
        };
        for reason in BadRecord::ALL {
            let line = error_line(reason, &source, &record, b"", Some(1_000_000)).expect("serialisable");
            assert!(line.len() < ERROR_LINE_BYTES, "{reason:?}: {}", line.len());
        }
    }
}
