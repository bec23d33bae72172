//! CreateDeliveryStream, DeleteDeliveryStream, DescribeDeliveryStream, ListDeliveryStreams.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::stream::{DeliveryStream, Destination};
use super::{Firehose, invalid_argument, validation};
use crate::state::Table;
use crate::wire::json::{ApiError, Call};

/// <https://docs.aws.amazon.com/firehose/latest/APIReference/API_BufferingHints.html>
const BUFFER_MB_DEFAULT: u32 = 5;
const BUFFER_SECONDS_DEFAULT: u32 = 300;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    delivery_stream_name: String,
    delivery_stream_type: Option<String>,
    #[serde(rename = "ExtendedS3DestinationConfiguration")]
    bucket: Option<BucketConfiguration>,
    /// What is not emulated, by its name.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketConfiguration {
    #[serde(rename = "RoleARN")]
    role_arn: String,
    #[serde(rename = "BucketARN")]
    bucket_arn: String,
    prefix: Option<String>,
    error_output_prefix: Option<String>,
    buffering_hints: Option<BufferingHints>,
    compression_format: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct BufferingHints {
    #[serde(rename = "SizeInMBs")]
    size_mb: Option<u32>,
    #[serde(rename = "IntervalInSeconds")]
    interval_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneStream {
    delivery_stream_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    limit: Option<usize>,
    exclusive_start_delivery_stream_name: Option<String>,
}

impl Firehose {
    /// <https://docs.aws.amazon.com/firehose/latest/APIReference/API_CreateDeliveryStream.html>
    pub(super) fn create_delivery_stream(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: Create = call.input()?;
        check_name(&input.delivery_stream_name)?;
        refuse_others(&input.others)?;
        if let Some(kind) = input.delivery_stream_type.filter(|kind| kind != "DirectPut") {
            return Err(invalid_argument(format!(
                "local-cloud emulates DirectPut only, not {kind}."
            )));
        }
        let configuration = input
            .bucket
            .ok_or_else(|| invalid_argument("local-cloud needs an ExtendedS3DestinationConfiguration."))?;
        let stream = DeliveryStream {
            name: input.delivery_stream_name,
            created_ms: self.clock.now_ms(),
            destination: self.destination(configuration)?,
        };
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        let name = stream.name.clone();
        if streams.contains_key(&name) {
            let account = &self.account.id;
            let message = format!("Firehose {name} under accountId {account} already exists");
            return Err(ApiError::new(400, "ResourceInUseException", message));
        }
        stream.save(&self.state)?;
        streams.insert(name.clone(), Arc::new(stream));
        Ok(answer(&json!({ "DeliveryStreamARN": self.arn(&name) })))
    }

    fn destination(&self, configuration: BucketConfiguration) -> Result<Destination, ApiError> {
        refuse_others(&configuration.others)?;
        if let Some(format) = configuration
            .compression_format
            .filter(|format| format != "UNCOMPRESSED")
        {
            return Err(invalid_argument(format!(
                "local-cloud emulates UNCOMPRESSED only, not {format}."
            )));
        }
        let prefixes = [&configuration.prefix, &configuration.error_output_prefix];
        if prefixes.into_iter().flatten().any(|prefix| prefix.contains("!{")) {
            return Err(invalid_argument(
                "local-cloud emulates no expressions in prefixes.",
            ));
        }
        let bucket = configuration.bucket_arn.strip_prefix(&self.account.arn("s3", ""));
        let bucket =
            bucket.ok_or_else(|| invalid_argument("BucketARN names no bucket of this partition."))?;
        let hints = configuration.buffering_hints;
        let (size, interval) = hints.map_or((None, None), |hints| (hints.size_mb, hints.interval_seconds));
        Ok(Destination {
            role_arn: configuration.role_arn,
            bucket: bucket.to_owned(),
            prefix: configuration.prefix,
            error_prefix: configuration.error_output_prefix,
            buffer_mb: size.unwrap_or(BUFFER_MB_DEFAULT),
            buffer_seconds: interval.unwrap_or(BUFFER_SECONDS_DEFAULT),
        })
    }

    /// <https://docs.aws.amazon.com/firehose/latest/APIReference/API_DeleteDeliveryStream.html>
    pub(super) fn delete_delivery_stream(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let name = call.input::<OneStream>()?.delivery_stream_name;
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if !streams.contains_key(&name) {
            return Err(self.no_stream(&name));
        }
        self.state.remove(Table::DeliveryStreams, name.as_bytes())?;
        streams.remove(&name);
        Ok(answer(&json!({})))
    }

    /// <https://docs.aws.amazon.com/firehose/latest/APIReference/API_DescribeDeliveryStream.html>
    pub(super) fn describe_delivery_stream(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let stream = self.find(&call.input::<OneStream>()?.delivery_stream_name)?;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a calendar fit")]
        let created = stream.created_ms as f64 / 1e3;
        let to = &stream.destination;
        let mut bucket = json!({
            "RoleARN": to.role_arn,
            "BucketARN": self.account.arn("s3", &to.bucket),
            "BufferingHints": { "SizeInMBs": to.buffer_mb, "IntervalInSeconds": to.buffer_seconds },
            "CompressionFormat": "UNCOMPRESSED",
            "EncryptionConfiguration": { "NoEncryptionConfig": "NoEncryption" },
        });
        for (name, prefix) in [("Prefix", &to.prefix), ("ErrorOutputPrefix", &to.error_prefix)] {
            if let Some(prefix) = prefix {
                bucket[name] = json!(prefix);
            }
        }
        Ok(answer(&json!({ "DeliveryStreamDescription": {
            "DeliveryStreamName": stream.name,
            "DeliveryStreamARN": self.arn(&stream.name),
            "DeliveryStreamStatus": "ACTIVE",
            "DeliveryStreamType": "DirectPut",
            "VersionId": "1",
            "CreateTimestamp": created,
            "Destinations": [{
                "DestinationId": "destinationId-000000000001",
                "ExtendedS3DestinationDescription": bucket,
            }],
            "HasMoreDestinations": false,
        }})))
    }

    /// <https://docs.aws.amazon.com/firehose/latest/APIReference/API_ListDeliveryStreams.html>
    pub(super) fn list_delivery_streams(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: List = call.input()?;
        let limit = input.limit.unwrap_or(10);
        if !(1..=10_000).contains(&limit) {
            return Err(validation("limit", "have value between 1 and 10000"));
        }
        let after = input.exclusive_start_delivery_stream_name.unwrap_or_default();
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let mut behind = streams.keys().filter(|name| **name > after);
        let names: Vec<_> = behind.by_ref().take(limit).collect();
        let has_more = behind.next().is_some();
        Ok(answer(
            &json!({ "DeliveryStreamNames": names, "HasMoreDeliveryStreams": has_more }),
        ))
    }

    fn arn(&self, name: &str) -> String {
        self.account.arn("firehose", &format!("deliverystream/{name}"))
    }
}

fn answer(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// What would change the meaning of the request if it were ignored.
fn refuse_others(others: &BTreeMap<String, Value>) -> Result<(), ApiError> {
    match others.keys().next() {
        Some(name) => Err(invalid_argument(format!("local-cloud does not emulate {name}."))),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.is_empty() || name.len() > 64 {
        return Err(validation("deliveryStreamName", "have length between 1 and 64"));
    }
    if !name.bytes().all(allowed) {
        return Err(validation(
            "deliveryStreamName",
            "satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
        ));
    }
    Ok(())
}
