//! What all shards of one archive share.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use service_runtime::Shutdown;
use tokio::sync::watch;

use crate::budget::Budget;
use crate::buffer::{Buffer, Form};
use crate::claim::{Claim, Found};
use crate::commit::Committer;
use crate::config::Config;
use crate::cut::Cause;
use crate::error::Stopped;
use crate::firehose::Delivery;
use crate::metrics::Metrics;
use crate::read::Reader;
use crate::sequence::ShardId;
use crate::start::Origin;

/// Everything that archiving a shard needs and that is not the shard's own.
pub struct Archive {
    /// The settings.
    pub config: Config,
    /// The stream's side.
    pub kinesis: Client,
    /// The bucket's side.
    pub committer: Committer,
    /// Memory for all shards.
    pub budget: Budget,
    /// Where the archive begins.
    pub origin: Origin,
    /// This replica's id, as states and heartbeats have it; a new one at every start.
    pub owner: String,
    /// When to drain.
    pub shutdown: Shutdown,
    /// What is shown.
    pub metrics: Metrics,
    /// Where lines go in place of the bucket.
    pub delivery: Option<Delivery>,
    /// How long the stream keeps its records, once that is known.
    pub retention: watch::Sender<Option<Duration>>,
    /// Tells the second delivery which shards are ours to deliver, if there is one.
    pub to_deliver: watch::Sender<HashSet<ShardId>>,
}

impl Archive {
    /// Takes a shard whose state was `found` so.
    pub async fn claim(&self, shard: &ShardId, found: Found) -> Result<Claim, Stopped> {
        Claim::take(&self.committer.store, &self.metrics, shard, &self.owner, found).await
    }

    /// Why a shard is to stop now: a drain stops all, else it belongs to another replica.
    pub fn cause_of_stop(&self) -> Cause {
        if self.shutdown.is_requested() {
            Cause::Shutdown
        } else {
            Cause::HandOver
        }
    }

    /// Reads what follows the shard's checkpoint.
    pub fn reader(&self, claim: &Claim) -> Reader {
        let (stream, after) = (&self.config.stream, claim.state().checkpoint.clone());
        Reader::new(
            &self.kinesis,
            stream,
            claim.shard(),
            self.origin,
            after,
            self.config.pace,
            &self.metrics,
        )
    }

    /// An empty buffer for the shard.
    pub fn buffer(&self, shard: &ShardId) -> Buffer {
        let form = Form {
            layout: Arc::clone(&self.config.layout),
            compression: self.config.compression,
        };
        Buffer::new(shard.clone(), self.config.limits, form)
    }
}
