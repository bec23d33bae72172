//! The service as a whole: both sides established, the stages put together, polling until a drain.

use std::sync::Arc;

use service_runtime::tasks::{TaskFailure, Tasks};
use service_runtime::{Latch, Runtime};

use crate::bandwidth::Bandwidth;
use crate::budget::Budget;
use crate::circuit::Circuit;
use crate::config::Config;
use crate::copy::{Copier, Lane};
use crate::depth;
use crate::endpoint::Endpoint;
use crate::failure::At;
use crate::ledger::{Incomplete, Ledger, Place, Writer};
use crate::metrics::Metrics;
use crate::poll::Poll;
use crate::reconcile::{Mode, Reconcile, Schedule};
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
    let policy = policy(&config);
    tracing::info!(policy, redaction = redaction(&config), "policy");
    let (ledger, writer) = open_ledger(
        &config,
        &policy,
        (&source, &destination),
        &metrics,
        ledger_latch,
        &runtime,
    );
    let mut background = Tasks::new(runtime.shutdown.clone());
    if let Some(interval) = config.reconcile.interval {
        let sides = (&source, &destination);
        let reconcile = reconcile(&config, sides, ledger.clone(), &metrics, &runtime);
        let mode = Mode {
            is_deep: config.reconcile.is_deep,
            repairs: config.reconcile.repairs,
        };
        let schedule = Schedule {
            reconcile,
            interval,
            mode,
        };
        background.spawn("reconcile", schedule.run());
    }
    let copier = Arc::new(copier(&config, Lane::Queue, (&source, &destination), &metrics));
    background.spawn(
        "upload sweep",
        sweep(
            copier.clone(),
            config.redacted.clone(),
            config.limits.sweep_interval,
            runtime.shutdown.clone(),
        ),
    );
    background.spawn(
        "queue depth",
        depth::watch(queue.clone(), metrics.clone(), runtime.shutdown.clone()),
    );
    let sync = Arc::new(Sync {
        queue,
        routes: config.routes,
        redacted: config.redacted,
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

fn redaction(config: &Config) -> &str {
    let redacted = config.redacted.as_ref();
    redacted.map_or("-", |redacted| redacted.redaction.digest())
}

/// What stands for the policy in logs, ledger and checkpoints.
pub(crate) fn policy(config: &Config) -> String {
    config.routes.digest(redaction(config))
}

/// The ledger and its one writer, where one is kept.
pub(crate) fn open_ledger(
    config: &Config,
    policy: &str,
    (source, destination): (&Source, &Destination),
    metrics: &Arc<Metrics>,
    latch: Option<Latch>,
    runtime: &Runtime,
) -> (Option<Ledger>, Option<Writer>) {
    let Some((place, latch)) = config.ledger.clone().zip(latch) else {
        return (None, None);
    };
    let limits = &config.limits;
    let in_hand = limits.concurrency.max(config.reconcile.concurrency);
    let (ledger, waiting) = Ledger::new(&place, policy, in_hand, limits.progress_deadline);
    let client = match place.side.at() {
        At::Source => source.s3.clone(),
        At::Destination => destination.s3.clone(),
    };
    let writer = Writer {
        place,
        policy: policy.to_owned(),
        client,
        waiting,
        metrics: metrics.clone(),
        latch,
        shutdown: runtime.shutdown.clone(),
    };
    (Some(ledger), Some(writer))
}

/// What compares both buckets, with a copier of its own lane.
pub(crate) fn reconcile(
    config: &Config,
    sides: (&Source, &Destination),
    ledger: Option<Ledger>,
    metrics: &Arc<Metrics>,
    runtime: &Runtime,
) -> Reconcile {
    let kept_there =
        |place: &&Place| place.side.at() == At::Destination && place.bucket == config.destination.bucket;
    let own_prefixes = config.ledger.iter().filter(kept_there);
    Reconcile {
        routes: config.routes.clone(),
        redacted: config.redacted.clone(),
        copier: Arc::new(copier(config, Lane::Reconcile, sides, metrics)),
        ledger,
        own_prefixes: own_prefixes.map(|place| place.prefix.clone()).collect(),
        limits: config.reconcile.clone(),
        shutdown: runtime.shutdown.clone(),
    }
}

fn copier(
    config: &Config,
    lane: Lane,
    (source, destination): (&Source, &Destination),
    metrics: &Arc<Metrics>,
) -> Copier {
    let limits = match lane {
        Lane::Queue => config.limits.clone(),
        Lane::Reconcile => config.reconcile.of_lane(&config.limits),
    };
    let endpoint = |at, client: &aws_sdk_s3::Client, bucket: &String| {
        Endpoint::new(at, client, bucket.clone(), limits.transfers)
    };
    Copier {
        lane,
        source: endpoint(At::Source, &source.s3, &config.source.bucket),
        destination: endpoint(At::Destination, &destination.s3, &config.destination.bucket),
        storage: config.storage.clone(),
        budget: Budget::new(limits.memory_bytes, metrics.clone()),
        bandwidth: limits.bandwidth.map(|rate| Arc::new(Bandwidth::new(rate))),
        journal_prefix: config.journal_prefix.clone(),
        limits,
        retries: RetryBudget::new(),
        metrics: metrics.clone(),
    }
}
