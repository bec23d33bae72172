//! Owning one shard: the only way to change its state.
//!
//! Invariant: the state changes only by compare-and-swap on the object's ETag (`If-None-Match: *` to
//! create it), and only as [`crate::state`] says. Whoever finds another's hand in the state has lost
//! the shard, and learns it before it touches an object of the archive. The decisions are
//! [`Swap`]'s; here they meet the bucket.

use uuid::Uuid;

use crate::error::Stopped;
use crate::metrics::{Conflict, Metrics, Step};
use crate::pending::Pending;
use crate::protocol::{CutSteps, Refused, Swap};
use crate::record::Arrival;
use crate::sequence::ShardId;
use crate::state::ShardState;
use crate::store::{ETag, Put, Store};

/// A shard that this replica owns, as far as it knows.
pub struct Claim {
    store: Store,
    metrics: Metrics,
    shard: ShardId,
    key: String,
    state: ShardState,
    etag: ETag,
}

/// A state in the bucket, and the version that a write is conditioned on.
pub type Found = Option<(ShardState, ETag)>;

impl Claim {
    /// Takes the shard for `owner` if its state is still as it was `found`: the former owner, if there
    /// is one, is refused at its next step.
    pub async fn take(
        store: &Store,
        metrics: &Metrics,
        shard: &ShardId,
        owner: &str,
        found: Found,
    ) -> Result<Self, Stopped> {
        let (before, expected) = found.unzip();
        let next = ShardState::claimed(before.as_ref(), owner, Uuid::new_v4());
        let swap = Swap::new(before.as_ref(), next);
        let key = store.state_key(shard.as_str());
        let etag = carry_out(store, metrics, Step::Own, shard, &key, &swap, expected.as_ref()).await?;
        let state = swap.into_next();
        tracing::info!(%shard, epoch = state.epoch, checkpoint = ?state.checkpoint, "claimed");
        Ok(Self {
            store: store.clone(),
            metrics: metrics.clone(),
            shard: shard.clone(),
            key,
            state,
            etag,
        })
    }

    /// A shard whose state says that it is ours already.
    pub fn found(store: &Store, metrics: &Metrics, shard: &ShardId, state: ShardState, etag: ETag) -> Self {
        Self {
            store: store.clone(),
            metrics: metrics.clone(),
            shard: shard.clone(),
            key: store.state_key(shard.as_str()),
            state,
            etag,
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
        let next = self.state.prepared(pending, Uuid::new_v4());
        self.swap(Step::Prepare, next).await
    }

    /// Moves the checkpoint to the end of the announced cut, whose `steps` say that it is stored.
    pub async fn complete(&mut self, steps: &CutSteps) -> Result<(), Stopped> {
        steps.assert_covered(self.state.pending.as_ref());
        let next = self.state.completed(Uuid::new_v4());
        self.swap(Step::Checkpoint, next).await
    }

    /// Records that the shard had nothing to give at `now`, by Kinesis' clock, and that nothing is held.
    pub async fn pass(&mut self, now: Arrival) -> Result<(), Stopped> {
        let next = self.state.passed(now, Uuid::new_v4());
        self.swap(Step::Checkpoint, next).await
    }

    /// Records that everything of a closed shard is committed.
    pub async fn end_shard(&mut self) -> Result<(), Stopped> {
        let next = self.state.ended(Uuid::new_v4());
        self.swap(Step::Own, next).await
    }

    /// Hands the shard back, so that nobody has to find out that we are gone.
    pub async fn release(&mut self) -> Result<(), Stopped> {
        let next = self.state.released(Uuid::new_v4());
        self.swap(Step::Own, next).await
    }

    async fn swap(&mut self, step: Step, next: ShardState) -> Result<(), Stopped> {
        let swap = Swap::new(Some(&self.state), next);
        let expected = Some(&self.etag);
        self.etag = carry_out(
            &self.store,
            &self.metrics,
            step,
            &self.shard,
            &self.key,
            &swap,
            expected,
        )
        .await?;
        self.state = swap.into_next();
        Ok(())
    }
}

/// One compare-and-swap, tried until its outcome is known.
async fn carry_out(
    store: &Store,
    metrics: &Metrics,
    step: Step,
    shard: &ShardId,
    key: &str,
    swap: &Swap,
    expected: Option<&ETag>,
) -> Result<ETag, Stopped> {
    let body = serde_json::to_vec(swap.next()).map_err(|source| Stopped::State {
        key: key.to_owned(),
        source,
    })?;
    if let Put::Done(Some(etag)) = store.put_state(step, key, body, expected).await {
        return Ok(etag);
    }
    let found = read(store, key).await?;
    match (swap.refused(found.as_ref().map(|(state, _)| state)), found) {
        (Refused::Own, Some((_, etag))) => {
            metrics.conflict(Conflict::Own);
            Ok(etag)
        }
        (Refused::Own, None) => Err(lost(metrics, shard, None)),
        (Refused::Lost(owner), _) => Err(lost(metrics, shard, owner)),
    }
}

fn lost(metrics: &Metrics, shard: &ShardId, owner: Option<String>) -> Stopped {
    metrics.conflict(Conflict::Lost);
    Stopped::Lost {
        shard: shard.clone(),
        owner,
    }
}

async fn read(store: &Store, key: &str) -> Result<Found, Stopped> {
    match store.get_state(key).await {
        Some((body, etag)) => Ok(Some((parse(key, &body)?, etag))),
        None => Ok(None),
    }
}

/// A state as it lies in the bucket.
pub fn parse(key: &str, body: &[u8]) -> Result<ShardState, Stopped> {
    serde_json::from_slice(body).map_err(|source| Stopped::State {
        key: key.to_owned(),
        source,
    })
}
