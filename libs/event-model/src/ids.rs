//! The three names an event carries: which event it is, of which type, by which schema version.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use uuid::Uuid;

/// Why a text is not an id of the kind asked for. It never repeats the text, which may be personal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not the 36 characters of a UUID.
    #[error("must be a UUID in its hyphenated form of 36 characters")]
    EventId,
    /// Not a lower-case name.
    #[error("must be 1 to 40 lower-case letters and digits and begin with a letter")]
    EventType,
    /// Not three numbers.
    #[error("must be MODEL-REVISION-ADDITION, three numbers such as 1-0-0")]
    SchemaVersion,
}

/// Names one event for ever: a UUID. An event that is sent twice with the same id is one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Uuid);

impl EventId {
    /// A new id, version 7 (RFC 9562, section 5.7): ids made later sort after ids made earlier.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Room for [`EventId::encode`].
    #[must_use]
    pub fn buffer() -> [u8; uuid::fmt::Hyphenated::LENGTH] {
        [0; uuid::fmt::Hyphenated::LENGTH]
    }

    /// The id as text, without an allocation.
    pub fn encode<'b>(&self, buffer: &'b mut [u8; uuid::fmt::Hyphenated::LENGTH]) -> &'b str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

impl serde::Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.encode(&mut Self::buffer()))
    }
}

impl FromStr for EventId {
    type Err = InvalidId;

    /// Accepts the hyphenated form in either case, as RFC 9562 asks of readers, and nothing else.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() != uuid::fmt::Hyphenated::LENGTH {
            return Err(InvalidId::EventId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId::EventId)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The name of an event type: also a folder of the catalogue, a part of a path and a metric label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(Arc<str>);

impl EventType {
    /// The longest name, in bytes.
    pub const MAX_LENGTH: usize = 40;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventType {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let valid = text.len() <= Self::MAX_LENGTH
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId::EventType)
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for EventType {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// `MODEL-REVISION-ADDITION`, in order of age.
///
/// ADDITION rises when every older event is still valid and every older reader still copes,
/// REVISION when some may not, MODEL when none does.
/// (<https://docs.snowplow.io/docs/api-reference/iglu/common-architecture/schemaver/>)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaVersion {
    /// Rises with a change that breaks every reader.
    pub model: u16,
    /// Rises with a change that may break a reader.
    pub revision: u16,
    /// Rises with a change that breaks none.
    pub addition: u16,
}

impl FromStr for SchemaVersion {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut parts = text.splitn(3, '-').map(number);
        let mut next = || parts.next().flatten().ok_or(InvalidId::SchemaVersion);
        let version = Self {
            model: next()?,
            revision: next()?,
            addition: next()?,
        };
        if version.model == 0 {
            Err(InvalidId::SchemaVersion)
        } else {
            Ok(version)
        }
    }
}

/// A number in its one spelling: digits only, no sign, no leading zero.
fn number(text: &str) -> Option<u16> {
    let one_spelling =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if one_spelling { text.parse().ok() } else { None }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.model, self.revision, self.addition)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn event_ids_are_read_in_either_case_and_written_in_lower_case() {
        let id: EventId = "0192F0C1-7A3E-7C54-9F0E-3B6D5A2C0001".parse().expect("a UUID");
        assert_eq!(id.to_string(), "0192f0c1-7a3e-7c54-9f0e-3b6d5a2c0001");
    }

    #[test]
    fn other_spellings_of_a_uuid_are_refused() {
        for text in [
            "",
            "0192f0c17a3e7c549f0e3b6d5a2c0001",
            "{0192f0c1-7a3e-7c54-9f0e-3b6d5a2c0001}",
            "urn:uuid:0192f0c1-7a3e-7c54-9f0e-3b6d5a2c0001",
            "0192f0c1-7a3e-7c54-9f0e-3b6d5a2c000g",
        ] {
            assert_eq!(text.parse::<EventId>(), Err(InvalidId::EventId), "{text}");
        }
    }

    #[test]
    fn generated_ids_are_of_version_7_and_in_order() {
        let ids: Vec<EventId> = (0..1000).map(|_| EventId::generate()).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.0.get_version_num() == 7));
    }

    #[test]
    fn event_types_are_lower_case_names() {
        for text in ["play", "a", "tokenrequest2"] {
            assert_eq!(text.parse::<EventType>().expect("a name").as_str(), text);
        }
        let too_long = "a".repeat(EventType::MAX_LENGTH + 1);
        for text in [
            "",
            "Play",
            "2play",
            "token_request",
            "play/..",
            "plåy",
            "a b",
            &too_long,
        ] {
            assert_eq!(text.parse::<EventType>(), Err(InvalidId::EventType), "{text}");
        }
    }

    #[test]
    fn versions_have_one_spelling() {
        for text in [
            "",
            "1",
            "1-0",
            "1-0-0-0",
            "01-0-0",
            "1-00-0",
            "+1-0-0",
            "0-1-0",
            "1-0-65536",
            "1.0.0",
        ] {
            assert_eq!(
                text.parse::<SchemaVersion>(),
                Err(InvalidId::SchemaVersion),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn versions_survive_the_round_trip_and_keep_their_order(
            a in (1..=u16::MAX, any::<u16>(), any::<u16>()),
            b in (1..=u16::MAX, any::<u16>(), any::<u16>()),
        ) {
            let version = |(model, revision, addition)| SchemaVersion { model, revision, addition };
            let parsed: SchemaVersion = version(a).to_string().parse().expect("its own spelling");
            prop_assert_eq!(parsed, version(a));
            prop_assert_eq!(version(a).cmp(&version(b)), a.cmp(&b));
        }
    }
}
