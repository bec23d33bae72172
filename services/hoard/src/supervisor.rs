//! Keeps one supervised task for each shard that this replica archives: looks at the stream and at the
//! other replicas, decides ([`crate::ownership`]), and carries the decisions out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use service_runtime::Latch;
use service_runtime::tasks::{TaskFailure, Tasks};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::error::{Error, Stopped};
use crate::identity;
use crate::metrics::{ShardCounts, Step};
use crate::ownership::{self, Change, Decision, View};
use crate::pipeline::{archive_shard, release_shard};
use crate::placement;
use crate::record::Arrival;
use crate::retry::{FailedCall, Retry};
use crate::sequence::ShardId;
use crate::shards::{self, Audit, Shard};
use crate::watch::Watch;

/// Between looks while a shard is on its way to this replica.
const HAND_OVER_LOOK: Duration = Duration::from_millis(250);
/// Shards that stop at about the same time are looked after together.
const TOGETHER: Duration = Duration::from_millis(50);

/// The shards' tasks, and what they are decided by.
pub struct Supervisor {
    archive: Arc<Archive>,
    watch: Watch,
    tasks: Tasks,
    /// What is archived here, and how to stop it.
    running: HashMap<ShardId, CancellationToken>,
    /// Stopped by an error since the last look at the stream, which tries them again.
    failed: HashSet<ShardId>,
    listed: Vec<Shard>,
    /// When the stream that was listed was created.
    created: Option<Arrival>,
    audit: Audit,
    /// Since when a shard is on its way here.
    awaiting: Option<Instant>,
    expired: HashSet<ShardId>,
}

impl Supervisor {
    /// Archives nothing yet.
    pub fn new(archive: Arc<Archive>) -> Self {
        let config = &archive.config;
        let name = config.replica_name.as_deref();
        Self {
            watch: Watch::new(&archive.committer.store, &archive.owner, name, config.pulse),
            tasks: Tasks::new(archive.shutdown.clone()),
            archive,
            running: HashMap::new(),
            failed: HashSet::new(),
            listed: Vec::new(),
            created: None,
            audit: Audit::default(),
            awaiting: None,
            expired: HashSet::new(),
        }
    }

    /// Looks at the replicas once an interval, more often while a shard is on its way here, and when one
    /// stops; at the stream more seldom, and when a shard has ended that it showed as open.
    pub async fn archive_stream(&mut self, stream_ready: &Latch) -> Result<(), Error> {
        self.find_stream().await?;
        stream_ready.open();
        let discovery_interval = self.archive.config.discovery_interval;
        let stream = &self.archive.config.stream;
        let mut retry_look = Retry::new(Step::Watch, stream.clone(), &self.archive.metrics);
        let mut retry_list = Retry::new(Step::List, stream.clone(), &self.archive.metrics);
        let mut next_list = Instant::now() + discovery_interval;
        loop {
            // Clearing up needs our own shards' states too.
            let is_clearing_up = Instant::now() >= next_list && self.has_forgotten();
            let running = &self.running;
            let looked = self
                .watch
                .look(|shard| running.contains_key(shard) && !is_clearing_up)
                .await;
            if Instant::now() >= next_list || self.is_list_outdated() {
                next_list = Instant::now()
                    + match self.list().await {
                        Ok(()) => {
                            self.check_identity().await?;
                            discovery_interval
                        }
                        Err(failed) => retry_list.pause(&failed),
                    };
                self.failed.clear();
                self.tidy().await;
            }
            let pause = match looked {
                Ok(()) => {
                    retry_look.reset();
                    self.act();
                    self.pause()
                }
                Err(failed) => retry_look.pause(&failed),
            };
            self.wait((Instant::now() + pause).min(next_list)).await?;
        }
    }

    /// Until it is time to look again: at `due`, or soon after a shard has stopped.
    async fn wait(&mut self, mut due: Instant) -> Result<(), Error> {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => return Ok(()),
                Some((name, outcome)) = self.tasks.join_next() => {
                    self.shard_stopped(name, outcome)?;
                    due = due.min(Instant::now() + TOGETHER);
                }
            }
        }
    }

    /// An owner that does not hand over in time is waited for with less effort.
    fn pause(&self) -> Duration {
        let pulse = self.archive.config.pulse;
        match self.awaiting {
            Some(since) if since.elapsed() < pulse.announced() => HAND_OVER_LOOK.min(pulse.interval),
            _ => pulse.interval,
        }
    }

    /// At the start an answer that will not change is an error: somebody is watching.
    async fn find_stream(&mut self) -> Result<(), Error> {
        let stream = self.archive.config.stream.clone();
        let mut retry = Retry::new(Step::List, stream.clone(), &self.archive.metrics);
        loop {
            match self.list().await {
                Ok(()) => return self.check_identity().await,
                Err(failed) if !failed.failure.is_retryable() => {
                    let detail = failed.detail;
                    return Err(Error::Stream { stream, detail });
                }
                Err(failed) => retry.wait(&failed).await,
            }
        }
    }

    /// Nothing is done for a stream that is not the one that the states are of.
    async fn check_identity(&self) -> Result<(), Error> {
        let store = &self.archive.committer.store;
        match self.created {
            Some(created) => identity::check(store, &self.archive.config.stream, created).await,
            None => Ok(()), // not listed yet
        }
    }

    /// Asks for the stream's shards, and for what else is to be known of it.
    async fn list(&mut self) -> Result<(), FailedCall> {
        let Archive {
            config,
            kinesis,
            metrics,
            ..
        } = self.archive.as_ref();
        let description = shards::describe(kinesis, &config.stream).await?;
        self.listed = shards::list(kinesis, &config.stream).await?;
        self.created = Some(description.created);
        self.archive.retention.send_replace(Some(description.retention));
        metrics.retention(description.retention);
        let audit = shards::audit(&self.listed);
        if audit != self.audit && audit != Audit::default() {
            tracing::error!(
                holes = audit.holes,
                overlaps = audit.overlaps,
                "the open shards' ranges of hash keys do not fit together"
            );
        }
        self.audit = audit;
        metrics.hash_ranges(audit);
        Ok(())
    }

    /// A shard that was open when we asked has ended since: it has children that we do not know.
    fn is_list_outdated(&self) -> bool {
        let is_done = |shard: &Shard| {
            let known = self.watch.sight().states().get(&shard.id);
            known.is_some_and(|known| known.state.is_done())
        };
        self.listed
            .iter()
            .any(|shard| shard.takes.is_some() && is_done(shard))
    }

    /// There are states of done shards that the stream no longer has.
    fn has_forgotten(&self) -> bool {
        let is_listed = |shard: &ShardId| self.listed.iter().any(|listed| listed.id == *shard);
        let mut states = self.watch.sight().states().iter();
        states.any(|(shard, known)| known.state.is_done() && !is_listed(shard))
    }

    fn act(&mut self) {
        let failed: HashSet<ShardId> = self
            .failed
            .union(self.watch.sight().unreadable())
            .cloned()
            .collect();
        let view = View {
            me: &self.archive.owner,
            shards: &self.listed,
            states: self.watch.sight().states(),
            replicas: self.watch.sight().replicas(),
            is_running: |shard: &ShardId| self.running.contains_key(shard),
            is_failed: |shard: &ShardId| failed.contains(shard),
        };
        let mut decisions = view.decide();
        for shard in self
            .running
            .keys()
            .filter(|shard| !decisions.contains_key(*shard))
            .cloned()
            .collect::<Vec<_>>()
        {
            // Gone from the stream with all that is left of it.
            decisions.insert(shard, Decision::HandOver);
        }
        for (shard, decision) in &decisions {
            match decision {
                Decision::Take(change) => self.take(shard, *change),
                Decision::Release => self.release(shard),
                Decision::HandOver => self.hand_over(shard),
                _ => {}
            }
        }
        let is_awaiting = decisions.values().any(|decision| *decision == Decision::Await);
        self.awaiting = is_awaiting.then(|| self.awaiting.unwrap_or_else(Instant::now));
        self.assign_deliveries();
        self.report_expired();
        self.show(&decisions);
    }

    /// The second delivery has a home for each shard too, closed ones included for as long as the stream
    /// has them, and needs no hand-over: what two replicas deliver at the same time is there once.
    fn assign_deliveries(&self) {
        let takers = self.watch.sight().replicas().takers();
        let homes = placement::place(&takers, self.listed.iter().map(|shard| &shard.id));
        let ours = homes.into_iter().filter(|(_, home)| *home == self.archive.owner);
        let ours: HashSet<ShardId> = ours.map(|(shard, _)| shard).collect();
        self.archive.to_deliver.send_if_modified(|assigned| {
            let is_news = *assigned != ours;
            *assigned = ours;
            is_news
        });
    }

    fn take(&mut self, shard: &ShardId, change: Change) {
        let stop = self.archive.shutdown.token().child_token();
        let archive = Arc::clone(&self.archive);
        let found = self.watch.sight().found(shard);
        self.tasks.spawn(
            shard.as_str(),
            archive_shard(archive, shard.clone(), found, change, stop.clone()),
        );
        self.running.insert(shard.clone(), stop);
    }

    fn release(&mut self, shard: &ShardId) {
        let Some((state, etag)) = self.watch.sight().found(shard) else {
            return;
        };
        let archive = Arc::clone(&self.archive);
        self.tasks
            .spawn(shard.as_str(), release_shard(archive, shard.clone(), state, etag));
        self.running.insert(shard.clone(), CancellationToken::new());
    }

    fn hand_over(&self, shard: &ShardId) {
        if let Some(stop) = self.running.get(shard).filter(|stop| !stop.is_cancelled()) {
            tracing::info!(%shard, "belongs to another replica: it is handed over");
            stop.cancel();
        }
    }

    /// Shards whose records left the stream before they were archived.
    fn report_expired(&mut self) {
        let listed: HashSet<&ShardId> = self.listed.iter().map(|shard| &shard.id).collect();
        let unfinished = self.watch.sight().states().iter().filter(|(shard, known)| {
            !known.state.is_done() && !listed.contains(shard) && !self.running.contains_key(*shard)
        });
        for (shard, known) in unfinished {
            if self.expired.insert(shard.clone()) {
                tracing::error!(%shard, checkpoint = ?known.state.checkpoint, "left the stream before its end was archived: what followed the checkpoint is lost");
            }
        }
    }

    /// Files a shard under what became of it.
    fn shard_stopped(&mut self, name: String, outcome: Result<(), TaskFailure>) -> Result<(), Error> {
        let Ok(shard) = ShardId::try_from(name) else {
            return Ok(()); // every task is named after its shard
        };
        self.running.remove(&shard);
        self.archive.metrics.forget_shard(&shard);
        match outcome {
            Ok(()) => {}
            Err(TaskFailure::Failed { source, .. }) => self.shard_failed(shard, source.as_ref()),
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    fn shard_failed(&mut self, shard: ShardId, error: &(dyn std::error::Error + Send + Sync + 'static)) {
        if let Some(Stopped::Lost { owner, .. }) = error.downcast_ref() {
            tracing::warn!(%shard, owner, "taken over by another replica: what was held of it is dropped");
            self.archive.metrics.owner_changed(Change::Lost);
        } else {
            tracing::error!(%shard, error, "stopped: it is tried again at the next look at the stream");
            self.failed.insert(shard);
        }
    }

    /// The first of the replicas clears up for all of them: what the dead left of themselves, and the
    /// states of shards that the stream no longer has, once their children have a state to go on from.
    async fn tidy(&self) {
        let takers = self.watch.sight().replicas().takers();
        if takers.first() != Some(&self.archive.owner) {
            return;
        }
        self.watch
            .tidy(&ownership::over(&self.listed, self.watch.sight().states()))
            .await;
    }

    /// Waits until every shard has cut, committed and handed back what it held.
    pub async fn drain(mut self) -> Result<(), Error> {
        let deadline = self.archive.shutdown.drain_deadline();
        let drained = tokio::time::timeout(deadline, async {
            while let Some((name, outcome)) = self.tasks.join_next().await {
                match outcome {
                    Err(TaskFailure::Failed { source, .. }) => {
                        tracing::warn!(
                            shard = name,
                            error = source.as_ref() as &dyn std::error::Error,
                            "stopped while draining"
                        );
                    }
                    outcome => outcome?,
                }
            }
            Ok(())
        });
        match drained.await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::NotDrained {
                shards: self.tasks.len(),
            }),
        }
    }

    fn show(&self, decisions: &BTreeMap<ShardId, Decision>) {
        let mut counts = ShardCounts {
            running: self.running.len(),
            expired: self.expired.len(),
            ..ShardCounts::default()
        };
        for decision in decisions.values() {
            match decision {
                // Counted as running, above.
                Decision::Keep | Decision::Take(_) | Decision::HandOver | Decision::Release => {}
                Decision::Await => counts.awaited += 1,
                Decision::Parents => counts.waiting += 1,
                Decision::Elsewhere => counts.elsewhere += 1,
                Decision::Ended => counts.ended += 1,
                Decision::Failed => counts.failed += 1,
            }
        }
        self.archive.metrics.shards(counts);
        self.archive.metrics.replicas(self.watch.sight().replicas());
    }
}
