//! Two documents side by side: what changed, keyword by keyword.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Rule;
use crate::{Pii, field, types::Types};

/// One difference between two versions of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where in the document, as a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// Which rule it falls under.
    pub rule: Rule,
    /// What was there and what is there now, or which value it is about.
    pub what: String,
}

/// The differences between two documents that matter, in order of their pointers. Both must be fit for a
/// catalogue.
#[must_use]
pub fn changes(older: &Value, newer: &Value) -> Vec<Change> {
    let mut comparison = Comparison::default();
    comparison.documents(older, newer);
    let mut changes = comparison.changes;
    changes.sort_by(|a, b| (&a.pointer, a.rule).cmp(&(&b.pointer, b.rule)));
    changes
}

/// Keywords that judge nothing. Those that begin with `x-` are annotations too; the two that mean
/// something here are looked at by themselves.
const ANNOTATIONS: [&str; 8] = [
    "$comment",
    "default",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// What the catalogue itself holds to one form, and what is compared by itself.
const OF_THE_DOCUMENT: [&str; 8] = [
    "$defs",
    "$id",
    "$schema",
    "additionalProperties",
    "properties",
    "required",
    "type",
    "x-producer",
];

const OF_A_FIELD: [&str; 11] = [
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxLength",
    "maximum",
    "minLength",
    "minimum",
    "type",
    "x-pii",
];

/// Limits, and whether a larger number lets more through.
const LIMITS: [(&str, bool); 6] = [
    ("maxLength", true),
    ("maximum", true),
    ("exclusiveMaximum", true),
    ("minLength", false),
    ("minimum", false),
    ("exclusiveMinimum", false),
];

/// Conditions on a value that only ever refuse: without them more gets through, of the same type.
const PATTERNS: [&str; 2] = ["multipleOf", "pattern"];

#[derive(Default)]
struct Comparison {
    changes: Vec<Change>,
}

impl Comparison {
    fn note(&mut self, pointer: impl Into<String>, rule: Rule, what: impl Into<String>) {
        self.changes.push(Change {
            pointer: pointer.into(),
            rule,
            what: what.into(),
        });
    }

    fn documents(&mut self, older: &Value, newer: &Value) {
        let (older_fields, newer_fields) = (object(older, "properties"), object(newer, "properties"));
        let (older_required, newer_required) = (names(older, "required"), names(newer, "required"));
        for name in newer_required.difference(&older_required) {
            self.note("/required", Rule::RequiredAdded, format!("{name} is required"));
        }
        for name in older_required.difference(&newer_required) {
            // What is gone altogether is said once.
            if newer_fields.contains_key(*name) {
                self.note("/required", Rule::RequiredRemoved, format!("{name} is optional"));
            }
        }
        for (name, older) in &older_fields {
            match newer_fields.get(name) {
                Some(newer) => self.fields(name, older, newer),
                None => self.note(
                    format!("/properties/{name}"),
                    Rule::FieldRemoved,
                    format!("{name} is gone"),
                ),
            }
        }
        for name in newer_fields
            .keys()
            .filter(|name| !older_fields.contains_key(*name))
        {
            self.note(
                format!("/properties/{name}"),
                Rule::FieldAdded,
                format!("{name} is new"),
            );
        }
        let (older_producers, newer_producers) = (names(older, "x-producer"), names(newer, "x-producer"));
        for name in newer_producers.difference(&older_producers) {
            self.note("/x-producer", Rule::ProducerAdded, format!("{name} is new"));
        }
        for name in older_producers.difference(&newer_producers) {
            self.note("/x-producer", Rule::ProducerRemoved, format!("{name} is gone"));
        }
        // A new definition means nothing until something refers to it.
        let newer_definitions = object(newer, "$defs");
        for (name, definition) in object(older, "$defs") {
            if newer_definitions.get(&name) != Some(&definition) {
                self.note(
                    format!("/$defs/{}", escaped(&name)),
                    Rule::ConditionChanged,
                    "another definition",
                );
            }
        }
        self.others("", older, newer, &OF_THE_DOCUMENT);
    }

    fn fields(&mut self, name: &str, older: &Value, newer: &Value) {
        let pointer = format!("/properties/{name}");
        let at = |keyword: &str| format!("{pointer}/{keyword}");
        let (older_types, newer_types) = (Types::of(older), Types::of(newer));
        if older_types != newer_types {
            self.note(
                at("type"),
                Rule::TypeChanged,
                format!("{older_types} → {newer_types}"),
            );
        }
        // Each version has its own number there.
        if name != field::SCHEMAVERSION {
            self.values(&pointer, older, newer);
        }
        for (keyword, upper) in LIMITS {
            let (older, newer) = (older.get(keyword), newer.get(keyword));
            if let Some(rule) = limit(older, newer, upper) {
                self.note(at(keyword), rule, arrow(older, newer));
            }
        }
        for keyword in PATTERNS {
            let (older, newer) = (older.get(keyword), newer.get(keyword));
            match (older, newer) {
                (Some(_), None) => self.note(at(keyword), Rule::LimitWidened, arrow(older, newer)),
                _ if older != newer => self.note(at(keyword), Rule::PatternChanged, arrow(older, newer)),
                _ => {}
            }
        }
        let (older_format, newer_format) = (older.get("format"), newer.get("format"));
        if older_format != newer_format {
            self.note(
                at("format"),
                Rule::FormatChanged,
                arrow(older_format, newer_format),
            );
        }
        let rule = match strictness(newer).cmp(&strictness(older)) {
            std::cmp::Ordering::Greater => Some(Rule::PiiStricter),
            std::cmp::Ordering::Less => Some(Rule::PiiWeaker),
            std::cmp::Ordering::Equal => None,
        };
        if let Some(rule) = rule {
            self.note(at("x-pii"), rule, arrow(older.get("x-pii"), newer.get("x-pii")));
        }
        let compared: Vec<&str> = OF_A_FIELD.into_iter().chain(PATTERNS).collect();
        self.others(&pointer, older, newer, &compared);
    }

    fn values(&mut self, pointer: &str, older: &Value, newer: &Value) {
        let pointer = format!("{pointer}/enum");
        match (allowed(older), allowed(newer)) {
            (None, None) => {}
            (Some(_), None) => self.note(pointer, Rule::ValueAdded, "any value"),
            (None, Some(_)) => self.note(pointer, Rule::ValueRemoved, "only values of a list"),
            (Some(older), Some(newer)) => {
                for value in newer.iter().filter(|value| !older.contains(value)) {
                    self.note(pointer.clone(), Rule::ValueAdded, format!("{value} is new"));
                }
                for value in older.iter().filter(|value| !newer.contains(value)) {
                    self.note(pointer.clone(), Rule::ValueRemoved, format!("{value} is gone"));
                }
            }
        }
    }

    /// Every keyword that is neither an annotation nor compared by itself.
    fn others(&mut self, pointer: &str, older: &Value, newer: &Value, compared: &[&str]) {
        let keywords: BTreeSet<_> = members(older).chain(members(newer)).collect();
        for keyword in keywords {
            let known = compared.contains(&keyword)
                || ANNOTATIONS.contains(&keyword)
                || (keyword.starts_with("x-") && keyword != "x-pii");
            if !known && older.get(keyword) != newer.get(keyword) {
                let what = match (older.get(keyword), newer.get(keyword)) {
                    (None, _) => format!("{keyword} is new"),
                    (_, None) => format!("{keyword} is gone"),
                    _ => format!("another {keyword}"),
                };
                self.note(
                    format!("{pointer}/{}", escaped(keyword)),
                    Rule::ConditionChanged,
                    what,
                );
            }
        }
    }
}

pub(super) fn members(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
}

pub(super) fn object(document: &Value, name: &str) -> BTreeMap<String, Value> {
    let members = document
        .get(name)
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    members
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

pub(super) fn names<'d>(document: &'d Value, list: &str) -> BTreeSet<&'d str> {
    let names = document.get(list).and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).collect()
}

/// The values that `const` and `enum` list together; `None` where there is no list.
fn allowed(definition: &Value) -> Option<Vec<&Value>> {
    let list = definition.get("enum").and_then(Value::as_array);
    match (definition.get("const"), list) {
        (None, None) => None,
        (None, Some(list)) => Some(list.iter().collect()),
        (Some(one), None) => Some(vec![one]),
        (Some(one), Some(list)) => Some(list.iter().filter(|value| *value == one).collect()),
    }
}

fn limit(older: Option<&Value>, newer: Option<&Value>, upper: bool) -> Option<Rule> {
    let (older, newer) = match (older, newer) {
        (None, None) => return None,
        (None, Some(_)) => return Some(Rule::LimitNarrowed),
        (Some(_), None) => return Some(Rule::LimitWidened),
        (Some(older), Some(newer)) if older == newer => return None,
        (Some(older), Some(newer)) => (older.as_f64()?, newer.as_f64()?),
    };
    // Numbers that differ beyond what a float tells apart count as narrowed.
    if older != newer && (newer > older) == upper {
        Some(Rule::LimitWidened)
    } else {
        Some(Rule::LimitNarrowed)
    }
}

/// How much is kept from those who look at copies.
pub(super) fn strictness(definition: &Value) -> u8 {
    let pii = definition.get("x-pii").and_then(Value::as_str);
    match pii.and_then(|pii| pii.parse().ok()) {
        Some(Pii::Drop) => 2,
        Some(Pii::Hash) => 1,
        Some(Pii::Keep) | None => 0,
    }
}

fn arrow(older: Option<&Value>, newer: Option<&Value>) -> String {
    let shown = |value: Option<&Value>| value.map_or_else(|| "none".to_owned(), Value::to_string);
    format!("{} → {}", shown(older), shown(newer))
}

/// As RFC 6901 writes a name in a pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
#[path = "changes/tests.rs"]
mod tests;
