//! Starts the three services as an operator would configure them: their own flags, defaults and
//! checks. Every port is bound before any service runs, so that a taken one is named at once.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use service_runtime::settings::{Settings, config_from};
use service_runtime::units::format_duration;
use tokio::net::TcpListener;

use crate::Config;
use crate::aws::{Aws, DESTINATION_BUCKET, SOURCE_BUCKET, STREAM};
use crate::demo::{DemoClients, write_private};
use crate::host::Host;
use crate::sample::COUNTRY_HEADER;

/// Where the services listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// The public API.
    pub(crate) events: SocketAddr,
    /// Admin ports, in the order of the flow.
    pub(crate) events_admin: SocketAddr,
    /// See [`Addresses::events_admin`].
    pub(crate) hoard_admin: SocketAddr,
    /// See [`Addresses::events_admin`].
    pub(crate) syncomatic_admin: SocketAddr,
}

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, most often by another run of this program.
    #[error("cannot bind {address} ({flag}): {source}; free it or choose another, 0 takes any")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A service refuses the flags that this program gives it.
    #[error("{0}")]
    Settings(#[from] clap::Error),
    /// A side's secret cannot be put where `syncomatic` reads it.
    #[error("cannot write {}: {source}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Binds every port and starts the services in the order of the flow.
pub(crate) async fn start(
    host: &mut Host,
    config: &Config,
    aws: &Aws,
    clients: &DemoClients,
) -> Result<Addresses, StartError> {
    let public = bind(config.events, "--events-port").await?;
    let events_admin = bind(config.events_admin, "--events-admin-port").await?;
    let hoard_admin = bind(config.hoard_admin, "--hoard-admin-port").await?;
    let syncomatic_admin = bind(config.syncomatic_admin, "--syncomatic-admin-port").await?;
    let addresses = Addresses {
        events: public.address,
        events_admin: events_admin.address,
        hoard_admin: hoard_admin.address,
        syncomatic_admin: syncomatic_admin.address,
    };

    let kinesis = aws_clients::kinesis(&aws.source.config);

    let events = configure_events(config, clients)?;
    host.start("events", events_admin.listener, |runtime| {
        events::run(events, kinesis, public.listener, runtime)
    });

    let hoard = configure_hoard(config)?;
    host.start("hoard", hoard_admin.listener, |runtime| {
        hoard::run(hoard, hoard::Clients::of(&aws.source.config), runtime)
    });

    let syncomatic = configure_syncomatic(config, aws)?;
    host.start("syncomatic", syncomatic_admin.listener, |runtime| {
        syncomatic::serve(syncomatic, runtime)
    });
    Ok(addresses)
}

fn configure_events(config: &Config, clients: &DemoClients) -> Result<events::Config, clap::Error> {
    configure::<events::Settings>([
        ("--stream", STREAM.into()),
        ("--credentials-file", clients.credentials_file.clone().into()),
        (
            "--credentials-hash-key-file",
            clients.hash_key_file.clone().into(),
        ),
        ("--trusted-proxies", "127.0.0.0/8".into()),
        ("--country-header", COUNTRY_HEADER.into()),
        ("--spool-folder", config.data_folder.join("spool").into()),
    ])
}

fn configure_hoard(config: &Config) -> Result<hoard::Config, clap::Error> {
    configure::<hoard::Settings>([
        ("--stream", STREAM.into()),
        ("--bucket", SOURCE_BUCKET.into()),
        // The only replica: after a crash it need not find out that it is dead.
        ("--replica-name", "local".into()),
        ("--flush-interval", format_duration(config.flush_interval).into()),
    ])
}

fn configure<S: Settings>(
    flags: impl IntoIterator<Item = (&'static str, OsString)>,
) -> Result<S::Config, clap::Error> {
    let args = flags
        .into_iter()
        .flat_map(|(flag, value)| [OsString::from(flag), value]);
    config_from::<S>(args)
}

/// Two sides, each with the credential of its own account.
fn configure_syncomatic(config: &Config, aws: &Aws) -> Result<syncomatic::Config, StartError> {
    let (source, destination) = (aws.source.cloud.account(), aws.destination.cloud.account());
    let source_secret = secret_file(config, "china-secret-access-key", &source.secret_access_key)?;
    let destination_secret = secret_file(config, "europe-secret-access-key", &destination.secret_access_key)?;
    let config = configure::<syncomatic::Settings>([
        ("--source-region", source.region.clone().into()),
        ("--source-bucket", SOURCE_BUCKET.into()),
        ("--source-queue", aws.queue_url.clone().into()),
        ("--source-endpoint-url", aws.source.cloud.endpoint_url().into()),
        ("--source-access-key-id", source.access_key_id.clone().into()),
        ("--source-secret-access-key-file", source_secret.into()),
        ("--destination-region", destination.region.clone().into()),
        ("--destination-bucket", DESTINATION_BUCKET.into()),
        (
            "--destination-endpoint-url",
            aws.destination.cloud.endpoint_url().into(),
        ),
        (
            "--destination-access-key-id",
            destination.access_key_id.clone().into(),
        ),
        ("--destination-secret-access-key-file", destination_secret.into()),
    ])?;
    Ok(config)
}

fn secret_file(config: &Config, name: &str, secret: &str) -> Result<PathBuf, StartError> {
    let path = config.data_folder.join("credentials").join(name);
    write_private(&path, secret.as_bytes()).map_err(|source| StartError::Secret {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// A port and where it turned out to be: port 0 takes any.
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

async fn bind(address: SocketAddr, flag: &'static str) -> Result<Bound, StartError> {
    let unbound = |source| StartError::Bind {
        address,
        flag,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(unbound)?;
    let address = listener.local_addr().map_err(unbound)?;
    Ok(Bound { listener, address })
}
