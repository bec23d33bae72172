//! `hoard verify`: proves from the bucket alone that days of the archive are whole.
//!
//! ```text
//! states → list the days → read each object → their neighbours → chain each shard → report
//! ```
//!
//! Per shard, the cuts must touch end to end up to the checkpoint (see [`chain`]); per object, the
//! lines must be those that its metadata announces, by number, size and CRC-64/NVME, each ended by one
//! `\n`, and its records must have arrived on the day that it lies under. The states are read before
//! anything is listed: what they call committed must be there, and what is beyond is in progress.
//!
//! Memory grows with the number of objects, not with their size.

pub mod bucket;
pub mod chain;
pub mod content;
pub mod described;
pub mod folders;
mod neighbours;
pub mod object;
pub mod progress;
pub mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use service_runtime::Shutdown;
use service_runtime::tasks::{TaskFailure, Tasks};

use crate::config::Config;
use crate::sequence::{SequenceNumber, ShardId};
use crate::state::ShardState;
use bucket::{Bucket, Unreadable};
use chain::{Entry, Known, Role};
use folders::Folders;
use neighbours::{Neighbours, Wanted};
use object::{Checked, Inspector};
use progress::Progress;
use report::{Fault, Report, ShardReport, Totals};

/// How many days before and after those asked for a neighbour is looked for.
const NEIGHBOUR_DAYS_MAX: i64 = 8;
/// Workers are not drained, they end by themselves.
const NO_DRAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// What to verify.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the archive is.
    pub bucket: String,
    /// The stream's name.
    pub stream: String,
    /// Where its states are: `{state prefix}{stream}/`.
    pub state_folder: String,
    /// Where its objects are.
    pub folders: Folders,
    /// The first day.
    pub from: Date,
    /// The last day, inclusive.
    pub to: Date,
    /// Today, wherever on earth it is latest: no object lies under a later day.
    pub today: Date,
    /// Metadata only.
    pub is_quick: bool,
    /// How many objects are read at a time.
    pub concurrency: usize,
}

impl Plan {
    /// These days of the archive that `config` writes, content and all.
    pub fn new(config: &Config, from: Date, to: Date) -> Self {
        Self {
            folders: Folders::new(config),
            state_folder: format!("{}{}/", config.state_prefix, config.stream),
            bucket: config.bucket.clone(),
            stream: config.stream.clone(),
            from,
            to,
            today: shifted(today(), 1).unwrap_or(Date::MAX),
            is_quick: false,
            concurrency: 16,
        }
    }
}

/// Today, UTC.
pub fn today() -> Date {
    Timestamp::now().to_zoned_datetime(TimeZone::UTC).date()
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum CannotVerify {
    /// The bucket does not answer.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A worker panicked.
    #[error("{}", service_runtime::program::format_chain(.0))]
    Task(#[from] TaskFailure),
    /// A state is not what hoard writes.
    #[error("state {key} is not what hoard writes: {source}")]
    State {
        /// Its key.
        key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Verifies what `plan` says.
///
/// # Errors
/// The bucket cannot be read. What is wrong with the archive is in the report.
pub async fn run(
    client: aws_sdk_s3::Client,
    plan: &Plan,
    progress: &Progress,
) -> Result<Report, CannotVerify> {
    let bucket = Bucket::new(client, &plan.bucket);
    let states = states(&bucket, &plan.state_folder).await?;
    let inspector = Inspector {
        bucket: bucket.clone(),
        stream: plan.stream.clone(),
        folders: plan.folders.clone(),
        is_quick: plan.is_quick,
        progress: progress.clone(),
    };
    let mut verification = Verification {
        plan,
        states: &states,
        bucket,
        inspector,
        shards: BTreeMap::new(),
        other_keys: 0,
    };
    verification.read_days().await?;
    verification.read_neighbours().await?;
    Ok(verification.report())
}

/// The shards' states, by shard; empty where the bucket is a copy of the archive alone.
async fn states(bucket: &Bucket, folder: &str) -> Result<BTreeMap<ShardId, ShardState>, CannotVerify> {
    let mut keys = Vec::new();
    bucket
        .list(folder, |key| {
            let shard = key
                .strip_prefix(folder)
                .and_then(|name| name.strip_suffix(".json"));
            // Other state lies there too; Kinesis calls every shard so.
            if let Some(shard) = shard.filter(|name| name.starts_with("shardId-")) {
                keys.extend(
                    ShardId::try_from(shard.to_owned())
                        .ok()
                        .map(|shard| (shard, key.to_owned())),
                );
            }
        })
        .await?;
    let mut states = BTreeMap::new();
    for (shard, key) in keys {
        if let Some(body) = bucket.get_small(&key).await? {
            let state =
                serde_json::from_slice(&body).map_err(|source| CannotVerify::State { key, source })?;
            states.insert(shard, state);
        }
    }
    Ok(states)
}

struct Verification<'a> {
    plan: &'a Plan,
    states: &'a BTreeMap<ShardId, ShardState>,
    bucket: Bucket,
    inspector: Inspector,
    shards: BTreeMap<ShardId, ShardFacts>,
    /// Keys in the days' folders that are no object of this stream.
    other_keys: u64,
}

/// An object that was listed.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// The day that it lies under.
    pub date: Date,
    /// Why it is of interest.
    pub role: Role,
    /// The shard that its key names.
    pub shard: ShardId,
    /// The first record of its cut, by its key.
    pub first: SequenceNumber,
}

/// What is known of one shard.
#[derive(Default)]
struct ShardFacts {
    entries: Vec<Entry>,
    totals: Totals,
    faults: Vec<Fault>,
}

impl Verification<'_> {
    /// Reads every object of the days asked for.
    async fn read_days(&mut self) -> Result<(), CannotVerify> {
        let mut found = Vec::new();
        let mut day = Some(self.plan.from);
        while let Some(date) = day.filter(|date| *date <= self.plan.to) {
            self.list(date, |object| found.push(object)).await?;
            day = date.tomorrow().ok();
        }
        self.inspect(found).await
    }

    /// Reads the objects on other days that those asked for touch, as far as they are near.
    async fn read_neighbours(&mut self) -> Result<(), CannotVerify> {
        for distance in 1..=NEIGHBOUR_DAYS_MAX {
            // The next days are looked at for every shard: one may have nothing on those asked for.
            let is_first = distance == 1;
            let wanted = self.wanted(is_first);
            let before = is_first || wanted.values().any(|wanted| wanted.before);
            let after = is_first || wanted.values().any(|wanted| wanted.after);
            let later = shifted(self.plan.to, distance).filter(|day| *day <= self.plan.today);
            let days = [
                shifted(self.plan.from, -distance).filter(|_| before),
                later.filter(|_| after),
            ];
            if days == [None, None] {
                return Ok(());
            }
            let mut neighbours = Neighbours::new(wanted, is_first, self.plan.from);
            for day in days.into_iter().flatten() {
                self.list(day, |object| neighbours.consider(object)).await?;
            }
            self.inspect(neighbours.into_found()).await?;
        }
        Ok(())
    }

    /// Lists the objects of one day.
    async fn list(&mut self, date: Date, mut take: impl FnMut(Found)) -> Result<(), CannotVerify> {
        let is_asked_for = (self.plan.from..=self.plan.to).contains(&date);
        for folder in self.plan.folders.of_day(date) {
            let mut others = 0;
            self.bucket
                .list(&folder, |key| {
                    if !self.plan.folders.is_of_day(key, date) {
                        return;
                    }
                    match self.plan.folders.read(key) {
                        Some(named) => take(Found {
                            key: key.to_owned(),
                            date,
                            role: Role::Asked,
                            shard: named.shard,
                            first: named.first,
                        }),
                        None => others += u64::from(is_asked_for && !folders::is_hidden(key)),
                    }
                })
                .await?;
            self.other_keys += others;
        }
        Ok(())
    }

    /// Reads objects, several at a time.
    async fn inspect(&mut self, found: Vec<Found>) -> Result<(), CannotVerify> {
        self.inspector.progress.expect(found.len() as u64);
        let queue = Arc::new(Mutex::new(found));
        let checked = Arc::new(Mutex::new(Vec::new()));
        let stop = Shutdown::new(NO_DRAIN);
        let mut workers = Tasks::new(stop.clone());
        for worker in 0..self.plan.concurrency {
            let (inspector, stop) = (self.inspector.clone(), stop.clone());
            let (queue, checked) = (Arc::clone(&queue), Arc::clone(&checked));
            workers.spawn(format!("reader {worker}"), async move {
                while !stop.is_requested() {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(object) = next else { break };
                    let object = inspector.inspect(object).await?;
                    checked
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(object);
                }
                Ok::<_, Unreadable>(())
            });
        }
        workers.join().await.map_err(unreadable_or_task)?;
        let checked = std::mem::take(&mut *checked.lock().unwrap_or_else(PoisonError::into_inner));
        for object in checked {
            self.file(object);
        }
        Ok(())
    }

    fn file(&mut self, checked: Checked) {
        let Checked {
            shard,
            entry,
            totals,
            faults,
        } = checked;
        if entry.is_none() && faults.is_empty() {
            self.other_keys += 1; // of another stream whose name begins alike
            return;
        }
        let facts = self.shards.entry(shard).or_default();
        facts.entries.extend(entry);
        facts.totals.add(&totals);
        facts.faults.extend(faults);
    }

    /// What to look for on days farther away.
    fn wanted(&mut self, is_first: bool) -> BTreeMap<ShardId, Wanted> {
        let mut wanted = BTreeMap::new();
        for (shard, facts) in &mut self.shards {
            facts.entries.sort_by(|a, b| a.first.cmp(&b.first));
            let (Some(first), Some(last)) = (facts.entries.first(), facts.entries.last()) else {
                continue;
            };
            let (before, after) = chain::open_ends(&facts.entries, known(self.states, shard).as_ref());
            let span = (first.first.clone(), last.first.clone());
            let (before, after) = (before || is_first, after || is_first);
            wanted.insert(shard.clone(), Wanted { span, before, after });
        }
        wanted
    }

    fn report(self) -> Report {
        let plan = self.plan;
        // As far as neighbours were looked for, or beyond today: then all that is missing is lost.
        let nothing_later = shifted(plan.to, NEIGHBOUR_DAYS_MAX).is_none_or(|last| last >= plan.today);
        let mut report = Report::new(plan, self.other_keys);
        let mut shards = self.shards;
        for (shard, state) in self.states {
            if state.pending.is_some() {
                shards.entry(shard.clone()).or_default();
            }
        }
        for (shard, mut facts) in shards {
            let known = known(self.states, &shard);
            let proof = chain::prove(&mut facts.entries, known.as_ref(), nothing_later);
            let pending = self.states.get(&shard).and_then(|state| state.pending.as_ref());
            report.add(ShardReport::new(
                shard,
                proof,
                facts.totals,
                facts.faults,
                pending,
            ));
        }
        report
    }
}

fn known(states: &BTreeMap<ShardId, ShardState>, shard: &ShardId) -> Option<Known> {
    if states.is_empty() {
        return None;
    }
    // A shard without a state has committed nothing.
    let state = states.get(shard);
    Some(Known {
        checkpoint: state.and_then(|state| state.checkpoint.clone()),
        is_ended: state.is_some_and(|state| state.shard_end),
    })
}

fn unreadable_or_task(failure: TaskFailure) -> CannotVerify {
    match failure {
        TaskFailure::Failed { name, source } => match source.downcast::<Unreadable>() {
            Ok(unreadable) => CannotVerify::Unreadable(*unreadable),
            Err(source) => CannotVerify::Task(TaskFailure::Failed { name, source }),
        },
        failure => CannotVerify::Task(failure),
    }
}

fn shifted(date: Date, days: i64) -> Option<Date> {
    date.checked_add(jiff::Span::new().days(days)).ok()
}
