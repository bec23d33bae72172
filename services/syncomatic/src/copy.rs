//! One object's bytes and attributes from the source into the destination, in one conditional write.
//!
//! Nothing is buffered whole: what the source sends is handed on as it arrives. The read is pinned to
//! the source object that was compared, the write replaces only the destination object that was
//! compared. Where the source stores a CRC64NVME it is sent ahead as a header, so that the
//! destination refuses anything else by itself; where it does not, the SDK sends the checksum of the
//! bytes that were streamed behind them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_clients::{Failure, classify};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, DateTime, DateTimeFormat};
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::failure::{At, CallFailure, CopyFailure};
use crate::metrics::Metrics;
use crate::object::SourceObject;
use crate::stream::{Progress, proved};
use crate::upload::OpenUploads;
use crate::verify::{MARKER, Marker};

mod redacted;

pub use redacted::RedactedRoutes;
pub(crate) use redacted::{REDACTED_BYTES, RedactedCopy};

/// The most that one PutObject takes (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>).
const PUT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// The most that keys and values of user metadata may have together
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>).
const METADATA_BYTES_MAX: usize = 2048;
/// What a stream has in memory at most: the HTTP client's read and write buffers, of 400 KiB each, a
/// chunk held back, and the TLS records in between.
const STREAM_BYTES: u64 = 1024 * 1024;
/// What is counted beside an object's bytes, for headers and state.
const OVERHEAD_BYTES: u64 = 16 * 1024;
/// The budget's unit: semaphores count at most 2⁶⁰ permits at a time, but acquire only 2³².
const BUDGET_UNIT_BYTES: u64 = 1024;

/// Copies between two buckets within one budget of memory.
pub(crate) struct Copier {
    pub(crate) source: Client,
    pub(crate) source_bucket: String,
    pub(crate) destination: Client,
    /// The destination again, for writes: [`without_read_timeout`].
    pub(crate) uploads: Client,
    pub(crate) destination_bucket: String,
    pub(crate) progress_deadline: Duration,
    pub(crate) budget: Budget,
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

impl Copier {
    /// Copies one object. Waits for memory first.
    pub(crate) async fn copy(&self, plan: &Plan<'_>) -> Result<Written, CopyFailure> {
        let progress = Arc::new(Progress::default());
        let open = OpenUploads::default();
        let done = match plan.redacted {
            Some(routes) => {
                let _memory = self.budget.reserve(REDACTED_BYTES).await;
                let transfer = Box::pin(self.transfer_redacted(plan, routes, &progress, &open));
                progress.watch(self.progress_deadline, transfer).await
            }
            None if plan.source.size > PUT_BYTES_MAX => return Err(CopyFailure::TooLarge(plan.source.size)),
            None => {
                let bytes = plan.source.size.saturating_add(OVERHEAD_BYTES).min(STREAM_BYTES);
                let _memory = self.budget.reserve(bytes).await;
                let transfer = Box::pin(self.transfer(plan, &progress));
                progress.watch(self.progress_deadline, transfer).await
            }
        };
        open.abort(&self.source, &self.destination).await;
        done.unwrap_or(Err(CopyFailure::Stalled))
    }

    async fn transfer(&self, plan: &Plan<'_>, progress: &Arc<Progress>) -> Result<Written, CopyFailure> {
        let Some(mut object) = self.read(plan).await? else {
            return Ok(Written::Overtaken);
        };
        let marker = Marker {
            bucket: &self.source_bucket,
            source: plan.source,
        }
        .to_string();
        let metadata = marked(object.metadata.take().unwrap_or_default(), marker)?;
        let tagging = match object.tag_count {
            Some(1..) => match self.tags(plan, |_, _| true).await? {
                Some(tags) => Some(tags),
                None => return Ok(Written::Overtaken),
            },
            _ => None,
        };
        let body = std::mem::take(&mut object.body);
        let put = self
            .uploads
            .put_object()
            .bucket(&self.destination_bucket)
            .key(plan.destination_key);
        let put = with_condition(put, plan.replaces);
        let put = with_body(put, body, plan.source, progress);
        let put = with_content_headers(put, object)
            .set_metadata(Some(metadata))
            .set_tagging(tagging);
        match put.send().await {
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
    async fn read(&self, plan: &Plan<'_>) -> Result<Option<GetObjectOutput>, CopyFailure> {
        let request = self
            .source
            .get_object()
            .bucket(&self.source_bucket)
            .key(plan.source_key);
        let request = request
            .if_match(&plan.source.etag)
            .checksum_mode(ChecksumMode::Enabled);
        match request
            .set_version_id(plan.source.version_id.clone())
            .send()
            .await
        {
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

    /// Those of the source object's tags that pass, as PutObject takes them; `None` if it is no longer there.
    async fn tags(
        &self,
        plan: &Plan<'_>,
        passes: impl Fn(&str, &str) -> bool,
    ) -> Result<Option<String>, CopyFailure> {
        let request = self
            .source
            .get_object_tagging()
            .bucket(&self.source_bucket)
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
}

/// A client whose calls may take as long as their bodies need. The SDK's read time-out counts from the
/// start of a request to its answer, the whole upload included; [`Progress`] is what notices a copy
/// that has stopped.
pub(crate) fn without_read_timeout(client: &Client) -> Client {
    let timeouts = client
        .config()
        .timeout_config()
        .map(TimeoutConfig::to_builder)
        .unwrap_or_default();
    let config = client
        .config()
        .to_builder()
        .timeout_config(timeouts.disable_read_timeout().build());
    Client::from_conf(config.build())
}

fn with_condition(put: PutObjectFluentBuilder, replaces: Option<&str>) -> PutObjectFluentBuilder {
    match replaces {
        Some(etag) => put.if_match(etag),
        None => put.if_none_match("*"),
    }
}

fn with_body(
    put: PutObjectFluentBuilder,
    body: ByteStream,
    source: &SourceObject,
    progress: &Arc<Progress>,
) -> PutObjectFluentBuilder {
    let crc64_nvme = source.crc64_nvme.clone();
    let body = if source.size == 0 {
        ByteStream::from_static(b"")
    } else {
        proved(body, source.size, crc64_nvme.clone(), progress.clone())
    };
    match crc64_nvme {
        Some(crc) => put.checksum_crc64_nvme(crc),
        None => put.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme),
    }
    .body(body)
}

fn with_content_headers(put: PutObjectFluentBuilder, object: GetObjectOutput) -> PutObjectFluentBuilder {
    let encoding = object.content_encoding.as_deref().and_then(stored_encoding);
    put.set_cache_control(object.cache_control)
        .set_content_disposition(object.content_disposition)
        .set_content_encoding(encoding)
        .set_content_language(object.content_language)
        .set_content_type(object.content_type)
        .set_expires(object.expires_string.as_deref().and_then(http_date))
        .set_website_redirect_location(object.website_redirect_location)
}

/// `aws-chunked` is how an upload travelled, not how the object is encoded; some clients made it part
/// of the object. Everything else is kept as it is, and nothing is decoded.
fn stored_encoding(encoding: &str) -> Option<String> {
    let kept = encoding
        .split(',')
        .map(str::trim)
        .filter(|token| !token.eq_ignore_ascii_case("aws-chunked"));
    let kept = kept.collect::<Vec<_>>().join(",");
    (!kept.is_empty()).then_some(kept)
}

/// `Expires` may hold anything; only a date can be written again.
fn http_date(text: &str) -> Option<DateTime> {
    DateTime::from_str(text, DateTimeFormat::HttpDate).ok()
}

fn marked(
    mut metadata: HashMap<String, String>,
    marker: String,
) -> Result<HashMap<String, String>, CopyFailure> {
    metadata.insert(MARKER.to_owned(), marker);
    let bytes = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(CopyFailure::MetadataTooLarge(bytes));
    }
    Ok(metadata)
}

/// The memory that copies may use together, in bytes.
pub(crate) struct Budget {
    units: Semaphore,
    units_max: u32,
    metrics: Arc<Metrics>,
}

/// Memory that a copy has; dropping gives it back.
struct Reserved<'a> {
    units: SemaphorePermit<'a>,
    metrics: &'a Metrics,
}

impl Budget {
    pub(crate) fn new(bytes: u64, metrics: Arc<Metrics>) -> Self {
        let units_max = u32::try_from(bytes / BUDGET_UNIT_BYTES).unwrap_or(u32::MAX);
        metrics.in_flight_bytes_max(u64::from(units_max) * BUDGET_UNIT_BYTES);
        Self {
            units: Semaphore::new(units_max as usize),
            units_max,
            metrics,
        }
    }

    async fn reserve(&self, bytes: u64) -> Option<Reserved<'_>> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES))
            .unwrap_or(u32::MAX)
            .min(self.units_max);
        // The semaphore is never closed.
        let units = self.units.acquire_many(units).await.ok()?;
        self.metrics
            .in_flight_bytes(units.num_permits() as i64 * BUDGET_UNIT_BYTES as i64);
        Some(Reserved {
            units,
            metrics: &self.metrics,
        })
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.metrics
            .in_flight_bytes(-(self.units.num_permits() as i64 * BUDGET_UNIT_BYTES as i64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_encoding_of_the_transfer_is_dropped() {
        for (source, stored) in [
            ("gzip", Some("gzip")),
            ("aws-chunked", None),
            ("aws-chunked,gzip", Some("gzip")),
            ("gzip, AWS-Chunked", Some("gzip")),
            ("gzip, br", Some("gzip,br")),
            ("", None),
        ] {
            assert_eq!(stored_encoding(source).as_deref(), stored, "{source:?}");
        }
    }

    #[test]
    fn metadata_that_s3_would_refuse_is_named_before_it_is_sent() {
        let metadata = |bytes| HashMap::from([("k".to_owned(), "v".repeat(bytes))]);
        assert!(marked(metadata(100), "m".into()).is_ok_and(|metadata| metadata[MARKER] == "m"));
        let refused = marked(metadata(2048), "m".into());
        assert!(
            matches!(refused, Err(CopyFailure::MetadataTooLarge(2067))),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn copies_wait_for_memory_and_give_it_back() {
        let metrics = Arc::new(Metrics::register(&prometheus::Registry::new()).expect("a new registry"));
        let budget = Budget::new(2 * STREAM_BYTES, metrics);
        let first = budget.reserve(STREAM_BYTES).await;
        let second = budget.reserve(STREAM_BYTES).await;
        assert_eq!(budget.units.available_permits(), 0);
        drop(first);
        assert_eq!(
            budget.units.available_permits() as u64 * BUDGET_UNIT_BYTES,
            STREAM_BYTES
        );
        drop(second);
        assert_eq!(
            budget.units.available_permits() as u64 * BUDGET_UNIT_BYTES,
            2 * STREAM_BYTES
        );
    }
}
