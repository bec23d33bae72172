//! Settings as flags and variables, and the checked configuration they become.
//!
//! The two sides are told apart everywhere: neither takes credentials, region or endpoint from the
//! other or from the SDK's default chain, so a copy cannot end on the side it came from by mistake.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_clients::{Credentials, Endpoint};
use clap::{Args, Parser};
use service_runtime::settings::{self, InvalidSetting, RuntimeSettings};
use service_runtime::units::{parse_bytes, parse_duration};

use crate::attributes::Storage;
use crate::copy::{FULL_ROOM_BYTES, RedactedRoutes};
use crate::policy::{InvalidRoute, Partition, Route, Routes, UnknownRegion};

use self::ledger::LedgerSettings;
pub use self::reconcile::ReconcileLimits;
use self::reconcile::ReconcileSettings;
use self::redaction::RedactionSettings;
use self::transfers::TransferSettings;

mod ledger;
mod reconcile;
mod redaction;
mod transfers;

/// Copies each new object of a bucket to a bucket in another AWS partition, proved by checksum and
/// only along declared routes.
///
/// The source side needs sqs:ReceiveMessage, sqs:ChangeMessageVisibility, sqs:DeleteMessage,
/// sqs:GetQueueUrl, sqs:GetQueueAttributes, s3:ListBucket, s3:GetObject, s3:GetObjectVersion and
/// s3:GetObjectTagging (and s3:GetObjectVersionTagging), the destination side s3:ListBucket,
/// s3:ListBucketMultipartUploads, s3:GetObject, s3:PutObject, s3:PutObjectTagging,
/// s3:AbortMultipartUpload, s3:ListMultipartUploadParts and, below --journal-prefix alone,
/// s3:DeleteObject. A redacted route also needs s3:ListBucket, s3:ListBucketMultipartUploads,
/// s3:PutObject, s3:GetObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts in the quarantine's
/// bucket and, below _uploads/ in the quarantine alone, s3:DeleteObject, a ledger s3:PutObject, s3:GetObject and s3:ListBucket where it
/// is kept. Without s3:ListBucket S3 answers 403, not 404, for an object that does not exist.
#[derive(Parser, Debug)]
pub struct Settings {
    #[command(flatten)]
    source: SourceSettings,
    #[command(flatten)]
    destination: DestinationSettings,
    #[command(flatten)]
    work: WorkSettings,
    #[command(flatten)]
    redaction: RedactionSettings,
    #[command(flatten)]
    ledger: LedgerSettings,
    #[command(flatten)]
    transfers: TransferSettings,
    #[command(flatten)]
    reconcile: ReconcileSettings,
    #[command(flatten)]
    runtime: RuntimeSettings,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Source")]
struct SourceSettings {
    /// Region of the bucket and the queue, such as cn-north-1.
    #[arg(long)]
    source_region: String,
    /// Bucket whose new objects are copied.
    #[arg(long)]
    source_bucket: String,
    /// Only objects below this prefix, when no --route is given.
    #[arg(long, default_value = "", conflicts_with = "route")]
    source_prefix: String,
    /// Name or URL of the queue that receives the bucket's notifications.
    #[arg(long)]
    source_queue: String,
    /// Name or URL of a queue on the source side for messages that can never succeed. Without it they
    /// stay in the queue, at growing intervals, for its redrive policy.
    #[arg(long)]
    source_dead_letter_queue: Option<String>,
    /// Endpoint URL instead of AWS' own.
    #[arg(long)]
    source_endpoint_url: Option<String>,
    /// Profile of the shared AWS configuration files.
    #[arg(long)]
    source_profile: Option<String>,
    /// Access key id instead of a profile.
    #[arg(long, requires = "source_secret_access_key_file")]
    source_access_key_id: Option<String>,
    /// File that holds the secret access key and nothing else.
    #[arg(long, requires = "source_access_key_id")]
    source_secret_access_key_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Destination")]
struct DestinationSettings {
    /// Region of the bucket, such as eu-west-1.
    #[arg(long)]
    destination_region: String,
    /// Bucket that is written.
    #[arg(long)]
    destination_bucket: String,
    /// Takes the place of --source-prefix in the keys, when no --route is given.
    #[arg(long, default_value = "", conflicts_with = "route")]
    destination_prefix: String,
    /// Endpoint URL instead of AWS' own.
    #[arg(long)]
    destination_endpoint_url: Option<String>,
    /// Profile of the shared AWS configuration files.
    #[arg(long)]
    destination_profile: Option<String>,
    /// Access key id instead of a profile.
    #[arg(long, requires = "destination_secret_access_key_file")]
    destination_access_key_id: Option<String>,
    /// File that holds the secret access key and nothing else.
    #[arg(long, requires = "destination_access_key_id")]
    destination_secret_access_key_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Work")]
struct WorkSettings {
    /// What may travel: SOURCE-PREFIX=>DESTINATION-PREFIX:verbatim, the same with :redacted, or
    /// SOURCE-PREFIX:denied, repeated or separated by commas. The longest matching prefix decides; what none matches is denied. The
    /// default is one verbatim route from --source-prefix to --destination-prefix.
    #[arg(long, value_delimiter = ',')]
    route: Vec<String>,
    /// Messages in hand at once.
    #[arg(long, default_value_t = Limits::default().concurrency)]
    concurrency: usize,
    /// Memory for objects on their way, at least 1MiB; a redacted copy takes 12MiB of it, seldom 24MiB.
    #[arg(long, default_value = "64MiB", value_parser = parse_bytes)]
    memory_bytes: u64,
    /// For how long a message in hand is hidden from other receivers; extended at a third of it.
    #[arg(long, default_value = "2m", value_parser = parse_duration)]
    visibility_timeout: Duration,
    /// A copy that moves no byte for this long is given up and tried again.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    progress_deadline: Duration,
    /// Tries for one object before its message is left for redelivery.
    #[arg(long, default_value_t = Limits::default().tries)]
    tries: u32,
}

/// What the service runs on; everything has been checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where objects come from.
    pub source: Side,
    /// Where they go.
    pub destination: Side,
    /// Queue of the source bucket's notifications.
    pub queue: Queue,
    /// Queue on the source side for messages that can never succeed.
    pub dead_letter_queue: Option<Queue>,
    /// What may travel.
    pub routes: Routes,
    /// How it is redacted, where a route says so.
    pub redacted: Option<RedactedRoutes>,
    /// Where decisions are recorded, if they are.
    pub ledger: Option<crate::ledger::Place>,
    /// How objects are stored at the destination.
    pub storage: Storage,
    /// Where the destination bucket keeps track of uploads in parts; ends with `/`.
    pub journal_prefix: String,
    /// Bounds of the work in hand.
    pub limits: Limits,
    /// How both buckets are compared.
    pub reconcile: ReconcileLimits,
}

/// One side: a bucket, and how to reach it.
#[derive(Clone, Debug)]
pub struct Side {
    /// The bucket's name.
    pub bucket: String,
    /// The bucket's region.
    pub region: String,
    /// The region's partition.
    pub partition: Partition,
    /// Region, credentials and endpoint for the SDK.
    pub endpoint: Endpoint,
}

impl Side {
    /// A side in the region of `endpoint`, which must name one.
    ///
    /// # Errors
    /// The region belongs to no known partition.
    pub fn new(bucket: impl Into<String>, endpoint: Endpoint) -> Result<Self, UnknownRegion> {
        let region = endpoint.region.clone().unwrap_or_default();
        Ok(Self {
            bucket: bucket.into(),
            partition: Partition::of_region(&region)?,
            region,
            endpoint,
        })
    }
}

/// A queue, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Looked up in the side's account and region.
    Name(String),
    /// Used as it is.
    Url(String),
}

impl From<String> for Queue {
    fn from(text: String) -> Self {
        if text.starts_with("http://") || text.starts_with("https://") {
            Self::Url(text)
        } else {
            Self::Name(text)
        }
    }
}

/// Bounds of the work in hand.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages in hand at once.
    pub concurrency: usize,
    /// Bytes of objects on their way that may be in memory at once.
    pub memory_bytes: u64,
    /// For how long a received message is hidden, in whole seconds.
    pub visibility_timeout: Duration,
    /// For how long a copy may move no byte.
    pub progress_deadline: Duration,
    /// Tries for one object before its message is left for redelivery.
    pub tries: u32,
    /// The first pause between tries is up to this long.
    pub backoff_base: Duration,
    /// No pause between tries is longer.
    pub backoff_cap: Duration,
    /// For how long nothing is received after an access was refused; doubled up to sixteen times this.
    pub circuit_pause: Duration,
    /// Objects larger than this are copied in parts.
    pub multipart_threshold_bytes: u64,
    /// Bytes of a part, unless there were more than 10,000.
    pub part_bytes: u64,
    /// Parts of one object that are on their way at once.
    pub parts_at_once: usize,
    /// Objects and parts that are on their way at once.
    pub transfers: usize,
    /// Bytes a second that all copies together may move.
    pub bandwidth: Option<u64>,
    /// How often to look for uploads that nobody goes on with.
    pub sweep_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrency: 32,
            memory_bytes: 64 * 1024 * 1024,
            visibility_timeout: Duration::from_secs(120),
            progress_deadline: Duration::from_secs(60),
            tries: 5,
            backoff_base: Duration::from_millis(200),
            backoff_cap: Duration::from_secs(20),
            circuit_pause: Duration::from_secs(15),
            multipart_threshold_bytes: 16 * 1024 * 1024,
            part_bytes: 8 * 1024 * 1024,
            parts_at_once: 8,
            transfers: 128,
            bandwidth: None,
            sweep_interval: Duration::from_secs(3600),
        }
    }
}

/// SQS hides a message for at most 12 hours
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>).
pub(crate) const VISIBILITY_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// Leaves the heartbeat, at a third, time for one round trip.
const VISIBILITY_MIN: Duration = Duration::from_secs(2);
const MEMORY_MIN_BYTES: u64 = 1024 * 1024;
const CONCURRENCY_MAX: usize = 1024;

impl settings::Settings for Settings {
    const NAME: &'static str = "syncomatic";
    const ENV_PREFIX: &'static str = "SYNCOMATIC_";
    const ADMIN_LISTEN: &'static str = "0.0.0.0:9603";
    type Config = Config;

    fn runtime(&self) -> &RuntimeSettings {
        &self.runtime
    }

    fn validate(self) -> Result<Config, InvalidSetting> {
        let Self {
            source,
            destination,
            work,
            redaction,
            ledger,
            transfers,
            reconcile,
            runtime: _,
        } = self;
        let routes = route_texts(&source, &destination, &work);
        let (queue, dead_letter_queue) = source.queues()?;
        let source = source.side()?;
        let destination = destination.side()?;
        let routes = parse_routes(&routes)
            .and_then(|routes| Routes::new(routes, source.partition, destination.partition))
            .map_err(|invalid| InvalidSetting::new("--route", invalid.to_string()))?;
        let same_place = source.region == destination.region
            && source.bucket == destination.bucket
            && source.endpoint.endpoint_url == destination.endpoint.endpoint_url;
        if same_place {
            return Err(InvalidSetting::new(
                "--destination-bucket",
                "is the source bucket",
            ));
        }
        let key = redaction.key()?;
        let (routes, ledger) = ledger.place(routes, &source.bucket, key.as_ref())?;
        let (routes, redacted) = redaction.redacted(routes, &source.bucket, key)?;
        let limits = transfers.limits(&work.limits()?)?;
        if redacted.is_some() && limits.memory_bytes < FULL_ROOM_BYTES {
            let problem = "must be at least 24MiB where a route redacts";
            return Err(InvalidSetting::new("--memory-bytes", problem));
        }
        let reconcile = reconcile.limits(redacted.is_some().then_some(FULL_ROOM_BYTES))?;
        Ok(Config {
            source,
            destination,
            queue,
            dead_letter_queue,
            routes,
            redacted,
            ledger,
            storage: transfers.storage(),
            journal_prefix: transfers.journal_prefix()?,
            limits,
            reconcile,
        })
    }
}

/// The routes as text: what was given, or the one that the prefixes stand for.
fn route_texts(
    source: &SourceSettings,
    destination: &DestinationSettings,
    work: &WorkSettings,
) -> Vec<String> {
    if work.route.is_empty() {
        vec![format!(
            "{}=>{}:verbatim",
            source.source_prefix, destination.destination_prefix
        )]
    } else {
        work.route.clone()
    }
}

fn parse_routes(texts: &[String]) -> Result<Vec<Route>, InvalidRoute> {
    texts.iter().map(|text| text.parse()).collect()
}

impl SourceSettings {
    fn queues(&self) -> Result<(Queue, Option<Queue>), InvalidSetting> {
        let queue = Queue::from(self.source_queue.clone());
        let dead_letter_queue = self.source_dead_letter_queue.clone().map(Queue::from);
        if dead_letter_queue.as_ref() == Some(&queue) {
            let problem = "is --source-queue itself: its messages would go round for ever";
            return Err(InvalidSetting::new("--source-dead-letter-queue", problem));
        }
        Ok((queue, dead_letter_queue))
    }

    fn side(self) -> Result<Side, InvalidSetting> {
        let credentials = static_credentials(
            "--source",
            self.source_profile.as_deref(),
            self.source_access_key_id,
            self.source_secret_access_key_file.as_deref(),
        )?;
        let endpoint = Endpoint {
            region: Some(self.source_region),
            profile: self.source_profile,
            endpoint_url: self.source_endpoint_url,
            credentials,
        };
        side("--source", self.source_bucket, endpoint)
    }
}

impl DestinationSettings {
    fn side(self) -> Result<Side, InvalidSetting> {
        let credentials = static_credentials(
            "--destination",
            self.destination_profile.as_deref(),
            self.destination_access_key_id,
            self.destination_secret_access_key_file.as_deref(),
        )?;
        let endpoint = Endpoint {
            region: Some(self.destination_region),
            profile: self.destination_profile,
            endpoint_url: self.destination_endpoint_url,
            credentials,
        };
        side("--destination", self.destination_bucket, endpoint)
    }
}

fn side(flags: &str, bucket: String, endpoint: Endpoint) -> Result<Side, InvalidSetting> {
    if bucket.is_empty() {
        return Err(InvalidSetting::new(
            format!("{flags}-bucket"),
            "must name a bucket",
        ));
    }
    Side::new(bucket, endpoint)
        .map_err(|unknown| InvalidSetting::new(format!("{flags}-region"), unknown.to_string()))
}

/// The credentials of one side when it has no profile. A secret is read from a file and never from a
/// flag or a variable, which process listings and crash dumps show.
fn static_credentials(
    flags: &str,
    profile: Option<&str>,
    access_key_id: Option<String>,
    secret_file: Option<&Path>,
) -> Result<Option<Credentials>, InvalidSetting> {
    match (profile, access_key_id, secret_file) {
        (Some(_), None, None) => Ok(None),
        (None, Some(id), Some(file)) => {
            let flag = format!("{flags}-secret-access-key-file");
            let secret = std::fs::read_to_string(file).map_err(|error| {
                InvalidSetting::new(&flag, format!("cannot read {}: {error}", file.display()))
            })?;
            if secret.trim().is_empty() {
                return Err(InvalidSetting::new(flag, format!("{} is empty", file.display())));
            }
            Ok(Some(Credentials::new(
                id,
                secret.trim(),
                None,
                None,
                "syncomatic-settings",
            )))
        }
        _ => Err(InvalidSetting::new(
            format!("{flags}-profile"),
            format!(
                "give this side either a profile or {flags}-access-key-id with {flags}-secret-access-key-file; \
                 there is no default, so that the two sides cannot be mixed up"
            ),
        )),
    }
}

impl WorkSettings {
    fn limits(&self) -> Result<Limits, InvalidSetting> {
        let refuse = |flag: &str, problem: &str| Err(InvalidSetting::new(flag, problem));
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            return refuse("--concurrency", "must be between 1 and 1024");
        }
        if self.memory_bytes < MEMORY_MIN_BYTES {
            return refuse("--memory-bytes", "must be at least 1MiB");
        }
        let visibility = self.visibility_timeout;
        if !(VISIBILITY_MIN..=VISIBILITY_MAX).contains(&visibility) || visibility.subsec_nanos() != 0 {
            return refuse("--visibility-timeout", "must be whole seconds between 2s and 12h");
        }
        if self.progress_deadline < Duration::from_secs(1) {
            return refuse("--progress-deadline", "must be at least 1s");
        }
        if !(1..=100).contains(&self.tries) {
            return refuse("--tries", "must be between 1 and 100");
        }
        Ok(Limits {
            concurrency: self.concurrency,
            memory_bytes: self.memory_bytes,
            visibility_timeout: visibility,
            progress_deadline: self.progress_deadline,
            tries: self.tries,
            ..Limits::default()
        })
    }
}

#[cfg(test)]
mod tests;
