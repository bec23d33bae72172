//! The emulated AWS on both sides, and the stream, buckets and queues that the pipeline needs there.
//!
//! Resources are made through the SDK, as an operator's tool would, and only where they are missing:
//! a restart on the same folder finds them as they were.

use aws_clients::{Credentials, Endpoint, Failure, SdkConfig, classify, describe};
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, Event, FilterRule, FilterRuleName,
    NotificationConfiguration, NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter,
};
use aws_sdk_sqs::types::QueueAttributeName;
use local_cloud::{CloudSettings, LocalCloud, StartError};

use crate::Config;

/// The stream that events are published to.
pub const STREAM: &str = "events";
/// The bucket that hoard writes, in China.
pub const SOURCE_BUCKET: &str = "events-china";
/// The bucket that syncomatic writes, in Europe.
pub const DESTINATION_BUCKET: &str = "events-china-in-europe";
/// Archived objects end so; hoard's state, in the same bucket, does not and stays in China.
pub const ARCHIVE_SUFFIX: &str = ".jsonl.gz";
/// Where China is.
pub const SOURCE_REGION: &str = "cn-north-1";
/// Where Europe is.
pub const DESTINATION_REGION: &str = "eu-west-1";
const QUEUE: &str = "objects-created";
const DEAD_LETTER_QUEUE: &str = "objects-not-copied";
/// After this many receives a message is somebody's to look at.
const MAX_RECEIVES: u32 = 5;

/// Both sides, running.
#[derive(Debug)]
pub struct Aws {
    /// China: stream, bucket, queue.
    pub source: Side,
    /// Europe: bucket.
    pub destination: Side,
    /// Where China's bucket announces new objects.
    pub queue_url: String,
}

/// One partition's AWS and how to reach it.
#[derive(Debug)]
pub struct Side {
    /// The emulated AWS itself.
    pub cloud: LocalCloud,
    /// For SDK clients.
    pub config: SdkConfig,
}

/// Why the emulated AWS is not as the pipeline needs it.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// A port is taken or the folder cannot be used.
    #[error("{0} ({1})")]
    Start(StartError, &'static str),
    /// A resource could not be made.
    #[error("cannot make {what}: {problem}")]
    Resource {
        /// Which.
        what: String,
        /// Why.
        problem: String,
    },
}

impl Aws {
    /// Starts both sides and makes what is missing.
    pub async fn start(config: &Config) -> Result<Self, AwsError> {
        let side = |region, listen, name: &str| CloudSettings {
            listen,
            ..CloudSettings::in_folder(region, config.data_folder.join(name))
        };
        let source = side(SOURCE_REGION, config.source, "china");
        let destination = side(DESTINATION_REGION, config.destination, "europe");
        Self::over(source, destination, config.shards).await
    }

    /// Starts both sides as these settings say and makes what is missing; for tests that bring a seed
    /// or a clock of their own.
    pub async fn over(
        source: CloudSettings,
        destination: CloudSettings,
        shards: u16,
    ) -> Result<Self, AwsError> {
        let source = Side::start(source, "--source-port, --data-folder").await?;
        let destination = Side::start(destination, "--destination-port, --data-folder").await?;

        source.make_stream(STREAM, shards).await?;
        source.make_bucket(SOURCE_BUCKET).await?;
        destination.make_bucket(DESTINATION_BUCKET).await?;
        let queue_url = source.make_queue_with_dead_letters().await?;
        source.announce_new_objects().await?;
        Ok(Self {
            source,
            destination,
            queue_url,
        })
    }

    /// Stops both sides; what they acknowledged is in their folders.
    pub async fn stop(self) {
        self.source.cloud.stop().await;
        self.destination.cloud.stop().await;
    }
}

impl Side {
    async fn start(settings: CloudSettings, flags: &'static str) -> Result<Self, AwsError> {
        let cloud = LocalCloud::start(settings)
            .await
            .map_err(|error| AwsError::Start(error, flags))?;
        let account = cloud.account();
        let endpoint = Endpoint {
            region: Some(account.region.clone()),
            endpoint_url: Some(cloud.endpoint_url()),
            credentials: Some(Credentials::from_keys(
                &account.access_key_id,
                &account.secret_access_key,
                None,
            )),
            ..Endpoint::default()
        };
        let config = aws_clients::load(&endpoint).await;
        Ok(Self { cloud, config })
    }

    async fn make_stream(&self, name: &str, shards: u16) -> Result<(), AwsError> {
        let made = aws_clients::kinesis(&self.config)
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
        let location = BucketLocationConstraint::from(self.cloud.account().region.as_str());
        let made = aws_clients::s3(&self.config)
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
        let dead_letters = self.cloud.account().arn("sqs", DEAD_LETTER_QUEUE);
        let redrive =
            serde_json::json!({"deadLetterTargetArn": dead_letters, "maxReceiveCount": MAX_RECEIVES});
        self.make_queue(QUEUE, Some(redrive.to_string())).await
    }

    async fn make_queue(&self, name: &str, redrive_policy: Option<String>) -> Result<String, AwsError> {
        let made = aws_clients::sqs(&self.config)
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
            .queue_arn(self.cloud.account().arn("sqs", QUEUE))
            .filter(archive)
            .build()
            .map_err(|error| failed("notification", error.to_string()))?;
        aws_clients::s3(&self.config)
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
