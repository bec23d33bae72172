//! Every schema, compiled, by event type and version.
//!
//! Loading is strict, because a fault found here costs a failed start and a fault found later
//! costs data: each document must be at the path that its content says, closed against unknown
//! fields, and annotated in full. No reference is ever followed out of a document, neither to the
//! network nor to the disk, and patterns run in linear time.

use std::collections::BTreeMap;

use jsonschema::{Draft, PatternOptions, Retrieve, Uri};
use serde_json::{Map, Value};

use crate::{
    EventType, InvalidId, MAX_DEPTH_LIMIT, MalformedEvent, Pii, Producer, RawEvent, SERVER_SET_FIELDS,
    Schema, SchemaVersion, field, tree::Borrowed, types::Types,
};

/// The dialect every document must declare.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The fields that every schema must describe, so that every type has the same envelope.
const ENVELOPE_FIELDS: [&str; 6] = [
    field::EVENTTYPE,
    field::EVENTID,
    field::EVENTTIME,
    field::SCHEMAVERSION,
    field::DEVICEID,
    field::USERID,
];

macro_rules! bundled {
    ($path:literal) => {
        (
            $path,
            include_bytes!(concat!("../../../schemas/", $path)).as_slice(),
        )
    };
}
/// The bundled documents, by their path under `schemas/`.
const BUNDLED: [(&str, &[u8]); 7] = [
    bundled!("deviceregistered/1-0-0.json"),
    bundled!("musicserviceauth/1-0-0.json"),
    bundled!("navigation/1-0-0.json"),
    bundled!("play/1-0-0.json"),
    bundled!("tokenrequest/1-0-0.json"),
    bundled!("userregistered/1-0-0.json"),
    bundled!("voicefeedback/1-0-0.json"),
];

/// The documents that are part of the build: path such as `play/1-0-0.json`, and content.
pub fn bundled_documents() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    BUNDLED.into_iter()
}

/// Every schema, by type and version.
#[derive(Debug, Default)]
pub struct Catalogue {
    types: BTreeMap<EventType, BTreeMap<SchemaVersion, Schema>>,
}

/// A document that cannot be part of a catalogue.
#[derive(Debug, thiserror::Error)]
#[error("schema {path}: {problem}")]
pub struct CatalogueError {
    /// The document's path, as it was given.
    pub path: String,
    /// What is wrong with it.
    pub problem: CatalogueProblem,
}

/// What is wrong with a schema document.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueProblem {
    /// The path does not say type and version.
    #[error("the path must be EVENTTYPE/MODEL-REVISION-ADDITION.json")]
    Path,
    /// The path's folder is not an event type's name.
    #[error("the folder is not an event type: {0}")]
    EventType(#[source] InvalidId),
    /// The path's file name is not a version.
    #[error("the file name is not a version: {0}")]
    Version(#[source] InvalidId),
    /// A second document for the same type and version.
    #[error("there is another document for this type and version")]
    Twice,
    /// Not one JSON object.
    #[error("{0}")]
    Malformed(#[source] MalformedEvent),
    /// Another dialect, or none.
    #[error("\"$schema\" must be \"{DIALECT}\"")]
    Dialect,
    /// It does not describe a flat object with named fields.
    #[error("must describe an object: \"type\": \"object\" with \"properties\"")]
    NotAnObject,
    /// It lets unknown fields in.
    #[error("must have \"additionalProperties\": false and no \"patternProperties\"")]
    Open,
    /// A field's name cannot be a column.
    #[error("field {field}: a name must be 1 to 64 lower-case letters and digits")]
    FieldName {
        /// The name.
        field: String,
    },
    /// It describes a field that only the server sets.
    #[error("field {field}: only the server sets it, so no client may send it")]
    ServerSet {
        /// The field's name.
        field: String,
    },
    /// A field may hold more than one value.
    #[error("field {field}: an event is flat, so its \"type\" must be there and no object or array")]
    NotFlat {
        /// The field's name.
        field: String,
    },
    /// A shared field is missing.
    #[error("field {field} is missing: every event type has it")]
    EnvelopeField {
        /// The field's name.
        field: &'static str,
    },
    /// `eventtype` or `schemaversion` is not what the path says.
    #[error("field {field}: must have \"const\": \"{expected}\", as the path says")]
    Constant {
        /// The field's name.
        field: &'static str,
        /// What the path says.
        expected: String,
    },
    /// A field does not say whether it is personal.
    #[error("field {field}: must have \"x-pii\": \"drop\", \"hash\" or \"keep\"")]
    Pii {
        /// The field's name.
        field: String,
    },
    /// The document does not say who produces such events.
    #[error("must have \"x-producer\": a list of \"device\", \"app\" and \"platform\"")]
    Producer,
    /// A reference leaves the document, or points at what is compared by itself between versions.
    #[error("the reference {reference} is not followed: only \"#/$defs/…\" is")]
    Reference {
        /// Where it points.
        reference: String,
    },
    /// Not a valid JSON Schema, or a pattern that cannot run in linear time.
    #[error("not a valid schema: {0}")]
    Invalid(String),
}

impl Catalogue {
    /// The schemas that are part of the build.
    ///
    /// # Errors
    /// Never in a build whose tests passed: they load it.
    pub fn bundled() -> Result<Self, CatalogueError> {
        Self::from_documents(bundled_documents())
    }

    /// Compiles documents given as path (`play/1-0-0.json`) and content.
    ///
    /// # Errors
    /// The first document that is not fit, and why.
    pub fn from_documents<P: AsRef<str>, B: AsRef<[u8]>>(
        documents: impl IntoIterator<Item = (P, B)>,
    ) -> Result<Self, CatalogueError> {
        let mut catalogue = Self::default();
        for (path, document) in documents {
            catalogue.add(path.as_ref(), document.as_ref())?;
        }
        Ok(catalogue)
    }

    /// Compiles what is fit for a catalogue, beside what is wrong with the rest: for a person who wants
    /// to see it all at once.
    pub fn gather<P: AsRef<str>, B: AsRef<[u8]>>(
        documents: impl IntoIterator<Item = (P, B)>,
    ) -> (Self, Vec<CatalogueError>) {
        let mut catalogue = Self::default();
        let unfit = documents
            .into_iter()
            .filter_map(|(path, document)| catalogue.add(path.as_ref(), document.as_ref()).err())
            .collect();
        (catalogue, unfit)
    }

    /// The newest version of a type.
    #[must_use]
    pub fn latest(&self, event_type: &str) -> Option<&Schema> {
        self.types
            .get(event_type)?
            .last_key_value()
            .map(|(_, schema)| schema)
    }

    /// One version of a type.
    #[must_use]
    pub fn get(&self, event_type: &str, version: SchemaVersion) -> Option<&Schema> {
        self.types.get(event_type)?.get(&version)
    }

    /// Every version of a type, oldest first; `None` for an unknown type.
    #[must_use]
    pub fn versions(&self, event_type: &str) -> Option<impl Iterator<Item = &Schema>> {
        self.types.get(event_type).map(|versions| versions.values())
    }

    /// Every event type, by name.
    pub fn event_types(&self) -> impl Iterator<Item = &EventType> {
        self.types.keys()
    }

    fn add(&mut self, path: &str, document: &[u8]) -> Result<(), CatalogueError> {
        let mut try_add = || {
            let (event_type, version) = identity(path)?;
            let schema = compile(event_type.clone(), version, document)?;
            match self.types.entry(event_type).or_default().insert(version, schema) {
                None => Ok(()),
                Some(_) => Err(CatalogueProblem::Twice),
            }
        };
        try_add().map_err(|problem| CatalogueError {
            path: path.to_owned(),
            problem,
        })
    }
}

/// Type and version, as the path says.
fn identity(path: &str) -> Result<(EventType, SchemaVersion), CatalogueProblem> {
    let (folder, file) = path.split_once('/').ok_or(CatalogueProblem::Path)?;
    let version = file.strip_suffix(".json").ok_or(CatalogueProblem::Path)?;
    Ok((
        folder.parse().map_err(CatalogueProblem::EventType)?,
        version.parse().map_err(CatalogueProblem::Version)?,
    ))
}

fn compile(
    event_type: EventType,
    version: SchemaVersion,
    document: &[u8],
) -> Result<Schema, CatalogueProblem> {
    let parsed = RawEvent::parse(document, MAX_DEPTH_LIMIT).map_err(CatalogueProblem::Malformed)?;
    let schema = &parsed.tree().to_value();
    if schema.get("$schema").and_then(Value::as_str) != Some(DIALECT) {
        return Err(CatalogueProblem::Dialect);
    }
    refuse_foreign_references(schema)?;
    let properties = properties(schema)?;
    for required in ENVELOPE_FIELDS {
        if !properties.contains_key(required) {
            return Err(CatalogueProblem::EnvelopeField { field: required });
        }
    }
    require_constant(properties, field::EVENTTYPE, &event_type)?;
    require_constant(properties, field::SCHEMAVERSION, &version)?;
    let validator = jsonschema::options_for::<Borrowed>()
        .with_draft(Draft::Draft202012)
        .with_retriever(NoRetriever)
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .build(schema)
        .map_err(|error| CatalogueProblem::Invalid(error.to_string()))?;
    Ok(Schema {
        title: schema
            .get("title")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        producers: producers(schema)?,
        fields: fields(properties)?,
        document: document.into(),
        event_type,
        version,
        validator,
    })
}

fn properties(schema: &Value) -> Result<&Map<String, Value>, CatalogueProblem> {
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(CatalogueProblem::NotAnObject);
    }
    // A pattern would let names in that no annotation covers.
    let patterns = schema.get("patternProperties").is_some();
    if patterns || schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        return Err(CatalogueProblem::Open);
    }
    schema
        .get("properties")
        .and_then(Value::as_object)
        .ok_or(CatalogueProblem::NotAnObject)
}

fn require_constant(
    properties: &Map<String, Value>,
    field: &'static str,
    expected: &impl ToString,
) -> Result<(), CatalogueProblem> {
    let expected = expected.to_string();
    let actual = properties.get(field).and_then(|field| field.get("const"));
    if actual.and_then(Value::as_str) == Some(&expected) {
        Ok(())
    } else {
        Err(CatalogueProblem::Constant { field, expected })
    }
}

fn producers(schema: &Value) -> Result<Vec<Producer>, CatalogueProblem> {
    let producers: Vec<Producer> = schema
        .get("x-producer")
        .and_then(Value::as_array)
        .and_then(|list| list.iter().map(|name| name.as_str()?.parse().ok()).collect())
        .unwrap_or_default();
    if producers.is_empty() {
        Err(CatalogueProblem::Producer)
    } else {
        Ok(producers)
    }
}

fn fields(properties: &Map<String, Value>) -> Result<BTreeMap<String, Pii>, CatalogueProblem> {
    let mut fields = BTreeMap::new();
    for (name, definition) in properties {
        let field = || name.clone();
        if SERVER_SET_FIELDS.contains(&name.as_str()) {
            return Err(CatalogueProblem::ServerSet { field: field() });
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(CatalogueProblem::FieldName { field: field() });
        }
        if Types::of(definition).nested() {
            return Err(CatalogueProblem::NotFlat { field: field() });
        }
        let pii = definition
            .get("x-pii")
            .and_then(Value::as_str)
            .and_then(|pii| pii.parse().ok())
            .ok_or_else(|| CatalogueProblem::Pii { field: field() })?;
        fields.insert(field(), pii);
    }
    Ok(fields)
}

/// The retriever beneath refuses too; this names the reference.
fn refuse_foreign_references(schema: &Value) -> Result<(), CatalogueProblem> {
    match schema {
        Value::Object(object) => {
            for keyword in ["$ref", "$dynamicRef"] {
                if let Some(Value::String(reference)) = object.get(keyword)
                    && !reference.starts_with("#/$defs/")
                {
                    return Err(CatalogueProblem::Reference {
                        reference: reference.clone(),
                    });
                }
            }
            object.values().try_for_each(refuse_foreign_references)
        }
        Value::Array(items) => items.iter().try_for_each(refuse_foreign_references),
        _ => Ok(()),
    }
}

/// Follows no reference, whatever features of the validator other crates switch on.
struct NoRetriever;

impl Retrieve for NoRetriever {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("references are followed only within a document".into())
    }
}

#[cfg(test)]
#[path = "catalogue/tests.rs"]
mod tests;
