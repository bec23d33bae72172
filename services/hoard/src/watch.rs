//! Looking at the state objects: who is there, and how each shard stands.
//!
//! A look is one listing of the stream's state folder, which shows by its ETags what has changed, and
//! one read of each heartbeat that is new and of each state that has changed and is not our own. So
//! what it costs does not grow with what stays as it is.

use futures::StreamExt;
use tokio::time::Instant;

use crate::claim;
use crate::heartbeat;
use crate::replicas::{Heartbeat, Pulse};
use crate::retry::FailedCall;
use crate::sequence::ShardId;
use crate::sight::Sight;
use crate::store::Store;

/// So many objects are read at a time.
const READS_AT_A_TIME: usize = 16;

/// Looks, and keeps what it saw.
pub struct Watch {
    store: Store,
    sight: Sight,
}

impl Watch {
    /// Has seen nothing.
    pub fn new(store: &Store, me: &str, my_name: Option<&str>, pulse: Pulse) -> Self {
        Self {
            store: store.clone(),
            sight: Sight::new(me, my_name, pulse),
        }
    }

    /// Looks, but at no state that is `not_needed`.
    pub async fn look(&mut self, not_needed: impl Fn(&ShardId) -> bool) -> Result<(), FailedCall> {
        let asked = Instant::now();
        let names = self.store.list_states().await?;
        let to_read = self.sight.listed(asked, Instant::now(), names, not_needed);
        self.meet(to_read.replicas).await?;
        self.read(to_read.shards).await
    }

    async fn meet(&mut self, replicas: Vec<String>) -> Result<(), FailedCall> {
        let store = &self.store;
        let reads = futures::stream::iter(replicas).map(|replica| async move {
            let key = store.state_key(&heartbeat::name(&replica));
            let found = store.try_get_state(&key).await;
            (replica, key, found)
        });
        let read: Vec<_> = reads.buffer_unordered(READS_AT_A_TIME).collect().await;
        for (replica, key, found) in read {
            let Some((body, _)) = found? else {
                continue; // gone already; so the next listing says
            };
            match serde_json::from_slice::<Heartbeat>(&body) {
                Ok(heartbeat) => {
                    tracing::info!(replica, name = heartbeat.name, "met another replica");
                    self.sight.met(&replica, &heartbeat);
                }
                Err(error) => tracing::error!(key, %error, "not a heartbeat: its replica counts as alive"),
            }
        }
        Ok(())
    }

    async fn read(&mut self, shards: Vec<ShardId>) -> Result<(), FailedCall> {
        let store = &self.store;
        let reads = futures::stream::iter(shards).map(|shard| async move {
            let key = store.state_key(shard.as_str());
            let found = store.try_get_state(&key).await;
            (shard, key, found)
        });
        let read: Vec<_> = reads.buffer_unordered(READS_AT_A_TIME).collect().await;
        for (shard, key, found) in read {
            match found? {
                None => self.sight.saw(shard, None),
                Some((body, etag)) => match claim::parse(&key, &body) {
                    Ok(state) => self.sight.saw(shard, Some((state, etag))),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(%shard, error, "left alone until a person has looked");
                        self.sight.saw_nonsense(shard, etag);
                    }
                },
            }
        }
        Ok(())
    }

    /// What was seen so far.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Deletes what dead replicas left of themselves, and the states of shards that are `over`.
    pub async fn tidy(&self, over: &[ShardId]) {
        let states = over.iter().map(ToString::to_string);
        for name in self.sight.left_by_the_dead().into_iter().chain(states) {
            match self.store.try_delete_state(&self.store.state_key(&name)).await {
                Ok(()) => tracing::info!(name, "cleared away"),
                // It is tried again with the next look at the stream.
                Err(failed) => tracing::warn!(name, detail = failed.detail, "not cleared away"),
            }
        }
    }
}
