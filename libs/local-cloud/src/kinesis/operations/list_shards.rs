//! ListShards: filters, pages and tokens.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::answer;
use super::shapes::{StreamRef, WireShard, page_size, read_shard_id, timestamp_ms};
use crate::kinesis::Kinesis;
use crate::kinesis::error::{invalid_argument, not_found, validation};
use crate::kinesis::iterator::LIFETIME_MS;
use crate::kinesis::shard::Shard;
use crate::kinesis::stream::Stream;
use crate::wire::json::{ApiError, Call};

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

/// A stream, which of its shards, and behind which one.
type Listing = (Arc<Mutex<Stream>>, Filter, Option<u32>);

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
}
