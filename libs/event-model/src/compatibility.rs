//! What may change from one version of a schema to the next.
//!
//! A version is `MODEL-REVISION-ADDITION`
//! (<https://docs.snowplow.io/docs/api-reference/iglu/common-architecture/schemaver/>). Within one
//! MODEL two sides go on without being asked: older **writers**, whose events are judged by the newest
//! version where they name none, and older **readers**, which know the columns of the version that they
//! were written for. So within one MODEL every event of an older version stays valid, each field keeps
//! its type and its presence, and nothing becomes less protected than it was promised to be.
//!
//! | change | asks for | because |
//! |---|---|---|
//! | title, description, examples | nothing | they judge nothing |
//! | a field added, optional | ADDITION | older writers do not send it, older readers do not look at it |
//! | a value allowed, a limit widened, a pattern taken away | REVISION | older writers go on; a reader may meet a value that it does not know |
//! | a producer added | REVISION | events may come from a kind of client that they did not come from |
//! | `x-pii` stricter | REVISION | copies hold less than a reader may look for |
//! | a field removed | MODEL | older writers are refused, and readers lose a column |
//! | a field required now | MODEL | older writers are refused |
//! | a field required no longer | MODEL | readers count on it |
//! | type or format changed, wider or narrower | MODEL | a column has one type |
//! | a value refused, a limit narrowed, a pattern added or changed | MODEL | older writers are refused |
//! | a producer removed | MODEL | older writers are refused |
//! | `x-pii` weaker | MODEL | what was collected under one promise must not surface under another |
//! | `if`, `allOf`, `not`, `$ref`, `$defs` and all else | MODEL | it cannot be compared, so it counts as breaking |
//!
//! A pair of versions is compared as text is, keyword by keyword, so some changes that break nobody ask
//! for more than they need (a pattern written in other words); none asks for less. Versions of one
//! MODEL are compared each with the one before it, which suffices: "stays valid" carries on along a
//! chain. A document that clients already use never changes: who knows its version knows its content.

mod changes;
mod rule;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use self::changes::escaped;
pub use self::{
    changes::{Change, changes},
    rule::{Part, Rule},
};
use crate::{Catalogue, EventType, Schema, SchemaVersion};

/// What is wrong with the versions of an event type, taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The type.
    pub event_type: EventType,
    /// The version that must not be as it is.
    pub version: SchemaVersion,
    /// What is wrong with it.
    pub problem: BreachProblem,
}

/// What is wrong with a version beside others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreachProblem {
    /// The change asks for more than the version says.
    TooSmallARise {
        /// The version before.
        older: SchemaVersion,
        /// What changed since.
        change: Change,
    },
    /// The document is not the one that was published as this version.
    Edited {
        /// The first difference, as a JSON Pointer.
        pointer: String,
    },
    /// The document was published, and is gone while its MODEL is still the newest.
    Withdrawn,
}

impl Breach {
    /// Where in the document; empty for the document as a whole.
    #[must_use]
    pub fn pointer(&self) -> &str {
        match &self.problem {
            BreachProblem::TooSmallARise { change, .. } => &change.pointer,
            BreachProblem::Edited { pointer } => pointer,
            BreachProblem::Withdrawn => "",
        }
    }

    /// The stable name of the rule that is broken.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match &self.problem {
            BreachProblem::TooSmallARise { change, .. } => change.rule.name(),
            BreachProblem::Edited { .. } => "edited-in-place",
            BreachProblem::Withdrawn => "withdrawn",
        }
    }

    /// How to put it right.
    #[must_use]
    pub fn fix(&self) -> String {
        match &self.problem {
            BreachProblem::TooSmallARise { older, change } => {
                let (_, _, instead) = change.rule.texts();
                let version = change.rule.asks_for().raise(*older);
                format!("{instead}; or make this version {version}")
            }
            BreachProblem::Edited { .. } => format!(
                "put it back as it was published, and make the change in a version of its own, such as {}",
                Part::Addition.raise(self.version)
            ),
            BreachProblem::Withdrawn => {
                "put it back; a version may go once its type has a newer MODEL".to_owned()
            }
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            BreachProblem::TooSmallARise { older, change } => {
                let (_, why, _) = change.rule.texts();
                let asked = change.rule.asks_for();
                write!(f, "{} since {older}: {why}, which asks for {asked}", change.what)
            }
            BreachProblem::Edited { .. } => f.write_str(
                "is not what was published as this version: who knows it by its version is misled",
            ),
            BreachProblem::Withdrawn => {
                f.write_str("was published and is gone: clients that name this version are refused")
            }
        }
    }
}

impl Catalogue {
    /// What no version of this catalogue may do to the one before it, and does.
    #[must_use]
    pub fn breaches(&self) -> Vec<Breach> {
        self.breaches_since(&Self::default())
    }

    /// The same, and what this catalogue does to one that clients already use: documents that were
    /// changed in place or withdrawn, and versions that break one that was withdrawn.
    #[must_use]
    pub fn breaches_since(&self, published: &Self) -> Vec<Breach> {
        let types: BTreeSet<_> = self.event_types().chain(published.event_types()).collect();
        let of = |event_type| type_breaches(event_type, self, published);
        types.into_iter().flat_map(of).collect()
    }
}

fn type_breaches(event_type: &EventType, current: &Catalogue, published: &Catalogue) -> Vec<Breach> {
    let now = versions(current, event_type);
    let before = versions(published, event_type);
    let newest_model = now.keys().next_back().map(|version| version.model);
    let breach = |version: SchemaVersion, problem| Breach {
        event_type: event_type.clone(),
        version,
        problem,
    };
    let mut breaches = Vec::new();
    for (version, document) in &before {
        match now.get(version) {
            None if newest_model.is_none_or(|newest| version.model >= newest) => {
                breaches.push(breach(*version, BreachProblem::Withdrawn));
            }
            Some(current) if current != document => {
                let pointer = difference(document, current);
                breaches.push(breach(*version, BreachProblem::Edited { pointer }));
            }
            None | Some(_) => {}
        }
    }
    let mut all = before;
    all.extend(now.iter().map(|(version, document)| (*version, document.clone())));
    let pairs = all.iter().zip(all.iter().skip(1));
    for ((older, older_document), (newer, newer_document)) in pairs {
        let raised = Part::raised(*older, *newer);
        if raised == Part::Model || !now.contains_key(newer) {
            continue;
        }
        for change in changes(older_document, newer_document) {
            if change.rule.asks_for() > raised {
                let older = *older;
                breaches.push(breach(*newer, BreachProblem::TooSmallARise { older, change }));
            }
        }
    }
    breaches
}

fn versions(catalogue: &Catalogue, event_type: &EventType) -> BTreeMap<SchemaVersion, Value> {
    let versions = catalogue.versions(event_type.as_str()).into_iter().flatten();
    versions
        .map(|schema: &Schema| (schema.version(), schema.parsed_document()))
        .collect()
}

/// The pointer of the first difference, in the order of names.
fn difference(one: &Value, other: &Value) -> String {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
            let differs = names.into_iter().find(|name| one.get(*name) != other.get(*name));
            let Some(name) = differs else {
                return String::new();
            };
            let within = match (one.get(name), other.get(name)) {
                (Some(one), Some(other)) => difference(one, other),
                _ => String::new(),
            };
            format!("/{}{within}", escaped(name))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
#[path = "compatibility/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "compatibility/properties.rs"]
mod properties;
