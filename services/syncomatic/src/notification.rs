//! What an SQS message says has been created: S3 event records of any 2.x version, alone, in an SNS
//! envelope, or as EventBridge events.
//!
//! Sources: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>
//! (records, and keys in them being form-encoded),
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html> (EventBridge, keys as they are),
//! <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html> (the SNS envelope).
//!
//! A record is only a hint that a key may have changed, so little of it is needed: bucket and key.
//! Errors say what is wrong and where, never what stands there.

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::policy::KEY_BYTES_MAX;

/// What a message is about.
#[derive(Debug, PartialEq)]
pub enum Notification {
    /// Sent by S3 when a notification is configured; nothing has been created.
    TestEvent,
    /// One verdict for each record, in order; never empty.
    Records(Vec<Result<Record, Malformed>>),
}

/// One record.
#[derive(Debug, PartialEq)]
pub enum Record {
    /// An object was created or overwritten.
    Created(ObjectCreated),
    /// Something else happened: a deletion, a change of tags, a restore.
    OtherEvent,
}

/// An object that was created or overwritten, some time ago.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectCreated {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key, decoded.
    pub key: String,
    /// Orders the events of one key; hexadecimal, to be compared after padding on the right.
    pub sequencer: Option<String>,
    /// When it happened.
    pub event_time: Option<Timestamp>,
}

/// Why a message or a record cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body, or the SNS envelope's message, is not JSON.
    #[error("not JSON")]
    NotJson,
    /// JSON, but no notification.
    #[error("neither S3 records, an S3 test event, an SNS envelope of these nor an EventBridge event of S3")]
    UnknownShape,
    /// `Records` has no element.
    #[error("`Records` is empty")]
    NoRecords,
    /// A field is missing or is not a string.
    #[error("`{0}` is missing or not a string")]
    Field(&'static str),
    /// The major version is not 2.
    #[error("`eventVersion` is not 2.x")]
    Version,
    /// The key has a broken escape, is not UTF-8, is empty or too long.
    #[error("the key is not form-encoded UTF-8 of 1 to 1,024 bytes")]
    Key,
}

impl Malformed {
    /// A metric label, and the reason beside a dead letter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::UnknownShape => "unknown_shape",
            Self::NoRecords => "no_records",
            Self::Field(_) => "missing_field",
            Self::Version => "unsupported_version",
            Self::Key => "invalid_key",
        }
    }
}

/// Reads the body of one SQS message.
pub fn parse(body: &str) -> Result<Notification, Malformed> {
    let body: Value = serde_json::from_str(body).map_err(|_| Malformed::NotJson)?;
    // An SNS envelope holds the notification as text; SNS does not nest.
    match (text(&body, "/Type"), text(&body, "/Message")) {
        (Some("Notification"), Some(message)) => {
            notification(&serde_json::from_str(message).map_err(|_| Malformed::NotJson)?)
        }
        _ => notification(&body),
    }
}

fn notification(body: &Value) -> Result<Notification, Malformed> {
    if let Some(records) = body.get("Records").and_then(Value::as_array) {
        if records.is_empty() {
            return Err(Malformed::NoRecords);
        }
        return Ok(Notification::Records(records.iter().map(s3_record).collect()));
    }
    if text(body, "/Event") == Some("s3:TestEvent") {
        return Ok(Notification::TestEvent);
    }
    if text(body, "/source") == Some("aws.s3") {
        return Ok(Notification::Records(vec![event_bridge(body)]));
    }
    Err(Malformed::UnknownShape)
}

/// A record of S3's own shape. A consumer is to check the major version for equality and to take any
/// minor one, which only adds fields.
fn s3_record(record: &Value) -> Result<Record, Malformed> {
    let version = text(record, "/eventVersion").ok_or(Malformed::Field("eventVersion"))?;
    if version.split('.').next() != Some("2") {
        return Err(Malformed::Version);
    }
    let name = text(record, "/eventName").ok_or(Malformed::Field("eventName"))?;
    if !name.starts_with("ObjectCreated:") {
        return Ok(Record::OtherEvent);
    }
    let key = text(record, "/s3/object/key").ok_or(Malformed::Field("s3.object.key"))?;
    let bucket = text(record, "/s3/bucket/name").ok_or(Malformed::Field("s3.bucket.name"))?;
    Ok(Record::Created(ObjectCreated {
        bucket: bucket.to_owned(),
        key: checked_key(decode_form(key).ok_or(Malformed::Key)?)?,
        sequencer: text(record, "/s3/object/sequencer").map(str::to_owned),
        event_time: time(record, "/eventTime"),
    }))
}

fn event_bridge(event: &Value) -> Result<Record, Malformed> {
    let kind = text(event, "/detail-type").ok_or(Malformed::Field("detail-type"))?;
    if kind != "Object Created" {
        return Ok(Record::OtherEvent);
    }
    let key = text(event, "/detail/object/key").ok_or(Malformed::Field("detail.object.key"))?;
    let bucket = text(event, "/detail/bucket/name").ok_or(Malformed::Field("detail.bucket.name"))?;
    Ok(Record::Created(ObjectCreated {
        bucket: bucket.to_owned(),
        key: checked_key(key.to_owned())?,
        sequencer: text(event, "/detail/object/sequencer").map(str::to_owned),
        event_time: time(event, "/time"),
    }))
}

/// `application/x-www-form-urlencoded`: plus is a space, then percent escapes. Strict: a key that is
/// guessed wrong would be looked up, not found, and taken for deleted.
pub(crate) fn decode_form(encoded: &str) -> Option<String> {
    let escapes_are_whole = encoded.split('%').skip(1).all(|after| {
        matches!(after.as_bytes(), [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    });
    if !escapes_are_whole {
        return None;
    }
    let spaced = encoded.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

fn checked_key(key: String) -> Result<String, Malformed> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) {
        Ok(key)
    } else {
        Err(Malformed::Key)
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// The time only feeds the lag metric: a record without a readable one is copied all the same.
fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    text(value, pointer)?.parse().ok()
}

#[cfg(test)]
mod tests;
