//! Compare, copy, compare again, until the destination is seen to be the copy of what the source holds.
//!
//! A round looks at the destination first and at the source second, and a write replaces only the
//! destination object of the same round. What another copier wrote before our first look came from a
//! source no newer than the one we see next; what it writes later makes our write fail. So an older
//! source object never replaces a newer one, however notifications are duplicated or reordered. The
//! other order would allow it: source seen old, destination then written new by another copier and
//! seen, and replaced by the old one.
//!
//! A write is never the end: the next round has to see both sides agree. This also repairs what the
//! write's condition cannot see (a source that changed back and forth between equal contents), and
//! finds a write whose answer was lost. A redelivery of finished work costs the two looks of one round.

use crate::copy::{Copier, Plan, Written};
use crate::failure::{At, CopyFailure};
use crate::object::{SourceObject, head_destination, head_source, require_bucket};
use crate::verify::{Proof, compare};

/// How an object ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This call wrote it.
    Copied {
        /// Size of the object.
        bytes: u64,
        /// How far the proof goes.
        proof: Proof,
    },
    /// It was in place already.
    AlreadyThere {
        /// How far the proof goes.
        proof: Proof,
    },
    /// The source holds no such object any more.
    Vanished,
}

/// Rounds before a pair of objects that keeps changing is left for redelivery. Each change brings a
/// notification of its own, so nothing is missed.
const ROUNDS_MAX: u32 = 8;

/// Brings one object into place.
pub(crate) async fn converge(
    copier: &Copier,
    source_key: &str,
    destination_key: &str,
) -> Result<Outcome, CopyFailure> {
    let mut stored: Option<SourceObject> = None;
    for _ in 0..ROUNDS_MAX {
        let looks = observe(copier, source_key, destination_key);
        let looked = tokio::time::timeout(copier.progress_deadline, looks).await;
        let (destination, source) = looked.unwrap_or(Err(CopyFailure::Stalled))?;
        let Some(source) = source else {
            return Ok(Outcome::Vanished);
        };
        match compare(&copier.source_bucket, &source, destination.as_ref()) {
            Ok(proof) if stored.is_some() => {
                return Ok(Outcome::Copied {
                    bytes: source.size,
                    proof,
                });
            }
            Ok(proof) => return Ok(Outcome::AlreadyThere { proof }),
            // Our own write of this very object is not what it should be.
            Err(difference) if stored.as_ref() == Some(&source) => {
                return Err(CopyFailure::Unproven(difference));
            }
            Err(_) => {}
        }
        let replaces = destination.as_ref().map(|destination| destination.etag.as_str());
        let plan = Plan {
            source_key,
            source: &source,
            destination_key,
            replaces,
        };
        match Box::pin(copier.copy(&plan)).await? {
            Written::Stored => stored = Some(source),
            Written::Overtaken => {}
        }
    }
    Err(CopyFailure::StillChanging(ROUNDS_MAX))
}

type Looks = (Option<crate::object::DestinationObject>, Option<SourceObject>);

/// One look at each side, the destination first: see the module's description.
async fn observe(copier: &Copier, source_key: &str, destination_key: &str) -> Result<Looks, CopyFailure> {
    let destination =
        head_destination(&copier.destination, &copier.destination_bucket, destination_key).await?;
    let source = head_source(&copier.source, &copier.source_bucket, source_key).await?;
    if source.is_none() {
        require_bucket(At::Source, &copier.source, &copier.source_bucket).await?;
    }
    Ok((destination, source))
}
