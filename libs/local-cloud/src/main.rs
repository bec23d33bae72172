//! `local-cloud`: the emulated AWS as a program, for docker-compose and for trying things by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;
use local_cloud::{Account, Clock, CloudSettings, LocalCloud, StartError};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The command line is wrong (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;

/// An emulated AWS (Kinesis, S3, SQS) for development and tests.
#[derive(Parser)]
#[command(name = "local-cloud", version)]
struct Arguments {
    /// One side: `region=cn-north-1,listen=127.0.0.1:4566`; `credentials=<key id>:<secret>` may be
    /// added. Repeat it for further sides.
    #[arg(
        long = "side",
        value_name = "SIDE",
        default_value = "region=us-east-1,listen=127.0.0.1:4566"
    )]
    sides: Vec<String>,
    /// Keeps the state of each side in `<folder>/<region>`; without it, state is kept in memory.
    #[arg(long, value_name = "FOLDER")]
    data_folder: Option<PathBuf>,
    /// Seeds the random choices of fault rules.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

struct Side {
    listen: SocketAddr,
    account: Account,
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut listen, mut region, mut credentials) =
            (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None, None);
        for setting in text.split(',') {
            let (name, value) = setting
                .split_once('=')
                .ok_or_else(|| format!("{setting:?} is not name=value"))?;
            match name {
                "listen" => {
                    listen = value
                        .parse()
                        .map_err(|_| format!("{value:?} is not <address>:<port>"))?;
                }
                "region" => region = Some(value),
                // The value is not repeated in the message: half of it is a secret.
                "credentials" => {
                    credentials = Some(value.split_once(':').ok_or("credentials are <key id>:<secret>")?);
                }
                _ => return Err(format!("{name:?} is not one of region, listen, credentials")),
            }
        }
        let account = Account::development(region.ok_or("the region is missing")?);
        let account = match credentials {
            Some((key_id, secret)) => account.with_credentials(key_id, secret),
            None => account,
        };
        Ok(Self { listen, account })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    // The protocol crate calls every refused request an error; to us they are answers.
    let filter = EnvFilter::new("info,s3s=off");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            match error {
                RunError::Side(_) => ExitCode::from(EXIT_USAGE),
                RunError::Start(_) | RunError::Signal(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Prints help, the version, or what is wrong with the command line.
fn explain(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() || printed.is_err() {
        ExitCode::from(EXIT_USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    /// Said by us rather than by clap, which would repeat the value and the secret in it.
    #[error("--side: {0}")]
    Side(String),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("signals cannot be received: {0}")]
    Signal(#[from] std::io::Error),
}

async fn run(arguments: Arguments) -> Result<(), RunError> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut clouds = Vec::with_capacity(arguments.sides.len());
    let sides: Vec<Side> = arguments
        .sides
        .iter()
        .map(|side| side.parse())
        .collect::<Result<_, _>>()
        .map_err(RunError::Side)?;
    for Side { listen, account } in sides {
        let data_folder = arguments
            .data_folder
            .as_ref()
            .map(|folder| folder.join(&account.region));
        let settings = CloudSettings {
            listen,
            account,
            data_folder,
            seed: arguments.seed,
            clock: Clock::system(),
            kinesis_limits: None,
        };
        clouds.push(LocalCloud::start(settings).await?);
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    for cloud in clouds {
        cloud.stop().await;
    }
    Ok(())
}
