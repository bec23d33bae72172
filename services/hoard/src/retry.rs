//! One call to AWS, bounded in time, and the pause before it is made again.
//!
//! Failures are retried for ever: the stream keeps the records, and giving up would lose what waiting
//! saves. Each failure is counted by step and cause, and logged with the service's answer.

use std::error::Error;
use std::time::Duration;

use aws_clients::Failure;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use service_runtime::backoff::Backoff;

use crate::metrics::{Metrics, Step};

/// The first pause is at most this long.
const BASE: Duration = Duration::from_millis(100);
/// Every pause is at most this long.
const CAP: Duration = Duration::from_secs(10);

/// A call that failed, as its caller needs it.
#[derive(Clone, Debug)]
pub struct FailedCall {
    /// What it means.
    pub failure: Failure,
    /// The service's error code, where it answered with one.
    pub code: Option<String>,
    /// One line for the log.
    pub detail: String,
}

/// Makes a call that may take `limit`. The SDK's futures are tens of kilobytes: each is boxed here, or
/// every future that awaits one would carry it.
pub fn call<T, E>(
    limit: Duration,
    request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> impl Future<Output = Result<T, FailedCall>>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let bounded = tokio::time::timeout(limit, Box::pin(request));
    async move {
        match bounded.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(FailedCall {
                failure: aws_clients::classify(&error),
                code: error.code().map(str::to_owned),
                detail: aws_clients::describe(&error),
            }),
            Err(_) => Err(FailedCall::new(
                Failure::Timeout,
                format!("no answer within {limit:?}"),
            )),
        }
    }
}

impl FailedCall {
    /// A failure that the SDK does not report: an answer that is late, or that lacks what it must have.
    pub fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self {
            failure,
            code: None,
            detail: detail.into(),
        }
    }
}

/// The pauses of one step.
pub struct Retry {
    step: Step,
    subject: String,
    backoff: Backoff,
    metrics: Metrics,
}

impl Retry {
    /// `subject` names the shard, key or stream in the log.
    pub fn new(step: Step, subject: impl Into<String>, metrics: &Metrics) -> Self {
        Self {
            step,
            subject: subject.into(),
            backoff: Backoff::new(BASE, CAP),
            metrics: metrics.clone(),
        }
    }

    /// Counts and logs the failure; returns how long to wait before the next try.
    pub fn pause(&mut self, failed: &FailedCall) -> Duration {
        let pause = self.backoff.next_delay();
        self.metrics.retry(self.step, failed.failure);
        tracing::warn!(
            step = self.step.as_str(),
            subject = self.subject,
            failure = failed.failure.as_str(),
            detail = failed.detail,
            pause_ms = pause.as_millis(),
            "a call failed and is tried again"
        );
        pause
    }

    /// Counts and logs the failure, then waits.
    pub async fn wait(&mut self, failed: &FailedCall) {
        tokio::time::sleep(self.pause(failed)).await;
    }

    /// The step succeeded: its next failure waits shortly again.
    pub fn reset(&mut self) {
        self.backoff.reset();
    }
}
