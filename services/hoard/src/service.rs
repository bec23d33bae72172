//! The service: makes sure that bucket and stream can be worked with, shows up among the replicas, and
//! archives its share of the stream until a drain is asked for.

use std::sync::Arc;

use aws_clients::SdkConfig;
use aws_sdk_firehose::Client as FirehoseClient;
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
use crate::elasticsearch::deliver::Delivery as SecondDelivery;
use crate::elasticsearch::supervise::{Assigned, beside};
use crate::error::Error;
use crate::firehose::Delivery;
use crate::firehose::metrics::FirehoseMetrics;
use crate::heartbeat::Heart;
use crate::metrics::Metrics;
use crate::start;
use crate::store::Store;
use crate::supervisor::Supervisor;

/// How the service reaches AWS.
#[derive(Clone, Debug)]
pub struct Clients {
    /// The stream's side.
    pub kinesis: KinesisClient,
    /// The bucket's side.
    pub s3: S3Client,
    /// Where lines go, if they do.
    pub firehose: FirehoseClient,
}

impl Clients {
    /// All in one account and region.
    pub fn of(aws: &SdkConfig) -> Self {
        Self {
            kinesis: aws_clients::kinesis(aws),
            s3: aws_clients::s3(aws),
            firehose: aws_clients::firehose(aws),
        }
    }
}

/// Archives this replica's share of the stream until a drain is asked for. Returns when everything that
/// was read is committed, or on an error that trying again will not cure.
///
/// # Errors
/// The stream, the bucket or the delivery stream is not there or denied, the states are of another stream,
/// the bucket does not honour conditional writes, a
/// metric is registered already, a task panicked, or the drain deadline passed.
pub fn run(
    config: Config,
    clients: Clients,
    runtime: Runtime,
) -> impl Future<Output = Result<(), Error>> + Send {
    // Taken here and not in the future: who asks between this call and the first poll hears "starting".
    let bucket_ready = runtime.readiness.latch("bucket");
    let stream_ready = runtime.readiness.latch("stream");
    let delivery_ready = config
        .delivery_stream
        .is_some()
        .then(|| runtime.readiness.latch("delivery stream"));
    async move {
        let metrics = Metrics::new(&runtime.registry)?;
        metrics.flush_interval(config.limits.age);
        let shutdown = runtime.shutdown;
        let delivery = into_firehose(&config, &clients, &metrics, &runtime.registry)?;
        let prepared = tokio::select! {
            prepared = prepare(config, clients, delivery, shutdown.clone(), metrics, &bucket_ready) => prepared?,
            () = shutdown.requested() => return Ok(()),
        };
        if let Some(ready) = delivery_ready {
            ready.open(); // it was checked before anything else
        }
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

/// The delivery to Firehose in place of the bucket, where one is set.
fn into_firehose(
    config: &Config,
    clients: &Clients,
    metrics: &Metrics,
    registry: &Registry,
) -> Result<Option<Delivery>, prometheus::Error> {
    let Some(stream) = &config.delivery_stream else {
        return Ok(None);
    };
    let shown = FirehoseMetrics::new(registry)?;
    Ok(Some(Delivery::new(
        clients.firehose.clone(),
        stream,
        metrics,
        shown,
    )))
}

/// The delivery to Elasticsearch, where one is set.
fn second_delivery(
    archive: &Archive,
    registry: &Registry,
) -> Result<Option<(Arc<SecondDelivery>, Assigned)>, prometheus::Error> {
    let Some(settings) = archive.config.elasticsearch.clone() else {
        return Ok(None);
    };
    let (kinesis, store) = (archive.kinesis.clone(), archive.committer.store.clone());
    let stream = &archive.config.stream;
    let delivery = SecondDelivery::new(settings, kinesis, stream, archive.origin, store, registry)?;
    Ok(Some((Arc::new(delivery), archive.to_deliver.subscribe())))
}

/// Nothing is read before the bucket has shown that it refuses what it must refuse, and nothing is
/// claimed before other replicas can see who claims it.
async fn prepare(
    config: Config,
    clients: Clients,
    delivery: Option<Delivery>,
    shutdown: Shutdown,
    metrics: Metrics,
    bucket_ready: &Latch,
) -> Result<(Archive, Heart), Error> {
    if let Some(delivery) = &delivery {
        delivery.check().await?;
        tracing::info!(
            delivery_stream = config.delivery_stream,
            "lines go to Firehose at least once: after a crash those since the last checkpoint are sent again"
        );
    }
    let store = Store::new(
        clients.s3,
        &config.bucket,
        &config.state_prefix,
        &config.stream,
        config.object_options.clone(),
        metrics.clone(),
    );
    store.probe(bucket_ready).await?;
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
        kinesis: clients.kinesis,
        committer,
        budget,
        delivery,
        retention: watch::Sender::default(),
        origin,
        owner,
        shutdown,
        metrics,
        to_deliver: watch::Sender::default(),
    };
    Ok((archive, heart))
}
