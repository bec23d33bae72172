//! This replica's signs of life: one small object that changes once an interval, and one that says that
//! the replica is going. Others see both in their listings; see [`crate::replicas`].

use std::convert::Infallible;
use std::time::Duration;

use aws_clients::Failure;
use tokio::time::{Instant, MissedTickBehavior};

use crate::metrics::{Beat, Metrics, Step};
use crate::replicas::{Heartbeat, Pulse};
use crate::retry::{FailedCall, Retry};
use crate::store::{ETag, Put, Store};

/// A beat may take this long even where beats follow each other faster.
const BEAT_MIN: Duration = Duration::from_secs(1);
/// Clearing up at the end must not hold the end up.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Gives signs of life.
pub struct Heart {
    store: Store,
    metrics: Metrics,
    pulse: Pulse,
    heartbeat: Heartbeat,
    /// The object as we wrote it last.
    etag: Option<ETag>,
}

/// The key of a replica's heartbeat among the state objects, without extension.
pub fn name(replica: &str) -> String {
    format!("replicas/{replica}")
}

/// The key of the object that says that a replica is going, likewise.
pub fn leaving_name(replica: &str) -> String {
    format!("replicas/{replica}-leaving")
}

impl Heart {
    /// Of the replica with this id, fresh at every start, and this name, if it has one.
    pub fn new(store: &Store, metrics: &Metrics, pulse: Pulse, replica: &str, name: Option<&str>) -> Self {
        let heartbeat = Heartbeat {
            replica: replica.to_owned(),
            name: name.map(str::to_owned),
            interval_ms: u64::try_from(pulse.interval.as_millis()).unwrap_or(u64::MAX),
            misses: pulse.misses,
            beat: 0,
        };
        Self {
            store: store.clone(),
            metrics: metrics.clone(),
            pulse,
            heartbeat,
            etag: None,
        }
    }

    /// Shows up; nothing may be claimed before others can see who claims it.
    pub async fn begin(&mut self) {
        let mut retry = Retry::new(Step::Heartbeat, name(&self.heartbeat.replica), &self.metrics);
        while let Err(failed) = self.beat().await {
            retry.wait(&failed).await;
        }
    }

    /// Beats for ever. A beat that fails is made up for by the next: nothing else depends on it.
    pub async fn go_on(&mut self) -> Infallible {
        let mut retry = Retry::new(Step::Heartbeat, name(&self.heartbeat.replica), &self.metrics);
        let mut ticks = tokio::time::interval_at(Instant::now() + self.pulse.interval, self.pulse.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // A request that is stuck must not take the place of those that would get through.
            let beat = tokio::time::timeout(self.pulse.interval.max(BEAT_MIN), self.beat());
            let late = || FailedCall::new(Failure::Timeout, "no answer within an interval");
            match beat.await.unwrap_or_else(|_| Err(late())) {
                Ok(()) => retry.reset(),
                Err(failed) => drop(retry.pause(&failed)),
            }
        }
    }

    /// Changes the object, unless somebody else has: whoever took us for dead has deleted it, and a
    /// new one tells them better.
    async fn beat(&mut self) -> Result<(), FailedCall> {
        self.heartbeat.beat += 1;
        let key = self.store.state_key(&name(&self.heartbeat.replica));
        let body = serde_json::to_vec(&self.heartbeat)
            .map_err(|error| FailedCall::new(Failure::Invalid, error.to_string()))?;
        let beat = match self.store.try_put_state(&key, body, self.etag.as_ref()).await? {
            Put::Done(etag) => {
                self.etag = etag;
                Beat::Given
            }
            Put::Refused => {
                // Or an earlier beat arrived whose answer was lost.
                let found = self.store.try_get_state(&key).await?;
                self.etag = found.map(|(_, etag)| etag);
                Beat::Disturbed
            }
        };
        self.metrics.heartbeat(beat);
        Ok(())
    }

    /// Says that this replica is going, so that others take its shards as it releases them.
    pub async fn leave(&self) {
        let key = self.store.state_key(&leaving_name(&self.heartbeat.replica));
        if let Err(failed) = self.store.try_put_state(&key, b"{}".to_vec(), None).await {
            tracing::warn!(
                detail = failed.detail,
                "others do not hear that this replica is going"
            );
        }
    }

    /// Is gone. What cannot be deleted now is cleared away by others.
    pub async fn end(self) {
        let replica = &self.heartbeat.replica;
        // The heartbeat first: with the mark alone left nobody takes us for alive.
        for name in [name(replica), leaving_name(replica)] {
            let key = self.store.state_key(&name);
            let deleted = tokio::time::timeout(FAREWELL_MAX, self.store.try_delete_state(&key));
            match deleted.await {
                Ok(Ok(())) => {}
                Ok(Err(failed)) => tracing::warn!(name, detail = failed.detail, "not cleared away"),
                Err(_) => tracing::warn!(name, "not cleared away in time"),
            }
        }
    }
}
