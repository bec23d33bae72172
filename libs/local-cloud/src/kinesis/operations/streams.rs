//! CreateStream, DeleteStream, ListStreams.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use serde::Deserialize;

use super::describe::MAX_RECORD_SIZE_KIB;
use super::settings::check_tags;
use super::shapes::{OneStream, StreamModeDetails, page_size};
use super::{answer, empty_answer};
use crate::kinesis::error::{in_use, invalid_argument, limit_exceeded, validation};
use crate::kinesis::stream::{ON_DEMAND_SHARDS, OPEN_SHARDS_MAX, Stream, StreamMode};
use crate::kinesis::{Kinesis, lock, store};
use crate::state::Table;
use crate::wire::json::{ApiError, Call};

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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListStreams<'a> {
    limit: Option<usize>,
    #[serde(borrow)]
    exclusive_start_stream_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    next_token: Option<Cow<'a, str>>,
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
