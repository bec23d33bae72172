//! What the program does beside the service: `syncomatic ledger …` looks at what was recorded,
//! `syncomatic reconcile` compares both buckets.
//!
//! A command reads its own arguments, does its work and ends. Results go to standard output, what
//! went wrong to standard error. The exit code is 0, 1 where the command could not do what was asked or
//! found what it looked for, and 64 where the arguments are wrong.

mod ledger;
mod reconcile;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service_runtime::program;

use crate::failure::CallFailure;

/// The commands of `syncomatic` beside the service itself.
#[derive(Debug, Parser)]
#[command(name = "syncomatic", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Looks at the ledger.
    #[command(subcommand)]
    Ledger(ledger::Command),
}

/// Why a command could not do what was asked.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Call(#[from] CallFailure),
    #[error("cannot read {key}: the answer broke off")]
    Body { key: String },
    #[error("cannot read {path}: {source}")]
    Secret { path: String, source: io::Error },
    #[error("there is no ledger under this prefix")]
    NoLedger,
    #[error("cannot write the result: {0}")]
    Print(io::Error),
    #[error("cannot start the worker threads: {0}")]
    Threads(io::Error),
}

/// Runs the command that the arguments ask for; `None` when they ask for the service.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    match arguments.get(1)?.to_str()? {
        "ledger" => {}
        "reconcile" => return Some(reconcile::run(arguments.into_iter().skip(2))),
        _ => return None,
    }
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => return Some(program::refuse(&error)),
    };
    let Command::Ledger(command) = line.command;
    let ran = tokio::runtime::Runtime::new()
        .map_err(Error::Threads)
        .and_then(|executor| executor.block_on(command.run(&mut io::stdout())));
    Some(ran.unwrap_or_else(|error| report(&error)))
}

#[expect(clippy::print_stderr, reason = "a person or a script waits there")]
fn report(error: &Error) -> ExitCode {
    eprintln!("syncomatic: {error}");
    ExitCode::FAILURE
}
