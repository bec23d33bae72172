//! The service: makes sure that bucket and stream can be worked with, shows up among the replicas, and
//! archives its share of the stream until a drain is asked for.

use std::sync::Arc;

use aws_sdk_kinesis::Client as KinesisClient;
use aws_sdk_s3::Client as S3Client;
use prometheus::Registry;
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
use crate::error::Error;
use crate::heartbeat::Heart;
use crate::metrics::Metrics;
use crate::start;
use crate::store::Store;
use crate::supervisor::Supervisor;

/// Archives this replica's share of the stream until a drain is asked for. Returns when everything that
/// was read is committed, or on an error that trying again will not cure.
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
        let prepared = tokio::select! {
            prepared = prepare(config, kinesis, s3, shutdown.clone(), metrics, &bucket_ready) => prepared?,
            () = shutdown.requested() => return Ok(()),
        };
        let (archive, mut heart) = prepared;
        let delivery = second_delivery(&archive, &runtime.registry)?;
        let archiving = Box::pin(archive_share(archive, &mut heart, &stream_ready));
        let outcome = beside(archiving, delivery, &shutdown).await;
        heart.end().await;
        outcome
    }
}

/// Gives signs of life for as long as this replica holds a shard, the drain included.
async fn archive_share(archive: Archive, heart: &mut Heart, stream_ready: &Latch) -> Result<(), Error> {
    let shutdown = archive.shutdown.clone();
    let archive = Arc::new(archive);
    let mut supervisor = Supervisor::new(Arc::clone(&archive));
    tokio::select! {
        outcome = supervisor.archive_stream(stream_ready) => outcome?,
        () = day_marker::keep(&archive) => {}
        () = shutdown.requested() => {}
        never = heart.go_on() => match never {},
    }
    let leaving = async {
        heart.leave().await;
        heart.go_on().await
    };
    tokio::select! {
        outcome = supervisor.drain() => outcome,
        never = leaving => match never {},
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

/// Nothing is read before the bucket has shown that it refuses what it must refuse, and nothing is
/// claimed before other replicas can see who claims it.
async fn prepare(
    config: Config,
    kinesis: KinesisClient,
    s3: S3Client,
    shutdown: Shutdown,
    metrics: Metrics,
    bucket_ready: &Latch,
) -> Result<(Archive, Heart), Error> {
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
    let owner = Uuid::new_v4().to_string();
    let name = config.replica_name.as_deref();
    let mut heart = Heart::new(&store, &metrics, config.pulse, &owner, name);
    heart.begin().await;
    bucket_ready.open();

    let committer = Committer {
        store,
        metrics: metrics.clone(),
    };
    let budget = Budget::new(config.memory_budget, metrics.clone());
    let archive = Archive {
        config,
        kinesis,
        committer,
        budget,
        origin,
        owner,
        shutdown,
        metrics,
        to_deliver: watch::Sender::default(),
    };
    Ok((archive, heart))
}
