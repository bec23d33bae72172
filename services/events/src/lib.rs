//! Event collection: HTTP in, one Kinesis record an event out.
//!
//! ```text
//! http → auth → decode → validate → enrich → batch → publish → Kinesis
//! ```
//!
//! `ingest.rs` shows the order of the stages in one function. Two promises hold the rest together:
//!
//! - An event is answered `accepted` only after Kinesis returned a sequence number for it. A record
//!   that gets lost on its way, whatever the cause, is answered `retry`: see `submission.rs`.
//! - Records of one partition key enter the stream in the order in which they came: see `batch.rs`.

mod admission;
mod auth;
mod batch;
pub mod command;
mod concurrency;
mod config;
pub mod credentials;
mod decode;
mod enrich;
mod http;
mod ingest;
mod metrics;
mod publish;
mod put;
mod refusal;
pub mod reload;
mod shards;
mod stream;
mod submission;
mod validate;

use std::sync::Arc;

use aws_sdk_kinesis::Client as Kinesis;
use service_runtime::{Runtime, tasks::TaskFailure, tasks::Tasks};
use tokio::net::TcpListener;

pub use config::{Config, Limits, PublishSettings, Settings};
pub use http::cors::CorsOrigins;

use crate::{
    admission::Admission, http::encoding::Decompressor, ingest::Ingest, metrics::Metrics, publish::Publisher,
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
    /// The bundled schemas are not a catalogue.
    #[error(transparent)]
    Catalogue(#[from] event_model::CatalogueError),
    /// A metric could not be registered: another service uses the registry.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
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
    let (publisher, submissions) = Publisher::new(stream.clone(), config.publish, &metrics);
    let ingest = Arc::new(Ingest {
        credentials: Arc::clone(&config.credentials),
        catalogue: event_model::Catalogue::bundled()?,
        limits: config.limits,
        decompressor: Decompressor::new(config.limits.decompressed_bytes, config.limits.body_timeout),
        stream_limits: stream.limits().clone(),
        country_header: config.country_header,
        admission: Admission::new(config.in_flight_bytes, metrics.in_flight_bytes.clone()),
        submissions,
        metrics: Arc::clone(&metrics),
    });

    let latch = runtime.readiness.latch("stream");
    let mut tasks = Tasks::new(runtime.shutdown.clone());
    let check = config.stream_check_interval;
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
    tasks.spawn("publisher", publisher.run());
    let server = http::Server {
        listener,
        router: http::router(ingest, &config.cors_origins),
        max_connections: config.max_connections,
        idle_timeout: config.idle_timeout,
        connections: metrics.connections.clone(),
    };
    tasks.spawn("http", server.serve(runtime.shutdown.clone()));
    Ok(tasks.join().await?)
}
