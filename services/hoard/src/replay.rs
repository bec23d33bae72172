//! `hoard replay`: rebuilds what is missing from the archive out of the stream, under the same keys.
//!
//! ```text
//! ranges → committed? → still in the stream? → read → cut → compare → put what is missing
//! ```
//!
//! Only what is committed is rebuilt: beyond the checkpoint the service is at work. Each range is cut as
//! the service cuts, by size and by period, from the same settings; so a single lost cut comes back as it
//! was, byte for byte of its lines. Where several cuts in a row are lost, the ends that only the clock had
//! decided are not known any more: then fewer, larger cuts hold the same records.
//!
//! Every write is `If-None-Match: *`. An object that is there with the same content is left alone; one
//! with other content is reported, and nothing of its cut is written.

use std::sync::Arc;
use std::time::Duration;

use aws_clients::Failure;
use aws_sdk_kinesis::Client as KinesisClient;
use aws_sdk_kinesis::types::ShardIteratorType;
use aws_sdk_s3::Client as S3Client;
use jiff::civil::Date;
use serde::Serialize;
use tokio::time::Instant;

use crate::buffer::{Buffer, Cut, Form};
use crate::commit::{self, Committer};
use crate::config::Config;
use crate::cut::Limits;
use crate::layout::{CutPlace, Layout};
use crate::metrics::Metrics;
use crate::pending::{Pending, PlannedObject};
use crate::protocol::Stored;
use crate::read::Reader;
use crate::retry::{FailedCall, call};
use crate::sequence::{SequenceNumber, ShardId};
use crate::start::Origin;
use crate::state::ShardState;
use crate::store::{Put, Store};
use crate::verify::bucket::{Bucket, Tries, Unreadable};
use crate::verify::chain::Broken;
use crate::verify::progress::Progress;
use crate::verify::{self, CannotVerify};

/// So many failed reads in a row mean that the stream cannot be read: about half a minute.
const FAILED_READS_MAX: u32 = 10;
/// So many up-to-date answers without a record end the wait for records that should be there.
const EMPTY_ANSWERS_MAX: u32 = 10;
/// A put that takes longer has failed; the service would go on, but here somebody waits.
const PUT_TIMEOUT: Duration = Duration::from_secs(120);
/// One call to the stream.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// What to rebuild.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// This range.
    Range(Range),
    /// Whatever is missing from these days, inclusive.
    Days(Date, Date),
}

/// Records `(after, last]` of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The shard.
    pub shard: ShardId,
    /// Exclusive start; `None` at the start of the shard.
    pub after: Option<SequenceNumber>,
    /// The first record, where it is known because other objects of the same cut are there. Then the
    /// range is that cut, however large it is.
    pub first: Option<SequenceNumber>,
    /// Inclusive end.
    pub last: SequenceNumber,
}

/// What became of one object, or of a range that could not be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was missing and is there now.
    Rebuilt {
        /// Its key.
        key: String,
        /// Its lines.
        lines: u64,
    },
    /// It is there, with the content that it must have.
    Present {
        /// Its key.
        key: String,
    },
    /// It is there with other content. Nothing of its cut was written.
    Different {
        /// Its key.
        key: String,
    },
    /// The stream no longer has all of the range. Nothing of it was written.
    Gone {
        /// The shard.
        shard: ShardId,
        /// Exclusive start of the range.
        after: Option<SequenceNumber>,
        /// Its inclusive end.
        last: SequenceNumber,
    },
    /// The range, or a part of it, is not committed: the service is at work there.
    NotCommitted {
        /// The shard.
        shard: ShardId,
        /// The end of the range.
        last: SequenceNumber,
    },
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum CannotReplay {
    /// What is missing cannot be told.
    #[error(transparent)]
    Verify(#[from] CannotVerify),
    /// The bucket cannot be read.
    #[error(transparent)]
    Bucket(#[from] Unreadable),
    /// The stream cannot be read.
    #[error("shard {0} of the stream cannot be read")]
    Stream(ShardId),
    /// The bucket takes nothing.
    #[error("{0} cannot be written within {PUT_TIMEOUT:?}")]
    Put(String),
    /// A state is not what hoard writes.
    #[error("state {key} is not what hoard writes: {source}")]
    State {
        /// Its key.
        key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The compressor failed.
    #[error("encoding failed: {0}")]
    Encode(#[from] std::io::Error),
    /// The metrics of this run cannot be made.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Outcome {
    /// Whether the archive is as it should be there.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Rebuilt { .. } | Self::Present { .. })
    }
}

/// Rebuilds what is `wanted`.
///
/// # Errors
/// Stream or bucket cannot be worked with. What could not be rebuilt is in the outcomes.
pub async fn run(
    config: Config,
    kinesis: KinesisClient,
    s3: S3Client,
    wanted: Wanted,
    progress: &Progress,
) -> Result<Vec<Outcome>, CannotReplay> {
    let ranges = match wanted {
        Wanted::Range(range) => vec![range],
        Wanted::Days(from, to) => missing(&config, s3.clone(), from, to, progress).await?,
    };
    // Nobody scrapes this run.
    let metrics = Metrics::new(&prometheus::Registry::new())?;
    let store = Store::new(
        s3.clone(),
        &config.bucket,
        &config.state_prefix,
        &config.stream,
        config.object_options.clone(),
        metrics.clone(),
    );
    let replay = Replay {
        bucket: Bucket::new(s3, &config.bucket),
        committer: Committer {
            store,
            metrics: metrics.clone(),
        },
        config,
        kinesis,
        metrics,
    };
    let mut outcomes = Vec::new();
    for range in ranges {
        replay.rebuild(&range, &mut outcomes).await?;
    }
    Ok(outcomes)
}

/// What a quick verification of these days misses.
async fn missing(
    config: &Config,
    s3: S3Client,
    from: Date,
    to: Date,
    progress: &Progress,
) -> Result<Vec<Range>, CannotVerify> {
    let plan = verify::Plan {
        is_quick: true,
        ..verify::Plan::new(config, from, to)
    };
    let report = verify::run(s3, &plan, progress).await?;
    let mut ranges = Vec::new();
    for shard in report.shards {
        for broken in shard.broken {
            let (after, first, last) = match broken {
                Broken::Gap { after, last, .. } => (after, None, last),
                Broken::Incomplete {
                    after, first, last, ..
                } => (after, Some(first), last),
                Broken::Overlap { .. } | Broken::Restart { .. } => continue,
            };
            ranges.push(Range {
                shard: shard.shard.clone(),
                after,
                first,
                last,
            });
        }
    }
    Ok(ranges)
}

struct Replay {
    config: Config,
    kinesis: KinesisClient,
    bucket: Bucket,
    committer: Committer,
    metrics: Metrics,
}

impl Replay {
    async fn rebuild(&self, range: &Range, outcomes: &mut Vec<Outcome>) -> Result<(), CannotReplay> {
        let gone = || Outcome::Gone {
            shard: range.shard.clone(),
            after: range.after.clone(),
            last: range.last.clone(),
        };
        if !self.is_committed(range).await? {
            outcomes.push(Outcome::NotCommitted {
                shard: range.shard.clone(),
                last: range.last.clone(),
            });
            return Ok(());
        }
        if range.first.is_none() && !self.is_in_stream(range).await? {
            outcomes.push(gone());
            return Ok(());
        }
        let limits = if range.first.is_some() {
            Limits {
                bytes: u64::MAX,
                stored_bytes: u64::MAX,
                partitions: usize::MAX,
                ..self.config.limits
            }
        } else {
            self.config.limits
        };
        let form = Form {
            layout: Arc::clone(&self.config.layout),
            compression: self.config.compression,
        };
        let mut buffer = Buffer::new(range.shard.clone(), limits, form);
        let mut reader = self.reader(range);
        let mut after = range.after.clone();
        let (mut failed_reads, mut empty_answers) = (0, 0);
        let mut expected = range.first.as_ref();
        loop {
            reader.turn().await;
            let Some(batch) = reader.attempt().await else {
                failed_reads += 1;
                if failed_reads == FAILED_READS_MAX {
                    return Err(CannotReplay::Stream(range.shard.clone()));
                }
                continue;
            };
            failed_reads = 0;
            let is_empty = batch.records.is_empty() && batch.up_to_date;
            empty_answers = if is_empty { empty_answers + 1 } else { 0 };
            for record in &batch.records {
                let is_first = expected
                    .take()
                    .is_none_or(|first| *first == record.sequence_number);
                if !is_first || record.sequence_number > range.last {
                    // What begins or ends the range is not in the stream: a key of ours would differ.
                    outcomes.push(gone());
                    return Ok(());
                }
                if buffer.ends_before(record).is_some() {
                    self.put(range, &mut after, buffer.cut()?, outcomes).await?;
                }
                // Bad records were counted when they were first read.
                let _counted = buffer.push(record, Instant::now())?;
                let is_last = record.sequence_number == range.last;
                if is_last || buffer.is_full().is_some() {
                    self.put(range, &mut after, buffer.cut()?, outcomes).await?;
                }
                if is_last {
                    return Ok(());
                }
            }
            if batch.end || empty_answers == EMPTY_ANSWERS_MAX {
                outcomes.push(gone());
                return Ok(());
            }
        }
    }

    /// Puts what is missing of one cut, unless something else is in its place.
    async fn put(
        &self,
        range: &Range,
        after: &mut Option<SequenceNumber>,
        cut: Option<Cut>,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), CannotReplay> {
        let Some(cut) = cut else {
            return Ok(());
        };
        let (pending, bodies) = commit::plan(&range.shard, cut);
        let place = CutPlace {
            shard: &range.shard,
            after: after.as_ref(),
            cut: &pending,
        };
        let mut found = Vec::with_capacity(pending.objects.len());
        for object in &pending.objects {
            found.push(self.is_stored(object, &pending).await?);
        }
        let is_blocked = found.contains(&Stored::Foreign);
        for ((object, body), found) in pending.objects.iter().zip(&bodies).zip(found) {
            let key = object.key.clone();
            let outcome = match found {
                Stored::Yes => Outcome::Present { key },
                Stored::Foreign => Outcome::Different { key },
                Stored::No if is_blocked => continue,
                Stored::No => {
                    let metadata = Layout::metadata(place, object);
                    let put = self.committer.store.put_object(&key, body, &metadata);
                    match tokio::time::timeout(PUT_TIMEOUT, put).await {
                        Ok(Put::Done(_)) => Outcome::Rebuilt {
                            key,
                            lines: object.lines,
                        },
                        // Somebody put it meanwhile, or an earlier try of ours did.
                        Ok(Put::Refused) => match self.is_stored(object, &pending).await? {
                            Stored::Yes => Outcome::Present { key },
                            _ => Outcome::Different { key },
                        },
                        Err(_) => return Err(CannotReplay::Put(key)),
                    }
                }
            };
            outcomes.push(outcome);
        }
        *after = Some(pending.last.clone());
        Ok(())
    }

    /// Whether the object is there, with this content and this link.
    async fn is_stored(&self, object: &PlannedObject, cut: &Pending) -> Result<Stored, Unreadable> {
        let Some(found) = self.bucket.metadata(&object.key).await? else {
            return Ok(Stored::No);
        };
        let described = verify::described::Described::read(&found);
        let is_same = described.is_ok_and(|described| {
            (described.crc, &described.last, described.lines) == (object.crc, &cut.last, object.lines)
                && usize::try_from(described.cut_objects) == Ok(cut.objects.len())
        });
        Ok(if is_same { Stored::Yes } else { Stored::Foreign })
    }

    async fn is_committed(&self, range: &Range) -> Result<bool, CannotReplay> {
        let key = self.committer.store.state_key(range.shard.as_str());
        let Some(body) = self.bucket.get_small(&key).await? else {
            return Ok(false);
        };
        let state: ShardState =
            serde_json::from_slice(&body).map_err(|source| CannotReplay::State { key, source })?;
        Ok(state
            .checkpoint
            .is_some_and(|checkpoint| range.last <= checkpoint))
    }

    /// Whether the stream still has the beginning of the range. Sequence numbers are not dense, so what
    /// proves it is the record before the range: nothing leaves the stream before that does. Where there
    /// is none, the first record of the range must be known.
    async fn is_in_stream(&self, range: &Range) -> Result<bool, CannotReplay> {
        let Some(after) = &range.after else {
            return Ok(false);
        };
        let what = format!("shard {}", range.shard);
        let mut tries = Tries::new(&what);
        loop {
            match self.has_record(&range.shard, after).await {
                Ok(found) => return Ok(found),
                // What has left the stream may be refused as a position.
                Err(failed) if failed.failure == Failure::Invalid => return Ok(false),
                Err(failed) => tries.pause(failed).await?,
            }
        }
    }

    async fn has_record(&self, shard: &ShardId, number: &SequenceNumber) -> Result<bool, FailedCall> {
        let request = self
            .kinesis
            .get_shard_iterator()
            .stream_name(&self.config.stream)
            .shard_id(shard.as_str())
            .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
            .starting_sequence_number(number.as_str());
        let mut iterator = call(CALL_TIMEOUT, request.send()).await?.shard_iterator;
        for _ in 0..EMPTY_ANSWERS_MAX {
            let Some(current) = iterator else {
                break;
            };
            let request = self.kinesis.get_records().shard_iterator(current).limit(1);
            let answer = call(CALL_TIMEOUT, request.send()).await?;
            if let Some(record) = answer.records.first() {
                return Ok(record.sequence_number == number.as_str());
            }
            iterator = answer.next_shard_iterator;
            tokio::time::sleep(self.config.pace.behind).await;
        }
        Ok(false)
    }

    fn reader(&self, range: &Range) -> Reader {
        let (after, origin) = (range.after.clone(), Origin::TrimHorizon);
        let (stream, pace) = (&self.config.stream, self.config.pace);
        Reader::new(
            &self.kinesis,
            stream,
            &range.shard,
            origin,
            after,
            pace,
            &self.metrics,
        )
    }
}
