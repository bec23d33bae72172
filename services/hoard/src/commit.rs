//! Committing one cut: prepare → put → checkpoint. The heart of "exactly once".
//!
//! 1. The cut is written into the shard's state, conditioned on the state being ours: whoever does
//!    not own the shard any more stops here, before any object is touched.
//! 2. Each object is put with `If-None-Match: *` under a key that names the cut's *first* record. If
//!    it is there already with the same last record and the same CRC, it is the one we would write: a
//!    put of ours whose answer was lost, or the former owner's put of the very cut that it prepared.
//!    Anything else is never overwritten; it stops the shard until a person has looked.
//! 3. The checkpoint moves to the cut's end and the cut is forgotten, in one conditional write.
//!
//! The order of the steps is [`CutSteps`]'. A crash between any two steps leaves a state from which [`crate::recover`] finishes the same cut. A
//! former owner that wakes up late can only put the objects that the state announced.

use std::time::Instant;

use aws_clients::Failure;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use uuid::Uuid;

use crate::buffer::{Cut, CutObject};
use crate::claim::Claim;
use crate::cut::Cause;
use crate::encode::crc_to_hex;
use crate::error::Stopped;
use crate::layout::{CRC, CutPlace, LAST_SEQUENCE_NUMBER, Layout};
use crate::metrics::{Conflict, Metrics, Step};
use crate::pending::{Pending, PlannedObject};
use crate::protocol::{CutSteps, Next, Stored, Trouble};
use crate::retry::{FailedCall, Retry};
use crate::sequence::{SequenceNumber, ShardId};
use crate::start;
use crate::store::{Put, Store};

/// So many objects of one cut are put or looked at at a time.
pub const OBJECTS_AT_ONCE: usize = 8;

/// Commits cuts of any shard.
#[derive(Clone)]
pub struct Committer {
    /// Where to.
    pub store: Store,
    /// What it shows.
    pub metrics: Metrics,
}

impl Committer {
    /// Commits `cut`, which follows the checkpoint of `claim`.
    pub async fn commit(&self, claim: &mut Claim, cut: Cut, cause: Cause) -> Result<(), Stopped> {
        let (pending, bodies) = plan(claim.shard(), cut);

        let mut steps = CutSteps::announce(pending.objects.len());
        self.finish(claim, &mut steps, &pending, &bodies).await?;

        let freshness = start::now().as_millis() - pending.first_arrival.as_millis();
        self.metrics.cut(cause, &pending, freshness);
        for object in &pending.objects {
            tracing::info!(
                key = object.key,
                lines = object.lines,
                bytes = object.stored_bytes,
                cause = cause.as_str(),
                "committed"
            );
        }
        Ok(())
    }

    /// Takes `cut`, whose objects are encoded, through its remaining steps.
    pub async fn finish(
        &self,
        claim: &mut Claim,
        steps: &mut CutSteps,
        cut: &Pending,
        bodies: &[Bytes],
    ) -> Result<(), Stopped> {
        loop {
            let started = Instant::now();
            let step = match steps.next() {
                Next::Prepare => {
                    claim.prepare(cut.clone()).await?;
                    steps.prepared();
                    Step::Prepare
                }
                Next::Put => {
                    self.put_missing(claim, steps, cut, bodies).await?;
                    Step::Put
                }
                Next::Checkpoint => {
                    claim.complete(steps).await?;
                    steps.completed();
                    Step::Checkpoint
                }
                Next::Look | Next::ReadAgain | Next::Done => return Ok(()),
            };
            self.metrics.step(step, started.elapsed());
        }
    }

    /// Puts the objects of `cut`, which is announced in `claim`; each is durable when this returns. The
    /// checkpoint does not move before that, so whoever finishes the cut writes the same link.
    async fn put_missing(
        &self,
        claim: &Claim,
        steps: &mut CutSteps,
        cut: &Pending,
        bodies: &[Bytes],
    ) -> Result<(), Stopped> {
        let place = CutPlace {
            shard: claim.shard(),
            after: claim.state().checkpoint.as_ref(),
            cut,
        };
        let puts: Vec<BoxFuture<'_, _>> = steps
            .missing()
            .map(|index| {
                let put = self.put_or_compare(place, &cut.objects[index], &bodies[index]);
                put.map(move |found| (index, found)).boxed()
            })
            .collect();
        let mut puts = stream::iter(puts).buffer_unordered(OBJECTS_AT_ONCE);
        while let Some((index, found)) = puts.next().await {
            steps
                .put(index, found)
                .map_err(|trouble| self.stop(trouble, claim, cut))?;
            self.metrics.object(&cut.objects[index], bodies[index].len());
        }
        Ok(())
    }

    /// Puts an object, or finds out what is in its place.
    async fn put_or_compare(&self, place: CutPlace<'_>, object: &PlannedObject, body: &Bytes) -> Stored {
        let metadata = Layout::metadata(place, object);
        let mut retry = Retry::new(Step::Compare, object.key.clone(), &self.metrics);
        loop {
            if let Put::Done(_) = self.store.put_object(&object.key, body, &metadata).await {
                return Stored::Yes;
            }
            match self.is_stored(object, &place.cut.last).await {
                Stored::Yes => {
                    self.metrics.conflict(Conflict::Own);
                    return Stored::Yes;
                }
                Stored::Foreign => return Stored::Foreign,
                Stored::No => {
                    let gone = "an object was in the way and is gone: it is put again";
                    retry.wait(&FailedCall::new(Failure::Conflict, gone)).await;
                }
            }
        }
    }

    /// Counts what a person has to look at, and names it.
    pub fn stop(&self, trouble: Trouble, claim: &Claim, cut: &Pending) -> Stopped {
        match trouble {
            Trouble::Foreign(index) => {
                self.metrics.conflict(Conflict::Foreign);
                Stopped::Foreign {
                    key: cut.objects[index].key.clone(),
                }
            }
            Trouble::Changed => {
                self.metrics.conflict(Conflict::Changed);
                Stopped::Changed {
                    shard: claim.shard().clone(),
                    first: cut.first.to_string(),
                }
            }
        }
    }

    /// Looks whether `object` of a cut that ends with `last` is in the bucket.
    pub async fn is_stored(&self, object: &PlannedObject, last: &SequenceNumber) -> Stored {
        let Some(metadata) = self.store.metadata(&object.key).await else {
            return Stored::No;
        };
        let has = |name, value: &str| metadata.get(name).is_some_and(|found| found == value);
        if has(LAST_SEQUENCE_NUMBER, last.as_str()) && has(CRC, &crc_to_hex(object.crc)) {
            Stored::Yes
        } else {
            Stored::Foreign
        }
    }
}

/// Names the objects of a cut.
pub fn plan(shard: &ShardId, cut: Cut) -> (Pending, Vec<Bytes>) {
    let Cut { span, objects, form } = cut;
    let (planned, bodies) = objects
        .into_iter()
        .map(|object| {
            let CutObject {
                kind,
                partition,
                encoded,
            } = object;
            let key = form.layout.key(
                (kind, &partition),
                span.period,
                shard,
                &span.first,
                form.compression,
            );
            let planned = PlannedObject {
                kind,
                partition,
                key,
                lines: encoded.lines,
                bytes: encoded.bytes,
                stored_bytes: encoded.body.len() as u64,
                crc: encoded.crc,
            };
            (planned, encoded.body)
        })
        .unzip();
    let pending = Pending {
        id: Uuid::new_v4(),
        first: span.first,
        last: span.last,
        records: span.records,
        first_arrival: span.first_arrival,
        last_arrival: span.last_arrival,
        period: span.period,
        compression: form.compression,
        layout: form.layout.as_ref().clone(),
        objects: planned,
    };
    (pending, bodies)
}
