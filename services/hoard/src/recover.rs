//! Finishing the cut that a former owner, or we before a crash, had announced.
//!
//! The announced objects are looked for first: if all are stored, only the checkpoint was missing.
//! Otherwise exactly the announced records are read again and the same objects are put. The announced
//! compression and keys are used, whatever the settings are now.
//!
//! Two things can stand in the way. Records that have left the stream are counted as missing, loudly:
//! what is left of the cut is announced anew under the same keys and stored. And if a part of the cut
//! is stored while the rest cannot be rebuilt as announced, nothing that is right can be written: the
//! shard stops until a person has looked.

use bytes::Bytes;
use tokio::time::Instant;

use crate::archive::Archive;
use crate::budget::READ_ALLOWANCE;
use crate::buffer::{Buffer, Cut};
use crate::claim::Claim;
use crate::commit::{Committer, Stored};
use crate::cut::Limits;
use crate::encode::ENCODER_OVERHEAD_BYTES;
use crate::error::Stopped;
use crate::metrics::Conflict;
use crate::pending::{Pending, PlannedObject};

/// So many up-to-date answers without a record end the wait for records that should be there.
const EMPTY_ANSWERS_MAX: u32 = 10;
/// A cut that was announced ends with its last record and with nothing else.
const NO_LIMITS: Limits = Limits {
    bytes: u64::MAX,
    age: std::time::Duration::MAX,
};

/// Commits what is pending in `claim`, if anything is.
pub async fn finish_pending(archive: &Archive, claim: &mut Claim) -> Result<(), Stopped> {
    let Some(pending) = claim.state().pending.clone() else {
        return Ok(());
    };
    let stored = stored(&archive.committer, claim, &pending).await?;
    let how = if stored == pending.objects.len() {
        "found"
    } else {
        redo(archive, claim, &pending, stored > 0).await?;
        "redone"
    };
    claim.complete().await?;
    archive.metrics.recovered(how, pending.records);
    tracing::info!(shard = %claim.shard(), how, records = pending.records, first = %pending.first, "finished a prepared cut");
    Ok(())
}

/// How many of the announced objects are in the bucket.
async fn stored(committer: &Committer, claim: &Claim, pending: &Pending) -> Result<usize, Stopped> {
    let mut stored = 0;
    for object in &pending.objects {
        match committer.is_stored(object, &pending.last).await {
            Stored::Yes => stored += 1,
            Stored::No => {}
            Stored::Foreign => {
                committer.metrics.conflict(Conflict::Foreign);
                tracing::error!(shard = %claim.shard(), key = object.key, "a prepared object's key is taken");
                return Err(Stopped::Foreign {
                    key: object.key.clone(),
                });
            }
        }
    }
    Ok(stored)
}

/// Reads the announced records again and puts their objects.
async fn redo(
    archive: &Archive,
    claim: &mut Claim,
    pending: &Pending,
    partly_stored: bool,
) -> Result<(), Stopped> {
    // All of it at once: a shard that waited with half of what it needs could block another that does.
    let _allowance = archive.budget.acquire(memory_to_redo(pending)).await;
    let shard = claim.shard().clone();
    let (objects, bodies, cut) = match read_again(archive, claim, pending).await? {
        Some(cut) => {
            let (objects, bodies) = keep_keys(archive, claim, pending, &cut);
            (objects, bodies, Some(cut))
        }
        None => (Vec::new(), Vec::new(), None),
    };
    if !same_content(&objects, &pending.objects) {
        if partly_stored {
            archive.metrics.conflict(Conflict::Changed);
            return Err(Stopped::Changed {
                shard,
                first: pending.first.to_string(),
            });
        }
        let found = cut.as_ref().map_or(0, |cut| cut.span.records);
        let missing = pending.records.saturating_sub(found);
        archive.metrics.records_missing(missing);
        tracing::error!(%shard, missing, first = %pending.first, last = %pending.last, "records of a prepared cut have left the stream");
        claim
            .prepare(Pending {
                objects: objects.clone(),
                records: found,
                ..pending.clone()
            })
            .await?;
    }
    match cut {
        Some(cut) => {
            archive
                .committer
                .store_objects(claim, &cut.span, &objects, &bodies)
                .await
        }
        None => Ok(()),
    }
}

/// Reads the records that were announced and that the stream still has.
async fn read_again(archive: &Archive, claim: &Claim, pending: &Pending) -> Result<Option<Cut>, Stopped> {
    let mut buffer = Buffer::new(
        &archive.config.stream,
        claim.shard().clone(),
        NO_LIMITS,
        pending.compression,
    );
    let mut reader = archive.reader(claim);
    let mut empty_answers = 0;
    loop {
        reader.turn().await;
        let Some(batch) = reader.attempt().await else {
            continue;
        };
        empty_answers = if batch.records.is_empty() && batch.up_to_date {
            empty_answers + 1
        } else {
            0
        };
        let mut past_last = batch.end || empty_answers == EMPTY_ANSWERS_MAX;
        for record in &batch.records {
            if record.sequence_number <= pending.last {
                // Bad records were counted when they were first read.
                let _counted = buffer.push(record, Instant::now())?;
            }
            past_last |= record.sequence_number >= pending.last;
        }
        if past_last {
            let cut = buffer.cut()?;
            return Ok(cut.map(|cut| cut.standing_for(pending)));
        }
        tokio::task::yield_now().await;
    }
}

/// The rebuilt objects under the announced keys.
fn keep_keys(
    archive: &Archive,
    claim: &Claim,
    pending: &Pending,
    cut: &Cut,
) -> (Vec<PlannedObject>, Vec<Bytes>) {
    let (mut rebuilt, bodies) = archive
        .committer
        .plan(claim.shard(), &cut.span, cut.objects.clone());
    for object in &mut rebuilt.objects {
        if let Some(announced) = pending
            .objects
            .iter()
            .find(|announced| announced.kind == object.kind)
        {
            object.key.clone_from(&announced.key);
        }
    }
    (rebuilt.objects, bodies)
}

/// Compressed sizes may differ between versions of the compressor; the lines may not.
fn same_content(rebuilt: &[PlannedObject], announced: &[PlannedObject]) -> bool {
    let identity = |object: &PlannedObject| (object.kind, object.lines, object.crc);
    rebuilt.iter().map(identity).eq(announced.iter().map(identity))
}

fn memory_to_redo(pending: &Pending) -> u64 {
    let stored: u64 = pending.objects.iter().map(|object| object.stored_bytes).sum();
    stored + READ_ALLOWANCE + (pending.objects.len() * ENCODER_OVERHEAD_BYTES) as u64
}

impl Cut {
    /// A cut that lost its first or last records still stands for the whole announced range.
    fn standing_for(mut self, pending: &Pending) -> Self {
        self.span.first = pending.first.clone();
        self.span.last = pending.last.clone();
        self
    }
}
