//! The calls, by what they are about: `streams` (create, delete, list), `describe`, `settings`
//! (retention, tags), `list_shards`, `reshard`, `put`, `get`. Here is what they share: finding a
//! stream, trimming it, answering.

mod describe;
mod get;
mod list_shards;
mod put;
mod reshard;
mod settings;
mod shapes;
mod streams;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;

use super::error::{invalid_argument, not_found};
use super::shard::{Shard, parse_shard_id};
use super::stream::Stream;
use super::{Kinesis, lock, store};
use crate::wire::json::ApiError;
use shapes::StreamRef;

impl Kinesis {
    fn stream_arn(&self, name: &str) -> String {
        self.account.arn("kinesis", &format!("stream/{name}"))
    }

    fn no_stream(&self, name: &str) -> ApiError {
        not_found(format!(
            "Stream {name} under account {} not found.",
            self.account.id
        ))
    }

    fn find(&self, stream: StreamRef<'_>) -> Result<Arc<Mutex<Stream>>, ApiError> {
        let name = self.stream_name(stream)?;
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams
            .by_name
            .get(name)
            .cloned()
            .ok_or_else(|| self.no_stream(name))
    }

    /// The stream that a token was handed out for, if it still exists.
    fn find_by_id(&self, id: u128) -> Option<Arc<Mutex<Stream>>> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.by_id.get(&id).cloned()
    }

    fn stream_name<'a>(&self, stream: StreamRef<'a>) -> Result<&'a str, ApiError> {
        let StreamRef { name, arn } = stream;
        let Some(arn) = arn else {
            return name
                .ok_or_else(|| invalid_argument("Either StreamName or StreamARN should be provided."));
        };
        // An ARN of another partition, region or account names no stream of this one.
        let in_arn = arn.strip_prefix(&self.stream_arn("")).ok_or_else(|| {
            not_found(format!(
                "Stream {arn} under account {} not found.",
                self.account.id
            ))
        })?;
        if name.is_some_and(|name| name != in_arn) {
            return Err(invalid_argument(
                "StreamName and StreamARN name different streams.",
            ));
        }
        Ok(in_arn)
    }

    /// Locks a stream and trims what its retention no longer covers: no call sees an older record.
    /// Returns the time at which it did so.
    fn enter<'a>(&self, stream: &'a Mutex<Stream>) -> Result<(MutexGuard<'a, Stream>, u64), ApiError> {
        let mut stream = lock(stream);
        let now_ms = self.clock.now_ms();
        self.trim(&mut stream, now_ms)?;
        Ok((stream, now_ms))
    }

    fn trim(&self, stream: &mut Stream, now_ms: u64) -> Result<(), ApiError> {
        let horizon_ms = stream.horizon_ms(now_ms);
        let mut trimmed = false;
        for shard in &mut stream.shards {
            trimmed |= shard.log.trim_before(horizon_ms);
        }
        if trimmed && self.state.is_durable() {
            let mut batch = self.state.batch();
            for shard in &mut stream.shards {
                while let Some(offset) = shard.take_trimmed_entry() {
                    store::remove_records(&mut batch, stream.id, shard.number, offset);
                }
            }
            store::put_stream(&mut batch, stream)?;
            batch.commit()?;
        }
        Ok(())
    }

    /// Keeps a changed description of a stream.
    fn save(&self, stream: &Stream) -> Result<(), ApiError> {
        if self.state.is_durable() {
            let mut batch = self.state.batch();
            store::put_stream(&mut batch, stream)?;
            batch.commit()?;
        }
        Ok(())
    }

    /// The shard that a call names, if it still exists for clients.
    fn find_shard<'a>(&self, stream: &'a Stream, shard_id: &str, now_ms: u64) -> Result<&'a Shard, ApiError> {
        parse_shard_id(shard_id)
            .and_then(|number| stream.shard(number))
            .filter(|shard| !shard.is_expired(stream.horizon_ms(now_ms)))
            .ok_or_else(|| self.no_shard(stream, shard_id))
    }

    fn no_shard(&self, stream: &Stream, shard_id: &str) -> ApiError {
        let (name, account) = (&stream.name, &self.account.id);
        not_found(format!(
            "Could not find shard {shard_id} in stream {name} under account {account}."
        ))
    }
}

/// An answer's body.
fn answer(value: &impl Serialize) -> Result<Bytes, ApiError> {
    let json = serde_json::to_vec(value)
        .map_err(|error| ApiError::new(500, "InternalFailure", error.to_string()))?;
    Ok(Bytes::from(json))
}

/// The answer of a call that has nothing to say.
fn empty_answer() -> Bytes {
    Bytes::from_static(b"{}")
}

#[cfg(test)]
mod tests;
