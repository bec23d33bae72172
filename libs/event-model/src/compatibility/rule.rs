//! The rules, and the part of a version that each asks for.

use std::fmt;

use crate::SchemaVersion;

/// A part of a version, in the order of what its rise permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The last number.
    Addition,
    /// The middle number.
    Revision,
    /// The first number.
    Model,
}

impl Part {
    /// The first part in which two versions differ.
    pub(super) fn raised(older: SchemaVersion, newer: SchemaVersion) -> Self {
        if older.model != newer.model {
            Self::Model
        } else if older.revision != newer.revision {
            Self::Revision
        } else {
            Self::Addition
        }
    }

    /// The version that follows when this part rises.
    pub(super) fn raise(self, version: SchemaVersion) -> SchemaVersion {
        let SchemaVersion {
            model,
            revision,
            addition,
        } = version;
        let next = |number: u16| number.saturating_add(1);
        let (model, revision, addition) = match self {
            Self::Addition => (model, revision, next(addition)),
            Self::Revision => (model, next(revision), 0),
            Self::Model => (next(model), 0, 0),
        };
        SchemaVersion {
            model,
            revision,
            addition,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Addition => "ADDITION",
            Self::Revision => "REVISION",
            Self::Model => "MODEL",
        })
    }
}

/// A rule of the table in [the module](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A field is new and optional.
    FieldAdded,
    /// A value is allowed that was not, or the list of values is gone.
    ValueAdded,
    /// A limit lets more through, or it or the pattern is gone.
    LimitWidened,
    /// A further kind of client may send it.
    ProducerAdded,
    /// A field is more protected.
    PiiStricter,
    /// A field is gone.
    FieldRemoved,
    /// A field must be there that needed not.
    RequiredAdded,
    /// A field need not be there that had to.
    RequiredRemoved,
    /// A field is of another type.
    TypeChanged,
    /// A field is of another format.
    FormatChanged,
    /// A value is refused that was allowed.
    ValueRemoved,
    /// A limit lets less through.
    LimitNarrowed,
    /// There is another pattern, or one where there was none.
    PatternChanged,
    /// A kind of client may no longer send it.
    ProducerRemoved,
    /// A field is less protected.
    PiiWeaker,
    /// Something changed that cannot be compared.
    ConditionChanged,
}

impl Rule {
    /// The part of the version that must rise.
    #[must_use]
    pub fn asks_for(self) -> Part {
        match self {
            Self::FieldAdded => Part::Addition,
            Self::ValueAdded | Self::LimitWidened | Self::ProducerAdded | Self::PiiStricter => Part::Revision,
            Self::FieldRemoved
            | Self::RequiredAdded
            | Self::RequiredRemoved
            | Self::TypeChanged
            | Self::FormatChanged
            | Self::ValueRemoved
            | Self::LimitNarrowed
            | Self::PatternChanged
            | Self::ProducerRemoved
            | Self::PiiWeaker
            | Self::ConditionChanged => Part::Model,
        }
    }

    /// A stable name, such as `field-removed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.texts().0
    }

    /// Why it matters, and what to do instead of raising the version.
    pub(super) fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::FieldAdded => ("field-added", "a field is new", "leave it out"),
            Self::ValueAdded => (
                "value-added",
                "readers may meet a value that they do not know",
                "leave it out",
            ),
            Self::LimitWidened => (
                "limit-widened",
                "readers may meet a value beyond what they know",
                "keep the limit",
            ),
            Self::ProducerAdded => (
                "producer-added",
                "events may come from another kind of client",
                "leave it out",
            ),
            Self::PiiStricter => (
                "pii-stricter",
                "copies hold less than readers look for",
                "keep it as it was",
            ),
            Self::FieldRemoved => (
                "field-removed",
                "clients that send it are refused, and readers lose a column",
                "keep it, marked \"deprecated\": true",
            ),
            Self::RequiredAdded => (
                "required-added",
                "clients that do not send it are refused",
                "leave it optional",
            ),
            Self::RequiredRemoved => (
                "required-removed",
                "readers count on its being there",
                "keep it required",
            ),
            Self::TypeChanged => (
                "type-changed",
                "a column has one type",
                "keep the type, or add a field of another name",
            ),
            Self::FormatChanged => (
                "format-changed",
                "clients are refused, or readers cannot read it",
                "keep the format, or add a field of another name",
            ),
            Self::ValueRemoved => ("value-removed", "clients that send it are refused", "keep it"),
            Self::LimitNarrowed => (
                "limit-narrowed",
                "clients that send what lay within it are refused",
                "keep the limit",
            ),
            Self::PatternChanged => (
                "pattern-changed",
                "clients that keep to the old one may be refused",
                "keep the pattern",
            ),
            Self::ProducerRemoved => (
                "producer-removed",
                "clients of that kind are refused",
                "keep it in the list",
            ),
            Self::PiiWeaker => (
                "pii-weaker",
                "what was collected under one promise would surface under another",
                "keep it, or add a field of another name",
            ),
            Self::ConditionChanged => (
                "condition-changed",
                "it cannot be compared with what was there, so it counts as breaking",
                "keep it as it was",
            ),
        }
    }
}
