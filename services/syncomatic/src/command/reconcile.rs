//! `syncomatic reconcile`: both buckets compared, and repaired if asked to.
//!
//! It takes the service's own settings, flags or variables, so that the environment of a pod is enough. Keys
//! can name people: they are shown with `--show-keys` alone; a line has otherwise the digits that the
//! service's log has in place of a key.

mod checkpoint;
mod output;
mod progress;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use service_runtime::backoff::Backoff;
use service_runtime::program::{self, format_chain};
use service_runtime::settings::{self, InvalidSetting, RuntimeSettings};
use service_runtime::{Latch, Runtime};

use self::checkpoint::{Checkpoint, CheckpointFile};
use self::output::Output;
use self::progress::Progress;
use crate::config::{Config, Settings};
use crate::metrics::Metrics;
use crate::reconcile::{End, Mode, Report};
use crate::service::{open_ledger, policy, reconcile};
use crate::sides::{Destination, Problem, Source, buckets};

/// They differ.
const EXIT_DIFFERENT: u8 = 1;
/// A setting is wrong, or a bucket is not where it is said to be (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;
/// It could not be completed: a side, or an object, could not be read (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: u8 = 69;
/// A signal ended it before it was complete (`EX_TEMPFAIL`: it may be run again).
const EXIT_STOPPED: u8 = 75;

const RETRY_BASE: Duration = Duration::from_millis(250);
const RETRY_CAP: Duration = Duration::from_secs(5);

/// Compares both buckets along their routes, object by object: what is missing, different (and why) or
/// extra. The exit code is 0 when both sides are equal, 1 when they differ, 64 for wrong settings, 69 when
/// not everything could be compared, 75 when a signal ended it.
#[derive(Parser, Debug)]
#[command(about, long_about = None, mut_arg("source_queue", |arg| arg.required(false).default_value("")))]
pub(super) struct Settled {
    /// Copies what is missing or different, as a notification would. Nothing is ever deleted.
    #[arg(long, help_heading = "Reconcile")]
    repair: bool,

    /// Looks at every object on both sides (two HEAD requests each), and does not trust equal ETags and
    /// sizes of the listings.
    #[arg(long, help_heading = "Reconcile")]
    deep: bool,

    /// Prints one JSON object a line for each object that is not in place, and a summary as the last.
    #[arg(long, help_heading = "Reconcile")]
    json: bool,

    /// Shows keys, which may name people.
    #[arg(long, help_heading = "Reconcile")]
    show_keys: bool,

    /// Shows progress on standard error also where that is no terminal.
    #[arg(long, help_heading = "Reconcile")]
    progress: bool,

    /// File that keeps how far it is, so that it can be stopped and run again. It holds a key; only the
    /// owner may read it. It is removed at the end.
    #[arg(long, help_heading = "Reconcile")]
    checkpoint_file: Option<PathBuf>,

    #[command(flatten)]
    service: Settings,
}

/// What was asked for.
pub(super) struct Asked {
    config: Config,
    mode: Mode,
    json: bool,
    show_keys: bool,
    progress: bool,
    checkpoint_file: Option<PathBuf>,
    drain_deadline: Duration,
}

impl settings::Settings for Settled {
    const NAME: &'static str = "syncomatic reconcile";
    const ENV_PREFIX: &'static str = <Settings as settings::Settings>::ENV_PREFIX;
    const ADMIN_LISTEN: &'static str = <Settings as settings::Settings>::ADMIN_LISTEN;
    type Config = Asked;

    fn runtime(&self) -> &RuntimeSettings {
        self.service.runtime()
    }

    fn validate(self) -> Result<Asked, InvalidSetting> {
        Ok(Asked {
            mode: Mode {
                is_deep: self.deep,
                repairs: self.repair,
            },
            json: self.json,
            show_keys: self.show_keys,
            progress: self.progress,
            checkpoint_file: self.checkpoint_file,
            drain_deadline: self.service.runtime().drain_deadline,
            config: self.service.validate()?,
        })
    }
}

/// Why there is no result at all.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Setting(String),
    #[error("{0}")]
    Unavailable(String),
}

/// Runs the command; `arguments` are those behind its name.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let name = OsString::from(<Settled as settings::Settings>::NAME);
    let arguments = std::iter::once(name).chain(arguments);
    let asked = match settings::config::<Settled>(arguments, std::env::vars_os()) {
        Ok(asked) => asked,
        Err(error) => return program::refuse(&error),
    };
    let done = tokio::runtime::Runtime::new()
        .map_err(|error| Failed::Unavailable(format!("cannot start the worker threads: {error}")))
        .and_then(|executor| executor.block_on(until_signal(asked)));
    done.map_or_else(|failed| report(&failed), ExitCode::from)
}

#[expect(clippy::print_stderr, reason = "a person or a script waits there")]
fn report(failed: &Failed) -> ExitCode {
    eprintln!("{}: {failed}", <Settled as settings::Settings>::NAME);
    ExitCode::from(match failed {
        Failed::Setting(_) => EXIT_USAGE,
        Failed::Unavailable(_) => EXIT_UNAVAILABLE,
    })
}

async fn until_signal(asked: Asked) -> Result<u8, Failed> {
    let signals = program::Signals::listen()
        .map_err(|error| Failed::Unavailable(format!("cannot listen for signals: {error}")))?;
    let runtime = Runtime::with_drain_deadline("syncomatic", asked.drain_deadline);
    tokio::select! {
        done = Box::pin(compare(asked, &runtime)) => done,
        never = signals.drain(runtime.clone()) => match never {},
    }
}

async fn compare(asked: Asked, runtime: &Runtime) -> Result<u8, Failed> {
    let config = asked.config;
    let unavailable = |error: &(dyn std::error::Error + 'static)| Failed::Unavailable(format_chain(error));
    let policy = policy(&config);
    let (source, destination) = (&config.source.bucket, &config.destination.bucket);
    let subject = format!("{policy} {source} {destination}");
    let file = asked.checkpoint_file.map(CheckpointFile::new);
    let from = match &file {
        Some(file) => file.read(&subject, asked.mode).map_err(Failed::Setting)?,
        None => None,
    };
    let source = aws_clients::load(&config.source.endpoint).await;
    let source = Source {
        s3: aws_clients::s3(&source),
        sqs: aws_clients::sqs(&source),
    };
    let destination = aws_clients::load(&config.destination.endpoint).await;
    let destination = Destination {
        s3: aws_clients::s3(&destination),
    };
    establish(&config, &source, &destination).await?;
    let metrics = Metrics::register(&runtime.registry).map_err(|error| unavailable(&error))?;
    let (metrics, sides) = (Arc::new(metrics), (&source, &destination));
    let (ledger, writer) = match asked.mode.repairs {
        true => {
            let config = with_own_chain(&config);
            let latch: Latch = runtime.readiness.latch("ledger");
            open_ledger(&config, &policy, sides, &metrics, Some(latch), runtime)
        }
        false => (None, None),
    };
    let reconcile = reconcile(&config, sides, ledger, &metrics, runtime);
    let progress = Progress::default();
    let checkpoints = file.map(|file| file.of(subject, asked.mode));
    let mut output = Output::new(
        io::stdout(),
        asked.json,
        asked.show_keys,
        progress.clone(),
        checkpoints,
    );
    let started = Instant::now();
    let (report, position) = from.map_or_else(
        || (Report::default(), None),
        |Checkpoint { report, position, .. }| (report, Some(position)),
    );
    let work = async {
        let done = reconcile.run(asked.mode, report, position, &mut output).await;
        // The last way to the ledger ends here, and with it the chain.
        drop(reconcile);
        // What is not durable soon never will be.
        let done = (done, runtime.shutdown.is_requested());
        runtime.shutdown.request();
        done
    };
    let record = async {
        match writer {
            Some(writer) => writer.run().await,
            None => Ok(()),
        }
    };
    let both = async { tokio::join!(work, record) };
    let (((report, end), _), recorded) = progress.show(asked.progress, Box::pin(both)).await;
    let finished = output.finish(&report, &end, started.elapsed());
    finished.map_err(|error| Failed::Unavailable(format!("cannot write the result: {error}")))?;
    recorded.map_err(|error| unavailable(&error))?;
    Ok(exit_code(&report, &end))
}

/// A chain of the ledger has one writer: the service's is another's.
fn with_own_chain(config: &Config) -> Config {
    let mut config = config.clone();
    if let Some(place) = &mut config.ledger {
        place.instance = format!("reconcile-{}", place.instance);
    }
    config
}

async fn establish(config: &Config, source: &Source, destination: &Destination) -> Result<(), Failed> {
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
    loop {
        let failure = match buckets(config, source, destination).await {
            Ok(()) => return Ok(()),
            Err(Problem::Wrong(wrong)) => return Err(Failed::Setting(wrong.to_string())),
            Err(Problem::Call(failure)) => failure,
        };
        let pause = backoff.next_delay();
        if !failure.failure.is_retryable() || backoff.tries() >= config.reconcile.tries {
            return Err(Failed::Unavailable(failure.to_string()));
        }
        tokio::time::sleep(pause).await;
    }
}

fn exit_code(report: &Report, end: &End) -> u8 {
    let total = report.total();
    match end {
        End::Stopped => EXIT_STOPPED,
        End::Failed(_) => EXIT_UNAVAILABLE,
        End::Complete if total.differences() > 0 => EXIT_DIFFERENT,
        End::Complete if total.failed() > 0 => EXIT_UNAVAILABLE,
        End::Complete => 0,
    }
}
