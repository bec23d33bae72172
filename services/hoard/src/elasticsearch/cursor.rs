//! How far a shard has been delivered, in the bucket: `{state prefix}{stream}/elasticsearch/{shard}.json`.
//!
//! Changed by compare-and-swap only. It never goes back: two replicas that deliver the same shard for a
//! while keep the farther position, and what both sent is there once.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::elasticsearch::deliver::Stopped;
use crate::metrics::Step;
use crate::sequence::{SequenceNumber, ShardId};
use crate::store::{ETag, Put, Store};

/// A shard's position, as it stands in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Of this very write.
    pub revision: Uuid,
    /// The last record that was delivered, inclusive; none before the first.
    pub after: Option<SequenceNumber>,
    /// The shard was closed and everything in it is delivered.
    pub is_ended: bool,
}

/// The position of one shard and how to change it.
pub struct Cursor {
    store: Store,
    key: String,
    etag: Option<ETag>,
    position: Position,
}

impl Cursor {
    /// Reads where the shard stands.
    pub async fn load(store: &Store, shard: &ShardId) -> Result<Self, Stopped> {
        let key = store.state_key(&format!("elasticsearch/{shard}"));
        let (position, etag) = match read(store, &key).await? {
            Some((position, etag)) => (position, Some(etag)),
            None => (Position::first(), None),
        };
        Ok(Self {
            store: store.clone(),
            key,
            etag,
            position,
        })
    }

    /// As it was read or written last.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Moves on to `after`, unless another replica is farther already.
    pub async fn advance(&mut self, after: Option<SequenceNumber>, is_ended: bool) -> Result<(), Stopped> {
        let next = Position {
            revision: Uuid::new_v4(),
            after,
            is_ended,
        };
        loop {
            let body = serde_json::to_vec(&next).map_err(|source| Stopped::state(&self.key, source))?;
            let put = self
                .store
                .put_state(Step::Checkpoint, &self.key, body, self.etag.as_ref());
            if let Put::Done(Some(etag)) = put.await {
                self.etag = Some(etag);
                self.position = next;
                return Ok(());
            }
            // Refused, by another's write or by an earlier try of this one.
            match read(&self.store, &self.key).await? {
                Some((found, etag)) => {
                    self.etag = Some(etag);
                    if found.revision == next.revision || found.is_beyond(&next) {
                        self.position = found;
                        return Ok(());
                    }
                }
                None => self.etag = None,
            }
        }
    }
}

impl Position {
    fn first() -> Self {
        Self {
            revision: Uuid::nil(),
            after: None,
            is_ended: false,
        }
    }

    fn is_beyond(&self, other: &Self) -> bool {
        (self.is_ended, &self.after) >= (other.is_ended, &other.after)
    }
}

async fn read(store: &Store, key: &str) -> Result<Option<(Position, ETag)>, Stopped> {
    let Some((body, etag)) = store.get_state(key).await else {
        return Ok(None);
    };
    let position = serde_json::from_slice(&body).map_err(|source| Stopped::state(key, source))?;
    Ok(Some((position, etag)))
}
