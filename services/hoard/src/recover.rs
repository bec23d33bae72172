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
use crate::commit::{self, OBJECTS_AT_ONCE};
use crate::cut::Limits;
use crate::encode::BLOCK_BYTES;
use crate::error::Stopped;
use crate::pending::{Pending, PlannedObject};
use crate::protocol::{CutSteps, Next, Stored};

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
    let committer = &archive.committer;
    let mut steps = CutSteps::resume(pending.objects.len());
    let looks: Vec<BoxFuture<'_, Stored>> = pending
        .objects
        .iter()
        .map(|object| committer.is_stored(object, &pending.last).boxed())
        .collect();
    let found: Vec<Stored> = stream::iter(looks).buffered(OBJECTS_AT_ONCE).collect().await;
    steps
        .looked(&found)
        .map_err(|trouble| committer.stop(trouble, claim, &pending))?;
    let (how, records) = if steps.next() == Next::ReadAgain {
        ("redone", redo(archive, claim, &mut steps, &pending).await?)
    } else {
        committer.finish(claim, &mut steps, &pending, &[]).await?;
        ("found", pending.records)
    };
    archive.metrics.recovered(how, records);
    tracing::info!(shard = %claim.shard(), how, records, first = %pending.first, "finished a prepared cut");
    Ok(())
}

/// Reads the announced records again, puts their objects and moves the checkpoint. Returns how many
/// records were still there.
async fn redo(
    archive: &Archive,
    claim: &mut Claim,
    steps: &mut CutSteps,
    pending: &Pending,
) -> Result<u64, Stopped> {
    // All of it at once: a shard that waited with half of what it needs could block another that does.
    let _allowance = archive.budget.acquire(memory_to_redo(pending)).await;
    let rebuilt = read_again(archive, claim, pending).await?;
    let rebuilt = rebuilt.map(|cut| commit::plan(claim.shard(), cut));
    let (rebuilt, bodies) = rebuilt.unwrap_or_else(|| (pending.without_records(), Vec::new()));
    let is_same = same_content(&rebuilt.objects, &pending.objects);
    steps
        .read_again(is_same, rebuilt.objects.len())
        .map_err(|trouble| archive.committer.stop(trouble, claim, pending))?;
    if !is_same {
        let missing = pending.records.saturating_sub(rebuilt.records);
        archive.metrics.records_missing(missing);
        tracing::error!(shard = %claim.shard(), missing, first = %pending.first, last = %pending.last, "records of a prepared cut have left the stream");
    }
    archive.committer.finish(claim, steps, &rebuilt, &bodies).await?;
    Ok(rebuilt.records)
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
