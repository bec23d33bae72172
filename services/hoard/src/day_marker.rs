//! `_SUCCESS` under a day's prefix, as Hadoop's committers leave it: hoard will add nothing to that day.
//!
//! Invariant: it is written only when every shard of the stream, whoever owns it, is past the day with
//! nothing of it pending. What a shard is past is in its state, and nothing but Kinesis' own clock moves
//! it: the arrival of the last committed record, or, while a shard is idle, the time of an answer that
//! had nothing more to give. Arrival times can run a little backwards: a day counts as past only when
//! that clock is `delay` beyond its end.
//!
//! The states are read before the shards are listed for the last time: a child of a split that happened
//! meanwhile is in the list and has no state, so the day waits for it; one of a split that happens
//! later holds only records that arrive later.

use std::collections::HashMap;
use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::archive::Archive;
use crate::metrics::Step;
use crate::period::{Period, Unit, Zone};
use crate::prefix::{Partition, Prefix};
use crate::record::Arrival;
use crate::retry::FailedCall;
use crate::sequence::ShardId;
use crate::shards;
use crate::start;
use crate::state::ShardState;
use crate::store::Put;

/// The marker's name.
const NAME: &str = "_SUCCESS";
/// The most days that are marked at one look.
const DAYS_AT_ONCE: usize = 400;

/// Whether and where days are marked.
#[derive(Clone, Debug)]
pub struct DayMarker {
    /// Of the marker.
    pub prefix: Prefix,
    /// How far Kinesis' clock must be beyond a day's end.
    pub delay: Duration,
    /// Between looks.
    pub interval: Duration,
}

/// What is kept between looks, and between instances.
#[derive(Debug, Serialize, Deserialize)]
struct Marked {
    /// The first day that is not marked.
    next: Date,
}

/// Why a look was in vain; the next one may not be.
#[derive(Debug, thiserror::Error)]
enum Unmarked {
    #[error("shards cannot be listed: {}", .0.detail)]
    List(FailedCall),
    #[error("{key} cannot be read: {source}")]
    State { key: String, source: serde_json::Error },
}

impl DayMarker {
    /// Whether the day of `passed` is over, seen from `now`: what an idle shard must write down.
    pub fn is_news(&self, zone: &Zone, passed: Option<Arrival>, now: Arrival) -> bool {
        passed.is_none_or(|passed| self.incomplete(zone, passed) < self.incomplete(zone, now))
    }

    /// The first day that may still get records from a shard that is past `passed`.
    fn incomplete(&self, zone: &Zone, passed: Arrival) -> Date {
        let delay = i64::try_from(self.delay.as_millis()).unwrap_or(i64::MAX);
        let certain = Arrival::from_millis(passed.as_millis().saturating_sub(delay));
        zone.period(certain.unwrap_or(Arrival::UNKNOWN), Unit::Day).date()
    }

    /// The first day that any of `shards` may still add to; `None` while that is not known of all.
    fn first_incomplete(
        &self,
        zone: &Zone,
        shards: &[ShardId],
        states: &HashMap<ShardId, ShardState>,
    ) -> Option<Date> {
        let mut first: Option<Date> = None;
        for shard in shards {
            let state = states.get(shard)?;
            let pending = state.pending.as_ref().map(|pending| pending.period.date());
            // Everything in a shard that has ended is committed.
            let reading = (!state.shard_end).then_some(state.passed);
            let reading = match reading {
                Some(passed) => Some(self.incomplete(zone, passed?)),
                None => None,
            };
            first = [first, pending, reading].into_iter().flatten().min();
        }
        first
    }
}

/// Looks for days that are complete, and marks them, until dropped. Every instance does; the writes
/// are conditional, so one of them succeeds.
pub async fn keep(archive: &Archive) {
    let Some(marker) = &archive.config.day_marker else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(marker.interval).await;
        if let Err(error) = look(archive, marker).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "days could not be marked: tried again later"
            );
        }
    }
}

async fn look(archive: &Archive, marker: &DayMarker) -> Result<(), Unmarked> {
    let store = &archive.committer.store;
    let zone = &archive.config.layout.zone;
    let key = store.state_key("marked-days");
    let found = match store.get_state(&key).await {
        Some((body, etag)) => match serde_json::from_slice(&body) {
            Ok(Marked { next }) => Some((next, etag)),
            Err(source) => return Err(Unmarked::State { key, source }),
        },
        None => None,
    };
    // This machine's clock saves requests here and decides nothing.
    let today = zone.period(start::now(), Unit::Day).date();
    if found.as_ref().is_some_and(|(next, _)| *next >= today) {
        return Ok(());
    }
    let states = states(archive, &list(archive).await?).await?;
    let shards = list(archive).await?;
    let Some(first_incomplete) = marker.first_incomplete(zone, &shards, &states) else {
        return Ok(());
    };
    let (next, etag) = match found {
        Some((next, _)) if next >= first_incomplete => return Ok(()),
        Some((next, etag)) => (mark(archive, marker, next, first_incomplete).await, Some(etag)),
        // Days were never marked here: the one that is incomplete now is the first that will be.
        None => (first_incomplete, None),
    };
    let body = serde_json::to_vec(&Marked { next }).map_err(|source| Unmarked::State {
        key: key.clone(),
        source,
    })?;
    // Refused: another instance has marked the same days.
    let _refused_or_done = store.put_state(Step::Mark, &key, body, etag.as_ref()).await;
    Ok(())
}

async fn list(archive: &Archive) -> Result<Vec<ShardId>, Unmarked> {
    let listed = shards::list(&archive.kinesis, &archive.config.stream).await;
    let listed = listed.map_err(Unmarked::List)?;
    Ok(listed.into_iter().map(|shard| shard.id).collect())
}

async fn states(archive: &Archive, shards: &[ShardId]) -> Result<HashMap<ShardId, ShardState>, Unmarked> {
    let store = &archive.committer.store;
    let mut states = HashMap::new();
    for shard in shards {
        let key = store.state_key(shard.as_str());
        if let Some((body, _)) = store.get_state(&key).await {
            let state = serde_json::from_slice(&body).map_err(|source| Unmarked::State { key, source })?;
            states.insert(shard.clone(), state);
        }
    }
    Ok(states)
}

/// Marks the days from `next` on that are before `first_incomplete`; returns the first that is not.
async fn mark(archive: &Archive, marker: &DayMarker, next: Date, first_incomplete: Date) -> Date {
    let mut day = next;
    for _ in 0..DAYS_AT_ONCE {
        let Some(tomorrow) = day.tomorrow().ok().filter(|_| day < first_incomplete) else {
            break;
        };
        let prefix = marker.prefix.render(Period::from(day), &Partition::default());
        let key = format!("{prefix}{NAME}");
        let store = &archive.committer.store;
        if let Put::Done(_) = store.put_state(Step::Mark, &key, Vec::new(), None).await {
            archive.metrics.day_marked();
            tracing::info!(key, "marked: every shard has passed this day");
        }
        day = tomorrow;
    }
    day
}

#[cfg(test)]
mod tests;
