//! Which shard takes which partition key, for as long as the stream stays as it is.
//!
//! Kinesis takes the MD5 of a partition key for a number of 128 bits, and each open shard has a range of
//! them (<https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html#partition-key>). The map is
//! read again once in a while, and at once when a packed record came to another shard than the map
//! said: the stream was resharded. Until then there is no map, and records are sent unpacked, which
//! needs none.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use md5::{Digest, Md5};
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use service_runtime::Shutdown;
use tokio::sync::Notify;

use crate::stream::Stream;

/// How soon the map is read again after it could not be, and the least time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// An open shard and the hash keys that belong to it, both ends inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) id: String,
    pub(crate) first: u128,
    pub(crate) last: u128,
    /// `first`, as PutRecords wants it.
    hash_key: String,
}

impl Shard {
    pub(crate) fn new(id: String, first: u128, last: u128) -> Self {
        let hash_key = first.to_string();
        Self {
            id,
            first,
            last,
            hash_key,
        }
    }

    /// A hash key that belongs to the shard.
    pub(crate) fn hash_key(&self) -> &str {
        &self.hash_key
    }
}

/// The open shards, by their ranges. Every hash key belongs to one of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShardMap {
    shards: Vec<Shard>,
}

/// The shards have a gap or overlap: they were read in the middle of a reshard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the open shards do not share all hash keys among them")]
pub(crate) struct Incomplete;

impl ShardMap {
    pub(crate) fn new(mut shards: Vec<Shard>) -> Result<Self, Incomplete> {
        shards.sort_unstable_by_key(|shard| shard.first);
        let meet = |pair: &[Shard]| pair[0].last.checked_add(1) == Some(pair[1].first);
        let from_zero = shards.first().is_some_and(|shard| shard.first == 0);
        let to_the_end = shards.last().is_some_and(|shard| shard.last == u128::MAX);
        if from_zero && to_the_end && shards.windows(2).all(meet) {
            Ok(Self { shards })
        } else {
            Err(Incomplete)
        }
    }

    /// The place in the map of the shard that takes a partition key.
    pub(crate) fn place(&self, partition_key: &str) -> usize {
        let digest: [u8; 16] = Md5::digest(partition_key).into();
        let hash_key = u128::from_be_bytes(digest);
        self.shards.partition_point(|shard| shard.last < hash_key)
    }

    /// The shard at a place that [`Self::place`] gave.
    pub(crate) fn shard(&self, place: usize) -> &Shard {
        &self.shards[place]
    }
}

/// How a look at the open shards ends, so that each metric is there from the start.
pub(crate) const REFRESH_OUTCOMES: [&str; 4] = ["changed", "unchanged", "incomplete", "failed"];

/// What operators see of the map.
#[derive(Clone, Debug)]
pub(crate) struct ShardMapMetrics {
    pub(crate) refreshes: IntCounterVec,
    pub(crate) shards: IntGauge,
    pub(crate) mispredicted: IntCounter,
}

/// The map in use, if there is one.
pub(crate) struct ShardMaps {
    current: Mutex<Option<Arc<ShardMap>>>,
    wanted: Notify,
    metrics: ShardMapMetrics,
}

impl ShardMaps {
    pub(crate) fn new(metrics: ShardMapMetrics) -> Arc<Self> {
        Arc::new(Self {
            current: Mutex::default(),
            wanted: Notify::new(),
            metrics,
        })
    }

    pub(crate) fn current(&self) -> Option<Arc<ShardMap>> {
        self.lock().clone()
    }

    /// A record that was packed by this map came to another shard: the map holds no longer.
    pub(crate) fn mispredicted(&self, by: &Arc<ShardMap>) {
        let mut current = self.lock();
        // A map that was read since may be right.
        if current.as_ref().is_some_and(|map| Arc::ptr_eq(map, by)) {
            *current = None;
            self.metrics.shards.set(0);
            self.wanted.notify_one();
        }
        self.metrics.mispredicted.inc();
    }

    fn learn(&self, map: ShardMap) {
        let mut current = self.lock();
        let changed = current.as_deref() != Some(&map);
        self.refreshed(if changed { "changed" } else { "unchanged" });
        if changed {
            let shards = map.shards.len();
            tracing::info!(shards, "records are packed by the open shards of the stream");
            self.metrics.shards.set(i64::try_from(shards).unwrap_or(i64::MAX));
            *current = Some(Arc::new(map));
        }
    }

    fn refreshed(&self, outcome: &'static str) {
        self.metrics.refreshes.with_label_values(&[outcome]).inc();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<ShardMap>>> {
        // Nothing under the lock can panic, so what a poisoned one holds is whole.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the map in step with the stream. Failing to look changes nothing: a map that is wrong shows
/// by where records go.
pub(crate) async fn watch(
    stream: Stream,
    maps: Arc<ShardMaps>,
    interval: Duration,
    shutdown: Shutdown,
) -> Result<(), Infallible> {
    loop {
        let read = match stream.open_shards().await {
            Ok(shards) => ShardMap::new(shards).map_err(|error| ("incomplete", error.to_string())),
            Err(error) => Err(("failed", error)),
        };
        match read {
            Ok(map) => maps.learn(map),
            Err((outcome, error)) => {
                maps.refreshed(outcome);
                let packing = maps.current().is_some();
                tracing::warn!(error, packing, "the open shards of the stream cannot be read");
            }
        }
        let rest = match maps.current() {
            Some(_) => interval.saturating_sub(PAUSE),
            None => Duration::ZERO,
        };
        let look_again = async {
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = maps.wanted.notified() => {}
            }
        };
        tokio::select! {
            () = look_again => {}
            () = shutdown.requested() => return Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "shard_map/tests.rs"]
pub(crate) mod tests;
