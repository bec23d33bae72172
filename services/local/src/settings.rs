//! The flags of `local` and what they mean together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use service_runtime::settings::{self, InvalidSetting, LogTarget, RuntimeSettings};
use service_runtime::units::parse_duration;

/// Runs the whole event pipeline on this machine, over an emulated AWS: for development.
#[derive(Parser, Clone, Debug)]
pub struct Settings {
    /// Send the bundled sample once everything is up.
    #[arg(long)]
    sample: bool,

    /// Where streams, buckets, queues, credentials and the log are kept; a restart continues there.
    #[arg(long, default_value = "data", value_name = "FOLDER")]
    data_folder: PathBuf,

    /// The address that every port below is bound on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "IP")]
    listen_ip: IpAddr,

    /// Port of the events API. 0 here and below takes any free port.
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    events_port: u16,

    /// Admin port of events.
    #[arg(long, default_value_t = 9601, value_name = "PORT")]
    events_admin_port: u16,

    /// Admin port of hoard.
    #[arg(long, default_value_t = 9602, value_name = "PORT")]
    hoard_admin_port: u16,

    /// Admin port of syncomatic.
    #[arg(long, default_value_t = 9603, value_name = "PORT")]
    syncomatic_admin_port: u16,

    /// Port of the source partition's AWS (China).
    #[arg(long, default_value_t = 4566, value_name = "PORT")]
    source_port: u16,

    /// Port of the destination partition's AWS (Europe).
    #[arg(long, default_value_t = 4567, value_name = "PORT")]
    destination_port: u16,

    /// Shards of the stream, when it is made.
    #[arg(long, default_value_t = 2, value_name = "COUNT")]
    shards: u16,

    /// How long hoard gathers events before it writes an object.
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "DURATION")]
    flush_interval: Duration,

    #[command(flatten)]
    runtime: RuntimeSettings,
}

/// Settings that agree with each other.
#[derive(Clone, Debug)]
pub struct Config {
    /// Send the bundled sample.
    pub sample: bool,
    /// Where everything is kept.
    pub data_folder: PathBuf,
    /// The events API.
    pub events: SocketAddr,
    /// Admin ports, in the order of the flow.
    pub events_admin: SocketAddr,
    /// See [`Config::events_admin`].
    pub hoard_admin: SocketAddr,
    /// See [`Config::events_admin`].
    pub syncomatic_admin: SocketAddr,
    /// The emulated AWS in China.
    pub source: SocketAddr,
    /// The emulated AWS in Europe.
    pub destination: SocketAddr,
    /// Shards of a new stream.
    pub shards: u16,
    /// hoard's age limit.
    pub flush_interval: Duration,
}

impl settings::Settings for Settings {
    const NAME: &'static str = "local";
    const ENV_PREFIX: &'static str = "LOCAL_";
    const ADMIN_LISTEN: &'static str = "127.0.0.1:9600";
    /// The protocol library of the emulated S3 calls every refused condition an error.
    const LOG_FILTER: &'static str = "info,s3s=off";
    type Config = Config;

    fn runtime(&self) -> &RuntimeSettings {
        &self.runtime
    }

    /// Standard output tells the journey; the services' log lines would drown it.
    fn log_target(&self) -> LogTarget {
        LogTarget::File(self.data_folder.join("local.log"))
    }

    fn validate(self) -> Result<Config, InvalidSetting> {
        if self.shards == 0 {
            return Err(InvalidSetting::new("--shards", "a stream has at least 1 shard"));
        }
        let at = |port| SocketAddr::new(self.listen_ip, port);
        Ok(Config {
            sample: self.sample,
            events: at(self.events_port),
            events_admin: at(self.events_admin_port),
            hoard_admin: at(self.hoard_admin_port),
            syncomatic_admin: at(self.syncomatic_admin_port),
            source: at(self.source_port),
            destination: at(self.destination_port),
            data_folder: self.data_folder,
            shards: self.shards,
            flush_interval: self.flush_interval,
        })
    }
}
