//! The service as a whole: both sides established, the stages put together, polling until a drain.

use std::sync::Arc;

use service_runtime::Runtime;
use service_runtime::tasks::{TaskFailure, Tasks};

use crate::bandwidth::Bandwidth;
use crate::budget::Budget;
use crate::circuit::Circuit;
use crate::config::Config;
use crate::copy::Copier;
use crate::depth;
use crate::endpoint::Endpoint;
use crate::failure::At;
use crate::ledger::{Incomplete, Ledger, Writer};
use crate::metrics::Metrics;
use crate::poll::Poll;
use crate::retries::RetryBudget;
use crate::sides::{Destination, Sides, Source, WrongSide};
use crate::sweep::sweep;
use crate::sync::Sync;

/// Why the service ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A side is not what the configuration says.
    #[error(transparent)]
    WrongSide(#[from] WrongSide),
    /// A metric could not be registered: another service has its name.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The handling of a message panicked.
    #[error(transparent)]
    Task(#[from] TaskFailure),
    /// The ledger lacks decisions that were made.
    #[error(transparent)]
    Ledger(#[from] Incomplete),
}

/// Builds the clients of both sides and runs the service.
pub async fn serve(config: Config, runtime: Runtime) -> Result<(), Error> {
    let source = aws_clients::load(&config.source.endpoint).await;
    let source = Source {
        s3: aws_clients::s3(&source),
        sqs: aws_clients::sqs(&source),
    };
    let destination = aws_clients::load(&config.destination.endpoint).await;
    let destination = Destination {
        s3: aws_clients::s3(&destination),
    };
    run(config, source, destination, runtime).await
}

/// Runs the service until a drain is requested and done.
pub async fn run(
    config: Config,
    source: Source,
    destination: Destination,
    runtime: Runtime,
) -> Result<(), Error> {
    let sides_latch = runtime.readiness.latch("sides");
    let queue_latch = runtime.readiness.latch("queue");
    let access_latch = runtime.readiness.latch("access");
    let ledger_latch = config.ledger.as_ref().map(|_| runtime.readiness.latch("ledger"));
    let metrics = Arc::new(Metrics::register(&runtime.registry)?);
    let sides = Sides {
        config: &config,
        source: &source,
        destination: &destination,
        runtime: &runtime,
    };
    let Some(queue) = sides.establish(&sides_latch).await? else {
        return Ok(());
    };
    let queue = Arc::new(queue);
    let circuit = Arc::new(Circuit::new(config.limits.circuit_pause, access_latch));
    let poll = Poll {
        queue: queue.clone(),
        circuit: circuit.clone(),
        concurrency: config.limits.concurrency,
        metrics: metrics.clone(),
        shutdown: runtime.shutdown.clone(),
        latch: queue_latch,
    };
    let redaction = config
        .redacted
        .as_ref()
        .map_or("-", |redacted| redacted.redaction.digest());
    let policy = config.routes.digest(redaction);
    tracing::info!(policy, redaction, "policy");
    let (ledger, writer) = match config.ledger.clone().zip(ledger_latch) {
        Some((place, latch)) => {
            let limits = &config.limits;
            let (ledger, waiting) =
                Ledger::new(&place, &policy, limits.concurrency, limits.progress_deadline);
            let client = match place.side.at() {
                At::Source => source.s3.clone(),
                At::Destination => destination.s3.clone(),
            };
            let writer = Writer {
                place,
                policy,
                client,
                waiting,
                metrics: metrics.clone(),
                latch,
                shutdown: runtime.shutdown.clone(),
            };
            (Some(ledger), Some(writer))
        }
        None => (None, None),
    };
    let sweep_interval = config.limits.sweep_interval;
    let (routes, redacted) = (config.routes.clone(), config.redacted.clone());
    let copier = Arc::new(copier(config, &source, &destination, &metrics));
    let mut background = Tasks::new(runtime.shutdown.clone());
    background.spawn(
        "upload sweep",
        sweep(
            copier.clone(),
            redacted.clone(),
            sweep_interval,
            runtime.shutdown.clone(),
        ),
    );
    background.spawn(
        "queue depth",
        depth::watch(queue.clone(), metrics.clone(), runtime.shutdown.clone()),
    );
    let sync = Arc::new(Sync {
        queue,
        routes,
        redacted,
        ledger,
        copier,
        circuit,
        metrics,
        shutdown: runtime.shutdown,
    });
    let work = Box::pin(async move {
        let polled = poll
            .run(|message, give_up| sync.clone().handle(message, give_up))
            .await;
        // The last way to the ledger ends here, and with it the chain.
        drop(sync);
        polled
    });
    let record = Box::pin(async {
        match writer {
            Some(writer) => writer.run().await,
            None => Ok(()),
        }
    });
    let (polled, recorded) = tokio::join!(work, record);
    polled?;
    recorded?;
    Ok(background.join().await?)
}

fn copier(config: Config, source: &Source, destination: &Destination, metrics: &Arc<Metrics>) -> Copier {
    let Config { limits, .. } = config;
    let transfers = limits.transfers;
    Copier {
        source: Endpoint::new(At::Source, &source.s3, config.source.bucket, transfers),
        destination: Endpoint::new(
            At::Destination,
            &destination.s3,
            config.destination.bucket,
            transfers,
        ),
        storage: config.storage,
        budget: Budget::new(limits.memory_bytes, metrics.clone()),
        bandwidth: limits.bandwidth.map(|rate| Arc::new(Bandwidth::new(rate))),
        journal_prefix: config.journal_prefix,
        limits,
        retries: RetryBudget::new(),
        metrics: metrics.clone(),
    }
}
