//! Owning one shard: the only way to change its state.
//!
//! Invariant: the state changes only by compare-and-swap on the object's ETag (`If-None-Match: *` to
//! create it). Every write carries a fresh `revision`; so a writer whose answer was lost tries again,
//! is refused, reads the object and recognises its own hand. Whoever finds another's hand there has
//! lost the shard, and learns it before it touches an object of the archive.

use uuid::Uuid;

use crate::error::Stopped;
use crate::metrics::{Conflict, Metrics, Step};
use crate::pending::Pending;
use crate::record::Arrival;
use crate::sequence::ShardId;
use crate::state::ShardState;
use crate::store::{ETag, Put, Store};

/// A shard that this instance owns, as far as it knows. The only way to change a shard's state.
pub struct Claim {
    store: Store,
    metrics: Metrics,
    shard: ShardId,
    key: String,
    state: ShardState,
    etag: ETag,
}

impl Claim {
    /// Takes the shard for `owner`, whoever had it: the former owner is refused at its next step.
    /// `None` when the shard has ended: there is nothing left to own.
    pub async fn take(
        store: &Store,
        metrics: &Metrics,
        shard: &ShardId,
        owner: &str,
    ) -> Result<Option<Self>, Stopped> {
        let key = store.state_key(shard.as_str());
        loop {
            let found = read(store, &key).await?;
            let state = match &found {
                Some((state, _)) if state.shard_end => return Ok(None),
                Some((state, _)) => ShardState {
                    revision: Uuid::new_v4(),
                    owner: Some(owner.to_owned()),
                    epoch: state.epoch + 1,
                    ..state.clone()
                },
                None => ShardState::first(owner),
            };
            let expected = found.map(|(_, etag)| etag);
            if let Written::Done(etag) =
                write(store, metrics, Step::Own, &key, &state, expected.as_ref()).await?
            {
                tracing::info!(%shard, epoch = state.epoch, checkpoint = ?state.checkpoint, "claimed");
                let (store, metrics, shard) = (store.clone(), metrics.clone(), shard.clone());
                return Ok(Some(Self {
                    store,
                    metrics,
                    shard,
                    key,
                    state,
                    etag,
                }));
            }
            // Somebody else claimed it between our read and our write: claim it from them.
        }
    }

    /// The state as we wrote it last.
    pub fn state(&self) -> &ShardState {
        &self.state
    }

    /// The shard.
    pub fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// Announces a cut. After this, nothing but this cut can follow the checkpoint.
    pub async fn prepare(&mut self, pending: Pending) -> Result<(), Stopped> {
        debug_assert!(
            self.state
                .checkpoint
                .as_ref()
                .is_none_or(|checkpoint| *checkpoint < pending.first)
        );
        debug_assert!(pending.first <= pending.last);
        let next = ShardState {
            pending: Some(pending),
            ..self.state.clone()
        };
        self.swap(Step::Prepare, next).await
    }

    /// Moves the checkpoint to the end of the announced cut, whose objects are stored.
    pub async fn complete(&mut self) -> Result<(), Stopped> {
        let Some(pending) = &self.state.pending else {
            return Ok(());
        };
        let checkpoint = Some(pending.last.clone());
        let next = ShardState {
            checkpoint,
            passed: self.state.passed.max(Some(pending.last_arrival)),
            pending: None,
            ..self.state.clone()
        };
        self.swap(Step::Checkpoint, next).await
    }

    /// Records that the shard had nothing to give at `now`, by Kinesis' clock, and that nothing is held.
    pub async fn pass(&mut self, now: Arrival) -> Result<(), Stopped> {
        debug_assert!(self.state.pending.is_none(), "nothing is pending between cuts");
        let next = ShardState {
            passed: self.state.passed.max(Some(now)),
            ..self.state.clone()
        };
        self.swap(Step::Checkpoint, next).await
    }

    /// Records that everything of a closed shard is committed.
    pub async fn end_shard(&mut self) -> Result<(), Stopped> {
        debug_assert!(self.state.pending.is_none(), "a shard ends with nothing pending");
        let next = ShardState {
            shard_end: true,
            owner: None,
            ..self.state.clone()
        };
        self.swap(Step::Own, next).await
    }

    /// Hands the shard back, so that nobody has to find out that we are gone.
    pub async fn release(&mut self) -> Result<(), Stopped> {
        let next = ShardState {
            owner: None,
            ..self.state.clone()
        };
        self.swap(Step::Own, next).await
    }

    async fn swap(&mut self, step: Step, next: ShardState) -> Result<(), Stopped> {
        let next = ShardState {
            revision: Uuid::new_v4(),
            ..next
        };
        match write(
            &self.store,
            &self.metrics,
            step,
            &self.key,
            &next,
            Some(&self.etag),
        )
        .await?
        {
            Written::Done(etag) => {
                self.state = next;
                self.etag = etag;
                Ok(())
            }
            Written::Refused { owner } => {
                self.metrics.conflict(Conflict::Lost);
                Err(Stopped::Lost {
                    shard: self.shard.clone(),
                    owner,
                })
            }
        }
    }
}

enum Written {
    Done(ETag),
    /// The object is not as expected and not as we wrote it.
    Refused {
        owner: Option<String>,
    },
}

async fn read(store: &Store, key: &str) -> Result<Option<(ShardState, ETag)>, Stopped> {
    let Some((body, etag)) = store.get_state(key).await else {
        return Ok(None);
    };
    match serde_json::from_slice(&body) {
        Ok(state) => Ok(Some((state, etag))),
        Err(source) => Err(Stopped::State {
            key: key.to_owned(),
            source,
        }),
    }
}

/// One compare-and-swap, tried until its outcome is known.
async fn write(
    store: &Store,
    metrics: &Metrics,
    step: Step,
    key: &str,
    state: &ShardState,
    expected: Option<&ETag>,
) -> Result<Written, Stopped> {
    let body = serde_json::to_vec(state).map_err(|source| Stopped::State {
        key: key.to_owned(),
        source,
    })?;
    if let Put::Done(Some(etag)) = store.put_state(step, key, body, expected).await {
        return Ok(Written::Done(etag));
    }
    match read(store, key).await? {
        Some((found, etag)) if found.revision == state.revision => {
            metrics.conflict(Conflict::Own);
            Ok(Written::Done(etag))
        }
        found => Ok(Written::Refused {
            owner: found.and_then(|(state, _)| state.owner),
        }),
    }
}
