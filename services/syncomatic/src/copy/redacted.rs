//! One object's lines from the source into the destination, redacted on the way.
//!
//! read → redact → write, a bounded piece at a time. What may not pass goes to the quarantine on the
//! source side, which is complete before the copy is: a line is in one of the two, or there is no copy.
//! The quarantine's key is made of the source object and the policy, and it is only ever written where
//! there is nothing: a copy that is tried again finds its own.

use std::collections::HashMap;

use aws_sdk_s3::operation::get_object::GetObjectOutput;

use super::{Copier, Plan, Range, Written};
use crate::attributes::{marked, stored_encoding};
use crate::failure::{At, CopyFailure};
use crate::object::head_source;
use crate::redact::{Fault, Redaction, Tally};
use crate::stream::{Progress, ProvedReader};
use crate::sync::traceable;
use crate::upload::{Attributes, OpenUploads, Output, Target, UPLOAD_BYTES, Upload};
use crate::verify;

/// The windows of a decoder and an encoder, a piece, a line and what comes of them.
const TRANSFORM_BYTES: u64 = 10 * 1024 * 1024;
/// What a redacted copy holds at most.
pub(crate) const REDACTED_BYTES: u64 = TRANSFORM_BYTES + 2 * UPLOAD_BYTES;

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
    /// Copies what may pass of one object.
    pub(super) async fn transfer_redacted(
        &self,
        plan: &Plan<'_>,
        routes: &RedactedRoutes,
        progress: &Progress,
        open: &OpenUploads,
    ) -> Result<Written, CopyFailure> {
        let redaction = &routes.redaction;
        let Some(mut object) = self.read(plan, Range::Whole).await? else {
            return Ok(Written::Overtaken);
        };
        let body = std::mem::take(&mut object.body);
        let Some(attributes) = self.redacted_attributes(plan, redaction, object).await? else {
            return Ok(Written::Overtaken);
        };
        let (source, destination) = (self.source.client(), self.destination.uploads());
        let copy = Target {
            at: At::Destination,
            client: &destination,
            bucket: &self.destination.bucket,
            key: plan.destination_key,
            replaces: plan.replaces,
        };
        let quarantine_key = quarantine_key(routes, &self.source.bucket, plan);
        let quarantine = Target {
            at: At::Source,
            client: &source,
            bucket: &routes.quarantine_bucket,
            key: &quarantine_key,
            replaces: None,
        };
        let crc64_nvme = plan.source.crc64_nvme.as_deref();
        let reader = ProvedReader::new(body, plan.source.size, crc64_nvme, progress);
        let mut copy = Upload::new(copy, attributes, progress, open);
        let quarantined = Attributes {
            content_type: Some("application/x-ndjson".to_owned()),
            ..Attributes::default()
        };
        let mut quarantined = Upload::new(quarantine, quarantined, progress, open);
        let redacted = redact(redaction, reader, &mut copy, &mut quarantined).await?;
        let proved = crc64_nvme.is_some();
        let tally = redacted.map_err(|fault| CopyFailure::Unredactable { fault, proved })?;
        if tally.lines_quarantined() > 0 {
            finish_quarantine(quarantined, quarantine).await?;
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
        let marker = verify::redacted_marker(&self.source.bucket, plan.source, redaction);
        let metadata: HashMap<String, String> = redaction.metadata(object.metadata.unwrap_or_default());
        let encoding = object.content_encoding.as_deref().and_then(stored_encoding);
        Ok(Some(Attributes {
            content_type: redaction.header(object.content_type),
            content_encoding: redaction.header(encoding),
            metadata: marked(metadata, marker)?,
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
    mut reader: ProvedReader<'_>,
    copy: &mut Upload<'_>,
    quarantine: &mut Upload<'_>,
) -> Result<Result<Tally, Fault>, CopyFailure> {
    let mut transform = redaction.transform();
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
                    // A step is work of a millisecond: others have their turn after it.
                    tokio::task::yield_now().await;
                    if rest.is_empty() && !more {
                        break;
                    }
                }
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
async fn finish_quarantine(quarantine: Upload<'_>, target: Target<'_>) -> Result<(), CopyFailure> {
    let expected = quarantine.expected();
    if quarantine.finish().await?.is_some() {
        return Ok(());
    }
    let Some(there) = head_source(target.client, target.bucket, target.key).await? else {
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
