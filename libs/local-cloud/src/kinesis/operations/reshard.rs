//! SplitShard, MergeShards, UpdateShardCount.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use super::shapes::{StreamRef, read_hash_key, read_shard_id};
use super::{answer, empty_answer};
use crate::kinesis::error::{invalid_argument, limit_exceeded, validation};
use crate::kinesis::shard::shard_id;
use crate::kinesis::stream::{OPEN_SHARDS_MAX, ReshardError, Stream};
use crate::kinesis::{Kinesis, lock};
use crate::wire::json::{ApiError, Call};

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
