//! Makes sure at start that each side is the one that was configured.
//!
//! A bucket's region and a queue's ARN come from the services themselves. What they say is held
//! against the configuration before the first message is received: a wrong side is an error that ends
//! the program, a side that cannot be asked is waited for, and shown in `/readyz`.

use std::time::Duration;

use service_runtime::backoff::Backoff;
use service_runtime::{Latch, Runtime};

use crate::config::{Config, Side};
use crate::failure::{At, CallFailure};
use crate::object::require_bucket;
use crate::queue::{SourceQueue, find};

const RETRY_BASE: Duration = Duration::from_millis(250);
const RETRY_CAP: Duration = Duration::from_secs(15);

/// Clients of the source side.
#[derive(Clone, Debug)]
pub struct Source {
    /// For the bucket.
    pub s3: aws_sdk_s3::Client,
    /// For the queues.
    pub sqs: aws_sdk_sqs::Client,
}

/// Clients of the destination side.
#[derive(Clone, Debug)]
pub struct Destination {
    /// For the bucket.
    pub s3: aws_sdk_s3::Client,
}

/// A side is not what the configuration says it is.
#[derive(Debug, thiserror::Error)]
pub enum WrongSide {
    /// The bucket is elsewhere.
    #[error("the {side} bucket is in {actual}, not in {configured}")]
    BucketRegion {
        /// `source` or `destination`.
        side: String,
        /// What S3 says.
        actual: String,
        /// What the configuration says.
        configured: String,
    },
    /// The queue is elsewhere.
    #[error("the queue is {actual}, not in {configured} of the source")]
    QueueArn {
        /// What SQS says.
        actual: String,
        /// The partition and region that the configuration says.
        configured: String,
    },
}

/// The part that readiness reports on: open once both sides are established.
pub(crate) struct Sides<'a> {
    pub(crate) config: &'a Config,
    pub(crate) source: &'a Source,
    pub(crate) destination: &'a Destination,
    pub(crate) runtime: &'a Runtime,
}

/// Why one question was not answered as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Wrong(WrongSide),
    #[error(transparent)]
    Call(CallFailure),
}

impl From<CallFailure> for Problem {
    fn from(failure: CallFailure) -> Self {
        Self::Call(failure)
    }
}

impl Sides<'_> {
    /// The queue to receive from, once everything answers as configured; `None` when a drain is
    /// requested before that.
    pub(crate) async fn establish(&self, latch: &Latch) -> Result<Option<SourceQueue>, WrongSide> {
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        loop {
            let attempt = tokio::select! {
                attempt = self.ask() => attempt,
                () = self.runtime.shutdown.requested() => return Ok(None),
            };
            match attempt {
                Ok(queue) => {
                    latch.open();
                    return Ok(Some(queue));
                }
                Err(Problem::Wrong(wrong)) => return Err(wrong),
                Err(Problem::Call(failure)) => {
                    tracing::warn!(error = %failure, "cannot establish both sides yet");
                    latch.close(failure.to_string());
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_delay()) => {}
                () = self.runtime.shutdown.requested() => return Ok(None),
            }
        }
    }

    async fn ask(&self) -> Result<SourceQueue, Problem> {
        let Config {
            source,
            queue,
            dead_letter_queue,
            limits,
            ..
        } = self.config;
        buckets(self.config, self.source, self.destination).await?;
        let url = queue_url(&self.source.sqs, queue, source).await?;
        let dead_letter_url = match dead_letter_queue {
            Some(queue) => Some(queue_url(&self.source.sqs, queue, source).await?),
            None => None,
        };
        Ok(SourceQueue {
            sqs: self.source.sqs.clone(),
            url,
            dead_letter_url,
            visibility_timeout: limits.visibility_timeout,
        })
    }
}

/// Makes sure that both buckets are where the configuration says.
pub(crate) async fn buckets(
    config: &Config,
    source: &Source,
    destination: &Destination,
) -> Result<(), Problem> {
    bucket(At::Source, &source.s3, &config.source).await?;
    bucket(At::Destination, &destination.s3, &config.destination).await
}

async fn bucket(at: At, s3: &aws_sdk_s3::Client, side: &Side) -> Result<(), Problem> {
    match require_bucket(at, s3, &side.bucket).await? {
        Some(actual) if actual != side.region => Err(Problem::Wrong(WrongSide::BucketRegion {
            side: at.to_string(),
            actual,
            configured: side.region.clone(),
        })),
        Some(_) => Ok(()),
        // AWS always says it; what only speaks S3's protocol need not.
        None => {
            tracing::warn!(side = %at, "the endpoint does not say where the bucket is: its region is taken on trust");
            Ok(())
        }
    }
}

async fn queue_url(
    sqs: &aws_sdk_sqs::Client,
    queue: &crate::config::Queue,
    side: &Side,
) -> Result<String, Problem> {
    let (url, arn) = find(sqs, queue).await?;
    if is_in(&arn, side) {
        Ok(url)
    } else {
        let configured = format!("{} {}", side.partition, side.region);
        Err(Problem::Wrong(WrongSide::QueueArn {
            actual: arn,
            configured,
        }))
    }
}

/// Whether `arn:<partition>:sqs:<region>:<account>:<name>` is of the side.
fn is_in(arn: &str, side: &Side) -> bool {
    let mut parts = arn.split(':').skip(1);
    (parts.next(), parts.next(), parts.next())
        == (Some(side.partition.as_str()), Some("sqs"), Some(&side.region))
}

#[cfg(test)]
mod tests {
    use aws_clients::Endpoint;

    use super::*;

    #[test]
    fn a_queue_belongs_to_the_side_of_its_arn() {
        let endpoint = Endpoint {
            region: Some("cn-north-1".into()),
            ..Endpoint::default()
        };
        let side = Side::new("bucket", endpoint).expect("a known region");
        assert!(is_in("arn:aws-cn:sqs:cn-north-1:111122223333:new-objects", &side));
        for arn in [
            "arn:aws:sqs:cn-north-1:111122223333:new-objects",
            "arn:aws-cn:sqs:cn-northwest-1:111122223333:new-objects",
            "arn:aws-cn:sns:cn-north-1:111122223333:new-objects",
            "",
        ] {
            assert!(!is_in(arn, &side), "{arn}");
        }
    }
}
