//! What happens to the object of one key of the source bucket: what the routes say, and what no route can
//! allow.

use crate::copy::RedactedRoutes;
use crate::policy::{Decision, Denial, Routes, Treatment};

/// Where the object goes, or why it stays.
pub(crate) fn decide(
    routes: &Routes,
    redacted: Option<&RedactedRoutes>,
    journal_prefix: &str,
    key: &str,
) -> Decision {
    match routes.decide(key) {
        // A key travels too.
        Decision::Copy {
            treatment: Treatment::Redacted,
            ..
        } if redacted.is_some_and(|redacted| redacted.redaction.key_is_personal(key)) => {
            Decision::Denied(Denial::PersonalKey)
        }
        // The journal is read as instructions.
        Decision::Copy { destination_key, .. } if destination_key.starts_with(journal_prefix) => {
            Decision::Denied(Denial::UnusableKey)
        }
        decision => decision,
    }
}
