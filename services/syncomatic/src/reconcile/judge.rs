//! What is the matter with one key: what the listings alone can tell, and what a look at both sides tells.
//!
//! The listings tell without doubt that an object is in place (the same ETag and size: both sides computed
//! the same MD5 of the same bytes), that one is missing (the destination was listed long after it was
//! written), and that one is extra (the source was listed long before it was written). Everything else is
//! looked at, and what counts then is what [`crate::verify`] counts as proof, as for a notification. A deep
//! reconcile looks at every key.

use serde::{Deserialize, Serialize};

use super::listing::Listed;
use super::merge::Pair;
use crate::converge::Looks;
use crate::object::DestinationObject;
use crate::policy::{Denial, Treatment};
use crate::verify::{Difference, Proof};

/// How far apart the clocks of two regions' S3 may be, and a listing's own time.
const CLOCKS_APART_SECONDS: i64 = 60;

/// What is the matter with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In place.
    Equal(Proof),
    /// Not at the destination.
    Missing,
    /// Another object is at the destination.
    Different(Why),
    /// At the destination, and not at the source.
    Extra,
    /// Not in place, and younger than the grace: its notification may be on its way.
    Pending,
    /// It stays where it is.
    Denied(Denial),
    /// It was listed and is gone.
    Vanished,
    /// It could not be looked at.
    Failed(&'static str),
}

/// Why the destination's object is not the copy of the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// Marked as the copy, and not of its size.
    Size,
    /// Marked as the copy, and not of its checksum.
    Checksum,
    /// Not marked as a copy.
    Unmarked,
    /// A copy of an older or newer state of the source object, or of another one.
    OtherSource,
    /// Redacted by other schemas, another key or other settings.
    OtherRedaction,
    /// Verbatim where the route redacts, or the reverse.
    OtherTreatment,
    /// Marked in a way that this version does not know.
    UnknownMarker,
}

impl Why {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Checksum => "checksum",
            Self::Unmarked => "unmarked",
            Self::OtherSource => "other_source",
            Self::OtherRedaction => "other_redaction",
            Self::OtherTreatment => "other_treatment",
            Self::UnknownMarker => "unknown_marker",
        }
    }
}

/// How a judgement is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) treatment: Treatment,
    /// The listings decide nothing.
    pub(super) is_deep: bool,
    pub(super) grace_seconds: i64,
}

/// What the listings tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByListing {
    Known(State),
    /// Only a look can tell.
    Look,
}

impl Rules {
    /// What the listings tell of a key.
    pub(super) fn by_listing(self, pair: &Pair) -> ByListing {
        match (&pair.source, &pair.destination) {
            (Some(source), destination) if source.denial.is_some() => {
                let denied = source.denial.map_or(State::Vanished, State::Denied);
                let extra = destination.is_some();
                ByListing::Known(if extra { State::Extra } else { denied })
            }
            (Some(source), Some(destination)) => {
                let same = source.etag == destination.etag && source.size == destination.size;
                if same && !self.is_deep && self.treatment == Treatment::Verbatim {
                    ByListing::Known(State::Equal(Proof::Checksum))
                } else {
                    ByListing::Look
                }
            }
            (Some(_), None) if self.is_deep => ByListing::Look,
            (Some(source), None) if self.is_young(source, pair) => ByListing::Known(State::Pending),
            (Some(source), None) if source.modified + CLOCKS_APART_SECONDS > pair.destination_as_of => {
                ByListing::Look
            }
            (Some(_), None) => ByListing::Known(State::Missing),
            (None, Some(destination)) => {
                let may_be_newer =
                    destination.modified + CLOCKS_APART_SECONDS.max(self.grace_seconds) > pair.source_as_of;
                if self.is_deep || may_be_newer {
                    ByListing::Look
                } else {
                    ByListing::Known(State::Extra)
                }
            }
            (None, None) => ByListing::Known(State::Vanished),
        }
    }

    /// What a look at both sides tells. `compared` is what the rules of proof say of it, `marker` what the
    /// copy would be marked with.
    pub(super) fn by_look(
        self,
        pair: &Pair,
        looks: &Looks,
        compared: Result<Proof, Difference>,
        marker: &str,
    ) -> State {
        let (destination, source) = looks;
        let Some(source) = source else {
            return match (&pair.source, destination) {
                (None, Some(_)) => State::Extra,
                _ => State::Vanished,
            };
        };
        let difference = match compared {
            Ok(proof) => return State::Equal(proof),
            Err(difference) => difference,
        };
        let is_young = match &pair.source {
            // Written, or written anew, since it was listed.
            None => self.grace_seconds > 0,
            Some(listed) if listed.etag != source.etag => self.grace_seconds > 0,
            Some(listed) => self.is_young(listed, pair),
        };
        if is_young {
            return State::Pending;
        }
        match destination {
            None => State::Missing,
            Some(destination) => State::Different(why(difference, marker, destination)),
        }
    }

    fn is_young(self, source: &Listed, pair: &Pair) -> bool {
        self.grace_seconds > 0 && age_seconds(source, pair) < self.grace_seconds
    }
}

/// The age of a source object when it was not in place, by S3's own clocks.
pub(super) fn age_seconds(source: &Listed, pair: &Pair) -> i64 {
    pair.source_as_of.min(pair.destination_as_of) - source.modified
}

fn why(difference: Difference, expected: &str, found: &DestinationObject) -> Why {
    match (difference, found.marker.as_deref()) {
        (Difference::Size, _) => Why::Size,
        (Difference::Checksum, _) => Why::Checksum,
        (Difference::Marker | Difference::Missing, None) => Why::Unmarked,
        (Difference::Marker | Difference::Missing, Some(found)) => other_marker(expected, found),
    }
}

/// Markers end with the policy that they were written by.
fn other_marker(expected: &str, found: &str) -> Why {
    let policy = |marker: &str| {
        marker
            .rsplit_once(" policy=")
            .map(|(_, policy)| policy.to_owned())
    };
    match (policy(expected), policy(found)) {
        (Some(expected), Some(found)) if expected == found => Why::OtherSource,
        (Some(expected), Some(found)) => {
            let redacts = |policy: &str| policy.starts_with("redacted:");
            match (redacts(&expected), redacts(&found)) {
                (true, true) => Why::OtherRedaction,
                (true, false) if found == "verbatim" => Why::OtherTreatment,
                (false, true) => Why::OtherTreatment,
                _ => Why::UnknownMarker,
            }
        }
        _ => Why::UnknownMarker,
    }
}

#[cfg(test)]
mod tests;
