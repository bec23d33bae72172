//! Finishing the cut that a former owner, or we before a crash, had announced.
//!
//! The announced objects are looked for first: if all are stored, only the checkpoint was missing.
//! Otherwise exactly the announced records are read again and the same objects are put, under the
//! announced prefixes, period and compression, whatever the settings are now.
//!
//! Two things can stand in the way. Records that have left the stream are counted as missing, loudly:
//! what is left of the cut is announced anew under the same keys and stored. And if a part of the cut
//! is stored while the rest cannot be rebuilt as announced, nothing that is right can be written: the
//! shard stops until a person has looked.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use crate::archive::Archive;
use crate::budget::READ_ALLOWANCE;
use crate::buffer::{Buffer, Cut, Form};
use crate::claim::Claim;
use crate::commit::{self, Committer, OBJECTS_AT_ONCE, Stored};
use crate::cut::Limits;
use crate::encode::BLOCK_BYTES;
use crate::error::Stopped;
use crate::metrics::Conflict;
use crate::pending::{Pending, PlannedObject};

/// So many up-to-date answers without a record end the wait for records that should be there.
const EMPTY_ANSWERS_MAX: u32 = 10;
/// A cut that was announced ends with its last record and with nothing else.
const NO_LIMITS: Limits = Limits {
    bytes: u64::MAX,
    stored_bytes: u64::MAX,
    partitions: usize::MAX,
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
    let looks: Vec<BoxFuture<'_, Stored>> = pending
        .objects
        .iter()
        .map(|object| committer.is_stored(object, &pending.last).boxed())
        .collect();
    let looks: Vec<Stored> = stream::iter(looks).buffered(OBJECTS_AT_ONCE).collect().await;
    let mut stored = 0;
    for (object, found) in pending.objects.iter().zip(looks) {
        match found {
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
    let rebuilt = read_again(archive, claim, pending).await?;
    let rebuilt = rebuilt.map(|cut| commit::plan(&shard, cut));
    let (rebuilt, bodies) = rebuilt.unwrap_or_else(|| (pending.without_records(), Vec::new()));
    if !same_content(&rebuilt.objects, &pending.objects) {
        if partly_stored {
            archive.metrics.conflict(Conflict::Changed);
            return Err(Stopped::Changed {
                shard,
                first: pending.first.to_string(),
            });
        }
        let missing = pending.records.saturating_sub(rebuilt.records);
        archive.metrics.records_missing(missing);
        tracing::error!(%shard, missing, first = %pending.first, last = %pending.last, "records of a prepared cut have left the stream");
        claim.prepare(rebuilt.clone()).await?;
    }
    archive.committer.store_objects(claim, &rebuilt, &bodies).await
}

/// Reads the records that were announced and that the stream still has.
async fn read_again(archive: &Archive, claim: &Claim, pending: &Pending) -> Result<Option<Cut>, Stopped> {
    let form = Form {
        layout: Arc::new(pending.layout.clone()),
        compression: pending.compression,
    };
    let mut buffer = Buffer::new(claim.shard().clone(), NO_LIMITS, form);
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

/// Compressed sizes may differ between versions of the compressor; the lines may not.
fn same_content(rebuilt: &[PlannedObject], announced: &[PlannedObject]) -> bool {
    let same = |(rebuilt, announced): (&PlannedObject, &PlannedObject)| {
        (&rebuilt.key, rebuilt.lines, rebuilt.crc) == (&announced.key, announced.lines, announced.crc)
    };
    rebuilt.len() == announced.len() && rebuilt.iter().zip(announced).all(same)
}

fn memory_to_redo(pending: &Pending) -> u64 {
    let stored: u64 = pending.objects.iter().map(|object| object.stored_bytes).sum();
    stored + READ_ALLOWANCE + (pending.objects.len() * BLOCK_BYTES) as u64
}

impl Cut {
    /// A cut that lost its first or last records still stands for the whole announced range. And its
    /// period is the announced one, should the rules of the zone have changed since.
    fn standing_for(mut self, pending: &Pending) -> Self {
        self.span.first = pending.first.clone();
        self.span.last = pending.last.clone();
        self.span.period = pending.period;
        self
    }
}

impl Pending {
    /// What is left of a cut when all of its records are gone.
    fn without_records(&self) -> Self {
        Self {
            records: 0,
            objects: Vec::new(),
            ..self.clone()
        }
    }
}
