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
//! A crash between any two steps leaves a state from which [`crate::recover`] finishes the same cut. A
//! former owner that wakes up late can only put the objects that the state announced.

use std::collections::HashMap;
use std::time::Instant;

use aws_clients::Failure;
use bytes::Bytes;
use uuid::Uuid;

use crate::buffer::Cut;
use crate::claim::Claim;
use crate::cut::{Cause, Span};
use crate::encode::{Compression, Encoded, crc_to_hex};
use crate::error::Stopped;
use crate::layout::{CRC, CutPlace, LAST_SEQUENCE_NUMBER, Layout};
use crate::metrics::{Conflict, Metrics, Step};
use crate::pending::{Kind, Pending, PlannedObject};
use crate::retry::{FailedCall, Retry};
use crate::sequence::{SequenceNumber, ShardId};
use crate::start;
use crate::store::{Put, Store};

/// Commits cuts of any shard.
#[derive(Clone)]
pub struct Committer {
    /// Where to.
    pub store: Store,
    /// Under which keys.
    pub layout: Layout,
    /// How new objects are compressed.
    pub compression: Compression,
    /// What it shows.
    pub metrics: Metrics,
}

/// Whether an announced object is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// With the announced content.
    Yes,
    /// There is no object of that key.
    No,
    /// There is one with other content.
    Foreign,
}

impl Committer {
    /// Commits `cut`, which follows the checkpoint of `claim`.
    pub async fn commit(&self, claim: &mut Claim, cut: Cut, cause: Cause) -> Result<(), Stopped> {
        let Cut { span, objects } = cut;
        let (pending, bodies) = self.plan(claim.shard(), &span, objects);

        let started = Instant::now();
        claim.prepare(pending.clone()).await?;
        let started = self.lap(Step::Prepare, started);
        self.store_objects(claim, &span, &pending.objects, &bodies)
            .await?;
        let started = self.lap(Step::Put, started);
        claim.complete().await?;
        self.lap(Step::Checkpoint, started);

        let freshness = start::now().as_millis() - span.first_arrival.as_millis();
        self.metrics.cut(cause, span.records, freshness);
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

    /// Names the objects of a cut.
    pub fn plan(&self, shard: &ShardId, span: &Span, objects: Vec<(Kind, Encoded)>) -> (Pending, Vec<Bytes>) {
        let (planned, bodies) = objects
            .into_iter()
            .map(|(kind, encoded)| {
                let key = self
                    .layout
                    .key(kind, span.day, shard, &span.first, self.compression);
                (PlannedObject::new(kind, key, &encoded), encoded.body)
            })
            .unzip();
        let pending = Pending {
            id: Uuid::new_v4(),
            first: span.first.clone(),
            last: span.last.clone(),
            records: span.records,
            first_arrival: span.first_arrival,
            compression: self.compression,
            objects: planned,
        };
        (pending, bodies)
    }

    /// Puts the objects of the cut that is announced in `claim`; each is durable when this returns. The
    /// checkpoint does not move before that, so whoever finishes the cut writes the same link.
    pub async fn store_objects(
        &self,
        claim: &Claim,
        span: &Span,
        objects: &[PlannedObject],
        bodies: &[Bytes],
    ) -> Result<(), Stopped> {
        let cut = CutPlace {
            shard: claim.shard(),
            after: claim.state().checkpoint.as_ref(),
            span,
            objects: objects.len(),
        };
        for (object, body) in objects.iter().zip(bodies) {
            let metadata = self.layout.metadata(cut, object);
            self.store_object(object, &span.last, body, &metadata).await?;
            self.metrics.object(object.kind, body.len(), object.bytes);
        }
        Ok(())
    }

    async fn store_object(
        &self,
        object: &PlannedObject,
        last: &SequenceNumber,
        body: &Bytes,
        metadata: &HashMap<String, String>,
    ) -> Result<(), Stopped> {
        let mut retry = Retry::new(Step::Compare, object.key.clone(), &self.metrics);
        loop {
            if let Put::Done(_) = self.store.put_object(&object.key, body, metadata).await {
                return Ok(());
            }
            match self.is_stored(object, last).await {
                Stored::Yes => {
                    self.metrics.conflict(Conflict::Own);
                    return Ok(());
                }
                Stored::Foreign => {
                    self.metrics.conflict(Conflict::Foreign);
                    return Err(Stopped::Foreign {
                        key: object.key.clone(),
                    });
                }
                Stored::No => {
                    let gone = "an object was in the way and is gone: it is put again";
                    retry.wait(&FailedCall::new(Failure::Conflict, gone)).await;
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

    fn lap(&self, step: Step, started: Instant) -> Instant {
        self.metrics.step(step, started.elapsed());
        Instant::now()
    }
}

impl PlannedObject {
    /// What is announced of an object that is encoded.
    fn new(kind: Kind, key: String, encoded: &Encoded) -> Self {
        Self {
            kind,
            key,
            lines: encoded.lines,
            bytes: encoded.bytes,
            stored_bytes: encoded.body.len() as u64,
            crc: encoded.crc,
        }
    }
}
