//! The bucket as this service uses it: conditional writes of small state objects and of archive
//! objects, each tried until its outcome is known.
//!
//! No write is unconditional, so none can overwrite what it has not seen. The rights that this needs are
//! `s3:PutObject` and `s3:GetObject` on the prefixes, `s3:ListBucket` on the bucket (without it S3 says
//! "denied" where it means "not there") and `s3:DeleteObject` on the state prefix alone.

use std::collections::HashMap;
use std::time::Duration;

use aws_clients::Failure;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use service_runtime::Latch;

use crate::encode::crc64_nvme;
use crate::error::Error;
use crate::layout::CONTENT_TYPE;
use crate::metrics::{Metrics, Step};
use crate::retry::{FailedCall, Retry, call};

/// State objects are a few hundred bytes, and a few hundred more for each partition of a pending cut.
const STATE_TIMEOUT: Duration = Duration::from_secs(10);
/// An archive object's upload may take this long and one second a [`SLOWEST_BYTES_PER_SECOND`].
const OBJECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection slower than this is taken for dead.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;

/// The version of an object that a condition refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

/// The bucket. Clones share the client.
#[derive(Clone)]
pub struct Store {
    client: Client,
    bucket: String,
    state_folder: String,
    options: ObjectOptions,
    metrics: Metrics,
}

/// How S3 is to keep what is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectOptions {
    /// Everything is encrypted under this KMS key, with a bucket key so that KMS is not asked for each
    /// object; without one the bucket's own default holds.
    pub kms_key_id: Option<String>,
    /// The storage class of archive objects; state is small and changes often, and stays in the
    /// bucket's default.
    pub storage_class: Option<StorageClass>,
}

impl From<String> for ETag {
    fn from(etag: String) -> Self {
        Self(etag)
    }
}

/// How a conditional write ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Put {
    /// The object is durable. The answer should carry its ETag.
    Done(Option<ETag>),
    /// The condition did not hold, which an earlier try of the same write may have caused.
    Refused,
}

impl Store {
    /// The state of `stream` lies under `{state_prefix}{stream}/`.
    pub fn new(
        client: Client,
        bucket: &str,
        state_prefix: &str,
        stream: &str,
        options: ObjectOptions,
        metrics: Metrics,
    ) -> Self {
        Self {
            client,
            bucket: bucket.to_owned(),
            state_folder: format!("{state_prefix}{stream}/"),
            options,
            metrics,
        }
    }

    /// The key of the state object `name`.
    pub fn state_key(&self, name: &str) -> String {
        format!("{}{name}.json", self.state_folder)
    }

    /// A state object's content; `None` when there is none.
    pub async fn get_state(&self, key: &str) -> Option<(Bytes, ETag)> {
        let mut retry = Retry::new(Step::Own, key, &self.metrics);
        loop {
            match self.try_get_state(key).await {
                Ok(found) => return found,
                Err(failed) => retry.wait(&failed).await,
            }
        }
    }

    /// The same, tried once.
    pub async fn try_get_state(&self, key: &str) -> Result<Option<(Bytes, ETag)>, FailedCall> {
        match self.try_get(key).await {
            Ok(found) => Ok(Some(found)),
            Err(failed) if failed.failure == Failure::NotFound => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// Every state object's name, as [`Store::state_key`] takes it, and version. Tried once.
    pub async fn list_states(&self) -> Result<Vec<(String, ETag)>, FailedCall> {
        let mut states = Vec::new();
        let mut next_page: Option<String> = None;
        loop {
            self.metrics.s3_call("ListObjectsV2");
            let request = self.client.list_objects_v2().bucket(&self.bucket);
            let request = request
                .prefix(&self.state_folder)
                .set_continuation_token(next_page);
            let answer = call(STATE_TIMEOUT, request.send()).await?;
            for object in answer.contents.unwrap_or_default() {
                let (Some(key), Some(etag)) = (object.key, object.e_tag) else {
                    return Err(FailedCall::new(
                        Failure::Invalid,
                        "an object is listed without key or ETag",
                    ));
                };
                let name = key
                    .strip_prefix(&self.state_folder)
                    .and_then(|name| name.strip_suffix(".json"));
                states.extend(name.map(|name| (name.to_owned(), ETag(etag))));
            }
            next_page = answer.next_continuation_token;
            if next_page.is_none() {
                return Ok(states);
            }
        }
    }

    /// Deletes a state object, whatever it holds; one that is not there is deleted already. Tried once.
    pub async fn try_delete_state(&self, key: &str) -> Result<(), FailedCall> {
        self.metrics.s3_call("DeleteObject");
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        call(STATE_TIMEOUT, request.send()).await.map(drop)
    }

    /// Writes a state object if it is still as `expected`. Tried once: after a failure the write may
    /// have happened, or may happen yet.
    pub async fn try_put_state(
        &self,
        key: &str,
        body: Vec<u8>,
        expected: Option<&ETag>,
    ) -> Result<Put, FailedCall> {
        let request = self.put(key, &Bytes::from(body)).content_type("application/json");
        send_conditional(request, expected, STATE_TIMEOUT).await
    }

    /// Writes a state object if it is still as `expected` (`None`: absent).
    pub async fn put_state(&self, step: Step, key: &str, body: Vec<u8>, expected: Option<&ETag>) -> Put {
        let body = Bytes::from(body);
        let mut retry = Retry::new(step, key, &self.metrics);
        loop {
            let request = self.put(key, &body).content_type("application/json");
            match send_conditional(request, expected, STATE_TIMEOUT).await {
                Ok(put) => return put,
                Err(failed) => retry.wait(&failed).await,
            }
        }
    }

    /// Writes an archive object if there is none of that key.
    pub async fn put_object(&self, key: &str, body: &Bytes, metadata: &HashMap<String, String>) -> Put {
        let limit = OBJECT_TIMEOUT + Duration::from_secs(body.len() as u64 / SLOWEST_BYTES_PER_SECOND);
        let mut retry = Retry::new(Step::Put, key, &self.metrics);
        loop {
            let request = self
                .put(key, body)
                .content_type(CONTENT_TYPE)
                .set_storage_class(self.options.storage_class.clone())
                .set_metadata(Some(metadata.clone()));
            match send_conditional(request, None, limit).await {
                Ok(put) => return put,
                Err(failed) => retry.wait(&failed).await,
            }
        }
    }

    /// An object's metadata; `None` when there is no such object.
    pub async fn metadata(&self, key: &str) -> Option<HashMap<String, String>> {
        let mut retry = Retry::new(Step::Compare, key, &self.metrics);
        loop {
            self.metrics.s3_call("HeadObject");
            let request = self.client.head_object().bucket(&self.bucket).key(key);
            match call(STATE_TIMEOUT, request.send()).await {
                Ok(head) => return Some(head.metadata.unwrap_or_default()),
                Err(failed) if failed.failure == Failure::NotFound => return None,
                Err(failed) => retry.wait(&failed).await,
            }
        }
    }

    /// Makes sure that conditions are honoured here, by writes to one small object that must be
    /// refused. The object stays, so no right to delete is needed. While S3 cannot be asked, `ready` says
    /// why.
    pub async fn probe(&self, ready: &Latch) -> Result<(), Error> {
        let key = self.state_key("probe");
        let body = Bytes::from_static(b"{}");
        self.probe_put(&key, &body, None, ready).await?;
        if self.probe_put(&key, &body, None, ready).await? != Put::Refused {
            return Err(self.ignored("If-None-Match"));
        }
        let wrong = ETag("\"00000000000000000000000000000000\"".to_owned());
        if self.probe_put(&key, &body, Some(&wrong), ready).await? != Put::Refused {
            return Err(self.ignored("If-Match"));
        }
        Ok(())
    }

    /// Waits out what may pass; what will not is an error, for at the start somebody is watching.
    async fn probe_put(
        &self,
        key: &str,
        body: &Bytes,
        expected: Option<&ETag>,
        ready: &Latch,
    ) -> Result<Put, Error> {
        let mut retry = Retry::new(Step::Probe, key, &self.metrics);
        loop {
            let request = self.put(key, body).content_type("application/json");
            match send_conditional(request, expected, STATE_TIMEOUT).await {
                Ok(put) => return Ok(put),
                Err(failed) if failed.failure.is_retryable() => {
                    ready.close(failed.detail.as_str());
                    retry.wait(&failed).await;
                }
                Err(failed) => {
                    return Err(Error::Bucket {
                        bucket: self.bucket.clone(),
                        detail: failed.detail,
                    });
                }
            }
        }
    }

    fn ignored(&self, condition: &'static str) -> Error {
        Error::ConditionalWrites {
            bucket: self.bucket.clone(),
            condition,
        }
    }

    async fn try_get(&self, key: &str) -> Result<(Bytes, ETag), FailedCall> {
        self.metrics.s3_call("GetObject");
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let answer = call(STATE_TIMEOUT, request.send()).await?;
        let etag = answer.e_tag.map(ETag);
        let body = tokio::time::timeout(STATE_TIMEOUT, answer.body.collect()).await;
        let body = match body {
            Ok(Ok(body)) => body.into_bytes(),
            Ok(Err(error)) => return Err(FailedCall::new(Failure::Transient, error.to_string())),
            Err(_) => return Err(FailedCall::new(Failure::Timeout, "the answer's body did not end")),
        };
        match etag {
            Some(etag) => Ok((body, etag)),
            None => Err(FailedCall::new(Failure::Invalid, "the answer has no ETag")),
        }
    }

    /// S3 verifies the CRC before it stores anything, so a body damaged on the way is refused.
    fn put(&self, key: &str, body: &Bytes) -> PutObjectFluentBuilder {
        self.metrics.s3_call("PutObject");
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .checksum_crc64_nvme(STANDARD.encode(crc64_nvme(body).to_be_bytes()))
            .body(ByteStream::from(body.clone()));
        match &self.options.kms_key_id {
            Some(key_id) => request
                .server_side_encryption(ServerSideEncryption::AwsKms)
                .ssekms_key_id(key_id)
                .bucket_key_enabled(true),
            None => request,
        }
    }
}

/// `If-Match` on an object that is gone is answered 404 rather than 412
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>).
async fn send_conditional(
    request: PutObjectFluentBuilder,
    expected: Option<&ETag>,
    limit: Duration,
) -> Result<Put, FailedCall> {
    let request = match expected {
        Some(ETag(etag)) => request.if_match(etag),
        None => request.if_none_match("*"),
    };
    match call(limit, request.send()).await {
        Ok(answer) => Ok(Put::Done(answer.e_tag.map(ETag))),
        Err(failed) if failed.failure == Failure::PreconditionFailed => Ok(Put::Refused),
        Err(failed) if failed.code.as_deref() == Some("NoSuchKey") => Ok(Put::Refused),
        Err(failed) => Err(failed),
    }
}
