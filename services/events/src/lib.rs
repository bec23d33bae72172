//! Event collection: HTTP in, one Kinesis record an event out.
//!
//! ```text
//! http → auth → decode → validate → enrich → dedupe → batch → aggregate → publish → Kinesis
//!                                                     ↓ ↑
//!                                                    spool
//! ```
//!
//! `ingest.rs` shows the order of the stages in one function. Two promises hold the rest together:
//!
//! - An event is answered `accepted` only after Kinesis returned a sequence number for it, or the
//!   spool has it on disk: see `spool.rs`. A record that gets lost on its way, whatever the cause, is answered `retry`: see `submission.rs`.
//! - Records of one partition key enter the stream in the order in which they came: see `batch.rs`.

mod admission;
mod aggregate;
mod attempts;
mod auth;
mod backlog;
mod batch;
mod bucket;
mod clock;
pub mod command;
mod config;
pub mod country;
pub mod credentials;
mod decode;
pub mod dedupe;
pub mod edge;
mod enrich;
mod http;
mod ingest;
mod ledger;
mod metrics;
mod publish;
mod put;
pub mod quota;
mod refusal;
pub mod reload;
mod schemas;
mod shard_map;
mod shards;
mod spool;
mod spooling;
mod stream;
mod submission;
mod trace;
mod validate;

use std::{sync::Arc, time::Instant};

use aws_sdk_kinesis::Client as Kinesis;
use service_runtime::{Runtime, tasks::TaskFailure, tasks::Tasks};
use tokio::net::TcpListener;

pub use admission::Budget;
pub use attempts::AttemptSettings;
pub use config::{Config, Limits, PublishSettings, Settings, SpoolSettings};
pub use http::cors::CorsOrigins;
pub use schemas::{Schemas, SchemasError};
pub use spool::{Damage, SpoolError};

use crate::{
    admission::Admission,
    attempts::FailedAttempts,
    backlog::{Backlog, Keys},
    dedupe::Window,
    http::encoding::Decompressor,
    ingest::Ingest,
    metrics::Metrics,
    publish::Publisher,
    quota::Quotas,
    shard_map::ShardMaps,
    spool::Spool,
    spooling::Spooling,
};

/// Why the service could not start, or ended other than by a drain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The public address could not be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A metric could not be registered: another service uses the registry.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The spool could not be opened.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A part of the service failed, or did not drain in time.
    #[error(transparent)]
    Task(#[from] TaskFailure),
}

/// Connects and binds what the configuration names, then [`run`]s.
///
/// # Errors
/// See [`Error`].
pub async fn serve(config: Config, runtime: Runtime) -> Result<(), Error> {
    let kinesis = aws_clients::kinesis(&aws_clients::load(&config.endpoint).await);
    let address = config.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Bind { address, source })?;
    run(config, kinesis, listener, runtime).await
}

/// Runs the service until shutdown is requested and everything is drained.
///
/// Draining goes with the flow: no new connection, requests in flight are answered, and when the
/// last of them is gone the publisher, which no one can feed any more, sends what it still has.
///
/// # Errors
/// See [`Error`].
pub async fn run(
    config: Config,
    kinesis: Kinesis,
    listener: TcpListener,
    runtime: Runtime,
) -> Result<(), Error> {
    let address = listener.local_addr().ok().map(tracing::field::display);
    tracing::info!(address, "listening");
    let metrics = Arc::new(Metrics::register(&runtime.registry)?);
    let stream = stream::Stream::new(kinesis, config.stream.clone());
    let latch = runtime.readiness.latch("stream");
    let window = Arc::new(Window::new(config.dedupe, metrics.dedupe.clone()));
    let spool = open_spool(config.spool, &runtime, &metrics, &window)?;
    let maps = config
        .publish
        .aggregate
        .then(|| ShardMaps::new(metrics.shard_map.clone()));
    let (publisher, submissions) =
        Publisher::new(stream.clone(), config.publish, maps.clone(), spool, &metrics);
    let ingest = Arc::new(Ingest {
        attempts: FailedAttempts::new(&config.attempts, Arc::clone(&metrics)),
        credentials: Arc::clone(&config.credentials),
        schemas: Arc::clone(&config.schemas),
        limits: config.limits,
        decompressor: Decompressor::new(config.limits.decompressed_bytes, config.limits.body_timeout),
        stream_limits: stream.limits().clone(),
        edge: config.edge.clone(),
        quotas: Quotas::new(config.quotas),
        admission: Admission::new(config.budget, metrics.in_flight_bytes.clone()),
        window,
        submissions,
        metrics: Arc::clone(&metrics),
    });

    let mut tasks = Tasks::new(runtime.shutdown.clone());
    let check = config.stream_check_interval;
    if let Some(maps) = maps {
        tasks.spawn(
            "shard map",
            shard_map::watch(stream.clone(), maps, check, runtime.shutdown.clone()),
        );
    }
    tasks.spawn(
        "stream watch",
        stream::watch(stream, latch, check, runtime.shutdown.clone()),
    );
    tasks.spawn(
        "credentials watch",
        reload::watch(
            config.credentials,
            config.reload_interval,
            metrics.credentials_reload.clone(),
            runtime.shutdown.clone(),
        ),
    );
    if let Some(database) = config.edge.country_database {
        tasks.spawn(
            "country database watch",
            reload::watch(
                database,
                config.reload_interval,
                metrics.country_database_reload.clone(),
                runtime.shutdown.clone(),
            ),
        );
    }
    tasks.spawn(
        "schemas watch",
        reload::watch(
            config.schemas,
            config.reload_interval,
            metrics.schemas_reload.clone(),
            runtime.shutdown.clone(),
        ),
    );
    tasks.spawn("publisher", publisher.run());
    let server = http::Server {
        listener,
        router: http::router(ingest, &config.cors_origins),
        max_connections: config.max_connections,
        idle_timeout: config.idle_timeout,
        answer_timeout: config.answer_timeout,
        connections: metrics.connections.clone(),
    };
    tasks.spawn("http", server.serve(runtime.shutdown.clone()));
    Ok(tasks.join().await?)
}

/// Opens the spool before anything is taken in. This blocks for as long as it takes to read it.
fn open_spool(
    settings: Option<SpoolSettings>,
    runtime: &Runtime,
    metrics: &Arc<Metrics>,
    window: &Window,
) -> Result<Option<(Spooling, Backlog)>, SpoolError> {
    let Some(SpoolSettings { folder, max_bytes }) = settings else {
        tracing::warn!("no --spool-folder: what Kinesis does not take in time is answered `retry`");
        return Ok(None);
    };
    let latch = runtime.readiness.latch("spool");
    let mut keys = Keys::default();
    let now = Instant::now();
    let spool = Spool::open(&folder, max_bytes, |record| {
        keys.add(&record.partition_key);
        window.restore(&record.line, now);
    })?;
    let (records, bytes) = (spool.records(), spool.bytes());
    tracing::info!(records, bytes, max_bytes, "the spool is open");
    let spooling = Spooling::new(spool, latch, metrics)?;
    Ok(Some((spooling, Backlog::new(keys, records))))
}
