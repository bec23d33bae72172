//! From a record's bytes to a line: either exactly one JSON object, or an error line that keeps the
//! original bytes and says what is wrong with them.
//!
//! Invariant: what [`json_line`] returns is one valid UTF-8 JSON object without any line break, so
//! that a reader who splits at line breaks sees one object a line. The grammar is checked, no tree
//! is built, and the bytes go on as they came: a line break can stand only between tokens of valid
//! JSON (inside strings RFC 8259 forbids it), where a space means the same.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::IgnoredAny;

use crate::record::Record;
use crate::sequence::ShardId;

/// Why a record cannot be a line of the archive. Also a metric label, so a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecord {
    /// No bytes but white space.
    Empty,
    /// Not UTF-8.
    NotUtf8,
    /// Not JSON, or more than one JSON value.
    NotJson,
    /// JSON, but not an object.
    NotAnObject,
}

impl BadRecord {
    /// All of them, for metrics that exist before the first one happens.
    pub const ALL: [Self; 4] = [Self::Empty, Self::NotUtf8, Self::NotJson, Self::NotAnObject];

    /// The name in metrics and error lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotUtf8 => "not-utf-8",
            Self::NotJson => "not-json",
            Self::NotAnObject => "not-an-object",
        }
    }
}

/// An error line's fields; names without separators because they become Hive columns.
#[derive(Serialize)]
struct ErrorLine<'a> {
    reason: &'a str,
    stream: &'a str,
    shard: &'a str,
    sequencenumber: &'a str,
    /// Milliseconds since 1970.
    arrivaltimestamp: i64,
    /// The record's bytes, base64.
    rawdata: String,
}

/// The line that `data` becomes, without its line break.
pub fn json_line(data: &[u8]) -> Result<Cow<'_, [u8]>, BadRecord> {
    let line = trim_json_whitespace(data);
    let Some(first) = line.first() else {
        return Err(BadRecord::Empty);
    };
    let text = std::str::from_utf8(line).map_err(|_| BadRecord::NotUtf8)?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| BadRecord::NotJson)?;
    if *first != b'{' {
        return Err(BadRecord::NotAnObject);
    }
    if !line.iter().copied().any(is_line_break) {
        return Ok(Cow::Borrowed(line));
    }
    let spaced = line
        .iter()
        .map(|&byte| if is_line_break(byte) { b' ' } else { byte });
    Ok(Cow::Owned(spaced.collect()))
}

/// The line in the error object for a record that is not a line of the archive.
pub fn error_line(
    reason: BadRecord,
    stream: &str,
    shard: &ShardId,
    record: &Record,
) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&ErrorLine {
        reason: reason.as_str(),
        stream,
        shard: shard.as_str(),
        sequencenumber: record.sequence_number.as_str(),
        arrivaltimestamp: record.arrival.as_millis(),
        rawdata: STANDARD.encode(&record.data),
    })
}

fn is_line_break(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// RFC 8259 white space; Rust's own notion would also take form feeds.
fn trim_json_whitespace(mut data: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] | [rest @ .., b' ' | b'\t' | b'\n' | b'\r'] = data {
        data = rest;
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Arrival;
    use crate::sequence::SequenceNumber;
    use proptest::prelude::*;

    #[test]
    fn one_object_passes_byte_for_byte() {
        let line = br#"{ "b":1, "a":"\u00e9\n", "n":1e400 }"#;
        assert_eq!(json_line(line).as_deref(), Ok(&line[..]));
        assert_eq!(json_line(b" {}\n").as_deref(), Ok(&b"{}"[..]));
    }

    #[test]
    fn line_breaks_between_tokens_become_spaces() {
        assert_eq!(
            json_line(b"{\r\n \"a\":\n1}").as_deref(),
            Ok(&b"{   \"a\": 1}"[..])
        );
    }

    #[test]
    fn everything_else_is_named() {
        let cases: [(&[u8], BadRecord); 12] = [
            (b"", BadRecord::Empty),
            (b" \r\n\t", BadRecord::Empty),
            (b"{\"a\":\"\xff\"}", BadRecord::NotUtf8),
            (b"{} {}", BadRecord::NotJson),
            (b"{}\n{}", BadRecord::NotJson),
            (b"{\"a\":1,}", BadRecord::NotJson),
            (b"{\"a\":\"raw\nbreak\"}", BadRecord::NotJson),
            (b"{\"a\":01}", BadRecord::NotJson),
            (b"{", BadRecord::NotJson),
            (b"\xef\xbb\xbf{}", BadRecord::NotJson),
            (b"[1]", BadRecord::NotAnObject),
            (b"\"text\"", BadRecord::NotAnObject),
        ];
        for (data, reason) in cases {
            assert_eq!(
                json_line(data),
                Err(reason),
                "{:?}",
                String::from_utf8_lossy(data)
            );
        }
    }

    #[test]
    fn nesting_however_deep_ends_neither_the_program_nor_the_record() {
        let deep = [b"{\"a\":".repeat(100_000), b"1".to_vec(), b"}".repeat(100_000)].concat();
        assert_eq!(json_line(&deep).as_deref(), Ok(&deep[..]));
        assert_eq!(json_line(&b"[".repeat(100_000)), Err(BadRecord::NotJson));
    }

    #[test]
    fn an_error_line_keeps_the_bytes_and_says_where_they_stood() {
        let record = Record {
            sequence_number: SequenceNumber::try_from("42".to_owned()).expect("valid"),
            arrival: Arrival::from_millis(1_000).expect("in range"),
            data: b"\xff\n".to_vec(),
        };
        let shard = ShardId::try_from("shardId-000000000000".to_owned()).expect("valid");
        let line = error_line(BadRecord::NotUtf8, "events", &shard, &record).expect("serialisable");
        let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(
            value,
            serde_json::json!({
                "reason": "not-utf-8", "stream": "events", "shard": "shardId-000000000000",
                "sequencenumber": "42", "arrivaltimestamp": 1000, "rawdata": "/wo=",
            })
        );
    }

    proptest! {
        #[test]
        fn any_bytes_end_as_one_line_or_one_reason(data in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(line) = json_line(&data) {
                prop_assert!(!line.iter().copied().any(is_line_break));
                let value: serde_json::Value = serde_json::from_slice(&line).expect("valid JSON");
                prop_assert!(value.is_object());
            }
        }

        #[test]
        fn near_json_ends_as_one_line_or_one_reason(text in r#"[\{\}\[\]":,0-9a \n\r\\]{0,24}"#) {
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            let is_object = parsed.as_ref().is_ok_and(serde_json::Value::is_object);
            let line = json_line(text.as_bytes());
            prop_assert_eq!(line.is_ok(), is_object);
            if let (Ok(line), Ok(value)) = (line, parsed) {
                prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&line).expect("JSON"), value);
            }
        }
    }
}
