//! What the program does beside the service: `hoard verify` and `hoard replay`.
//!
//! A command takes the service's own settings, flags or variables, so that the environment of a pod is
//! enough to find its archive. Results go to standard output, what went wrong to standard error. The
//! exit code is 0 where all is well, 1 where the archive is not as it should be, 64 where the arguments
//! are wrong and 69 where bucket or stream could not be read.

mod replay;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use service_runtime::program;
use service_runtime::settings::{self, Settings};

/// Nothing could be said: what has to be read cannot be (`EX_UNAVAILABLE` of sysexits.h).
const EXIT_UNAVAILABLE: u8 = 69;

/// Runs the command that the arguments ask for; `None` when they ask for the service.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    let first = arguments.next()?;
    match first.to_str()? {
        "verify" => Some(settled::<verify::Verify>(arguments, verify::run)),
        "replay" => Some(settled::<replay::Replay>(arguments, replay::run)),
        _ => None,
    }
}

/// Settings first, then the work.
fn settled<S: Settings>(
    arguments: impl Iterator<Item = OsString>,
    work: impl AsyncFnOnce(S::Config) -> Result<bool, Failed>,
) -> ExitCode {
    let arguments = std::iter::once(S::NAME.into()).chain(arguments);
    let config = match settings::config::<S>(arguments, std::env::vars_os()) {
        Ok(config) => config,
        Err(error) => return program::refuse(&error),
    };
    let done = tokio::runtime::Runtime::new()
        .map_err(|error| Failed(format!("cannot start the worker threads: {error}")))
        .and_then(|executor| executor.block_on(work(config)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => report(S::NAME, &error),
    }
}

/// Why a command could say nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl Failed {
    fn because(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(program::format_chain(error))
    }
}

/// Writes a result to standard output.
fn print(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failed(format!("cannot write the result: {error}")))
}

#[expect(clippy::print_stderr, reason = "a person or a script waits there")]
fn report(name: &str, error: &Failed) -> ExitCode {
    eprintln!("{name}: {error}");
    ExitCode::from(EXIT_UNAVAILABLE)
}
