//! Streams as a whole: create, delete, describe, list, retention, tags.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::shards::WireShard;
use super::{StreamRef, Timestamp, answer, empty_answer};
use crate::kinesis::error::{in_use, invalid_argument, limit_exceeded, validation};
use crate::kinesis::shard::parse_shard_id;
use crate::kinesis::stream::{
    ON_DEMAND_SHARDS, OPEN_SHARDS_MAX, RETENTION_HOURS_DEFAULT, RETENTION_HOURS_MAX, Stream, StreamMode,
};
use crate::kinesis::{Kinesis, lock, store};
use crate::state::Table;
use crate::wire::json::{ApiError, Call};

/// The only record size that is emulated, in KiB.
const MAX_RECORD_SIZE_KIB: u32 = 1024;
const TAGS_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateStream {
    stream_name: String,
    shard_count: Option<u32>,
    stream_mode_details: Option<StreamModeDetails>,
    tags: Option<BTreeMap<String, String>>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamModeDetails {
    stream_mode: StreamMode,
}

/// A call that is about one stream and says nothing else.
#[derive(Deserialize)]
struct OneStream<'a> {
    #[serde(rename = "StreamName", borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(rename = "StreamARN", borrow)]
    arn: Option<Cow<'a, str>>,
}

impl OneStream<'_> {
    fn stream(&self) -> StreamRef<'_> {
        StreamRef::new(self.name.as_ref(), self.arn.as_ref())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeStream<'a> {
    #[serde(borrow)]
    exclusive_start_shard_id: Option<Cow<'a, str>>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Retention {
    retention_period_hours: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListStreams<'a> {
    limit: Option<usize>,
    #[serde(borrow)]
    exclusive_start_stream_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    next_token: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tags {
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListTags<'a> {
    #[serde(borrow)]
    exclusive_start_tag_key: Option<Cow<'a, str>>,
    limit: Option<usize>,
}

/// What DescribeStream and DescribeStreamSummary both say.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description<'a> {
    stream_name: &'a str,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: StreamModeDetails,
    retention_period_hours: u32,
    stream_creation_timestamp: Timestamp,
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
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_CreateStream.html>
    pub(crate) fn create_stream(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: CreateStream = call.input()?;
        let CreateStream {
            stream_name: name,
            shard_count,
            stream_mode_details,
            tags,
            max_record_size,
        } = input;
        check_name(&name)?;
        if max_record_size.is_some_and(|kib| kib != MAX_RECORD_SIZE_KIB) {
            return Err(invalid_argument(
                "local-cloud emulates a MaxRecordSizeInKiB of 1024 only.",
            ));
        }
        let mode = stream_mode_details.map_or(StreamMode::Provisioned, |details| details.stream_mode);
        let shards = match (mode, shard_count) {
            (StreamMode::OnDemand, None) => ON_DEMAND_SHARDS,
            (StreamMode::OnDemand, Some(_)) => {
                return Err(invalid_argument(
                    "ShardCount must not be provided for a stream in ON_DEMAND mode.",
                ));
            }
            (StreamMode::Provisioned, None) => {
                return Err(invalid_argument(
                    "ShardCount is required for a stream in PROVISIONED mode.",
                ));
            }
            (StreamMode::Provisioned, Some(0)) => {
                return Err(validation("shardCount", "have value greater than or equal to 1"));
            }
            (StreamMode::Provisioned, Some(count)) if count as usize > OPEN_SHARDS_MAX => {
                return Err(limit_exceeded(format!(
                    "A stream has at most {OPEN_SHARDS_MAX} open shards."
                )));
            }
            (StreamMode::Provisioned, Some(count)) => count,
        };
        let tags = tags.unwrap_or_default();
        check_tags(&tags)?;

        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if streams.by_name.contains_key(&name) {
            let account = &self.account.id;
            return Err(in_use(format!(
                "Stream {name} under account {account} already exists."
            )));
        }
        let id = uuid::Uuid::new_v4().as_u128();
        let mut stream = Stream::new(name, id, self.clock.now_ms(), mode, shards);
        stream.tags = tags;
        self.save(&stream)?;
        streams.insert(stream);
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DeleteStream.html>
    pub(crate) fn delete_stream(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: OneStream<'_> = call.input()?;
        let name = self.stream_name(input.stream())?;
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        let stream = streams
            .by_name
            .get(name)
            .cloned()
            .ok_or_else(|| self.no_stream(name))?;
        let mut stream = lock(&stream);
        if self.state.is_durable() {
            let mut batch = self.state.batch();
            batch.remove(Table::Streams, name.as_bytes());
            let id = stream.id;
            for shard in &mut stream.shards {
                shard.log.trim_to(shard.log.next());
                while let Some(offset) = shard.take_trimmed_entry() {
                    store::remove_records(&mut batch, id, shard.number, offset);
                }
            }
            batch.commit()?;
        }
        streams.by_name.remove(name);
        streams.by_id.remove(&stream.id);
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStream.html>
    pub(crate) fn describe_stream(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let page: DescribeStream<'_> = call.input()?;
        let limit = page_size(page.limit, 100, 10_000)?;
        let after = match page.exclusive_start_shard_id.as_deref() {
            None => None,
            Some(id) => {
                Some(parse_shard_id(id).ok_or_else(|| invalid_argument("Invalid ExclusiveStartShardId."))?)
            }
        };
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

    fn describe<'a>(&self, stream: &'a Stream) -> Description<'a> {
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

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListStreams.html>
    pub(crate) fn list_streams(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: ListStreams<'_> = call.input()?;
        let limit = page_size(input.limit, 100, 10_000)?;
        // The token is the last name of the page before: all that is needed to go on.
        let after = input
            .next_token
            .or(input.exclusive_start_stream_name)
            .unwrap_or_default();
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let mut behind = streams
            .by_name
            .iter()
            .filter(|(name, _)| name.as_str() > after.as_ref());
        let page: Vec<_> = behind
            .by_ref()
            .take(limit)
            .map(|(_, stream)| Arc::clone(stream))
            .collect();
        let has_more = behind.next().is_some();
        drop(streams);

        let summaries: Vec<_> = page
            .iter()
            .map(|stream| {
                let stream = lock(stream);
                let description = self.describe(&stream);
                serde_json::json!({
                    "StreamName": description.stream_name,
                    "StreamARN": description.stream_arn,
                    "StreamStatus": description.stream_status,
                    "StreamModeDetails": description.stream_mode_details,
                    "StreamCreationTimestamp": description.stream_creation_timestamp,
                })
            })
            .collect();
        let names: Vec<_> = page.iter().map(|stream| lock(stream).name.clone()).collect();
        let next_token = names.last().filter(|_| has_more);
        answer(&serde_json::json!({
            "StreamNames": names,
            "HasMoreStreams": has_more,
            "NextToken": next_token,
            "StreamSummaries": summaries,
        }))
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_IncreaseStreamRetentionPeriod.html>
    pub(crate) fn increase_stream_retention_period(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        self.set_retention(call, |wanted, existing, name| {
            (wanted < existing).then(|| {
                format!(
                    "Requested retention period ({wanted} hours) for stream {name} can not be shorter than \
                     existing retention period ({existing} hours). Use DecreaseRetentionPeriod API."
                )
            })
        })
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DecreaseStreamRetentionPeriod.html>
    pub(crate) fn decrease_stream_retention_period(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        self.set_retention(call, |wanted, existing, name| {
            (wanted > existing).then(|| {
                format!(
                    "Requested retention period ({wanted} hours) for stream {name} can not be longer than \
                     existing retention period ({existing} hours). Use IncreaseRetentionPeriod API."
                )
            })
        })
    }

    fn set_retention(
        &self,
        call: &Call<'_>,
        wrong_direction: impl FnOnce(u32, u32, &str) -> Option<String>,
    ) -> Result<Bytes, ApiError> {
        let Retention {
            retention_period_hours: hours,
        } = call.input()?;
        let stream = self.find(call.input::<OneStream<'_>>()?.stream())?;
        // Entering trims by the old retention: a longer one does not bring records back.
        let (mut stream, now_ms) = self.enter(&stream)?;
        if hours < RETENTION_HOURS_DEFAULT {
            return Err(invalid_argument(format!(
                "Minimum allowed retention period is {RETENTION_HOURS_DEFAULT} hours. \
                 Requested retention period ({hours} hours) is too short."
            )));
        }
        if hours > RETENTION_HOURS_MAX {
            return Err(invalid_argument(format!(
                "Maximum allowed retention period is {RETENTION_HOURS_MAX} hours. \
                 Requested retention period ({hours} hours) is too long."
            )));
        }
        if let Some(message) = wrong_direction(hours, stream.retention_hours, &stream.name) {
            return Err(invalid_argument(message));
        }
        let before = std::mem::replace(&mut stream.retention_hours, hours);
        self.save(&stream)
            .inspect_err(|_| stream.retention_hours = before)?;
        self.trim(&mut stream, now_ms)?;
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_AddTagsToStream.html>
    pub(crate) fn add_tags_to_stream(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let Tags { tags } = call.input()?;
        check_tags(&tags)?;
        let stream = self.find(call.input::<OneStream<'_>>()?.stream())?;
        let mut stream = lock(&stream);
        let mut all = stream.tags.clone();
        all.extend(tags);
        check_tags(&all)?;
        let before = std::mem::replace(&mut stream.tags, all);
        self.save(&stream).inspect_err(|_| stream.tags = before)?;
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListTagsForStream.html>
    pub(crate) fn list_tags_for_stream(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let page: ListTags<'_> = call.input()?;
        let limit = page_size(page.limit, TAGS_MAX, TAGS_MAX)?;
        let after = page.exclusive_start_tag_key.unwrap_or_default();
        let stream = self.find(call.input::<OneStream<'_>>()?.stream())?;
        let stream = lock(&stream);
        let mut behind = stream
            .tags
            .iter()
            .filter(|(key, _)| key.as_str() > after.as_ref());
        let tags: Vec<_> = behind
            .by_ref()
            .take(limit)
            .map(|(key, value)| serde_json::json!({ "Key": key, "Value": value }))
            .collect();
        answer(&serde_json::json!({ "Tags": tags, "HasMoreTags": behind.next().is_some() }))
    }
}

/// How many items a page holds.
pub(super) fn page_size(limit: Option<usize>, default: usize, max: usize) -> Result<usize, ApiError> {
    match limit {
        None => Ok(default.min(max)),
        Some(0) => Err(validation("limit", "have value greater than or equal to 1")),
        Some(limit) if limit > max => Err(validation(
            "limit",
            &format!("have value less than or equal to {max}"),
        )),
        Some(limit) => Ok(limit),
    }
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.is_empty() || name.len() > 128 {
        return Err(validation("streamName", "have length between 1 and 128"));
    }
    if !name.bytes().all(allowed) {
        return Err(validation(
            "streamName",
            "satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
        ));
    }
    Ok(())
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > TAGS_MAX {
        return Err(invalid_argument(format!("A stream has at most {TAGS_MAX} tags.")));
    }
    if tags
        .iter()
        .any(|(key, value)| !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256)
    {
        return Err(validation(
            "tags",
            "have keys of length 1 to 128 and values of length 0 to 256",
        ));
    }
    Ok(())
}
