//! DescribeStream and DescribeStreamSummary.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::answer;
use super::shapes::{OneStream, StreamModeDetails, Timestamp, WireShard, page_size, read_shard_id};
use crate::kinesis::Kinesis;
use crate::kinesis::stream::Stream;
use crate::wire::json::{ApiError, Call};

/// The only record size that is emulated, in KiB.
pub(super) const MAX_RECORD_SIZE_KIB: u32 = 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeStream<'a> {
    #[serde(borrow)]
    exclusive_start_shard_id: Option<Cow<'a, str>>,
    limit: Option<usize>,
}

/// What DescribeStream and DescribeStreamSummary both say.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Description<'a> {
    pub(super) stream_name: &'a str,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: String,
    pub(super) stream_status: &'static str,
    pub(super) stream_mode_details: StreamModeDetails,
    retention_period_hours: u32,
    pub(super) stream_creation_timestamp: Timestamp,
    enhanced_monitoring: [EnhancedMetrics; 1],
    encryption_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EnhancedMetrics {
    shard_level_metrics: [&'static str; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WithShards<'a> {
    #[serde(flatten)]
    description: Description<'a>,
    shards: Vec<WireShard>,
    has_more_shards: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary<'a> {
    #[serde(flatten)]
    description: Description<'a>,
    open_shard_count: usize,
    consumer_count: usize,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size: u32,
}

impl Kinesis {
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStream.html>
    pub(crate) fn describe_stream(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let page: DescribeStream<'_> = call.input()?;
        let limit = page_size(page.limit, 100, 10_000)?;
        let after = page
            .exclusive_start_shard_id
            .as_deref()
            .map(read_shard_id)
            .transpose()?;
        let stream = self.find(call.input::<OneStream<'_>>()?.stream())?;
        let (stream, now_ms) = self.enter(&stream)?;
        let mut shards = stream
            .listed_shards(now_ms)
            .filter(|shard| after.is_none_or(|after| shard.number > after))
            .map(WireShard::of);
        let page: Vec<_> = shards.by_ref().take(limit).collect();
        let has_more_shards = shards.next().is_some();
        drop(shards);
        let description = WithShards {
            description: self.describe(&stream),
            shards: page,
            has_more_shards,
        };
        answer(&serde_json::json!({ "StreamDescription": description }))
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStreamSummary.html>
    pub(crate) fn describe_stream_summary(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let stream = self.find(call.input::<OneStream<'_>>()?.stream())?;
        let (stream, _) = self.enter(&stream)?;
        let summary = Summary {
            description: self.describe(&stream),
            open_shard_count: stream.open_shard_count(),
            consumer_count: 0,
            max_record_size: MAX_RECORD_SIZE_KIB,
        };
        answer(&serde_json::json!({ "StreamDescriptionSummary": summary }))
    }

    pub(super) fn describe<'a>(&self, stream: &'a Stream) -> Description<'a> {
        Description {
            stream_name: &stream.name,
            stream_arn: self.stream_arn(&stream.name),
            stream_status: "ACTIVE",
            stream_mode_details: StreamModeDetails {
                stream_mode: stream.mode,
            },
            retention_period_hours: stream.retention_hours,
            stream_creation_timestamp: Timestamp(stream.created_ms),
            enhanced_monitoring: [EnhancedMetrics {
                shard_level_metrics: [],
            }],
            encryption_type: "NONE",
        }
    }
}
