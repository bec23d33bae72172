//! One shard, from the stream to the bucket:
//!
//! ```text
//! claim → finish what was pending → ┌ read → line → cut? → encode ┐ → commit → … → end or hand back
//!                                   └─────── next record ─────────┘
//! ```
//!
//! The stages run one after the other: while a cut is committed nothing is read, so a shard never
//! holds more than one cut, and shards overlap with each other instead. A commit takes three small
//! round trips and the upload; a shard that is behind reads for much longer than that between cuts.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::budget::{Allowance, Lease, READ_ALLOWANCE};
use crate::buffer::Buffer;
use crate::claim::{Claim, Found};
use crate::config::Config;
use crate::cut::Cause;
use crate::day_marker::DayMarker;
use crate::error::Stopped;
use crate::ownership::Change;
use crate::read::{Batch, Reader};
use crate::record::Arrival;
use crate::recover;
use crate::sequence::ShardId;
use crate::state::ShardState;
use crate::store::ETag;

/// So many bytes of records are encoded before other tasks get their turn: about a millisecond.
const BYTES_PER_TURN: usize = 64 * 1024;

/// Takes a shard whose state was `found` so, and archives it until it ends or is to `stop`: because a
/// drain was asked for, or because it belongs to another replica.
pub async fn archive_shard(
    archive: Arc<Archive>,
    shard: ShardId,
    found: Found,
    change: Change,
    stop: CancellationToken,
) -> Result<(), Stopped> {
    let claimed = tokio::select! {
        claimed = archive.claim(&shard, found) => claimed,
        () = stop.cancelled() => return Ok(()),
    };
    let mut claim = match claimed {
        Err(Stopped::Lost { .. }) => return Ok(()), // another replica was faster
        claimed => claimed?,
    };
    archive.metrics.owner_changed(change);
    tokio::select! {
        finished = recover::finish_pending(&archive, &mut claim) => finished?,
        // What is pending stays announced; the next owner finishes it.
        () = stop.cancelled() => return hand_back(&archive, &mut claim).await,
    }
    let mut pipeline = Pipeline {
        reader: archive.reader(&claim),
        buffer: archive.buffer(&shard),
        lease: archive.budget.lease(),
        archive: &archive,
        claim,
        stop,
    };
    loop {
        match pipeline.next_event().await {
            Event::Read(batch, allowance) => {
                let (end, up_to_date_at) = (batch.end, batch.up_to_date_at);
                pipeline.take(batch).await?;
                pipeline.lease.settle(pipeline.buffer.footprint(), allowance);
                if end {
                    pipeline.cut(Cause::ShardEnd).await?;
                    tracing::info!(%shard, "ended: everything in it is committed");
                    return pipeline.claim.end_shard().await;
                }
                if let Some(now) = up_to_date_at {
                    pipeline.pass(now).await?;
                }
            }
            Event::Stop => {
                let asked = Instant::now();
                pipeline.cut(archive.cause_of_stop()).await?;
                hand_back(&archive, &mut pipeline.claim).await?;
                archive.metrics.hand_over(asked.elapsed());
                return Ok(());
            }
            Event::Cut(cause) => pipeline.cut(cause).await?,
        }
    }
}

/// Releases a shard that says that it is ours and that nobody archives.
pub async fn release_shard(
    archive: Arc<Archive>,
    shard: ShardId,
    state: ShardState,
    etag: ETag,
) -> Result<(), Stopped> {
    let (store, metrics) = (&archive.committer.store, &archive.metrics);
    let mut claim = Claim::found(store, metrics, &shard, state, etag);
    hand_back(&archive, &mut claim).await
}

async fn hand_back(archive: &Archive, claim: &mut Claim) -> Result<(), Stopped> {
    claim.release().await?;
    archive.metrics.owner_changed(match archive.cause_of_stop() {
        Cause::Shutdown => Change::Shutdown,
        _ => Change::HandedOver,
    });
    Ok(())
}

struct Pipeline<'a> {
    archive: &'a Archive,
    claim: Claim,
    reader: Reader,
    buffer: Buffer,
    lease: Lease,
    stop: CancellationToken,
}

enum Event {
    /// Records came, and the memory they may take is ours.
    Read(Batch, Allowance),
    /// What is held must be cut.
    Cut(Cause),
    /// The same, and the shard released.
    Stop,
}

impl Pipeline<'_> {
    /// Waits for what happens next. A call that is under way is abandoned when a cut is due; its
    /// records come again.
    async fn next_event(&mut self) -> Event {
        let due = self.buffer.due();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Event::Stop,
            () = sleep_until(due) => Event::Cut(Cause::Age),
            () = self.lease.asked_to_cut() => Event::Cut(Cause::Memory),
            (batch, allowance) = read(self.archive, &mut self.reader) => Event::Read(batch, allowance),
        }
    }

    /// Each record into the open cut, with a commit wherever one ends.
    async fn take(&mut self, batch: Batch) -> Result<(), Stopped> {
        let mut bytes = 0;
        for record in batch.records {
            if let Some(cause) = self.buffer.ends_before(&record) {
                self.cut(cause).await?;
            }
            for reason in self.buffer.push(&record, Instant::now())? {
                self.archive.metrics.record_bad(reason);
            }
            if let Some(cause) = self.buffer.is_full() {
                self.cut(cause).await?;
            }
            bytes += record.data.len();
            if bytes >= BYTES_PER_TURN {
                bytes = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// A shard that has nothing to give at `now` passes the end of a day too, where days are marked.
    async fn pass(&mut self, now: Arrival) -> Result<(), Stopped> {
        let Config {
            day_marker, layout, ..
        } = &self.archive.config;
        let is_news = |marker: &DayMarker| marker.is_news(&layout.zone, self.claim.state().passed, now);
        if self.buffer.is_empty() && day_marker.as_ref().is_some_and(is_news) {
            self.claim.pass(now).await?;
        }
        Ok(())
    }

    /// Commits what is held; nothing happens when nothing is.
    async fn cut(&mut self, cause: Cause) -> Result<(), Stopped> {
        self.lease.returning();
        if let Some(cut) = self.buffer.cut()? {
            self.archive.committer.commit(&mut self.claim, cut, cause).await?;
        }
        self.lease.release();
        Ok(())
    }
}

/// Memory first, then the records.
async fn read(archive: &Archive, reader: &mut Reader) -> (Batch, Allowance) {
    loop {
        reader.turn().await;
        let mut allowance = archive.budget.acquire(READ_ALLOWANCE).await;
        if let Some(batch) = reader.attempt().await {
            allowance.shrink_to(batch.footprint_max());
            return (batch, allowance);
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
