//! Why an event is not valid, said without the event.
//!
//! A schema error travels into answers, and from there into other people's logs. So the text is
//! made from the schema alone (its keyword and what the keyword asks), and never from the value
//! that failed. The validator's own messages quote the value and are not used.

use jsonschema::{
    ErrorIterator,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;

/// The most errors that are reported for one event. The first few are what a person reads, and an
/// event must not be able to ask for an answer larger than itself.
pub const MAX_ERRORS: usize = 16;

/// The longest piece of a schema that is quoted, and the longest pointer, in bytes.
const MAX_QUOTE: usize = 256;

/// The longest name of a client's making that is repeated in a pointer. A field's name is shorter.
const MAX_NAME: usize = 64;

/// One thing that is wrong with an event.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SchemaError {
    /// Where, as a JSON Pointer (RFC 6901) into the event; empty for the event as a whole.
    pub pointer: String,
    /// The schema keyword that failed.
    pub keyword: String,
    /// What the keyword asks for. It never holds the value that failed.
    pub message: String,
}

pub(crate) fn explain(errors: ErrorIterator<'_>) -> Vec<SchemaError> {
    let mut explained = Vec::new();
    for error in errors {
        let keyword = error.kind().keyword();
        let pointer = error.instance_path().as_str();
        match error.kind() {
            // One error a name, with the pointer at the name, is what a person can act on.
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                let left = MAX_ERRORS - explained.len();
                explained.extend(unexpected.iter().take(left).map(|name| SchemaError {
                    pointer: named(pointer, name),
                    keyword: keyword.to_owned(),
                    message: "the schema has no field of this name".to_owned(),
                }));
            }
            kind => explained.push(SchemaError {
                pointer: cut(pointer.to_owned()),
                keyword: keyword.to_owned(),
                message: cut(message(kind)),
            }),
        }
        if explained.len() >= MAX_ERRORS {
            break;
        }
    }
    explained
}

/// A name that cannot be a field's may be anything, a misplaced value even: it is not repeated.
fn named(parent: &str, name: &str) -> String {
    let plausible = name.len() <= MAX_NAME
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    cut(if plausible {
        format!("{parent}/{name}")
    } else {
        parent.to_owned()
    })
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_QUOTE));
    text
}

/// What the keyword asks for. Every kind is listed, so that a new one of the validator's cannot
/// slip through with words of its own.
fn message(kind: &Kind) -> String {
    match kind {
        Kind::AdditionalItems { limit } => format!("must have at most {limit} items"),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "the schema has no field of this name".to_owned()
        }
        Kind::UnevaluatedItems { .. } => "has more items than the schema describes".to_owned(),
        Kind::AnyOf { .. } => "must match at least one of the schema's alternatives".to_owned(),
        Kind::OneOfNotValid { .. } => "must match one of the schema's alternatives".to_owned(),
        Kind::OneOfMultipleValid { .. } => "must match only one of the schema's alternatives".to_owned(),
        Kind::Not { .. } => "must not be what the schema excludes".to_owned(),
        Kind::FalseSchema => "the schema allows no value here".to_owned(),
        Kind::Constant { expected_value } => format!("must be {expected_value}"),
        Kind::Enum { options } => format!("must be one of {options}"),
        Kind::Type { kind } => format!("must be of type {}", types(kind)),
        Kind::Required { property } => format!("must have the field {}", plain(property)),
        Kind::Format { format } => format!("must be a valid {format}"),
        Kind::Pattern { pattern } => format!("must match the pattern {pattern}"),
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            "could not be held against the pattern".to_owned()
        }
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be greater than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::UniqueItems => "must not have an item twice".to_owned(),
        Kind::Contains => "must have an item the schema asks for".to_owned(),
        Kind::MaxProperties { limit } => format!("must have at most {limit} fields"),
        Kind::MinProperties { limit } => format!("must have at least {limit} fields"),
        Kind::PropertyNames { .. } => "has a field whose name the schema does not allow".to_owned(),
        Kind::ContentEncoding { content_encoding } => format!("must be {content_encoding}"),
        Kind::ContentMediaType { content_media_type } => format!("must be {content_media_type}"),
        Kind::FromUtf8 { .. } => "must be UTF-8 once decoded".to_owned(),
        Kind::Custom { .. } => "is not what the schema asks for".to_owned(),
        Kind::Referencing(_) => "the schema refers to what is not there".to_owned(),
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(single) => single.as_str().to_owned(),
        TypeKind::Multiple(several) => several
            .iter()
            .map(|one| one.as_str())
            .collect::<Vec<_>>()
            .join(" or "),
    }
}

fn plain(name: &Value) -> String {
    name.as_str().map_or_else(|| name.to_string(), str::to_owned)
}

#[cfg(test)]
#[path = "verdict/tests.rs"]
pub(crate) mod tests;
