//! Settings, and the configuration they make once they have been checked against each other.

mod checks;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use aws_clients::Endpoint;
use axum::http::HeaderName;
use clap::Parser;
use ipnetwork::IpNetwork;
use service_runtime::{
    settings::{self, InvalidSetting, RuntimeSettings},
    units::{parse_bytes, parse_duration},
};

use crate::{
    admission::Budget,
    attempts::AttemptSettings,
    country::CountryDatabase,
    credentials::{CredentialsFiles, HashKey},
    dedupe::DedupeSettings,
    edge::Edge,
    http::cors::{CorsOrigins, Origin, parse_origin},
    quota::{Quota, QuotaSettings},
    reload::Reloadable,
    schemas::Schemas,
};

/// The most records of a PutRecords call, the most bytes, and the most bytes of one record, partition
/// keys included (<https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>).
const KINESIS_RECORDS: usize = 500;
pub(crate) const KINESIS_CALL_BYTES: usize = 5 << 20;
pub(crate) const KINESIS_RECORD_BYTES: usize = 1 << 20;

/// The most bytes of a record and of a call where the stream was set up for large records.
pub(crate) const KINESIS_LARGE_BYTES: usize = 10 << 20;

/// The most that the server's fields and the partition key add to an event: names and ids of at most
/// 64 bytes each, and a device id of 256 characters of up to 4 bytes.
const ADDED_BYTES: usize = 2048;

/// Takes events over HTTP, checks them against their schemas and sends them on to a Kinesis stream.
#[derive(Debug, Parser)]
#[command(
    after_help = "Beside the service: `events client --help` looks after the clients, `events schema --help` after \
                        the schemas, and `events config` with the same flags and variables checks and prints the settings."
)]
pub struct Settings {
    /// Address of the public port.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// Name of the Kinesis stream to write to.
    #[arg(long)]
    stream: String,

    /// File with the clients and the keyed hashes of their secrets.
    #[arg(long, help_heading = "Credentials")]
    credentials_file: PathBuf,

    /// File with the key that secrets are hashed under, in hexadecimal.
    #[arg(long, help_heading = "Credentials")]
    credentials_hash_key_file: PathBuf,

    /// Folder with the schemas, as EVENTTYPE/MODEL-REVISION-ADDITION.json. Without it the schemas that
    /// are part of the program are used.
    #[arg(long, help_heading = "Schemas")]
    schemas_folder: Option<PathBuf>,

    /// How often to look whether credentials, schemas or the country database changed.
    #[arg(long, default_value = "5s", value_parser = parse_duration, help_heading = "Operation")]
    reload_interval: Duration,

    /// Attempts with wrong credentials that one address may make in a row; beyond it, they are
    /// answered 429 until it has waited. Right credentials are always let in.
    #[arg(long, default_value_t = 20, help_heading = "Credentials")]
    failed_attempts: u32,

    /// How long until an address may fail once more.
    #[arg(long, default_value = "1s", value_parser = parse_duration, help_heading = "Credentials")]
    failed_attempts_refill: Duration,

    /// Networks of the proxies in front of the service, such as 10.0.0.0/8, separated by commas. Only
    /// what they say in the two headers below is believed.
    #[arg(long, value_delimiter = ',', help_heading = "Edge")]
    trusted_proxies: Vec<IpNetwork>,

    /// Header in which trusted proxies name the client's address, such as X-Forwarded-For; the last
    /// address that is no trusted proxy's counts.
    #[arg(long, help_heading = "Edge")]
    client_address_header: Option<HeaderName>,

    /// Header in which trusted proxies name the country, such as CloudFront-Viewer-Country.
    #[arg(long, help_heading = "Edge")]
    country_header: Option<HeaderName>,

    /// File in MaxMind's format that says which country a client's address is in, where no header
    /// does. It is read again when it changes.
    #[arg(long, help_heading = "Edge")]
    country_database: Option<PathBuf>,

    /// Origins whose web pages may use the service, scheme, host and port as browsers write them, separated by
    /// commas, or * for all. Without any, browsers let no page read the answers.
    #[arg(long, value_delimiter = ',', value_parser = parse_origin, help_heading = "Edge")]
    cors_origin: Vec<Origin>,

    /// Largest event. More than 1022 KiB takes effect only where the stream takes larger records.
    #[arg(long, default_value = "32KiB", value_parser = bytes, help_heading = "Limits of a request")]
    max_event_bytes: usize,

    /// Most events in one request.
    #[arg(long, default_value_t = 500, help_heading = "Limits of a request")]
    max_events: usize,

    /// Largest body, as it is sent.
    #[arg(long, default_value = "1MiB", value_parser = bytes, help_heading = "Limits of a request")]
    max_body_bytes: usize,

    /// Largest body once its content encoding is undone.
    #[arg(long, default_value = "5MiB", value_parser = bytes, help_heading = "Limits of a request")]
    max_decompressed_bytes: usize,

    /// Deepest nesting of an event's objects and arrays.
    #[arg(long, default_value_t = 32, help_heading = "Limits of a request")]
    max_depth: usize,

    /// How long a body may take to arrive.
    #[arg(long, default_value = "10s", value_parser = parse_duration, help_heading = "Limits of a request")]
    body_timeout: Duration,

    /// How long an event that brings its own id is remembered after it was accepted: sent again within
    /// that time, it is answered as a duplicate and not sent on.
    #[arg(long, default_value = "10m", value_parser = parse_duration, help_heading = "Duplicates")]
    dedupe_window: Duration,

    /// How many ids are remembered, each at some 100 bytes; beyond that the oldest are forgotten.
    #[arg(long, default_value_t = 400_000, help_heading = "Duplicates")]
    dedupe_events: usize,

    /// Events that one client may send, as RATE or RATE:BURST: a second, and at once. Without it, as
    /// many as it likes. The credentials file may say otherwise for a client.
    #[arg(long, help_heading = "Fairness")]
    client_quota: Option<Quota>,

    /// Events that all clients of one partner may send together, likewise.
    #[arg(long, help_heading = "Fairness")]
    partner_quota: Option<Quota>,

    /// Percent of --in-flight-bytes beyond which requests of devices are answered 503.
    #[arg(long, default_value_t = 80, help_heading = "Fairness")]
    shed_devices_percent: u8,

    /// Percent of --in-flight-bytes beyond which requests of apps are answered 503. Those of the
    /// platform have all of it.
    #[arg(long, default_value_t = 90, help_heading = "Fairness")]
    shed_apps_percent: u8,

    /// Percent of --in-flight-bytes that one client may hold; what it sends beyond is answered 503.
    #[arg(long, default_value_t = 50, help_heading = "Fairness")]
    client_share_percent: u8,

    /// Bytes of events that may be in flight at the same time; what comes beyond is answered 503.
    #[arg(long, default_value = "64MiB", value_parser = bytes, help_heading = "Limits of the service")]
    in_flight_bytes: usize,

    /// Connections that are served at the same time; further ones wait to be accepted.
    #[arg(long, default_value_t = 16_384, help_heading = "Limits of the service")]
    max_connections: usize,

    /// How long a connection may take to bring the head of its next request. Keep it longer than a
    /// load balancer's own idle time-out.
    #[arg(long, default_value = "75s", value_parser = parse_duration, help_heading = "Limits of the service")]
    idle_timeout: Duration,

    /// How long a client may take nothing of its answer before its connection is closed.
    #[arg(long, default_value = "10s", value_parser = parse_duration, help_heading = "Limits of the service")]
    answer_timeout: Duration,

    /// Most records in a PutRecords call.
    #[arg(long, default_value_t = KINESIS_RECORDS, help_heading = "Publishing")]
    batch_records: usize,

    /// Most bytes in a PutRecords call. More than 5 MiB takes effect only where the stream takes
    /// larger records.
    #[arg(long, default_value = "5MiB", value_parser = bytes, help_heading = "Publishing")]
    batch_bytes: usize,

    /// How long a record may wait for company: in full while every call is out, less while fewer are,
    /// not at all while none is.
    #[arg(long, default_value = "5ms", value_parser = parse_duration, help_heading = "Publishing")]
    linger: Duration,

    /// PutRecords calls that may be out at the same time, while Kinesis does not throttle.
    #[arg(long, default_value_t = 8, help_heading = "Publishing")]
    put_concurrency: usize,

    /// Pack the events of a shard into records of the Kinesis Producer Library's format. Everything
    /// that reads the stream must open them.
    #[arg(long, help_heading = "Publishing")]
    aggregate: bool,

    /// Most bytes of a packed record. An event that is larger is sent as it is.
    #[arg(long, default_value = "50KiB", value_parser = bytes, help_heading = "Publishing")]
    aggregate_bytes: usize,

    /// How long a record is tried before it goes to the spool or, without one, its client is asked to
    /// send it again.
    #[arg(long, default_value = "10s", value_parser = parse_duration, help_heading = "Publishing")]
    record_time_to_live: Duration,

    /// How often to look whether the stream is still there and, with --aggregate, at its shards.
    #[arg(long, default_value = "15s", value_parser = parse_duration, help_heading = "Publishing")]
    stream_check_interval: Duration,

    /// Folder on a disk of its own for events that Kinesis does not take in time. It must outlive the
    /// process; one process at a time may use it.
    #[arg(long, help_heading = "Spool")]
    spool_folder: Option<PathBuf>,

    /// Most bytes of events in the spool, each counted with its key and 128 bytes more. What comes
    /// beyond is answered 503. Leave twice as much room on the disk.
    #[arg(long, default_value = "1GiB", value_parser = parse_bytes, help_heading = "Spool")]
    spool_max_bytes: u64,

    #[command(flatten)]
    runtime: RuntimeSettings,
}

/// What the service is built from: settings that have been checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the public port, for [`serve`](crate::serve).
    pub listen: SocketAddr,
    /// Where AWS is, for [`serve`](crate::serve).
    pub endpoint: Endpoint,
    /// Name of the stream.
    pub stream: String,
    /// Who may send what.
    pub credentials: Arc<Reloadable<CredentialsFiles>>,
    /// How often an address may present wrong credentials.
    pub attempts: AttemptSettings,
    /// What the events are judged by.
    pub schemas: Arc<Reloadable<Schemas>>,
    /// How often to look whether credentials, schemas or the country database changed.
    pub reload_interval: Duration,
    /// What is believed of the proxies in front, and where a country comes from.
    pub edge: Edge,
    /// Which web pages may use the service.
    pub cors_origins: CorsOrigins,
    /// Bounds of a request.
    pub limits: Limits,
    /// How many events clients and partners may send.
    pub quotas: QuotaSettings,
    /// How long and how many ids of events are remembered.
    pub dedupe: DedupeSettings,
    /// Bytes that may be in flight, and whose.
    pub budget: Budget,
    /// Connections that are served.
    pub max_connections: usize,
    /// How long a connection may take to bring the head of its next request.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub answer_timeout: Duration,
    /// How records are sent.
    pub publish: PublishSettings,
    /// How often to look whether the stream is there.
    pub stream_check_interval: Duration,
    /// Where events wait that Kinesis does not take in time.
    pub spool: Option<SpoolSettings>,
}

/// Where events wait that Kinesis does not take in time.
#[derive(Clone, Debug)]
pub struct SpoolSettings {
    /// The folder.
    pub folder: PathBuf,
    /// Most bytes in it.
    pub max_bytes: u64,
}

/// Bounds of a request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest event, in bytes.
    pub event_bytes: usize,
    /// Most events.
    pub events: usize,
    /// Largest body as it is sent, in bytes.
    pub body_bytes: usize,
    /// Largest body once its content encoding is undone, in bytes.
    pub decompressed_bytes: usize,
    /// Deepest nesting; the event itself is at depth 1.
    pub depth: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
}

/// How records are sent.
#[derive(Clone, Copy, Debug)]
pub struct PublishSettings {
    /// Most records of a call.
    pub batch_records: usize,
    /// Most bytes of a call: data and partition keys.
    pub batch_bytes: usize,
    /// How long a record may wait for company.
    pub linger: Duration,
    /// Calls that may be out at the same time.
    pub concurrency: usize,
    /// Whether events are packed into aggregated records.
    pub aggregate: bool,
    /// Most bytes of an aggregated record.
    pub aggregate_bytes: usize,
    /// How long a record is tried.
    pub time_to_live: Duration,
}

impl Limits {
    /// These limits for a stream that takes records of `record_bytes`, which the server's own fields
    /// and the partition key must fit too.
    pub(crate) fn within(self, record_bytes: usize) -> Self {
        let event_bytes = self.event_bytes.min(record_bytes.saturating_sub(ADDED_BYTES));
        Self { event_bytes, ..self }
    }
}

impl settings::Settings for Settings {
    const NAME: &'static str = "events";
    const ENV_PREFIX: &'static str = "EVENTS_";
    const ADMIN_LISTEN: &'static str = "0.0.0.0:9601";
    type Config = Config;

    fn runtime(&self) -> &RuntimeSettings {
        &self.runtime
    }

    fn validate(self) -> Result<Config, InvalidSetting> {
        self.check_stream()?;
        self.check_sizes()?;
        self.check_counts()?;
        self.check_times()?;
        self.check_edge()?;
        let budget = self.budget();
        HashKey::read(&self.credentials_hash_key_file)
            .map_err(|error| InvalidSetting::new("--credentials-hash-key-file", error.to_string()))?;
        let credentials = CredentialsFiles {
            clients: self.credentials_file,
            hash_key: self.credentials_hash_key_file,
        };
        let credentials = Reloadable::read(credentials)
            .map_err(|error| InvalidSetting::new("--credentials-file", error.to_string()))?;
        let database = self
            .country_database
            .map(|path| Reloadable::read(CountryDatabase::new(&path)));
        let database = database
            .transpose()
            .map_err(|error| InvalidSetting::new("--country-database", error.to_string()))?;
        let schemas = self.schemas_folder.map_or(Schemas::Bundled, Schemas::Folder);
        let schemas = Reloadable::read(schemas)
            .map_err(|error| InvalidSetting::new("--schemas-folder", error.to_string()))?;
        Ok(Config {
            listen: self.listen,
            endpoint: Endpoint::default(),
            stream: self.stream,
            credentials: Arc::new(credentials),
            schemas: Arc::new(schemas),
            reload_interval: self.reload_interval,
            attempts: AttemptSettings {
                burst: self.failed_attempts,
                refill: self.failed_attempts_refill,
            },
            edge: Edge {
                trusted_proxies: self.trusted_proxies,
                address_header: self.client_address_header,
                country_header: self.country_header,
                country_database: database.map(Arc::new),
            },
            cors_origins: CorsOrigins::new(self.cors_origin)
                .map_err(|problem| InvalidSetting::new("--cors-origin", problem))?,
            limits: Limits {
                event_bytes: self.max_event_bytes,
                events: self.max_events,
                body_bytes: self.max_body_bytes,
                decompressed_bytes: self.max_decompressed_bytes,
                depth: self.max_depth,
                body_timeout: self.body_timeout,
            },
            quotas: QuotaSettings {
                client: self.client_quota,
                partner: self.partner_quota,
            },
            dedupe: DedupeSettings {
                window: self.dedupe_window,
                events: self.dedupe_events,
            },
            budget,
            max_connections: self.max_connections,
            idle_timeout: self.idle_timeout,
            answer_timeout: self.answer_timeout,
            publish: PublishSettings {
                batch_records: self.batch_records,
                batch_bytes: self.batch_bytes,
                linger: self.linger,
                concurrency: self.put_concurrency,
                aggregate: self.aggregate,
                aggregate_bytes: self.aggregate_bytes,
                time_to_live: self.record_time_to_live,
            },
            stream_check_interval: self.stream_check_interval,
            spool: self.spool_folder.map(|folder| SpoolSettings {
                folder,
                max_bytes: self.spool_max_bytes,
            }),
        })
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    usize::try_from(parse_bytes(text)?).map_err(|_| "too large for this machine".to_owned())
}

#[cfg(test)]
#[path = "config/tests.rs"]
pub(crate) mod tests;
