//! Buckets and their settings.

use std::collections::BTreeMap;
use std::fs;

use s3s::dto::{
    Bucket as BucketDto, BucketLocationConstraint, BucketVersioningStatus, CreateBucketInput,
    CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput, GetBucketLocationInput,
    GetBucketLocationOutput, GetBucketNotificationConfigurationInput,
    GetBucketNotificationConfigurationOutput, GetBucketVersioningInput, GetBucketVersioningOutput,
    HeadBucketInput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, NotificationConfiguration, Owner,
    PutBucketNotificationConfigurationInput, PutBucketNotificationConfigurationOutput,
    PutBucketVersioningInput, PutBucketVersioningOutput,
};
use s3s::{S3Result, s3_error};

use super::Backend;
use super::body::Bodies;
use super::catalogue::Bucket;
use super::commit::storage;
use super::notification;
use super::record::{self, BucketSettings, Versioning};
use crate::state::Table;

/// The region whose buckets have no location constraint.
const US_EAST_1: &str = "us-east-1";
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html>
const BUCKETS_MAX: i32 = 10_000;

impl Backend {
    pub(super) fn owner(&self) -> Owner {
        Owner {
            display_name: None,
            id: Some(self.account.id.clone()),
        }
    }

    pub(super) fn create_bucket(&self, input: CreateBucketInput) -> S3Result<CreateBucketOutput> {
        let region = self.account.region.as_str();
        let constraint = input
            .create_bucket_configuration
            .and_then(|configuration| configuration.location_constraint);
        let wanted = constraint
            .as_ref()
            .map_or(US_EAST_1, BucketLocationConstraint::as_str);
        if wanted != region {
            return Err(s3_error!(
                IllegalLocationConstraintException,
                "The {wanted} location constraint is incompatible for the region specific endpoint of {region}."
            ));
        }
        if input.object_lock_enabled_for_bucket == Some(true) {
            return Err(s3_error!(NotImplemented, "local-cloud has no object lock"));
        }
        let mut catalogue = self.lock();
        if catalogue.buckets.contains_key(&input.bucket) {
            // In us-east-1 creating it again succeeds.
            if region == US_EAST_1 {
                return Ok(CreateBucketOutput {
                    location: Some(format!("/{}", input.bucket)),
                });
            }
            return Err(s3_error!(
                BucketAlreadyOwnedByYou,
                "Your previous request to create the named bucket succeeded and you already own it."
            ));
        }
        let settings = BucketSettings {
            created_ms: self.clock.now_ms(),
            versioning: Versioning::Never,
            notifications: NotificationConfiguration::default(),
        };
        if let Bodies::Folder(layout) = &self.bodies {
            fs::create_dir_all(layout.bucket(&input.bucket)).map_err(super::body::internal)?;
        }
        let value = record::encode("bucket", &settings).map_err(storage)?;
        self.state
            .put(Table::Buckets, input.bucket.as_bytes(), &value)
            .map_err(storage)?;
        let location = format!("/{}", input.bucket);
        catalogue.buckets.insert(
            input.bucket,
            Bucket {
                settings,
                keys: BTreeMap::new(),
            },
        );
        Ok(CreateBucketOutput {
            location: Some(location),
        })
    }

    pub(super) fn delete_bucket(&self, input: &DeleteBucketInput) -> S3Result<DeleteBucketOutput> {
        let mut catalogue = self.lock();
        let in_use = !catalogue.bucket(&input.bucket)?.keys.is_empty()
            || catalogue
                .uploads
                .values()
                .any(|upload| upload.bucket == input.bucket);
        if in_use {
            return Err(s3_error!(
                BucketNotEmpty,
                "The bucket you tried to delete is not empty"
            ));
        }
        self.state
            .remove(Table::Buckets, input.bucket.as_bytes())
            .map_err(storage)?;
        catalogue.buckets.remove(&input.bucket);
        if let Bodies::Folder(layout) = &self.bodies {
            for folder in [
                layout.bucket(&input.bucket),
                layout.reserved_bucket(&input.bucket),
            ] {
                if let Err(error) = fs::remove_dir(&folder) {
                    tracing::debug!(%error, folder = %folder.display(), "the folder of a deleted bucket stays");
                }
            }
        }
        Ok(DeleteBucketOutput {})
    }

    pub(super) fn head_bucket(&self, input: &HeadBucketInput) -> S3Result<HeadBucketOutput> {
        self.lock().bucket(&input.bucket)?;
        Ok(HeadBucketOutput {
            bucket_region: Some(self.account.region.clone()),
            ..HeadBucketOutput::default()
        })
    }

    pub(super) fn list_buckets(&self, input: ListBucketsInput) -> S3Result<ListBucketsOutput> {
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.unwrap_or_default();
        let limit = input.max_buckets.unwrap_or(BUCKETS_MAX).clamp(1, BUCKETS_MAX);
        let catalogue = self.lock();
        let mut buckets: Vec<BucketDto> = catalogue
            .buckets
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix) && **name > after)
            .take(usize::try_from(limit).unwrap_or(usize::MAX) + 1)
            .map(|(name, bucket)| BucketDto {
                bucket_region: Some(self.account.region.clone()),
                creation_date: Some(record::seconds_of(bucket.settings.created_ms)),
                name: Some(name.clone()),
            })
            .collect();
        let more = i32::try_from(buckets.len()).is_ok_and(|count| count > limit);
        if more {
            buckets.pop();
        }
        let continuation_token = buckets
            .last()
            .filter(|_| more)
            .and_then(|bucket| bucket.name.clone());
        Ok(ListBucketsOutput {
            buckets: Some(buckets),
            continuation_token,
            owner: Some(self.owner()),
            prefix: Some(prefix),
        })
    }

    pub(super) fn get_bucket_location(
        &self,
        input: &GetBucketLocationInput,
    ) -> S3Result<GetBucketLocationOutput> {
        self.lock().bucket(&input.bucket)?;
        let region = &self.account.region;
        let location_constraint =
            (region != US_EAST_1).then(|| BucketLocationConstraint::from(region.clone()));
        Ok(GetBucketLocationOutput { location_constraint })
    }

    pub(super) fn put_bucket_versioning(
        &self,
        input: &PutBucketVersioningInput,
    ) -> S3Result<PutBucketVersioningOutput> {
        let status = input
            .versioning_configuration
            .status
            .as_ref()
            .map(BucketVersioningStatus::as_str);
        let versioning = match status {
            Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
            Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
            _ => {
                return Err(s3_error!(
                    IllegalVersioningConfigurationException,
                    "The Versioning element must be specified"
                ));
            }
        };
        self.change_bucket(&input.bucket, |settings| settings.versioning = versioning)?;
        Ok(PutBucketVersioningOutput {})
    }

    pub(super) fn get_bucket_versioning(
        &self,
        input: &GetBucketVersioningInput,
    ) -> S3Result<GetBucketVersioningOutput> {
        let status = match self.lock().bucket(&input.bucket)?.settings.versioning {
            Versioning::Never => None,
            Versioning::Enabled => Some(BucketVersioningStatus::from_static(
                BucketVersioningStatus::ENABLED,
            )),
            Versioning::Suspended => Some(BucketVersioningStatus::from_static(
                BucketVersioningStatus::SUSPENDED,
            )),
        };
        Ok(GetBucketVersioningOutput {
            mfa_delete: None,
            status,
        })
    }

    /// Each queue is sent a test event before the configuration holds.
    pub(super) fn put_bucket_notification_configuration(
        &self,
        input: PutBucketNotificationConfigurationInput,
    ) -> S3Result<PutBucketNotificationConfigurationOutput> {
        let bucket = input.bucket;
        self.lock().bucket(&bucket)?;
        let exists = |arn: &str| self.sqs.queue_exists(arn);
        let configuration = notification::accept(input.notification_configuration, exists)?;
        for queue in configuration.queue_configurations.iter().flatten() {
            let event = notification::test_event(&bucket, self.clock.now_ms());
            self.sqs
                .send_notification(&queue.queue_arn, event)
                .map_err(|error| {
                    s3_error!(
                        InvalidArgument,
                        "Unable to validate the following destination configurations: {}: {}",
                        queue.queue_arn,
                        error.code
                    )
                })?;
        }
        self.change_bucket(&bucket, |settings| settings.notifications = configuration)?;
        Ok(PutBucketNotificationConfigurationOutput {})
    }

    pub(super) fn get_bucket_notification_configuration(
        &self,
        input: &GetBucketNotificationConfigurationInput,
    ) -> S3Result<GetBucketNotificationConfigurationOutput> {
        let configuration = self.lock().bucket(&input.bucket)?.settings.notifications.clone();
        Ok(GetBucketNotificationConfigurationOutput {
            event_bridge_configuration: configuration.event_bridge_configuration,
            lambda_function_configurations: configuration.lambda_function_configurations,
            queue_configurations: configuration.queue_configurations,
            topic_configurations: configuration.topic_configurations,
        })
    }
}
