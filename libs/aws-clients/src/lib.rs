//! How every service reaches AWS: endpoint, credentials, time-outs and TLS in one place, and what a
//! failed call means.
//!
//! SDK retries are off. Each service owns its retries, because only it knows what may be sent again,
//! in which order, and for how long; two loops inside each other hide time and multiply calls.

mod connect;
mod failure;

pub use aws_credential_types::Credentials;
pub use aws_types::SdkConfig;

pub use connect::{Endpoint, firehose, http_client, kinesis, load, s3, sqs};
pub use failure::{Failure, classify, describe, with_causes};
