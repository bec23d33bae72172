//! One line: what of it may pass, or why none of it does. Pure.
//!
//! The line is read as JSON once. Names and values that pass are written in their order: names as the
//! schema spells them, kept values as the bytes that were read, hashed ones in their key's form. Nothing
//! else of the line is copied, so whatever a name or value hides (escapes, nesting, white space) is gone
//! with it. What has no single meaning (a name twice, a value that is no value of a flat event) is not
//! guessed at: the line is quarantined.

use std::borrow::Cow;
use std::fmt;

use event_model::{Pii, field};
use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Redaction;
use super::canary::Found;
use super::plan::FieldPlan;
use super::tally::{FieldAction, Tally};

/// More members than any schema has fields, by far. A longer list is memory that somebody wants filled.
const MEMBERS_MAX: usize = 1024;

/// Why a line does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not one JSON object, or one of too many members.
    NotAnEvent,
    /// No event type, or none that the schemas know.
    UnknownType,
    /// No schema version, or none that the schemas know of this type.
    UnknownVersion,
    /// A field is there twice.
    DuplicateName,
    /// A field holds an object or an array.
    Nested,
    /// The line is longer than the limit.
    TooLong,
    /// A kept value looks like personal data.
    Canary,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::NotAnEvent,
        Self::UnknownType,
        Self::UnknownVersion,
        Self::DuplicateName,
        Self::Nested,
        Self::TooLong,
        Self::Canary,
    ];

    /// A metric label, and what stands in the quarantine.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAnEvent => "not_an_event",
            Self::UnknownType => "unknown_type",
            Self::UnknownVersion => "unknown_version",
            Self::DuplicateName => "duplicate_name",
            Self::Nested => "nested",
            Self::TooLong => "too_long",
            Self::Canary => "canary",
        }
    }
}

impl Redaction {
    /// Appends what may pass of `line`, with its line break, or nothing.
    pub(crate) fn redact_line(
        &self,
        line: &[u8],
        into: &mut Vec<u8>,
        tally: &mut Tally,
    ) -> Result<(), Reason> {
        let begin = into.len();
        let mut fields = [0; FieldAction::COUNT];
        let mut found = Found::default();
        let redacted = self.write_line(line, into, &mut fields, &mut found);
        tally.found(found);
        match redacted {
            Ok(event_type) if found.is_empty() || !self.quarantines_canaries() => {
                tally.line(event_type, fields);
                Ok(())
            }
            refused => {
                into.truncate(begin);
                Err(refused.err().unwrap_or(Reason::Canary))
            }
        }
    }

    /// The event type's place in the plan, once the line is written.
    fn write_line(
        &self,
        line: &[u8],
        into: &mut Vec<u8>,
        counts: &mut [u64; FieldAction::COUNT],
        found: &mut Found,
    ) -> Result<usize, Reason> {
        let members = members(line)?;
        let plan = self.plan_of(&members)?;
        let mut seen = vec![false; plan.len()];
        into.push(b'{');
        let mut separator: &[u8] = b"\"";
        for (name, value) in &members {
            let Some(field) = plan.field(name) else {
                counts[FieldAction::Undeclared as usize] += 1;
                continue;
            };
            if std::mem::replace(&mut seen[field.index], true) {
                return Err(Reason::DuplicateName);
            }
            let action = match field.pii {
                Pii::Drop => FieldAction::Dropped,
                Pii::Hash => FieldAction::Hashed,
                Pii::Keep => FieldAction::Kept,
            };
            counts[action as usize] += 1;
            if action == FieldAction::Dropped {
                continue;
            }
            into.extend_from_slice(separator);
            separator = b",\"";
            into.extend_from_slice(name.as_bytes());
            into.extend_from_slice(b"\":");
            let raw = value.get();
            let text = scalar(raw)?;
            match action {
                FieldAction::Hashed if raw == "null" => into.extend_from_slice(b"null"),
                FieldAction::Hashed => {
                    into.push(b'"');
                    self.key.write_value(&text, into);
                    into.push(b'"');
                }
                _ => {
                    *found = found.and(self.canary.scan(&text, field.content));
                    into.extend_from_slice(raw.as_bytes());
                }
            }
        }
        into.extend_from_slice(b"}\n");
        Ok(plan.event_type)
    }

    fn plan_of(&self, members: &[Member<'_>]) -> Result<&FieldPlan, Reason> {
        let text = |wanted: &str| {
            let member = members.iter().find(|(name, _)| name == wanted);
            member.and_then(|(_, value)| scalar(value.get()).ok())
        };
        let event_type = text(field::EVENTTYPE).ok_or(Reason::UnknownType)?;
        let version = text(field::SCHEMAVERSION).unwrap_or_default();
        match self.plan.find(&event_type, &version) {
            Some(plan) => Ok(plan),
            None if self.plan.event_types().iter().any(|known| *known == event_type) => {
                Err(Reason::UnknownVersion)
            }
            None => Err(Reason::UnknownType),
        }
    }
}

/// What a value says: the text of a string, anything else as it is written. A number and the string of
/// its digits hash alike, as they would join.
fn scalar(raw: &str) -> Result<Cow<'_, str>, Reason> {
    match raw.as_bytes() {
        [b'"', text @ .., b'"'] if !text.contains(&b'\\') => Ok(Cow::Borrowed(&raw[1..raw.len() - 1])),
        // Half a surrogate pair is no text.
        [b'"', ..] => serde_json::from_str(raw)
            .map(Cow::Owned)
            .map_err(|_| Reason::NotAnEvent),
        [b'{' | b'[', ..] => Err(Reason::Nested),
        _ => Ok(Cow::Borrowed(raw)),
    }
}

/// A name and its value's bytes.
type Member<'a> = (Cow<'a, str>, &'a RawValue);

fn members(line: &[u8]) -> Result<Vec<Member<'_>>, Reason> {
    let text = std::str::from_utf8(line).map_err(|_| Reason::NotAnEvent)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = Members.deserialize(&mut reader);
    let members = members.and_then(|members| reader.end().map(|()| members));
    members.map_err(|_| Reason::NotAnEvent)
}

struct Members;

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some(Name(name)) = access.next_key()? {
            if members.len() == MEMBERS_MAX {
                return Err(de::Error::custom("too many members"));
            }
            members.push((name, access.next_value()?));
        }
        Ok(members)
    }
}

/// A member's name, borrowed from the line unless it holds escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> de::Deserialize<'de> for Name<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
#[path = "line/tests.rs"]
mod tests;
