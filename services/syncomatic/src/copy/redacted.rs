//! One object's lines from the source into the destination, redacted on the way.
//!
//! read → redact → write, a bounded piece at a time. What may not pass goes to the quarantine on the
//! source side, which is complete before the copy is: a line is in one of the two, or there is no copy.
//! The quarantine's key is made of the source object and the policy, and it is only ever written where
//! there is nothing: a copy that is tried again finds its own.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_s3::operation::get_object::GetObjectOutput;

use super::{Copier, Plan, Range, Written};
use crate::attributes::{marked, stored_encoding};
use crate::failure::CopyFailure;
use crate::object::head_source;
use crate::redact::{Fault, Redaction, Room, Tally};
use crate::stream::{Progress, ProvedReader};
use crate::sync::traceable;
use crate::upload::{Attributes, Output, Target, UPLOAD_BYTES, Upload};
use crate::verify;

const MIB: u64 = 1024 * 1024;
/// What a redacted copy holds as a rule: the stream, 1 MiB; a decoder's window of up to 2 MiB, an encoder,
/// a piece and its lines, 4 MiB; a part of the copy; what may not pass of it.
const USUAL_ROOM_BYTES: u64 = 5 * MIB + UPLOAD_BYTES + USUAL_QUARANTINE_BYTES;
/// What the quarantine of one object may come to without more room.
const USUAL_QUARANTINE_BYTES: u64 = MIB;
/// The most that a redacted copy holds: a window of 8 MiB, and a part of the quarantine beside one of the
/// copy.
pub(crate) const FULL_ROOM_BYTES: u64 = USUAL_ROOM_BYTES + 6 * MIB + UPLOAD_BYTES;

/// How objects are redacted, and where what may not pass is kept.
#[derive(Clone, Debug)]
pub struct RedactedRoutes {
    /// The redaction.
    pub redaction: Redaction,
    /// A bucket of the source side.
    pub quarantine_bucket: String,
    /// Before the quarantine's keys.
    pub quarantine_prefix: String,
}

/// A redacted copy that was written.
#[derive(Clone, Debug)]
pub(crate) struct RedactedCopy {
    pub(crate) output: Output,
    pub(crate) tally: Tally,
}

impl Copier {
    /// Copies what may pass of one object. Few need more room than is usual, and nobody knows which before
    /// they are read: they are begun again with all of it.
    pub(super) async fn redacted(
        &self,
        plan: &Plan<'_>,
        routes: &RedactedRoutes,
    ) -> Result<Written, CopyFailure> {
        match self.redacted_within(plan, routes, Room::Usual).await {
            Err(CopyFailure::NeedsRoom) => self.redacted_within(plan, routes, Room::Full).await,
            done => done,
        }
    }

    async fn redacted_within(
        &self,
        plan: &Plan<'_>,
        routes: &RedactedRoutes,
        room: Room,
    ) -> Result<Written, CopyFailure> {
        let bytes = match room {
            Room::Usual => USUAL_ROOM_BYTES,
            Room::Full => FULL_ROOM_BYTES,
        };
        let progress = Arc::new(Progress::default());
        let work = Box::pin(self.transfer_redacted(plan, routes, room, &progress));
        self.transfer(bytes, &progress, work).await
    }

    async fn transfer_redacted(
        &self,
        plan: &Plan<'_>,
        routes: &RedactedRoutes,
        room: Room,
        progress: &Progress,
    ) -> Result<Written, CopyFailure> {
        let redaction = &routes.redaction;
        let Some(mut object) = self.read(plan, Range::Whole).await? else {
            return Ok(Written::Overtaken);
        };
        let body = std::mem::take(&mut object.body);
        let marker = verify::redacted_marker(&self.source.bucket, plan.source, redaction);
        let Some(attributes) = self.redacted_attributes(plan, redaction, &marker, object).await? else {
            return Ok(Written::Overtaken);
        };
        let copy = Target {
            uploads: self.uploads(),
            key: plan.destination_key,
            marker: marker.clone(),
            replaces: plan.replaces,
        };
        let quarantine_key = quarantine_key(routes, &self.source.bucket, plan);
        let quarantine = Target {
            uploads: self.quarantine_uploads(routes),
            key: &quarantine_key,
            marker,
            replaces: None,
        };
        let crc64_nvme = plan.source.crc64_nvme.as_deref();
        let reader = ProvedReader::new(body, plan.source.size, crc64_nvme, progress);
        let mut copy = Upload::new(copy, attributes, progress);
        let quarantined = Attributes {
            content_type: Some("application/x-ndjson".to_owned()),
            ..Attributes::default()
        };
        let mut quarantined = Upload::new(quarantine.clone(), quarantined, progress);
        let tally = match redact(redaction, room, reader, &mut copy, &mut quarantined).await? {
            Ok(tally) => tally,
            Err(fault) => {
                copy.give_up().await?;
                quarantined.give_up().await?;
                let proved = crc64_nvme.is_some();
                return Err(CopyFailure::Unredactable { fault, proved });
            }
        };
        if tally.lines_quarantined() > 0
            && let Err(failure) = finish_quarantine(quarantined, &quarantine).await
        {
            if matches!(failure, CopyFailure::QuarantineTaken) {
                copy.give_up().await?;
            }
            return Err(failure);
        }
        Ok(match copy.finish().await? {
            Some(output) => Written::Redacted(RedactedCopy { output, tally }),
            None => Written::Overtaken,
        })
    }

    /// What the copy carries beside its lines; `None` if the source is no longer there.
    async fn redacted_attributes(
        &self,
        plan: &Plan<'_>,
        redaction: &Redaction,
        marker: &str,
        object: GetObjectOutput,
    ) -> Result<Option<Attributes>, CopyFailure> {
        let tagging = match object.tag_count {
            Some(1..) if redaction.allowed().has_tags() => {
                let passes = |key: &str, value: &str| redaction.tag_passes(key, value);
                match self.tags(plan, passes).await? {
                    Some(tags) => Some(tags).filter(|tags| !tags.is_empty()),
                    None => return Ok(None),
                }
            }
            _ => None,
        };
        let metadata: HashMap<String, String> = redaction.metadata(object.metadata.unwrap_or_default());
        let encoding = object.content_encoding.as_deref().and_then(stored_encoding);
        Ok(Some(Attributes {
            content_type: redaction.header(object.content_type),
            content_encoding: redaction.header(encoding),
            metadata: marked(metadata, marker.to_owned())?,
            tagging,
            storage_class: self.storage.class(object.storage_class.as_ref()),
            kms_key_id: self.storage.kms_key_id.clone(),
            note: Some(verify::note),
        }))
    }
}

/// The whole object, once it has been seen to be the one that was compared.
async fn redact(
    redaction: &Redaction,
    room: Room,
    mut reader: ProvedReader<'_>,
    copy: &mut Upload<'_>,
    quarantine: &mut Upload<'_>,
) -> Result<Result<Tally, Fault>, CopyFailure> {
    let mut transform = redaction.transform(room);
    // What cannot be read may have been falsified on its way: the end of the stream tells.
    let mut fault: Option<Fault> = None;
    while let Some(chunk) = reader.next().await? {
        let mut rest = &chunk[..];
        while fault.is_none() {
            match transform.step(rest) {
                Ok((taken, more)) => {
                    rest = &rest[taken..];
                    copy.write(&transform.take_output()).await?;
                    quarantine.write(&transform.take_quarantine()).await?;
                    if room == Room::Usual && quarantine.size() > USUAL_QUARANTINE_BYTES {
                        return Err(CopyFailure::NeedsRoom);
                    }
                    // A step is work of a millisecond: others have their turn after it.
                    tokio::task::yield_now().await;
                    if rest.is_empty() && !more {
                        break;
                    }
                }
                Err(Fault::LargeWindow) if room == Room::Usual => return Err(CopyFailure::NeedsRoom),
                Err(found) => fault = Some(found),
            }
        }
    }
    let finished = match fault {
        Some(fault) => Err(fault),
        None => transform.finish(),
    };
    copy.write(&transform.take_output()).await?;
    quarantine.write(&transform.take_quarantine()).await?;
    Ok(finished)
}

/// An object of the same source object and policy is there already: it must be this very one.
async fn finish_quarantine(quarantine: Upload<'_>, target: &Target<'_>) -> Result<(), CopyFailure> {
    let expected = quarantine.expected();
    if quarantine.finish().await?.is_some() {
        return Ok(());
    }
    let Target { uploads, key, .. } = target;
    let Some(there) = head_source(&uploads.client(), uploads.bucket, key).await? else {
        // Another write was under way and failed.
        return Err(CopyFailure::StillChanging(1));
    };
    let same = there.size == expected.size && there.crc64_nvme.as_ref() == Some(&expected.crc64_nvme);
    same.then_some(()).ok_or(CopyFailure::QuarantineTaken)
}

fn quarantine_key(routes: &RedactedRoutes, bucket: &str, plan: &Plan<'_>) -> String {
    let RedactedRoutes {
        redaction,
        quarantine_prefix,
        ..
    } = routes;
    let marker = verify::Marker {
        bucket,
        source: plan.source,
    };
    let identity = redaction.identity(&format!("{marker} {}", plan.source_key));
    let (key, policy) = (traceable(plan.source_key), redaction.digest());
    format!("{quarantine_prefix}{key}-{identity}-{policy}.jsonl")
}
