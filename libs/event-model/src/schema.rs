//! One compiled schema: the verdict on an event, and what its annotations say.

use std::{collections::BTreeMap, fmt, str::FromStr};

use jsonschema::Validator;
use serde_json::Value;

use crate::{
    EventType, MAX_DEPTH_LIMIT, RawEvent, SchemaVersion,
    tree::Borrowed,
    verdict::{SchemaError, explain},
};

/// What must happen to a field wherever an event may surface: a log, a copy, a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pii {
    /// Personal in itself: leave it out.
    Drop,
    /// Points at a person or a device: only as a keyed hash.
    Hash,
    /// Not personal: as it is.
    Keep,
}

impl FromStr for Pii {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "drop" => Ok(Self::Drop),
            "hash" => Ok(Self::Hash),
            "keep" => Ok(Self::Keep),
            _ => Err(()),
        }
    }
}

/// A kind of client, and so what may produce an event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Producer {
    /// A speaker, a watch: its credential sits in hardware that others own.
    Device,
    /// A companion app: the same, on a phone.
    App,
    /// One of the platform's own services.
    Platform,
}

impl Producer {
    /// As schemas and credentials write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::App => "app",
            Self::Platform => "platform",
        }
    }
}

impl FromStr for Producer {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Device, Self::App, Self::Platform]
            .into_iter()
            .find(|producer| producer.as_str() == text)
            .ok_or(())
    }
}

/// The schema of one event type in one version, ready to judge.
pub struct Schema {
    pub(crate) event_type: EventType,
    pub(crate) version: SchemaVersion,
    pub(crate) document: Box<[u8]>,
    pub(crate) title: String,
    pub(crate) producers: Vec<Producer>,
    pub(crate) fields: BTreeMap<String, Pii>,
    pub(crate) validator: Validator<Borrowed>,
}

impl Schema {
    /// Whether an event is valid, and if not, why: at most [`MAX_ERRORS`](crate::MAX_ERRORS)
    /// errors. No error holds a value of the event.
    ///
    /// # Errors
    /// What is wrong and where, in the order the schema asks.
    pub fn verdict(&self, event: &RawEvent<'_>) -> Result<(), Vec<SchemaError>> {
        let event = event.tree();
        // Explaining costs more than twice what judging does, and nearly every event is valid.
        if self.validator.is_valid(event) {
            return Ok(());
        }
        Err(explain(self.validator.iter_errors(event)))
    }

    /// The type it is for.
    #[must_use]
    pub fn event_type(&self) -> &EventType {
        &self.event_type
    }

    /// The version it is.
    #[must_use]
    pub fn version(&self) -> SchemaVersion {
        self.version
    }

    /// The document as it was written.
    #[must_use]
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// The document as a JSON value.
    #[must_use]
    pub fn parsed_document(&self) -> Value {
        serde_json::from_slice(&self.document).expect("it was parsed when it was compiled")
    }

    /// The places of those of its own `examples` that are no valid events of its type, and why.
    #[must_use]
    pub fn broken_examples(&self) -> Vec<(usize, Vec<SchemaError>)> {
        let document = self.parsed_document();
        let examples = document.get("examples").and_then(Value::as_array);
        let verdicts = examples
            .into_iter()
            .flatten()
            .map(|example| self.example(&example.to_string()));
        verdicts
            .enumerate()
            .filter_map(|(index, verdict)| Some((index, verdict.err()?)))
            .collect()
    }

    fn example(&self, example: &str) -> Result<(), Vec<SchemaError>> {
        match RawEvent::parse_text(example, MAX_DEPTH_LIMIT) {
            Ok(event) => self.verdict(&event),
            Err(fault) => Err(vec![SchemaError {
                pointer: fault.pointer,
                keyword: String::new(),
                message: fault.reason.to_string(),
            }]),
        }
    }

    /// Its title, for people.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Who produces events of this type, by `x-producer`.
    #[must_use]
    pub fn producers(&self) -> &[Producer] {
        &self.producers
    }

    /// Every field a client may send, with its `x-pii`.
    pub fn fields(&self) -> impl Iterator<Item = (&str, Pii)> {
        self.fields.iter().map(|(name, pii)| (name.as_str(), *pii))
    }

    /// The `x-pii` of one field; `None` for a name the schema does not know.
    #[must_use]
    pub fn pii(&self, field: &str) -> Option<Pii> {
        self.fields.get(field).copied()
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({}/{})", self.event_type, self.version)
    }
}
