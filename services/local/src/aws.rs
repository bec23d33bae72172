//! The emulated AWS on both sides.

use aws_clients::SdkConfig;
use local_cloud::{CloudSettings, LocalCloud, StartError};

use crate::Config;
use crate::resources::{self, Owner};

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

        let queue_url = resources::make(&source.owner(), &destination.owner(), shards).await?;
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
        let config = resources::sdk_config(cloud.account(), &cloud.endpoint_url()).await;
        Ok(Self { cloud, config })
    }

    /// Whose resources it has.
    fn owner(&self) -> Owner<'_> {
        Owner {
            account: self.cloud.account(),
            config: &self.config,
        }
    }
}
