//! What the program does beside the service: `events client …` looks after the credentials file,
//! `events schema …` after the schemas, `events spool …` after what Kinesis will not take.
//!
//! A command reads its own arguments, does its work and ends. Results go to standard output, what
//! went wrong to standard error. The exit code is 0, 1 where the command could not do what was asked,
//! and 64 where the arguments are wrong.

mod client;
mod schema;
mod spool;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use service_runtime::program;

/// The commands of `events` beside the service itself.
#[derive(Debug, Parser)]
#[command(name = "events", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Looks after the clients in the credentials file.
    #[command(subcommand)]
    Client(client::Command),
    /// Looks after the schemas.
    #[command(subcommand)]
    Schema(schema::Command),
    /// Looks after the events in a spool that Kinesis calls invalid. Stop the service first.
    #[command(subcommand)]
    Spool(spool::Command),
}

/// Why a command could not do what was asked.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Change(#[from] crate::credentials::ChangeError),
    #[error(transparent)]
    Credentials(#[from] crate::credentials::CredentialsError),
    #[error(transparent)]
    Schemas(#[from] crate::schemas::SchemasError),
    #[error("--against: {0}")]
    Against(#[source] crate::schemas::SchemasError),
    #[error("{} in the schemas", if *.0 == 1 { "1 problem".to_owned() } else { format!("{} problems", .0) })]
    SchemaProblems(usize),
    #[error(transparent)]
    Spool(#[from] crate::spool::SpoolError),
    #[error("there is no spool in {}", .0.display())]
    NoSpool(PathBuf),
    #[error("cannot write {}: {source}", file.display())]
    Export { file: PathBuf, source: io::Error },
    #[error("cannot write the result: {0}")]
    Print(#[from] io::Error),
    #[error("the secret of {key} could not be shown and is lost ({source}): {remedy}")]
    SecretLost {
        key: String,
        source: io::Error,
        remedy: &'static str,
    },
}

/// Runs the command that the arguments ask for; `None` when they ask for the service.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let first = arguments.get(1)?;
    if first != "client" && first != "schema" && first != "spool" {
        return None;
    }
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => return Some(program::refuse(&error)),
    };
    Some(match line.command.run(&mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    })
}

impl Command {
    fn run(self, out: &mut impl Write) -> Result<(), Error> {
        match self {
            Self::Client(command) => command.run(out),
            Self::Schema(command) => command.run(out),
            Self::Spool(command) => command.run(out),
        }
    }
}

#[expect(clippy::print_stderr, reason = "a person or a script waits there")]
fn report(error: &Error) -> ExitCode {
    eprintln!("events: {error}");
    ExitCode::FAILURE
}
