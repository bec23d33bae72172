//! The stream, buckets and queues that the pipeline needs in an emulated AWS.
//!
//! They are made through the SDK, as an operator's tool would, and only where they are missing: a restart
//! on the same folder finds them as they were.

use aws_clients::{Credentials, Endpoint, Failure, SdkConfig, classify, describe};
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, Event, FilterRule, FilterRuleName,
    NotificationConfiguration, NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter,
};
use aws_sdk_sqs::types::QueueAttributeName;
use local_cloud::Account;

use crate::aws::{ARCHIVE_SUFFIX, AwsError, DESTINATION_BUCKET, SOURCE_BUCKET, STREAM};

/// Where the source's bucket announces new objects.
const QUEUE: &str = "objects-created";
const DEAD_LETTER_QUEUE: &str = "objects-not-copied";
/// After this many receives a message is somebody's to look at.
const MAX_RECEIVES: u32 = 5;

/// For SDK clients of an emulated account.
pub(crate) async fn sdk_config(account: &Account, endpoint_url: &str) -> SdkConfig {
    let endpoint = Endpoint {
        region: Some(account.region.clone()),
        endpoint_url: Some(endpoint_url.to_owned()),
        credentials: Some(Credentials::from_keys(
            &account.access_key_id,
            &account.secret_access_key,
            None,
        )),
        ..Endpoint::default()
    };
    aws_clients::load(&endpoint).await
}

/// Makes what is missing on both sides, and gives the URL of the queue.
pub(crate) async fn make(
    source: &Owner<'_>,
    destination: &Owner<'_>,
    shards: u16,
) -> Result<String, AwsError> {
    source.make_stream(STREAM, shards).await?;
    source.make_bucket(SOURCE_BUCKET).await?;
    destination.make_bucket(DESTINATION_BUCKET).await?;
    let queue_url = source.make_queue_with_dead_letters().await?;
    source.announce_new_objects().await?;
    Ok(queue_url)
}

/// An account that has resources, and how to reach it.
pub(crate) struct Owner<'a> {
    pub(crate) account: &'a Account,
    pub(crate) config: &'a SdkConfig,
}

impl Owner<'_> {
    async fn make_stream(&self, name: &str, shards: u16) -> Result<(), AwsError> {
        let made = aws_clients::kinesis(self.config)
            .create_stream()
            .stream_name(name)
            .shard_count(shards.into())
            .send()
            .await;
        match made {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|e| e.is_resource_in_use_exception()) =>
            {
                Ok(())
            }
            Err(error) => Err(failed(format!("stream {name}"), describe(&error))),
        }
    }

    async fn make_bucket(&self, name: &str) -> Result<(), AwsError> {
        let location = BucketLocationConstraint::from(self.account.region.as_str());
        let made = aws_clients::s3(self.config)
            .create_bucket()
            .bucket(name)
            .create_bucket_configuration(
                CreateBucketConfiguration::builder()
                    .location_constraint(location)
                    .build(),
            )
            .send()
            .await;
        match made {
            Ok(_) => Ok(()),
            // It is there already, and in our account: there is no other.
            Err(error) if classify(&error) == Failure::Conflict => Ok(()),
            Err(error) => Err(failed(format!("bucket {name}"), describe(&error))),
        }
    }

    async fn make_queue_with_dead_letters(&self) -> Result<String, AwsError> {
        self.make_queue(DEAD_LETTER_QUEUE, None).await?;
        let dead_letters = self.account.arn("sqs", DEAD_LETTER_QUEUE);
        let redrive =
            serde_json::json!({"deadLetterTargetArn": dead_letters, "maxReceiveCount": MAX_RECEIVES});
        self.make_queue(QUEUE, Some(redrive.to_string())).await
    }

    async fn make_queue(&self, name: &str, redrive_policy: Option<String>) -> Result<String, AwsError> {
        let made = aws_clients::sqs(self.config)
            .create_queue()
            .queue_name(name)
            .set_attributes(redrive_policy.map(|policy| [(QueueAttributeName::RedrivePolicy, policy)].into()))
            .send()
            .await
            .map_err(|error| failed(format!("queue {name}"), describe(&error)))?;
        made.queue_url
            .ok_or_else(|| failed(format!("queue {name}"), "the answer has no URL"))
    }

    /// The bucket's notifications go to the queue.
    async fn announce_new_objects(&self) -> Result<(), AwsError> {
        let suffix = FilterRule::builder()
            .name(FilterRuleName::Suffix)
            .value(ARCHIVE_SUFFIX)
            .build();
        let archive = NotificationConfigurationFilter::builder()
            .key(S3KeyFilter::builder().filter_rules(suffix).build())
            .build();
        let to_queue = QueueConfiguration::builder()
            .id("new-objects")
            .events(Event::S3ObjectCreated)
            .queue_arn(self.account.arn("sqs", QUEUE))
            .filter(archive)
            .build()
            .map_err(|error| failed("notification", error.to_string()))?;
        aws_clients::s3(self.config)
            .put_bucket_notification_configuration()
            .bucket(SOURCE_BUCKET)
            .notification_configuration(
                NotificationConfiguration::builder()
                    .queue_configurations(to_queue)
                    .build(),
            )
            .send()
            .await
            .map_err(|error| failed("notification of new objects", describe(&error)))?;
        Ok(())
    }
}

fn failed(what: impl Into<String>, problem: impl Into<String>) -> AwsError {
    AwsError::Resource {
        what: what.into(),
        problem: problem.into(),
    }
}
