//! An emulated AWS for development and tests: Kinesis, Firehose, S3 with notifications, and SQS
//! over the AWS wire protocols, so that services run unchanged, with the real SDK, against it.
//!
//! One [`LocalCloud`] is one listener, and one account in one region. Two of them in one process
//! are two sides that know nothing of each other; each refuses the other's credential.
//!
//! ```no_run
//! # async fn example() -> Result<(), local_cloud::StartError> {
//! use local_cloud::{CloudSettings, LocalCloud, Rule};
//!
//! let cloud = LocalCloud::start(CloudSettings::in_memory("cn-north-1")).await?;
//! cloud.faults().inject(Rule::on("kinesis:PutRecords").times(1).lose_answer());
//! println!("AWS_ENDPOINT_URL={}", cloud.endpoint_url());
//! cloud.stop().await;
//! # Ok(()) }
//! ```
//!
//! What it is for is exactness where the pipeline depends on it (conditional writes under a race,
//! checksums, notification shapes, shard order), and loudness where it ends: an operation that is
//! not emulated is answered with an error that names it. What it is not for is production: one
//! credential, no policies, no TLS, and writes that are not flushed to the device.
//!
//! A program that hosts a cloud should log with `s3s=off`: the protocol crate calls every refused
//! request an error, among them the 412 that a conditional write is about.
//!
//! The parts, from the socket inwards: `server` accepts connections, `dispatch` finds the service
//! of a request and applies [`Faults`], `kinesis`, `firehose`, `s3` and `sqs` execute operations, `state` keeps
//! what they acknowledged.

mod account;
mod admin;
mod clock;
mod dispatch;
mod fault;
mod firehose;
mod kinesis;
mod s3;
mod server;
mod sqs;
mod state;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

pub use account::Account;
pub use clock::Clock;
pub use fault::{Action, Faults, InvalidRule, LostAnswer, Rule};
pub use kinesis::KinesisLimits;
pub use state::StateError;

use dispatch::Services;
use firehose::Firehose;
use kinesis::Kinesis;
use s3::S3;
use server::Server;
use sqs::Sqs;
use state::{State, Table};

/// What a cloud is started with.
#[derive(Clone, Debug)]
pub struct CloudSettings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whose cloud it is.
    pub account: Account,
    /// Where state is kept; `None` keeps it in memory.
    pub data_folder: Option<PathBuf>,
    /// Of every random choice that a fault rule makes.
    pub seed: u64,
    /// The time that the services see.
    pub clock: Clock,
    /// What a shard takes and gives in a second; `None` takes and gives everything.
    pub kinesis_limits: Option<KinesisLimits>,
}

impl CloudSettings {
    /// A cloud that forgets everything when it stops, on a free port of the loop-back interface.
    pub fn in_memory(region: &str) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            account: Account::development(region),
            data_folder: None,
            seed: 0,
            clock: Clock::system(),
            kinesis_limits: None,
        }
    }

    /// A cloud that goes on with what the folder holds.
    pub fn in_folder(region: &str, folder: impl Into<PathBuf>) -> Self {
        Self {
            data_folder: Some(folder.into()),
            ..Self::in_memory(region)
        }
    }
}

/// Why a cloud did not start; one line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Most often the port is taken.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address that was asked for.
        listen: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A running cloud. Dropping it closes its connections at once; [`LocalCloud::stop`] lets calls
/// that are being executed finish first.
#[derive(Debug)]
pub struct LocalCloud {
    account: Account,
    faults: Faults,
    server: Server,
}

impl LocalCloud {
    /// Opens the state, binds, and serves.
    ///
    /// # Errors
    /// The address is taken, or the data folder cannot be used.
    pub async fn start(settings: CloudSettings) -> Result<Self, StartError> {
        let CloudSettings {
            listen,
            account,
            data_folder,
            seed,
            clock,
            kinesis_limits,
        } = settings;
        let unbound = |source| StartError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let endpoint_url = format!("http://{address}");

        let state = match &data_folder {
            Some(folder) => State::open(folder)?,
            None => State::in_memory(),
        };
        if let Some(folder) = &data_folder {
            claim(&state, folder.clone(), &account)?;
        }
        let faults = Faults::seeded(seed);
        let kinesis = Kinesis::open(&account, &state, &clock, kinesis_limits)?;
        let sqs = Arc::new(Sqs::open(&account, &state, &clock, &endpoint_url)?);
        let s3 = S3::open(
            &account,
            &state,
            &faults,
            &clock,
            Arc::clone(&sqs),
            data_folder.as_deref(),
        )?;
        let firehose = Firehose::open(&account, &state, &clock, s3.depositor())?;
        let services = Services {
            account: account.clone(),
            clock,
            faults: faults.clone(),
            kinesis,
            firehose,
            sqs,
            s3,
        };

        let server = Server::start(listener, address, services);
        tracing::info!(%address, region = account.region, "local cloud is up");
        Ok(Self {
            account,
            faults,
            server,
        })
    }

    /// `http://<address>:<port>`, for `endpoint_url` of an SDK client.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Whose cloud it is, with the credential that it accepts.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Its fault rules.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Stops accepting, lets the calls that are being executed finish for up to a second, closes
    /// the connections and releases port and data folder.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// Marks a new folder as the account's, and refuses one that is marked as another's.
fn claim(state: &State, folder: PathBuf, account: &Account) -> Result<(), StateError> {
    let wanted = format!("account {} in {}", account.id, account.region);
    for entry in state.scan(Table::Cloud) {
        let (_, found) = entry?;
        let found = String::from_utf8_lossy(&found).into_owned();
        if found != wanted {
            return Err(StateError::Foreign {
                folder,
                found,
                wanted,
            });
        }
    }
    state.put(Table::Cloud, b"account", wanted.as_bytes())
}
