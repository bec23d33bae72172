//! What a side holds below a prefix, in the order of its keys, a page at a time.
//!
//! Pages are fetched ahead, a bounded number of them. A listing that breaks off is told from one that is
//! over: only the page that S3 calls its last ends it. A listing that is not in the order of its keys is
//! refused, because a merge of it would be wrong without anybody noticing (S3's directory buckets list so:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).

use std::sync::Arc;

use aws_sdk_s3::types::{EncodingType, Object};
use service_runtime::Shutdown;
use tokio::sync::mpsc;

use super::served_at::ServedAt;
use crate::copy::Copier;
use crate::failure::{At, CallFailure, CopyFailure};
use crate::notification::decode_form;
use crate::policy::Denial;
use crate::retries::with_retries;

/// Pages of one side that wait to be compared. One more is being fetched and one being compared.
pub(super) const PAGES_AHEAD: usize = 2;
const OPERATION: &str = "ListObjectsV2";

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) key: String,
    /// Bytes.
    pub(super) size: u64,
    /// With its quotes.
    pub(super) etag: String,
    /// When it was written, in seconds since the epoch.
    pub(super) modified: i64,
    /// Why it stays where it is, if it does.
    pub(super) denial: Option<Denial>,
}

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) objects: Vec<Listed>,
    /// When S3 gave it, in seconds since the epoch by its own clock.
    pub(super) as_of: i64,
    pub(super) is_last: bool,
}

/// Why a listing is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListingFailure {
    #[error(transparent)]
    Call(#[from] CopyFailure),
    #[error("the {0} does not list its objects in the order of their keys, so the sides cannot be compared")]
    Order(At),
    #[error("the {0} lists a key that cannot be read")]
    Key(At),
    #[error("the listing of the {0} broke off")]
    BrokeOff(At),
}

/// Lists one side.
pub(super) struct Lister<M> {
    pub(super) copier: Arc<Copier>,
    pub(super) at: At,
    pub(super) prefix: String,
    /// The key to go on behind.
    pub(super) after: Option<String>,
    /// Objects of a page.
    pub(super) page_objects: i32,
    /// What of it is to be compared.
    pub(super) select: M,
    pub(super) shutdown: Shutdown,
}

/// A page as it was answered, and how to go on.
struct Answer {
    page: Page,
    next: Option<String>,
    last_key: Option<String>,
}

impl<M: Fn(Listed) -> Option<Listed>> Lister<M> {
    /// Sends page after page until the last, a failure, or nobody takes them any more.
    pub(super) async fn run(self, pages: mpsc::Sender<Result<Page, ListingFailure>>) {
        let mut token = None;
        let mut last_key = self.after.clone();
        loop {
            let answer = match self.answer(token.as_deref(), last_key.as_deref()).await {
                Ok(answer) => answer,
                Err(failure) => {
                    // Who no longer waits has no use for it.
                    let _ = pages.send(Err(failure)).await;
                    return;
                }
            };
            let is_last = answer.page.is_last;
            (token, last_key) = (answer.next, answer.last_key.or(last_key));
            if pages.send(Ok(answer.page)).await.is_err() || is_last {
                return;
            }
        }
    }

    async fn answer(&self, token: Option<&str>, last_key: Option<&str>) -> Result<Answer, ListingFailure> {
        let call = || self.call(token);
        let (output, as_of) = with_retries(&self.copier, &self.shutdown, "a listing", call).await?;
        let is_encoded = output.encoding_type == Some(EncodingType::Url);
        let objects = output.contents.unwrap_or_default();
        let objects = objects.into_iter().map(|object| self.listed(object, is_encoded));
        let objects = objects.collect::<Result<Vec<_>, _>>()?;
        let mut before = last_key;
        for object in &objects {
            if before.is_some_and(|before| before >= object.key.as_str()) {
                return Err(ListingFailure::Order(self.at));
            }
            before = Some(&object.key);
        }
        let is_last = output.is_truncated != Some(true);
        if !is_last && output.next_continuation_token.is_none() {
            let incomplete = CallFailure::incomplete(self.at, OPERATION, "NextContinuationToken");
            return Err(CopyFailure::from(incomplete).into());
        }
        Ok(Answer {
            last_key: objects.last().map(|object| object.key.clone()),
            next: output.next_continuation_token,
            page: Page {
                objects: objects.into_iter().filter_map(&self.select).collect(),
                as_of,
                is_last,
            },
        })
    }

    /// XML has no way to write every character of a key, so they are asked for in an encoding.
    async fn call(
        &self,
        token: Option<&str>,
    ) -> Result<(aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output, i64), CopyFailure> {
        let endpoint = match self.at {
            At::Source => &self.copier.source,
            At::Destination => &self.copier.destination,
        };
        let served_at = ServedAt::default();
        let request = endpoint.client().list_objects_v2();
        let request = request
            .bucket(&endpoint.bucket)
            .prefix(&self.prefix)
            .encoding_type(EncodingType::Url)
            .max_keys(self.page_objects)
            .set_start_after(self.after.clone().filter(|_| token.is_none()))
            .set_continuation_token(token.map(str::to_owned))
            .customize()
            .interceptor(served_at.clone());
        self.copier.metrics.reconciles.listed(self.at);
        let answer = tokio::time::timeout(self.copier.limits.progress_deadline, request.send()).await;
        let answer = answer.map_err(|_| CopyFailure::Stalled)?;
        let output = answer.map_err(|error| CallFailure::new(self.at, OPERATION, &error))?;
        let as_of = served_at.seconds();
        let as_of = as_of.ok_or_else(|| CallFailure::incomplete(self.at, OPERATION, "Date"))?;
        Ok((output, as_of))
    }

    fn listed(&self, object: Object, is_encoded: bool) -> Result<Listed, ListingFailure> {
        let lacks = |name| CopyFailure::from(CallFailure::incomplete(self.at, OPERATION, name));
        let key = object.key.ok_or_else(|| lacks("Key"))?;
        let key = if is_encoded { decode_form(&key) } else { Some(key) };
        Ok(Listed {
            key: key.ok_or(ListingFailure::Key(self.at))?,
            size: object
                .size
                .and_then(|size| u64::try_from(size).ok())
                .ok_or_else(|| lacks("Size"))?,
            etag: object.e_tag.ok_or_else(|| lacks("ETag"))?,
            modified: object.last_modified.ok_or_else(|| lacks("LastModified"))?.secs(),
            denial: None,
        })
    }
}
