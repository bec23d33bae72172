//! The fields that every event type shares, and who may set them.

use crate::{EventId, EventType, InvalidId, Pii, RawEvent, SchemaVersion, Tree};

/// The names of the shared fields.
pub mod field {
    /// What kind of event it is. The client's, unless the request path says it.
    pub const EVENTTYPE: &str = "eventtype";
    /// Which event it is. The client's, else the server's.
    pub const EVENTID: &str = "eventid";
    /// When it happened by the client's clock. The client's alone.
    pub const EVENTTIME: &str = "eventtime";
    /// The schema version it was written for. The client's, else the latest.
    pub const SCHEMAVERSION: &str = "schemaversion";
    /// The device concerned. The client's alone.
    pub const DEVICEID: &str = "deviceid";
    /// The account concerned. The client's alone.
    pub const USERID: &str = "userid";
    /// The partner the credential belongs to. The server's alone.
    pub const PARTNERID: &str = "partnerid";
    /// The client the credential belongs to. The server's alone.
    pub const CLIENTID: &str = "clientid";
    /// Where the request came from, by the trusted edge. The server's alone.
    pub const COUNTRYCODE: &str = "countrycode";
    /// When the server received it. The server's alone.
    pub const RECEIVEDTIME: &str = "receivedtime";
    /// When it happened by the server's clock, where the client said when it sent it. The server's
    /// alone.
    pub const CORRECTEDTIME: &str = "correctedtime";
}

/// The fields that only the server sets. An event that brings one is refused, not corrected: a
/// client that tries has a fault, or worse.
pub const SERVER_SET_FIELDS: [&str; 5] = [
    field::PARTNERID,
    field::CLIENTID,
    field::COUNTRYCODE,
    field::RECEIVEDTIME,
    field::CORRECTEDTIME,
];

/// What must happen to a field that the server set, as `x-pii` says it of what clients send; `None` for
/// any other name. A field without a class here passes nowhere.
#[must_use]
pub fn server_set_pii(name: &str) -> Option<Pii> {
    match name {
        // A company, and a product of its: a credential belongs to a kind of device or an app, which
        // many people use, never to one person.
        field::PARTNERID | field::CLIENTID => Some(Pii::Keep),
        // As coarse as a place can be.
        field::COUNTRYCODE => Some(Pii::Keep),
        // They say when something happened, and by themselves to nobody.
        field::RECEIVEDTIME | field::CORRECTEDTIME => Some(Pii::Keep),
        _ => None,
    }
}

/// The longest device id, in characters: it becomes the partition key, and Kinesis takes 256.
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecordsRequestEntry.html>)
const MAX_DEVICEID: usize = 256;

/// What the shared fields of one event say. What is `None` was not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `eventtype`.
    pub event_type: Option<EventType>,
    /// `eventid`.
    pub event_id: Option<EventId>,
    /// `schemaversion`.
    pub schema_version: Option<SchemaVersion>,
    /// `deviceid`.
    pub device_id: Option<&'a str>,
}

/// A shared field is there and cannot be used. It names the field and never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The field must be text.
    #[error("must be a string")]
    NotAString {
        /// The field's name.
        field: &'static str,
    },
    /// The field is text of the wrong form.
    #[error("{invalid}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// What it must be.
        invalid: InvalidId,
    },
    /// The device id could not be a partition key.
    #[error("must be 1 to 256 characters")]
    DeviceIdLength,
}

impl EnvelopeError {
    /// The field's name.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::NotAString { field } | Self::Invalid { field, .. } => field,
            Self::DeviceIdLength => field::DEVICEID,
        }
    }
}

impl<'a> Envelope<'a> {
    /// Takes the shared fields out of an event. Whether a schema would allow them is not asked here:
    /// what this refuses could be neither routed nor stored.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn read(event: &'a RawEvent<'_>) -> Result<Self, EnvelopeError> {
        let device_id = text(event, field::DEVICEID)?;
        if device_id.is_some_and(|id| id.is_empty() || id.chars().count() > MAX_DEVICEID) {
            return Err(EnvelopeError::DeviceIdLength);
        }
        Ok(Self {
            event_type: parsed(event, field::EVENTTYPE)?,
            event_id: parsed(event, field::EVENTID)?,
            schema_version: parsed(event, field::SCHEMAVERSION)?,
            device_id,
        })
    }
}

fn text<'a>(event: &'a RawEvent<'_>, field: &'static str) -> Result<Option<&'a str>, EnvelopeError> {
    match event.field(field) {
        None => Ok(None),
        Some(Tree::Text(text)) => Ok(Some(text)),
        Some(_) => Err(EnvelopeError::NotAString { field }),
    }
}

fn parsed<T: std::str::FromStr<Err = InvalidId>>(
    event: &RawEvent<'_>,
    field: &'static str,
) -> Result<Option<T>, EnvelopeError> {
    text(event, field)?
        .map(str::parse)
        .transpose()
        .map_err(|invalid| EnvelopeError::Invalid { field, invalid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<String, EnvelopeError> {
        let event = RawEvent::parse(json.as_bytes(), 32).expect("well-formed");
        Envelope::read(&event).map(|envelope| format!("{envelope:?}"))
    }

    #[test]
    fn every_field_of_the_server_has_a_class_and_no_other_name_has() {
        for name in SERVER_SET_FIELDS {
            assert!(server_set_pii(name).is_some(), "{name}");
        }
        for name in [field::DEVICEID, field::USERID, "", "partneridx"] {
            assert_eq!(server_set_pii(name), None, "{name}");
        }
    }

    #[test]
    fn what_was_not_sent_is_none() {
        let event = RawEvent::parse(br#"{"track":"x"}"#, 32).expect("well-formed");
        assert_eq!(Envelope::read(&event).expect("usable"), Envelope::default());
    }

    #[test]
    fn unusable_fields_are_named_without_their_value() {
        let long = format!(r#"{{"deviceid":"{}"}}"#, "canary".repeat(43));
        for (json, field) in [
            (r#"{"eventtype":"Canary"}"#, field::EVENTTYPE),
            (r#"{"eventtype":7}"#, field::EVENTTYPE),
            (r#"{"eventid":"canary"}"#, field::EVENTID),
            (r#"{"eventid":null}"#, field::EVENTID),
            (r#"{"schemaversion":"canary"}"#, field::SCHEMAVERSION),
            (r#"{"deviceid":["canary"]}"#, field::DEVICEID),
            (r#"{"deviceid":""}"#, field::DEVICEID),
            (&long, field::DEVICEID),
        ] {
            let error = read(json).expect_err(json);
            assert_eq!(error.field(), field, "{json}");
            assert!(!format!("{error} {error:?}").contains("anary"), "{error:?}");
        }
    }

    #[test]
    fn a_device_id_may_be_as_long_as_a_partition_key_in_characters() {
        let json = format!(r#"{{"deviceid":"{}"}}"#, "å".repeat(256));
        assert!(read(&json).is_ok());
    }
}
