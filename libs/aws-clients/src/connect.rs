//! Endpoints and clients.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::SdkConfig;
use aws_types::region::Region;

/// Longer than a TCP retransmission or two, shorter than anybody's patience.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// One Kinesis call moves at most 10 MiB inside a region.
const KINESIS_TIMEOUT: Duration = Duration::from_secs(10);
/// One Firehose call moves at most 4 MiB inside a region.
const FIREHOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// A long poll waits 20 s (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>).
const SQS_TIMEOUT: Duration = Duration::from_secs(30);
/// From the first byte of a request to the first byte of its answer. Bodies may be large and the way
/// long: [`STALL_GRACE`] is what notices a dead connection.
const S3_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a body may make no progress.
const STALL_GRACE: Duration = Duration::from_secs(60);

/// Where a side's AWS is and who we are there. What is `None` comes from the SDK's own conventions:
/// `AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL[_FIREHOSE|_KINESIS|_S3|_SQS]`, the standard credential chain.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// A region such as `cn-north-1`.
    pub region: Option<String>,
    /// A profile of the shared AWS configuration files.
    pub profile: Option<String>,
    /// One URL for every service, for an emulated AWS or a private endpoint.
    pub endpoint_url: Option<String>,
    /// Credentials instead of the chain. Their `Debug` hides the secret.
    pub credentials: Option<Credentials>,
}

/// Resolves region, credentials provider and endpoint. Reads files and environment; calls nobody
/// but, on EC2 without a region set, the instance's own metadata service.
pub async fn load(endpoint: &Endpoint) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .grace_period(STALL_GRACE)
                .build(),
        );
    if let Some(region) = &endpoint.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &endpoint.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &endpoint.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    if let Some(credentials) = &endpoint.credentials {
        loader = loader.credentials_provider(credentials.clone());
    }
    loader.load().await
}

/// An HTTP client with connections of its own.
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

/// A Kinesis client without retries.
pub fn kinesis(config: &SdkConfig) -> aws_sdk_kinesis::Client {
    let timeouts = timeouts(config)
        .operation_attempt_timeout(KINESIS_TIMEOUT)
        .build();
    let config = aws_sdk_kinesis::config::Builder::from(config).timeout_config(timeouts);
    aws_sdk_kinesis::Client::from_conf(config.build())
}

/// A Firehose client without retries.
pub fn firehose(config: &SdkConfig) -> aws_sdk_firehose::Client {
    let timeouts = timeouts(config)
        .operation_attempt_timeout(FIREHOSE_TIMEOUT)
        .build();
    let config = aws_sdk_firehose::config::Builder::from(config).timeout_config(timeouts);
    aws_sdk_firehose::Client::from_conf(config.build())
}

/// An SQS client without retries.
pub fn sqs(config: &SdkConfig) -> aws_sdk_sqs::Client {
    let timeouts = timeouts(config).operation_attempt_timeout(SQS_TIMEOUT).build();
    let config = aws_sdk_sqs::config::Builder::from(config).timeout_config(timeouts);
    aws_sdk_sqs::Client::from_conf(config.build())
}

/// An S3 client without retries. Where an endpoint URL is set, buckets are path segments: a host
/// name per bucket seldom resolves there.
pub fn s3(config: &SdkConfig) -> aws_sdk_s3::Client {
    let timeouts = timeouts(config).read_timeout(S3_TIMEOUT).build();
    let own_endpoint = config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
    let config = aws_sdk_s3::config::Builder::from(config)
        .timeout_config(timeouts)
        .force_path_style(own_endpoint);
    aws_sdk_s3::Client::from_conf(config.build())
}

fn timeouts(config: &SdkConfig) -> aws_config::timeout::TimeoutConfigBuilder {
    config
        .timeout_config()
        .map(TimeoutConfig::to_builder)
        .unwrap_or_default()
}
