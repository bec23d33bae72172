//! What the program does for a pipeline whose services run on their own, each in its container:
//! `local prepare …` makes what they need in an emulated AWS that runs elsewhere, `local sample …` sends the
//! bundled sample.
//!
//! The exit code is 0, 1 where it could not be done, and 64 where the arguments are wrong.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use local_cloud::Account;
use service_runtime::program;

use crate::aws::{AwsError, DESTINATION_REGION, SOURCE_REGION};
use crate::demo::{DemoClients, DemoError, write_private};
use crate::resources::{self, Owner};
use crate::{console, sample};

/// How long to wait for an emulated AWS that is being started beside this.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, Parser)]
#[command(name = "local", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the stream, the buckets and the queue in an emulated AWS, and the credentials that the
    /// services and the sample's clients need in a folder. What is there stays as it is.
    Prepare {
        /// The emulated AWS of the source partition, such as http://local-cloud:4566.
        #[arg(long, value_name = "URL")]
        source_url: String,
        /// The emulated AWS of the destination partition.
        #[arg(long, value_name = "URL")]
        destination_url: String,
        /// Where the credentials go, in a folder of that name.
        #[arg(long, value_name = "FOLDER")]
        data_folder: PathBuf,
        /// Shards of the stream, when it is made.
        #[arg(long, default_value_t = 2, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
        shards: u16,
    },
    /// Sends the bundled sample; every event of it has to be accepted.
    Sample {
        /// The events service, such as http://events:8080.
        #[arg(long, value_name = "URL")]
        events_url: String,
        /// The folder that `prepare` was given.
        #[arg(long, value_name = "FOLDER")]
        data_folder: PathBuf,
    },
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error(transparent)]
    Demo(#[from] DemoError),
    #[error(transparent)]
    Sample(#[from] sample::SendError),
    #[error("cannot write {}: {source}", path.display())]
    Secret { path: PathBuf, source: io::Error },
    #[error("no emulated AWS answers at {0} within {PATIENCE:?}: {1}")]
    NoCloud(String, String),
    #[error("cannot start the worker threads: {0}")]
    Threads(#[source] io::Error),
}

/// Runs the command that the arguments ask for; `None` when they ask for the pipeline.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let first = arguments.get(1)?;
    if first != "prepare" && first != "sample" {
        return None;
    }
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => return Some(program::refuse(&error)),
    };
    let ran = tokio::runtime::Runtime::new()
        .map_err(Error::Threads)
        .and_then(|executor| executor.block_on(line.command.run()));
    Some(match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    })
}

impl Command {
    async fn run(self) -> Result<(), Error> {
        match self {
            Self::Prepare {
                source_url,
                destination_url,
                data_folder,
                shards,
            } => prepare(&source_url, &destination_url, &data_folder, shards).await,
            Self::Sample {
                events_url,
                data_folder,
            } => {
                let clients = DemoClients::open(&data_folder)?;
                Ok(sample::send(events_url.trim_end_matches('/'), &clients).await?)
            }
        }
    }
}

async fn prepare(
    source_url: &str,
    destination_url: &str,
    data_folder: &Path,
    shards: u16,
) -> Result<(), Error> {
    let (source, destination) = (
        Account::development(SOURCE_REGION),
        Account::development(DESTINATION_REGION),
    );
    for url in [source_url, destination_url] {
        answers(url).await?;
    }
    let (source_config, destination_config) = (
        resources::sdk_config(&source, source_url).await,
        resources::sdk_config(&destination, destination_url).await,
    );
    let owner = |account, config| Owner { account, config };
    let (from, to) = (
        owner(&source, &source_config),
        owner(&destination, &destination_config),
    );
    let queue_url = resources::make(&from, &to, shards).await?;
    let clients = DemoClients::open(data_folder)?;
    for (name, secret) in [
        ("china-secret-access-key", &source.secret_access_key),
        ("europe-secret-access-key", &destination.secret_access_key),
    ] {
        let path = data_folder.join("credentials").join(name);
        write_private(&path, secret.as_bytes()).map_err(|source| Error::Secret { path, source })?;
    }
    console::say("prepared", &format!("stream, buckets and queue ({queue_url})"));
    console::say("try", &clients.curl("127.0.0.1:8080"));
    Ok(())
}

/// Waits until the emulated AWS serves.
async fn answers(url: &str) -> Result<(), Error> {
    let health = format!("{}/_local-cloud/health", url.trim_end_matches('/'));
    let started = Instant::now();
    loop {
        let answer = reqwest::get(&health)
            .await
            .and_then(|answer| answer.error_for_status());
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() >= PATIENCE => {
                return Err(Error::NoCloud(url.to_owned(), program::format_chain(&error)));
            }
            Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
}

#[expect(clippy::print_stderr, reason = "a person or a script waits there")]
fn report(error: &Error) -> ExitCode {
    eprintln!("local: {error}");
    ExitCode::FAILURE
}
