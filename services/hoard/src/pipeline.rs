//! One shard, from the stream to the bucket:
//!
//! ```text
//! claim → finish what was pending → ┌ read → line → cut? → encode ┐ → commit → … → end or hand back
//!                                   └─────── next record ─────────┘
//! ```
//!
//! Where lines go to Firehose, those of a whole read are sent between `line` and `cut?`; there is nothing
//! to encode then but error lines.
//!
//! The stages run one after the other: while a cut is committed nothing is read, so a shard never
//! holds more than one cut, and shards overlap with each other instead. A commit takes three small
//! round trips and the upload; a shard that is behind reads for much longer than that between cuts.

use std::sync::Arc;
use std::time::Duration;

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
use crate::firehose::Delivery;
use crate::horizon::{self, Gap, Horizon, Shown};
use crate::layout::LinesTo;
use crate::ownership::Change;
use crate::read::{Batch, Reader};
use crate::record::{Arrival, Record};
use crate::recover;
use crate::sequence::ShardId;
use crate::start;
use crate::state::ShardState;
use crate::store::ETag;
use crate::unpack::{Unpacked, unpack};

/// So many bytes of records are encoded before other tasks get their turn: about a millisecond.
const BYTES_PER_TURN: usize = 64 * 1024;
/// A shard that is to stop goes on sending what it has read for this long: Firehose takes it sooner, or
/// does not take it.
const LAST_SENDING: Duration = Duration::from_secs(1);

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
        horizon: Horizon::new(claim.state().passed),
        archive: &archive,
        claim,
        stop,
    };
    loop {
        match pipeline.next_event().await {
            Event::Read(batch, allowance) => {
                let (end, shown) = (batch.end, batch.shown());
                pipeline.watch_horizon(shown);
                match &archive.delivery {
                    None => pipeline.take(batch).await?,
                    Some(delivery) => {
                        if !pipeline.send_and_take(delivery, batch).await? {
                            continue; // it is to stop
                        }
                    }
                }
                pipeline.lease.settle(pipeline.buffer.footprint(), allowance);
                if end {
                    pipeline.cut(Cause::ShardEnd).await?;
                    tracing::info!(%shard, "ended: everything in it is committed");
                    return pipeline.claim.end_shard().await;
                }
                if let Some(now) = shown.served_at.filter(|_| shown.up_to_date) {
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
    horizon: Horizon,
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

    /// Each record into the open cut.
    async fn take(&mut self, batch: Batch) -> Result<(), Stopped> {
        let mut turn = Turn::default();
        for record in batch.records {
            let unpacked = unpack(&record.data, &self.archive.config.layout);
            self.take_record(&record, unpacked).await?;
            turn.took(record.data.len()).await;
        }
        Ok(())
    }

    /// The same once Firehose has accepted every line; `false` when it did not before the shard must stop.
    /// Then none of these records is in a cut, and who reads the shard next sends them again.
    async fn send_and_take(&mut self, delivery: &Delivery, batch: Batch) -> Result<bool, Stopped> {
        let mut turn = Turn::default();
        let mut unpacked = Vec::with_capacity(batch.records.len());
        for record in &batch.records {
            unpacked.push(unpack(&record.data, &self.archive.config.layout));
            turn.took(record.data.len()).await;
        }
        let lines = unpacked.iter().flat_map(|unpacked| &unpacked.lines);
        let lines: Vec<&[u8]> = lines.map(|line| line.text.as_ref()).collect();
        let sending = delivery.send(self.claim.shard(), &lines);
        let no_longer = async {
            self.stop.cancelled().await;
            tokio::time::sleep(LAST_SENDING).await;
        };
        tokio::select! {
            biased;
            () = sending => {}
            () = no_longer => {
                delivery.shown.abandoned(batch.records.len());
                return Ok(false);
            }
        }
        if let Some(first) = batch.records.first() {
            delivery
                .shown
                .fresh(start::now().as_millis() - first.arrival.as_millis());
        }
        for (record, unpacked) in batch.records.iter().zip(unpacked) {
            self.take_record(record, unpacked).await?;
            turn.took(record.data.len()).await;
        }
        Ok(true)
    }

    /// One record into the open cut, with a commit where one ends before it or with it.
    async fn take_record(&mut self, record: &Record, unpacked: Unpacked<'_>) -> Result<(), Stopped> {
        if let Some(cause) = self.buffer.ends_before(record) {
            self.cut(cause).await?;
        }
        for reason in self.buffer.take(record, unpacked, Instant::now())? {
            self.archive.metrics.record_bad(reason);
        }
        if let Some(cause) = self.buffer.is_full() {
            self.cut(cause).await?;
        }
        Ok(())
    }

    /// Reports, loudly, where reading goes on behind what may have left the stream unread.
    fn watch_horizon(&mut self, shown: Shown) {
        let retention = *self.archive.retention.borrow();
        if let Some(gap) = self.horizon.answered(shown, retention) {
            let Gap { from, to } = gap;
            tracing::error!(shard = %self.claim.shard(), %from, %to, "reading goes on behind the stream's retention: what arrived in between, if anything did, is lost");
            self.archive.metrics.possible_loss(gap);
        }
    }

    /// A shard that has nothing to give at `now` says so in its state where that is worth it: it passes the
    /// end of a day too, and what it has been read up to must not look older than the retention.
    async fn pass(&mut self, now: Arrival) -> Result<(), Stopped> {
        let Config {
            day_marker, layout, ..
        } = &self.archive.config;
        let passed = self.claim.state().passed;
        let is_past_day = |marker: &DayMarker| marker.is_news(&layout.zone, passed, now);
        let retention = *self.archive.retention.borrow();
        let is_news =
            day_marker.as_ref().is_some_and(is_past_day) || horizon::is_worth_noting(passed, now, retention);
        if self.buffer.is_empty() && is_news {
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
            allowance.shrink_to(match archive.config.layout.lines {
                LinesTo::Bucket => batch.footprint_max(),
                LinesTo::Firehose => batch.footprint_to_send_max(),
            });
            return (batch, allowance);
        }
    }
}

/// Lets other tasks have their turn.
#[derive(Default)]
struct Turn {
    bytes: usize,
}

impl Turn {
    /// So many more bytes were worked on.
    async fn took(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= BYTES_PER_TURN {
            self.bytes = 0;
            tokio::task::yield_now().await;
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
