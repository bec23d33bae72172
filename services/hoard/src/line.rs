//! From bytes to a line of the archive: exactly one JSON object, or what is wrong with it.
//!
//! Invariant: what [`json_line`] returns is one valid UTF-8 JSON object without any line break, so
//! that a reader who splits at line breaks sees one object a line. The grammar is checked, no tree
//! is built, and the bytes go on as they came: a line break can stand only between tokens of valid
//! JSON (inside strings RFC 8259 forbids it), where a space means the same.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::fields;
use crate::prefix::Partition;

/// Why a record cannot be a line of the archive. Also a metric label, so a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecord {
    /// No bytes but white space, or an aggregate without records.
    Empty,
    /// Not UTF-8.
    NotUtf8,
    /// Not JSON, or more than one JSON value.
    NotJson,
    /// JSON, but not an object.
    NotAnObject,
    /// Without one of the fields that divide lines among prefixes.
    NoPartition,
    /// Such a field stands twice, or its value may not stand in a key.
    BadPartition,
    /// A line that is longer than Firehose takes, where that is where lines go.
    TooLong,
    /// An aggregate whose lines belong to more partitions than one record may open.
    TooManyPartitions,
    /// An aggregate of the Kinesis Producer Library that is damaged.
    BrokenAggregate,
    /// An aggregate with so many bad user records that it is kept whole beside its good lines.
    BadUserRecords,
}

impl BadRecord {
    /// All of them, for metrics that exist before the first one happens.
    pub const ALL: [Self; 10] = [
        Self::Empty,
        Self::NotUtf8,
        Self::NotJson,
        Self::NotAnObject,
        Self::NoPartition,
        Self::BadPartition,
        Self::TooLong,
        Self::TooManyPartitions,
        Self::BrokenAggregate,
        Self::BadUserRecords,
    ];

    /// The name in metrics and error lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotUtf8 => "not-utf-8",
            Self::NotJson => "not-json",
            Self::NotAnObject => "not-an-object",
            Self::NoPartition => "no-partition",
            Self::BadPartition => "bad-partition",
            Self::TooLong => "too-long",
            Self::TooManyPartitions => "too-many-partitions",
            Self::BrokenAggregate => "broken-aggregate",
            Self::BadUserRecords => "bad-user-records",
        }
    }

    /// A sentence for error lines. It never quotes the data.
    pub fn message(self) -> &'static str {
        match self {
            Self::Empty => "there are no bytes but white space, or it is an aggregate without records",
            Self::NotUtf8 => "the bytes are not UTF-8",
            Self::NotJson => "the bytes are not one JSON value",
            Self::NotAnObject => "the JSON value is not an object",
            Self::NoPartition => "a field that the prefix names as a partition key is missing",
            Self::BadPartition => {
                "a field that the prefix names as a partition key stands twice or may not be part of a key"
            }
            Self::TooLong => {
                "the line, with its line break, is longer than the 1,000 KiB that Firehose takes"
            }
            Self::TooManyPartitions => {
                "the record's lines belong to more partitions than one record may open"
            }
            Self::BrokenAggregate => "the record begins as a KPL aggregate and is not one",
            Self::BadUserRecords => {
                "many user records of this aggregate are not one JSON object; those that are one are archived"
            }
        }
    }
}

/// The line that `data` becomes, without its line break, and the partition of `fields` it belongs to.
pub fn json_line<'a>(data: &'a [u8], fields: &[String]) -> Result<(Cow<'a, [u8]>, Partition), BadRecord> {
    let line = trim_json_whitespace(data);
    let Some(first) = line.first() else {
        return Err(BadRecord::Empty);
    };
    let text = std::str::from_utf8(line).map_err(|_| BadRecord::NotUtf8)?;
    let partition = if fields.is_empty() || *first != b'{' {
        serde_json::from_str::<IgnoredAny>(text).map_err(|_| BadRecord::NotJson)?;
        Partition::default()
    } else {
        fields::partition(text, fields)?
    };
    if *first != b'{' {
        return Err(BadRecord::NotAnObject);
    }
    if memchr::memchr2(b'\n', b'\r', line).is_none() {
        return Ok((Cow::Borrowed(line), partition));
    }
    let spaced = line
        .iter()
        .map(|&byte| if is_line_break(byte) { b' ' } else { byte });
    Ok((Cow::Owned(spaced.collect()), partition))
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
    use proptest::prelude::*;

    /// Without partitions.
    fn json_line(data: &[u8]) -> Result<Cow<'_, [u8]>, BadRecord> {
        super::json_line(data, &[]).map(|(line, _)| line)
    }

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
    fn with_partitions_the_same_is_a_line() {
        let fields = ["p".to_owned()];
        for (data, line) in [
            (&b" {\"p\":1,\n\"q\":2}"[..], &b"{\"p\":1, \"q\":2}"[..]),
            (b"{\"p\":1}", b"{\"p\":1}"),
        ] {
            let (found, _) = super::json_line(data, &fields).expect("a line");
            assert_eq!(found, line);
        }
        for data in [
            &b""[..],
            b"[1]",
            b"{\"p\":1} {}",
            b"{\"p\":\"\xff\"}",
            b"{\"p\":1",
        ] {
            assert_eq!(super::json_line(data, &fields).err(), json_line(data).err());
        }
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
