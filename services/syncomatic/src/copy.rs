//! One object's bytes and attributes from the source into the destination, in one conditional write.
//!
//! Nothing is buffered whole: what the source sends is handed on as it arrives. The read is pinned to
//! the source object that was compared, the write replaces only the destination object that was
//! compared. Where the source stores a CRC64NVME it is sent ahead as a header, so that the
//! destination refuses anything else by itself; where it does not, the SDK sends the checksum of the
//! bytes that were streamed behind them. Bodies are not signed: that would take SHA-256 of every byte, and
//! the checksum says more. Large objects go in parts: see [`crate::multipart`]. What a route
//! redacts is another object altogether: see [`redacted`].

use std::sync::Arc;

use aws_clients::{Failure, classify};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::attributes::{Attributes, Storage};
use crate::bandwidth::Bandwidth;
use crate::budget::{Budget, of_stream};
use crate::config::Limits;
use crate::endpoint::Endpoint;
use crate::failure::{At, CallFailure, CopyFailure};
use crate::metrics::Metrics;
use crate::object::SourceObject;
use crate::retries::RetryBudget;
use crate::stream::{Progress, proved};
use crate::verify::Marker;

mod redacted;

pub use redacted::RedactedRoutes;
pub(crate) use redacted::{FULL_ROOM_BYTES, RedactedCopy};

/// For whom objects are copied; each lane has memory, windows, bandwidth and retries of its own, so that
/// neither holds up the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What notifications announce.
    Queue,
    /// What a reconcile found not to be in place.
    Reconcile,
}

/// Copies between two buckets within one budget of memory.
pub(crate) struct Copier {
    pub(crate) lane: Lane,
    pub(crate) source: Endpoint,
    pub(crate) destination: Endpoint,
    pub(crate) storage: Storage,
    pub(crate) limits: Limits,
    /// Where the journals of multipart uploads lie in the destination bucket.
    pub(crate) journal_prefix: String,
    pub(crate) budget: Budget,
    pub(crate) bandwidth: Option<Arc<Bandwidth>>,
    pub(crate) retries: RetryBudget,
    pub(crate) metrics: Arc<Metrics>,
}

/// What is to be written where.
pub(crate) struct Plan<'a> {
    pub(crate) source_key: &'a str,
    pub(crate) source: &'a SourceObject,
    pub(crate) destination_key: &'a str,
    /// ETag of the destination object that is replaced; `None` where there was none.
    pub(crate) replaces: Option<&'a str>,
    /// How it is redacted; `None`: it is not.
    pub(crate) redacted: Option<&'a RedactedRoutes>,
}

/// How a write ended that did not fail.
#[derive(Debug)]
pub(crate) enum Written {
    /// The destination took it.
    Verbatim,
    /// The destination took what may pass of it.
    Redacted(RedactedCopy),
    /// Source or destination are no longer what was compared; nothing was written.
    Overtaken,
}

/// Which bytes of the source object are read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Range {
    /// All of them.
    Whole,
    /// From the first to the last, inclusive.
    Bytes(u64, u64),
}

impl Copier {
    /// Copies one object, in one piece or in parts.
    pub(crate) async fn copy(&self, plan: &Plan<'_>) -> Result<Written, CopyFailure> {
        match plan.redacted {
            Some(routes) => Box::pin(self.redacted(plan, routes)).await,
            None if plan.source.size > self.limits.multipart_threshold_bytes => self.in_parts(plan).await,
            None => {
                let progress = Arc::new(Progress::default());
                let work = Box::pin(self.in_one(plan, &progress));
                self.transfer(of_stream(plan.source.size), &progress, work).await
            }
        }
    }

    /// Runs one read and write that holds `memory_bytes`: within memory and both windows, given up when
    /// it moves nothing.
    pub(crate) async fn transfer<T>(
        &self,
        memory_bytes: u64,
        progress: &Arc<Progress>,
        work: impl Future<Output = Result<T, CopyFailure>>,
    ) -> Result<T, CopyFailure> {
        let _memory = self.budget.reserve(memory_bytes).await;
        let source = self.source.place().await;
        let destination = self.destination.place().await;
        let done = progress
            .watch(self.limits.progress_deadline, Box::pin(work))
            .await;
        let outcome = done.unwrap_or(Err(CopyFailure::Stalled));
        if matches!(outcome, Err(CopyFailure::Stalled)) {
            // Whichever side it was: a dead connection does not come back to life.
            self.source.renew_connections();
            self.destination.renew_connections();
        }
        source.ended(&outcome);
        destination.ended(&outcome);
        if self.lane == Lane::Queue {
            self.metrics
                .transfers
                .allowed(self.source.allowed(), self.destination.allowed());
        }
        outcome
    }

    async fn in_one(&self, plan: &Plan<'_>, progress: &Arc<Progress>) -> Result<Written, CopyFailure> {
        let Some(mut object) = self.read(plan, Range::Whole).await? else {
            return Ok(Written::Overtaken);
        };
        let Some(attributes) = self.attributes(plan, &mut object).await? else {
            return Ok(Written::Overtaken);
        };
        let body = std::mem::take(&mut object.body);
        let put = self
            .destination
            .uploads()
            .put_object()
            .bucket(&self.destination.bucket)
            .key(plan.destination_key);
        let put = with_condition(put, plan.replaces);
        let put = attributes.on_put(self.with_body(put, body, plan.source, progress));
        match put.customize().disable_payload_signing().send().await {
            Ok(_) => Ok(Written::Verbatim),
            Err(error) => {
                if let Some(failure) = progress.failure() {
                    return Err(failure.clone().into());
                }
                let failure = CallFailure::new(At::Destination, "PutObject", &error);
                match (failure.failure, failure.code.as_str()) {
                    // 412: it is no longer what was compared. 409: another write is under way.
                    (Failure::PreconditionFailed | Failure::Conflict, _) => Ok(Written::Overtaken),
                    (_, "BadDigest" | "XAmzContentChecksumMismatch") => Err(CopyFailure::Digest(failure)),
                    // Answered when the object of If-Match is gone; a missing bucket is NoSuchBucket.
                    (_, "NoSuchKey") => Ok(Written::Overtaken),
                    _ => Err(failure.into()),
                }
            }
        }
    }

    /// Begins to read exactly the object that was compared; `None` if it is no longer there.
    pub(crate) async fn read(
        &self,
        plan: &Plan<'_>,
        range: Range,
    ) -> Result<Option<GetObjectOutput>, CopyFailure> {
        let request = self
            .source
            .client()
            .get_object()
            .bucket(&self.source.bucket)
            .key(plan.source_key)
            .set_version_id(plan.source.version_id.clone())
            .if_match(&plan.source.etag);
        let request = match range {
            // What the source stores a CRC64NVME of is held against that here; the SDK checks the rest.
            Range::Whole if plan.source.crc64_nvme.is_none() => request.checksum_mode(ChecksumMode::Enabled),
            Range::Whole => request,
            Range::Bytes(first, last) => request.range(format!("bytes={first}-{last}")),
        };
        match request.send().await {
            Ok(object) => Ok(Some(object)),
            Err(error) => match classify(&error) {
                Failure::PreconditionFailed => Ok(None),
                // `converge` tells a missing object from a missing bucket.
                Failure::NotFound => Ok(None),
                _ => match CallFailure::new(At::Source, "GetObject", &error) {
                    failure if failure.code == "InvalidObjectState" => Err(CopyFailure::Archived),
                    failure => Err(failure.into()),
                },
            },
        }
    }

    /// What is to be written beside the bytes of `object`; `None` if it is no longer there.
    pub(crate) async fn attributes(
        &self,
        plan: &Plan<'_>,
        object: &mut GetObjectOutput,
    ) -> Result<Option<Attributes>, CopyFailure> {
        let tagging = match object.tag_count {
            Some(1..) => match self.tags(plan, |_, _| true).await? {
                Some(tags) => Some(tags),
                None => return Ok(None),
            },
            _ => None,
        };
        Attributes::of(object, tagging, self.marker(plan), &self.storage).map(Some)
    }

    /// What the copy will say of its source.
    pub(crate) fn marker(&self, plan: &Plan<'_>) -> String {
        let marker = Marker {
            bucket: &self.source.bucket,
            source: plan.source,
        };
        marker.to_string()
    }

    /// Those of the source object's tags that pass, as PutObject takes them; `None` if it is no longer
    /// there.
    async fn tags(
        &self,
        plan: &Plan<'_>,
        passes: impl Fn(&str, &str) -> bool,
    ) -> Result<Option<String>, CopyFailure> {
        let request = self
            .source
            .client()
            .get_object_tagging()
            .bucket(&self.source.bucket)
            .key(plan.source_key);
        let tags = match request
            .set_version_id(plan.source.version_id.clone())
            .send()
            .await
        {
            Ok(tags) => tags.tag_set,
            Err(error) if classify(&error) == Failure::NotFound => return Ok(None),
            Err(error) => return Err(CallFailure::new(At::Source, "GetObjectTagging", &error).into()),
        };
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let pairs = tags
            .iter()
            .filter(|tag| passes(&tag.key, &tag.value))
            .map(|tag| format!("{}={}", encode(&tag.key), encode(&tag.value)));
        Ok(Some(pairs.collect::<Vec<_>>().join("&")))
    }

    fn with_body(
        &self,
        put: PutObjectFluentBuilder,
        body: ByteStream,
        source: &SourceObject,
        progress: &Arc<Progress>,
    ) -> PutObjectFluentBuilder {
        let crc64_nvme = source.crc64_nvme.clone();
        let body = if source.size == 0 {
            ByteStream::from_static(b"")
        } else {
            let bandwidth = self.bandwidth.clone();
            proved(body, source.size, crc64_nvme.clone(), bandwidth, progress.clone())
        };
        match crc64_nvme {
            Some(crc) => put.checksum_crc64_nvme(crc),
            None => put.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme),
        }
        .body(body)
    }
}

fn with_condition(put: PutObjectFluentBuilder, replaces: Option<&str>) -> PutObjectFluentBuilder {
    match replaces {
        Some(etag) => put.if_match(etag),
        None => put.if_none_match("*"),
    }
}
