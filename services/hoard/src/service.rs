//! The service: makes sure that bucket and stream can be worked with, then keeps one supervised task
//! for each shard that may be read, through splits and merges, until a drain is asked for.

use std::collections::HashSet;
use std::sync::Arc;

use aws_sdk_kinesis::Client as KinesisClient;
use aws_sdk_s3::Client as S3Client;
use prometheus::Registry;
use service_runtime::tasks::{TaskFailure, Tasks};
use service_runtime::{Latch, Runtime, Shutdown};
use tokio::sync::watch;
use uuid::Uuid;

use crate::archive::Archive;
use crate::budget::Budget;
use crate::commit::Committer;
use crate::config::Config;
use crate::day_marker;
use crate::elasticsearch::deliver::Delivery;
use crate::elasticsearch::supervise::{Assigned, beside};
use crate::error::{Error, Stopped};
use crate::metrics::{Metrics, ShardCounts, Step};
use crate::pipeline::archive_shard;
use crate::retry::Retry;
use crate::sequence::ShardId;
use crate::shards::{self, Shard};
use crate::start;
use crate::store::Store;

/// Archives the stream until a drain is asked for. Returns when everything that was read is committed,
/// or on an error that trying again will not cure.
///
/// # Errors
/// The stream or the bucket is not there or denied, the bucket does not honour conditional writes, a
/// metric is registered already, a task panicked, or the drain deadline passed.
pub fn run(
    config: Config,
    kinesis: KinesisClient,
    s3: S3Client,
    runtime: Runtime,
) -> impl Future<Output = Result<(), Error>> + Send {
    // Taken here and not in the future: who asks between this call and the first poll hears "starting".
    let bucket_ready = runtime.readiness.latch("bucket");
    let stream_ready = runtime.readiness.latch("stream");
    async move {
        let metrics = Metrics::new(&runtime.registry)?;
        metrics.flush_interval(config.limits.age);
        let shutdown = runtime.shutdown;
        let archive = tokio::select! {
            archive = prepare(config, kinesis, s3, shutdown.clone(), metrics, &bucket_ready) => Arc::new(archive?),
            () = shutdown.requested() => return Ok(()),
        };
        let delivery = second_delivery(&archive, &runtime.registry)?;
        let mut supervisor = Supervisor::new(Arc::clone(&archive));
        let archiving = async {
            tokio::select! {
                () = day_marker::keep(&archive) => {}
                outcome = supervisor.archive_stream(&stream_ready) => outcome?,
                () = shutdown.requested() => {}
            }
            supervisor.drain().await
        };
        beside(archiving, delivery, &shutdown).await
    }
}

/// The delivery to Elasticsearch, where one is set.
fn second_delivery(
    archive: &Archive,
    registry: &Registry,
) -> Result<Option<(Arc<Delivery>, Assigned)>, prometheus::Error> {
    let Some(settings) = archive.config.elasticsearch.clone() else {
        return Ok(None);
    };
    let (kinesis, store) = (archive.kinesis.clone(), archive.committer.store.clone());
    let stream = &archive.config.stream;
    let delivery = Delivery::new(settings, kinesis, stream, archive.origin, store, registry)?;
    Ok(Some((Arc::new(delivery), archive.to_deliver.subscribe())))
}

/// Nothing is read before the bucket has shown that it refuses what it must refuse.
async fn prepare(
    config: Config,
    kinesis: KinesisClient,
    s3: S3Client,
    shutdown: Shutdown,
    metrics: Metrics,
    bucket_ready: &Latch,
) -> Result<Archive, Error> {
    let store = Store::new(
        s3,
        &config.bucket,
        &config.state_prefix,
        &config.stream,
        config.object_options.clone(),
        metrics.clone(),
    );
    store.probe().await?;
    let origin = start::settle(&store, config.start).await?;
    bucket_ready.open();

    let committer = Committer {
        store,
        metrics: metrics.clone(),
    };
    let budget = Budget::new(config.memory_budget, metrics.clone());
    let owner = Uuid::new_v4().to_string();
    Ok(Archive {
        config,
        kinesis,
        committer,
        budget,
        origin,
        owner,
        shutdown,
        metrics,
        to_deliver: watch::Sender::default(),
    })
}

/// Keeps the shards' tasks.
struct Supervisor {
    archive: Arc<Archive>,
    tasks: Tasks,
    running: HashSet<ShardId>,
    ended: HashSet<ShardId>,
    /// Taken over by another instance, which also reads their children.
    lost: HashSet<ShardId>,
    /// Stopped by an error since the last look at the stream, which tries them again.
    failed: HashSet<ShardId>,
    listed: Vec<Shard>,
}

impl Supervisor {
    fn new(archive: Arc<Archive>) -> Self {
        Self {
            tasks: Tasks::new(archive.shutdown.clone()),
            archive,
            running: HashSet::new(),
            ended: HashSet::new(),
            lost: HashSet::new(),
            failed: HashSet::new(),
            listed: Vec::new(),
        }
    }

    /// Looks for shards at the start, when one has ended, and periodically.
    async fn archive_stream(&mut self, stream_ready: &Latch) -> Result<(), Error> {
        self.list(true).await?;
        stream_ready.open();
        loop {
            self.start_eligible();
            let look_again = tokio::time::sleep(self.archive.config.discovery_interval);
            tokio::pin!(look_again);
            let is_due = loop {
                tokio::select! {
                    () = &mut look_again => break true,
                    Some((name, outcome)) = self.tasks.join_next() => {
                        if self.shard_stopped(name, outcome)? {
                            break false;
                        }
                    }
                }
            };
            if is_due {
                self.failed.clear();
            }
            self.list(false).await?;
        }
    }

    /// At the start an answer that will not change is an error; later the stream has been there, so
    /// every failure is waited out.
    async fn list(&mut self, at_start: bool) -> Result<(), Error> {
        let Archive {
            config,
            kinesis,
            metrics,
            ..
        } = self.archive.as_ref();
        let mut retry = Retry::new(Step::List, config.stream.clone(), metrics);
        loop {
            match shards::list(kinesis, &config.stream).await {
                Ok(listed) => {
                    self.listed = listed;
                    return Ok(());
                }
                Err(failed) if at_start && !failed.failure.is_retryable() => {
                    return Err(Error::Stream {
                        stream: config.stream.clone(),
                        detail: failed.detail,
                    });
                }
                Err(failed) => retry.wait(&failed).await,
            }
        }
    }

    fn start_eligible(&mut self) {
        let sets = [&self.running, &self.ended, &self.lost, &self.failed];
        let known: HashSet<ShardId> = sets.into_iter().flatten().cloned().collect();
        let to_deliver = self.listed.iter().map(|shard| &shard.id);
        let to_deliver = to_deliver.filter(|shard| !self.lost.contains(*shard)).cloned();
        self.archive.to_deliver.send_replace(to_deliver.collect());
        for shard in shards::eligible(&self.listed, &known, &self.ended) {
            self.tasks.spawn(
                shard.as_str(),
                archive_shard(Arc::clone(&self.archive), shard.clone()),
            );
            self.running.insert(shard);
        }
        self.show();
    }

    /// Files a shard under what became of it. Returns whether the stream should be looked at now.
    fn shard_stopped(&mut self, name: String, outcome: Result<(), TaskFailure>) -> Result<bool, Error> {
        let Ok(shard) = ShardId::try_from(name) else {
            return Ok(true); // every task is named after its shard
        };
        self.running.remove(&shard);
        self.archive.metrics.forget_shard(&shard);
        let ended = match outcome {
            Ok(()) => {
                tracing::info!(%shard, "ended: everything in it is committed");
                self.ended.insert(shard)
            }
            Err(TaskFailure::Failed { source, .. }) => {
                self.shard_failed(shard, source.as_ref());
                false
            }
            Err(failure) => return Err(failure.into()),
        };
        self.show();
        Ok(ended)
    }

    fn shard_failed(&mut self, shard: ShardId, error: &(dyn std::error::Error + Send + Sync + 'static)) {
        if let Some(Stopped::Lost { owner, .. }) = error.downcast_ref() {
            tracing::warn!(%shard, owner, "taken over by another instance: what was held of it is dropped");
            self.lost.insert(shard);
        } else {
            tracing::error!(%shard, error, "stopped: it is tried again at the next look at the stream");
            self.failed.insert(shard);
        }
    }

    /// Waits until every shard has cut, committed and handed back what it held.
    async fn drain(mut self) -> Result<(), Error> {
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

    fn show(&self) {
        let known = self.running.len() + self.ended.len() + self.lost.len() + self.failed.len();
        self.archive.metrics.shards(ShardCounts {
            running: self.running.len(),
            waiting: self.listed.len().saturating_sub(known),
            lost: self.lost.len(),
            ended: self.ended.len(),
            failed: self.failed.len(),
        });
    }
}
