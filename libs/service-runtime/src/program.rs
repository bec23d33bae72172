//! The `main` of every program: settings → logs → admin port → signals → the service → exit code. With
//! `config` as its first argument it only checks the settings and prints them, with `healthcheck` it asks
//! the one that runs how it is.

use std::convert::Infallible;
use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::settings::{self, InvalidSetting, LogTarget, RuntimeSettings, Settings};
use crate::units::format_duration;
use crate::{AdminPort, Runtime, admin, explain, healthcheck, logs};

/// The command line or the environment is wrong (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;
/// An address could not be bound (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: u8 = 69;
/// The service ended with an error.
const EXIT_FAILURE: u8 = 1;
/// A second signal came while draining: 128 + SIGINT, as shells report it.
const EXIT_SECOND_SIGNAL: i32 = 130;

/// Runs a program to its end. Call it from `main` and return what it returns.
pub fn main<S, F, E>(serve: F) -> ExitCode
where
    S: Settings,
    F: AsyncFnOnce(S::Config, Runtime) -> Result<(), E>,
    E: Error + 'static,
{
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(exit_code) = healthcheck::run::<S>(&arguments) {
        return exit_code;
    }
    let arguments = match explain::asked(arguments) {
        Ok(arguments) => return explain::run::<S>(arguments, std::env::vars_os()),
        Err(arguments) => arguments,
    };
    let settings = match settings::parse::<S>(arguments, std::env::vars_os()) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error),
    };
    let runtime_settings = settings.runtime().clone();
    let log_target = settings.log_target();
    let config = match settings.validate() {
        Ok(config) => config,
        Err(invalid) => return refuse(&settings::invalid_setting::<S>(&invalid)),
    };
    if let Err(unusable) = start_logs(&runtime_settings, &log_target) {
        let because = unusable.to_string();
        return Ended::new(EXIT_USAGE, because).report(S::NAME, &log_target);
    }
    let ended = match tokio::runtime::Runtime::new() {
        Ok(executor) => executor.block_on(supervise::<S, F, E>(config, runtime_settings, serve)),
        Err(error) => Err(Ended::new(
            EXIT_FAILURE,
            format!("cannot start the worker threads: {error}"),
        )),
    };
    match ended {
        Ok(()) => {
            tracing::info!(program = S::NAME, "drained");
            ExitCode::SUCCESS
        }
        Err(ended) => ended.report(S::NAME, &log_target),
    }
}

/// Why the program ends other than by a drain.
struct Ended {
    exit_code: u8,
    because: String,
}

impl Ended {
    fn new(exit_code: u8, because: String) -> Self {
        Self { exit_code, because }
    }

    #[expect(
        clippy::print_stderr,
        reason = "where a person waits when there is no log, or it is a file"
    )]
    fn report(self, program: &str, log_target: &LogTarget) -> ExitCode {
        tracing::error!(program, error = self.because, "failed");
        let nobody_reads_logs = self.exit_code == EXIT_USAGE || matches!(log_target, LogTarget::File(_));
        if nobody_reads_logs {
            eprintln!("{program}: {}", self.because);
        }
        ExitCode::from(self.exit_code)
    }
}

fn start_logs(settings: &RuntimeSettings, target: &LogTarget) -> Result<(), InvalidSetting> {
    let (format, filter) = (settings.log_format, &settings.log_filter);
    match target {
        LogTarget::Stdout => logs::init(format, filter, std::io::stdout),
        LogTarget::File(path) => {
            let file = append_to(path).map_err(|error| {
                InvalidSetting::new(
                    "--data-folder",
                    format!("cannot write {}: {error}", path.display()),
                )
            })?;
            logs::init(format, filter, file)
        }
    }
    .map_err(|problem| InvalidSetting::new("--log-filter", problem))
}

fn append_to(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::options().create(true).append(true).open(path)
}

async fn supervise<S, F, E>(config: S::Config, settings: RuntimeSettings, serve: F) -> Result<(), Ended>
where
    S: Settings,
    F: AsyncFnOnce(S::Config, Runtime) -> Result<(), E>,
    E: Error + 'static,
{
    // Before anything is announced: a signal that nobody listens for yet would end the program undrained.
    let signals = Signals::listen()
        .map_err(|error| Ended::new(EXIT_FAILURE, format!("cannot listen for signals: {error}")))?;
    let address = settings.admin_listen;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let because = format!("cannot bind {address} (--admin-listen): {error}; free it or choose another");
        Ended::new(EXIT_UNAVAILABLE, because)
    })?;
    let mut runtime = Runtime::with_drain_deadline(S::NAME, settings.drain_deadline);
    // Port 0 took any.
    runtime.admin = AdminPort::at(listener.local_addr().unwrap_or(address));
    tracing::info!(
        program = S::NAME,
        version = env!("CARGO_PKG_VERSION"),
        admin = runtime.admin.address().map(tracing::field::display),
        "starting"
    );
    tokio::select! {
        served = serve(config, runtime.clone()) => {
            served.map_err(|error| Ended::new(EXIT_FAILURE, format_chain(&error)))
        }
        error = admin::serve(listener, runtime.clone()) => {
            Err(Ended::new(EXIT_FAILURE, format!("the admin port failed: {error:?}")))
        }
        never = signals.drain(runtime) => match never {},
    }
}

/// SIGTERM and SIGINT, which are listened for as long as this is there.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The first one asks for a drain, the second ends the process.
    pub async fn drain(mut self, runtime: Runtime) -> Infallible {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            };
            if runtime.shutdown.is_requested() {
                tracing::warn!(signal = name, "second signal: exiting without draining");
                std::process::exit(EXIT_SECOND_SIGNAL);
            }
            let deadline = format_duration(runtime.shutdown.drain_deadline());
            tracing::info!(signal = name, deadline, "draining");
            runtime.shutdown.request();
        }
    }
}

/// Prints help, version or an error; only an error is a failure, with exit code 64. For commands that a
/// program has beside its service, which read their own arguments.
pub fn refuse(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if printed.is_ok() && !error.use_stderr() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_USAGE)
    }
}

/// `outer: cause: root cause`, for the one log line that reports it.
pub fn format_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
