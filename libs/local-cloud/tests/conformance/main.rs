//! What AWS documents, as tests that any endpoint can be held against.
//!
//! By default each test starts a cloud of its own. With `CONFORMANCE_ENDPOINT_URL` (and
//! `CONFORMANCE_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`) the same
//! tests run against that endpoint instead; names are unique, so several runs can share an account.
//! Only the module `embedded` tests what is particular to `local-cloud`, and always starts its own.

#![allow(missing_docs)]

mod embedded;
mod firehose;
mod kinesis;
mod kinesis_embedded;
mod notifications;
mod s3;
mod s3_conditions;
mod s3_integrity;
mod s3_keys;
mod s3_listings;
mod s3_multipart;
mod s3_versions;
mod sqs;
#[path = "../support/mod.rs"]
mod support;

use std::env;

use aws_sdk_s3::config::Credentials;
use local_cloud::{Account, CloudSettings, LocalCloud};

use support::Clients;

/// Where the embedded clouds are: a region whose ARNs are not the usual `arn:aws`.
pub(crate) const REGION: &str = "cn-north-1";

/// An endpoint under test, with its clients.
pub(crate) struct Target {
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) kinesis: aws_sdk_kinesis::Client,
    pub(crate) firehose: aws_sdk_firehose::Client,
    pub(crate) region: String,
    /// Keeps the embedded cloud running.
    cloud: Option<LocalCloud>,
}

impl Target {
    pub(crate) async fn start() -> Self {
        let Ok(endpoint_url) = env::var("CONFORMANCE_ENDPOINT_URL") else {
            return Self::start_embedded(REGION).await;
        };
        let variable =
            |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is needed with an endpoint"));
        let credentials = Credentials::new(
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
            env::var("AWS_SESSION_TOKEN").ok(),
            None,
            "environment",
        );
        Self::connect(&endpoint_url, &variable("CONFORMANCE_REGION"), &credentials, None)
    }

    /// A cloud of this process, whatever the environment says.
    pub(crate) async fn start_embedded(region: &str) -> Self {
        Self::embedded(
            LocalCloud::start(CloudSettings::in_memory(region))
                .await
                .expect("a cloud on a free port"),
        )
    }

    /// The clients of a cloud that the test started itself.
    pub(crate) fn embedded(cloud: LocalCloud) -> Self {
        let Account {
            access_key_id,
            secret_access_key,
            region,
            ..
        } = cloud.account().clone();
        let credentials = Credentials::new(access_key_id, secret_access_key, None, None, "embedded");
        Self::connect(&cloud.endpoint_url(), &region, &credentials, Some(cloud))
    }

    pub(crate) fn connect(
        endpoint_url: &str,
        region: &str,
        credentials: &Credentials,
        cloud: Option<LocalCloud>,
    ) -> Self {
        let Clients {
            s3,
            sqs,
            kinesis,
            firehose,
        } = Clients::connect(endpoint_url, region, credentials);
        Self {
            s3,
            sqs,
            kinesis,
            firehose,
            region: region.to_owned(),
            cloud,
        }
    }

    pub(crate) fn cloud(&self) -> &LocalCloud {
        self.cloud.as_ref().expect("an embedded cloud")
    }

    /// Stops the embedded cloud and releases its folder.
    pub(crate) async fn stop(self) {
        if let Some(cloud) = self.cloud {
            cloud.stop().await;
        }
    }

    /// A new bucket.
    pub(crate) async fn bucket(&self) -> String {
        use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
        let name = unique("conformance");
        let location = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(self.region.as_str()))
            .build();
        let location = (self.region != "us-east-1").then_some(location);
        let created = self
            .s3
            .create_bucket()
            .bucket(&name)
            .set_create_bucket_configuration(location)
            .send()
            .await;
        created.expect("a bucket");
        name
    }

    /// Puts an object with these bytes and returns its ETag.
    pub(crate) async fn put(&self, bucket: &str, key: &str, body: &[u8]) -> String {
        let put = self
            .s3
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(body.to_vec().into())
            .send()
            .await;
        put.expect("stored").e_tag.expect("an ETag")
    }

    /// The bytes of an object.
    pub(crate) async fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        let object = self
            .s3
            .get_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .expect("the object");
        object.body.collect().await.expect("its bytes").to_vec()
    }
}

/// A name that no other test, process or run has.
pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::new_v4().simple())
}

/// The error code and HTTP status of a call that was refused.
pub(crate) fn refusal<T, E>(
    result: Result<T, aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>>,
) -> (u16, String)
where
    T: std::fmt::Debug,
    E: aws_sdk_s3::error::ProvideErrorMetadata + std::fmt::Debug,
{
    let error = result.expect_err("the call is refused");
    let status = error
        .raw_response()
        .map_or(0, |response| response.status().as_u16());
    let code = error
        .as_service_error()
        .and_then(|error| error.meta().code())
        .unwrap_or("none")
        .to_owned();
    (status, code)
}
