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

use crate::copy::{Copier, Plan, RedactedCopy, RedactedRoutes, Written};
use crate::failure::{At, CopyFailure};
use crate::object::{DestinationObject, SourceObject, head_destination, head_source, require_bucket};
use crate::verify::{Proof, compare, compare_redacted, redacted_marker};

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

/// How an object ended, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Converged {
    pub(crate) outcome: Outcome,
    /// The source object that is in place.
    pub(crate) source: Option<SourceObject>,
    /// What the destination stores, in base64.
    pub(crate) destination_crc64_nvme: Option<String>,
    /// What redaction did, where this call wrote the copy.
    pub(crate) redacted: Option<RedactedCopy>,
}

/// What this call wrote.
struct Stored {
    source: SourceObject,
    redacted: Option<RedactedCopy>,
}

/// Rounds before a pair of objects that keeps changing is left for redelivery. Each change brings a
/// notification of its own, so nothing is missed.
const ROUNDS_MAX: u32 = 8;

/// Brings one object into place; `redacted` says how it is redacted, if it is.
pub(crate) async fn converge(
    copier: &Copier,
    source_key: &str,
    destination_key: &str,
    redacted: Option<&RedactedRoutes>,
) -> Result<Converged, CopyFailure> {
    let mut stored: Option<Stored> = None;
    for _ in 0..ROUNDS_MAX {
        let (destination, source) = observe(copier, source_key, destination_key).await?;
        let Some(source) = source else {
            return Ok(Converged {
                outcome: Outcome::Vanished,
                source: None,
                destination_crc64_nvme: None,
                redacted: None,
            });
        };
        let ours = stored.as_ref().filter(|stored| stored.source == source);
        let compared = match redacted {
            None => compare(&copier.source.bucket, &source, destination.as_ref()),
            Some(routes) => {
                let marker = redacted_marker(&copier.source.bucket, &source, &routes.redaction);
                let written = ours.and_then(|stored| stored.redacted.as_ref());
                compare_redacted(&marker, written.map(|copy| &copy.output), destination.as_ref())
            }
        };
        match compared {
            Ok(proof) => {
                let outcome = match stored {
                    Some(_) => Outcome::Copied {
                        bytes: source.size,
                        proof,
                    },
                    None => Outcome::AlreadyThere { proof },
                };
                return Ok(Converged {
                    outcome,
                    source: Some(source),
                    destination_crc64_nvme: destination.and_then(|destination| destination.crc64_nvme),
                    redacted: stored.and_then(|stored| stored.redacted),
                });
            }
            // Our own write of this very object is not what it should be.
            Err(difference) if ours.is_some() => return Err(CopyFailure::Unproven(difference)),
            Err(_) => {}
        }
        let replaces = destination.as_ref().map(|destination| destination.etag.as_str());
        let plan = Plan {
            source_key,
            source: &source,
            destination_key,
            replaces,
            redacted,
        };
        let written = match Box::pin(copier.copy(&plan)).await? {
            Written::Verbatim => None,
            Written::Redacted(copy) => Some(copy),
            Written::Overtaken => continue,
        };
        stored = Some(Stored {
            source,
            redacted: written,
        });
    }
    Err(CopyFailure::StillChanging(ROUNDS_MAX))
}

pub(crate) type Looks = (Option<DestinationObject>, Option<SourceObject>);

/// One look at each side, the destination first: see the module's description.
pub(crate) async fn observe(
    copier: &Copier,
    source_key: &str,
    destination_key: &str,
) -> Result<Looks, CopyFailure> {
    let looks = async {
        let Copier {
            source, destination, ..
        } = copier;
        let copied = head_destination(&destination.client(), &destination.bucket, destination_key).await?;
        let client = source.client();
        let original = head_source(&client, &source.bucket, source_key).await?;
        if original.is_none() {
            require_bucket(At::Source, &client, &source.bucket).await?;
        }
        Ok((copied, original))
    };
    let looked = tokio::time::timeout(copier.limits.progress_deadline, looks).await;
    looked.unwrap_or(Err(CopyFailure::Stalled))
}
