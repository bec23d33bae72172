//! Shards: list, split, merge.

use std::borrow::Cow;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::streams::page_size;
use super::{StreamRef, answer, empty_answer, timestamp_ms};
use crate::kinesis::error::{invalid_argument, limit_exceeded, not_found, validation};
use crate::kinesis::hash::HashKeyRange;
use crate::kinesis::iterator::LIFETIME_MS;
use crate::kinesis::shard::{Shard, parse_shard_id, shard_id};
use crate::kinesis::stream::{OPEN_SHARDS_MAX, ReshardError, Stream};
use crate::kinesis::{Kinesis, lock};
use crate::wire::json::{ApiError, Call};

/// A shard as the API shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WireShard {
    shard_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<String>,
    hash_key_range: WireRange,
    sequence_number_range: SequenceNumberRange,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WireRange {
    starting_hash_key: String,
    ending_hash_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SequenceNumberRange {
    starting_sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<String>,
}

impl WireShard {
    pub(super) fn of(shard: &Shard) -> Self {
        Self {
            shard_id: shard.id(),
            parent_shard_id: shard.parent.map(shard_id),
            adjacent_parent_shard_id: shard.adjacent_parent.map(shard_id),
            hash_key_range: WireRange::of(&shard.range),
            sequence_number_range: SequenceNumberRange {
                starting_sequence_number: shard.starting_sequence_number().to_string(),
                ending_sequence_number: shard.ending_sequence_number().map(|number| number.to_string()),
            },
        }
    }
}

impl WireRange {
    pub(super) fn of(range: &HashKeyRange) -> Self {
        Self {
            starting_hash_key: range.start.to_string(),
            ending_hash_key: range.end.to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListShards<'a> {
    #[serde(borrow)]
    stream_name: Option<Cow<'a, str>>,
    #[serde(rename = "StreamARN", borrow)]
    stream_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    next_token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    exclusive_start_shard_id: Option<Cow<'a, str>>,
    max_results: Option<usize>,
    stream_creation_timestamp: Option<f64>,
    #[serde(borrow)]
    shard_filter: Option<WireFilter<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireFilter<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    shard_id: Option<Cow<'a, str>>,
    timestamp: Option<f64>,
}

/// Which shards are listed, with times in milliseconds since the epoch.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ShardFilter.html>
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Filter {
    After(u32),
    AtTrimHorizon,
    FromTrimHorizon,
    AtLatest,
    AtTime(u64),
    FromTime(u64),
}

impl Filter {
    fn read(wire: &WireFilter<'_>) -> Result<Self, ApiError> {
        let WireFilter {
            r#type,
            shard_id,
            timestamp,
        } = wire;
        let takes_shard = r#type == "AFTER_SHARD_ID";
        let takes_time = matches!(r#type.as_ref(), "AT_TIMESTAMP" | "FROM_TIMESTAMP");
        if shard_id.is_some() != takes_shard {
            return Err(invalid_argument(
                "ShardFilter.ShardId must be provided for AFTER_SHARD_ID and for no other type.",
            ));
        }
        if timestamp.is_some() != takes_time {
            return Err(invalid_argument(
                "ShardFilter.Timestamp must be provided for AT_TIMESTAMP and FROM_TIMESTAMP and for no other type.",
            ));
        }
        let time_ms = timestamp_ms(timestamp.unwrap_or_default());
        Ok(match r#type.as_ref() {
            "AFTER_SHARD_ID" => Self::After(read_shard_id(shard_id.as_deref().unwrap_or_default())?),
            "AT_TRIM_HORIZON" => Self::AtTrimHorizon,
            "FROM_TRIM_HORIZON" => Self::FromTrimHorizon,
            "AT_LATEST" => Self::AtLatest,
            "AT_TIMESTAMP" => Self::AtTime(time_ms),
            "FROM_TIMESTAMP" => Self::FromTime(time_ms),
            _ => {
                let types = "AFTER_SHARD_ID, AT_TRIM_HORIZON, FROM_TRIM_HORIZON, AT_LATEST, AT_TIMESTAMP, FROM_TIMESTAMP";
                return Err(validation(
                    "shardFilter.type",
                    &format!("satisfy enum value set: [{types}]"),
                ));
            }
        })
    }

    fn takes(self, shard: &Shard, stream: &Stream, now_ms: u64) -> bool {
        // A stream younger than its retention has its trim horizon at its beginning.
        let horizon_ms = stream.horizon_ms(now_ms).max(stream.created_ms);
        match self {
            Self::After(number) => shard.number > number,
            Self::AtTrimHorizon => shard.was_open_at(horizon_ms),
            Self::FromTrimHorizon => true,
            Self::AtLatest => shard.is_open(),
            Self::AtTime(time_ms) => shard.was_open_at(time_ms),
            Self::FromTime(time_ms) => shard.closed_ms.is_none_or(|closed_ms| closed_ms >= time_ms),
        }
    }
}

/// Where a listing goes on. It carries everything, because a call with a token may say nothing else.
#[derive(Serialize, Deserialize)]
struct NextToken {
    /// The stream's identity in hexadecimal: JSON has no 128-bit numbers.
    stream: String,
    created_ms: u64,
    filter: Filter,
    after: u32,
}

impl NextToken {
    fn encode(&self) -> Result<String, ApiError> {
        Ok(BASE64_URL_SAFE_NO_PAD.encode(answer(self)?))
    }

    fn decode(token: &str) -> Option<Self> {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShardPage {
    shards: Vec<WireShard>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SplitShard<'a> {
    #[serde(borrow)]
    stream_name: Option<Cow<'a, str>>,
    #[serde(rename = "StreamARN", borrow)]
    stream_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    shard_to_split: Cow<'a, str>,
    #[serde(borrow)]
    new_starting_hash_key: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MergeShards<'a> {
    #[serde(borrow)]
    stream_name: Option<Cow<'a, str>>,
    #[serde(rename = "StreamARN", borrow)]
    stream_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    shard_to_merge: Cow<'a, str>,
    #[serde(borrow)]
    adjacent_shard_to_merge: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateShardCount<'a> {
    #[serde(borrow)]
    stream_name: Option<Cow<'a, str>>,
    #[serde(rename = "StreamARN", borrow)]
    stream_arn: Option<Cow<'a, str>>,
    target_shard_count: u32,
    #[serde(borrow)]
    scaling_type: Cow<'a, str>,
}

impl Kinesis {
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
    pub(crate) fn list_shards(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: ListShards<'_> = call.input()?;
        let limit = page_size(input.max_results, 1_000, 10_000)?;
        let (stream, filter, after) = match &input.next_token {
            Some(token) => self.go_on_listing(&input, token)?,
            None => self.begin_listing(&input)?,
        };
        let (stream, now_ms) = self.enter(&stream)?;
        if input
            .stream_creation_timestamp
            .is_some_and(|created| timestamp_ms(created) != stream.created_ms)
        {
            return Err(self.no_stream(&stream.name));
        }
        let mut shards = stream
            .listed_shards(now_ms)
            .filter(|shard| after.is_none_or(|after| shard.number > after))
            .filter(|shard| filter.takes(shard, &stream, now_ms));
        let page: Vec<_> = shards.by_ref().take(limit).collect();
        let next_token = match (page.last(), shards.next()) {
            (Some(last), Some(_)) => {
                let stream = format!("{:032x}", stream.id);
                Some(
                    NextToken {
                        stream,
                        created_ms: now_ms,
                        filter,
                        after: last.number,
                    }
                    .encode()?,
                )
            }
            _ => None,
        };
        answer(&ShardPage {
            shards: page.into_iter().map(WireShard::of).collect(),
            next_token,
        })
    }

    fn begin_listing(&self, input: &ListShards<'_>) -> Result<Listing, ApiError> {
        let stream = StreamRef::new(input.stream_name.as_ref(), input.stream_arn.as_ref());
        if stream.name.is_none() && stream.arn.is_none() {
            return Err(invalid_argument(
                "Either NextToken or StreamName should be provided.",
            ));
        }
        let filter = match &input.shard_filter {
            Some(filter) => Filter::read(filter)?,
            None => Filter::FromTrimHorizon,
        };
        let after = input
            .exclusive_start_shard_id
            .as_deref()
            .map(read_shard_id)
            .transpose()?;
        Ok((self.find(stream)?, filter, after))
    }

    fn go_on_listing(&self, input: &ListShards<'_>, token: &str) -> Result<Listing, ApiError> {
        for (given, member) in [
            (input.stream_name.is_some(), "StreamName"),
            (input.stream_arn.is_some(), "StreamARN"),
            (
                input.stream_creation_timestamp.is_some(),
                "StreamCreationTimestamp",
            ),
            (input.exclusive_start_shard_id.is_some(), "ExclusiveStartShardId"),
            (input.shard_filter.is_some(), "ShardFilter"),
        ] {
            if given {
                return Err(invalid_argument(format!(
                    "NextToken and {member} cannot be provided together."
                )));
            }
        }
        let token = NextToken::decode(token).ok_or_else(|| invalid_argument("Invalid NextToken."))?;
        let now_ms = self.clock.now_ms();
        if now_ms.saturating_sub(token.created_ms) > LIFETIME_MS {
            return Err(ApiError::new(
                400,
                "ExpiredNextTokenException",
                "The pagination token expired.",
            ));
        }
        let id =
            u128::from_str_radix(&token.stream, 16).map_err(|_| invalid_argument("Invalid NextToken."))?;
        let stream = self
            .find_by_id(id)
            .ok_or_else(|| not_found("The stream of NextToken does not exist."))?;
        Ok((stream, token.filter, Some(token.after)))
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SplitShard.html>
    pub(crate) fn split_shard(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: SplitShard<'_> = call.input()?;
        let stream = StreamRef::new(input.stream_name.as_ref(), input.stream_arn.as_ref());
        let start = read_hash_key("newStartingHashKey", &input.new_starting_hash_key)?;
        let number = read_shard_id(&input.shard_to_split)?;
        self.reshard(stream, |stream, now_ms| stream.split(number, start, now_ms))?;
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_MergeShards.html>
    pub(crate) fn merge_shards(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: MergeShards<'_> = call.input()?;
        let stream = StreamRef::new(input.stream_name.as_ref(), input.stream_arn.as_ref());
        let number = read_shard_id(&input.shard_to_merge)?;
        let adjacent = read_shard_id(&input.adjacent_shard_to_merge)?;
        self.reshard(stream, |stream, now_ms| stream.merge(number, adjacent, now_ms))?;
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateShardCount.html>
    pub(crate) fn update_shard_count(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: UpdateShardCount<'_> = call.input()?;
        let target = input.target_shard_count;
        if input.scaling_type != "UNIFORM_SCALING" {
            return Err(validation(
                "scalingType",
                "satisfy enum value set: [UNIFORM_SCALING]",
            ));
        }
        if target == 0 {
            return Err(validation(
                "targetShardCount",
                "have value greater than or equal to 1",
            ));
        }
        let stream = StreamRef::new(input.stream_name.as_ref(), input.stream_arn.as_ref());
        let name = self.stream_name(stream)?.to_owned();
        let current = lock(self.find(stream)?.as_ref()).open_shard_count();
        if target as usize > 2 * current || (target as usize) < current.div_ceil(2) {
            return Err(limit_exceeded(format!(
                "UpdateShardCount cannot scale from {current} to {target} shards: at most double, at least half."
            )));
        }
        self.reshard(stream, |stream, now_ms| stream.reshape(target, now_ms))?;
        answer(&serde_json::json!({
            "StreamName": name,
            "StreamARN": self.stream_arn(&name),
            "CurrentShardCount": current,
            "TargetShardCount": target,
        }))
    }

    /// Changes the shards of a stream. The change is stored before the stream is unlocked, or undone:
    /// nobody puts into a child, or finds a parent closed, that a restart would not know of.
    fn reshard(
        &self,
        stream: StreamRef<'_>,
        change: impl FnOnce(&mut Stream, u64) -> Result<(), ReshardError>,
    ) -> Result<(), ApiError> {
        let stream = self.find(stream)?;
        let (mut stream, now_ms) = self.enter(&stream)?;
        let before = stream.topology();
        let changed = change(&mut stream, now_ms).map_err(|error| self.reshard_error(&stream, &error));
        let kept = changed.and_then(|()| self.save(&stream));
        if kept.is_err() {
            stream.undo_to(before);
        }
        kept
    }

    fn reshard_error(&self, stream: &Stream, error: &ReshardError) -> ApiError {
        let (name, account) = (&stream.name, &self.account.id);
        match error {
            ReshardError::NoSuchShard(number) => self.no_shard(stream, &shard_id(*number)),
            ReshardError::NotOpen(number) => invalid_argument(format!(
                "Shard {} in stream {name} under account {account} has already been merged or split, \
                 and thus is not eligible for merging or splitting.",
                shard_id(*number)
            )),
            ReshardError::SplitOutside(range) => invalid_argument(format!(
                "NewStartingHashKey used in SplitShard() in stream {name} under account {account} is not both \
                 greater than one plus the shard's StartingHashKey {} and less than the shard's EndingHashKey {}.",
                range.start, range.end
            )),
            ReshardError::NotAdjacent => invalid_argument(format!(
                "The shards in stream {name} under account {account} are not an adjacent pair of shards eligible \
                 for merging"
            )),
            ReshardError::TooManyShards => {
                limit_exceeded(format!("A stream has at most {OPEN_SHARDS_MAX} open shards."))
            }
        }
    }
}

/// A stream, which of its shards, and behind which one.
type Listing = (std::sync::Arc<std::sync::Mutex<Stream>>, Filter, Option<u32>);

fn read_shard_id(id: &str) -> Result<u32, ApiError> {
    parse_shard_id(id).ok_or_else(|| validation("shardId", "satisfy the pattern shardId-[0-9]{12}"))
}

/// A decimal number below 2^128 without leading zeros.
pub(super) fn read_hash_key(member: &str, text: &str) -> Result<u128, ApiError> {
    let digits = text == "0"
        || (!text.starts_with('0') && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    if !digits || text.len() > 39 {
        return Err(validation(
            member,
            "satisfy regular expression pattern: 0|([1-9]\\d{0,38})",
        ));
    }
    text.parse()
        .map_err(|_| invalid_argument(format!("Invalid {member}: it must be in the range [0, 2^128-1].")))
}
