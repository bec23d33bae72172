//! Sending lines until Firehose has accepted each of them.
//!
//! Of a call that is answered, only the records that were not taken are sent again; a call that failed is
//! sent again as a whole, for nothing is known of its records. Both for ever, with jittered pauses: the
//! stream keeps the records.

use std::time::Duration;

use aws_clients::Failure;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{
    DeliveryStreamDescription, DeliveryStreamStatus, DeliveryStreamType, PutRecordBatchResponseEntry, Record,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use crate::error::Error;
use crate::firehose::metrics::{FirehoseMetrics, Refusal};
use crate::firehose::request::{REQUESTS_AT_ONCE, Request, divide, unaccepted};
use crate::metrics::{Metrics, Step};
use crate::retry::{FailedCall, Retry, call};
use crate::sequence::ShardId;

/// One call moves at most a mebibyte.
const DELIVER_TIMEOUT: Duration = Duration::from_secs(15);
/// What Firehose answers when it is given too much.
const THROTTLED: &str = "ServiceUnavailableException";

/// A delivery stream.
pub struct Delivery {
    client: Client,
    stream: String,
    metrics: Metrics,
    /// What this delivery shows of its own.
    pub shown: FirehoseMetrics,
}

impl Delivery {
    /// Into `stream`.
    pub fn new(client: Client, stream: &str, metrics: &Metrics, shown: FirehoseMetrics) -> Self {
        Self {
            client,
            stream: stream.to_owned(),
            metrics: metrics.clone(),
            shown,
        }
    }

    /// Makes sure that there is such a stream and that it takes puts. At the start an answer that will not
    /// change is an error: somebody is watching.
    pub async fn check(&self) -> Result<(), Error> {
        let mut retry = Retry::new(Step::Describe, self.stream.clone(), &self.metrics);
        loop {
            let failed = match self.describe().await.map(|found| usable(&found)) {
                Ok(Usable::Yes) => return Ok(()),
                Ok(Usable::Not(detail)) => return Err(self.unusable(detail)),
                Ok(Usable::NotYet) => FailedCall::new(Failure::Transient, "it is being created"),
                Err(failed) if failed.failure.is_retryable() => failed,
                Err(failed) => return Err(self.unusable(failed.detail)),
            };
            retry.wait(&failed).await;
        }
    }

    fn unusable(&self, detail: String) -> Error {
        Error::DeliveryStream {
            stream: self.stream.clone(),
            detail,
        }
    }

    async fn describe(&self) -> Result<DeliveryStreamDescription, FailedCall> {
        let request = self.client.describe_delivery_stream();
        let answer = call(DELIVER_TIMEOUT, request.delivery_stream_name(&self.stream).send()).await?;
        answer
            .delivery_stream_description
            .ok_or_else(|| FailedCall::new(Failure::Invalid, "the answer has no description"))
    }

    /// Returns when every one of these lines of `shard` is accepted. Dropped before, some may be.
    pub async fn send(&self, shard: &ShardId, lines: &[&[u8]]) {
        let requests = divide(lines.iter().copied()).into_iter();
        let requests: Vec<BoxFuture<'_, ()>> = requests
            .map(|request| self.send_request(shard, request).boxed())
            .collect();
        let sent = stream::iter(requests).buffer_unordered(REQUESTS_AT_ONCE);
        sent.collect::<()>().await;
    }

    async fn send_request(&self, shard: &ShardId, mut request: Request<'_>) {
        let mut retry = Retry::new(Step::Deliver, shard.as_str(), &self.metrics);
        while !request.is_empty() {
            let failed = match self.put(&request).await {
                Ok(left) if left.is_empty() => return,
                Ok(left) => {
                    if left.len() < request.len() {
                        retry.reset(); // what is left is less, and waits as after a first try
                    }
                    let detail = format!("{} of {} records were not taken", left.len(), request.len());
                    request = left;
                    FailedCall::new(Failure::Throttled, detail)
                }
                Err(failed) => failed,
            };
            retry.wait(&failed).await;
        }
    }

    /// One call. Returns the lines that were not accepted.
    async fn put<'a>(&self, request: &Request<'a>) -> Result<Request<'a>, FailedCall> {
        let started = Instant::now();
        let records = request.iter().map(|line| record(line));
        let records: Vec<_> = records.collect::<Result<_, _>>()?;
        let put = self.client.put_record_batch().delivery_stream_name(&self.stream);
        let answer = call(DELIVER_TIMEOUT, put.set_records(Some(records)).send()).await;
        let results = answer.map_err(told_apart)?.request_responses;
        self.shown
            .answered(request.len(), bytes(request), started.elapsed());

        let left = unaccepted(request, results.iter().map(is_accepted));
        self.shown
            .accepted(request.len() - left.len(), bytes(request) - bytes(&left));
        let refused = results.iter().filter(|result| !is_accepted(result));
        let mut counted = 0;
        for result in refused.take(left.len()) {
            self.shown.refused(Refusal::of(result.error_code()));
            counted += 1;
        }
        for _ in counted..left.len() {
            self.shown.refused(Refusal::Other); // without a result
        }
        Ok(left)
    }
}

/// Whether a delivery stream takes puts.
enum Usable {
    Yes,
    NotYet,
    Not(String),
}

fn usable(found: &DeliveryStreamDescription) -> Usable {
    if found.delivery_stream_type != DeliveryStreamType::DirectPut {
        return Usable::Not(format!(
            "it takes no puts: its type is {}",
            found.delivery_stream_type
        ));
    }
    match &found.delivery_stream_status {
        DeliveryStreamStatus::Active => Usable::Yes,
        DeliveryStreamStatus::Creating => Usable::NotYet,
        status => Usable::Not(format!("its status is {status}")),
    }
}

fn record(line: &[u8]) -> Result<Record, FailedCall> {
    let mut data = Vec::with_capacity(line.len() + 1);
    data.extend_from_slice(line);
    data.push(b'\n');
    let record = Record::builder().data(Blob::new(data)).build();
    record.map_err(|error| FailedCall::new(Failure::Invalid, error.to_string()))
}

fn is_accepted(result: &PutRecordBatchResponseEntry) -> bool {
    result.record_id().is_some() && result.error_code().is_none()
}

/// Firehose says "unavailable" where it throttles, and nothing else tells the two apart.
fn told_apart(mut failed: FailedCall) -> FailedCall {
    if failed.code.as_deref() == Some(THROTTLED) {
        failed.failure = Failure::Throttled;
    }
    failed
}

/// With their line breaks.
fn bytes(lines: &Request<'_>) -> usize {
    lines.iter().map(|line| line.len() + 1).sum()
}
