//! Settings as flags and variables, and the configuration that they become once they are checked.

mod checks;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::StorageClass;
use clap::{Parser, ValueEnum};
use jiff::Timestamp;
use service_runtime::settings::{self, InvalidSetting, RuntimeSettings};
use service_runtime::units::{parse_bytes, parse_duration};

use crate::cut::Limits;
use crate::day_marker::DayMarker;
use crate::elasticsearch::{Elasticsearch, ElasticsearchSettings};
use crate::encode::Compression;
use crate::layout::{Layout, LinesTo};
use crate::pace::Pace;
use crate::period::{Unit, Zone};
use crate::prefix::Prefix;
use crate::record::Arrival;
use crate::replicas::Pulse;
use crate::start::StartPosition;
use crate::store::ObjectOptions;

/// A KMS key's id, alias or ARN, in bytes.
const KMS_KEY_ID_BYTES_MAX: usize = 2048;
/// How far beyond its end a day is complete at the earliest and at the latest.
const DAY_MARKER_DELAY_MIN: Duration = Duration::from_secs(60);
const DAY_MARKER_DELAY_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// Between looks for complete days, at least.
const DAY_MARKER_INTERVAL: Duration = Duration::from_secs(60);
/// docs/benchmarks.md has the table that these were chosen from.
const GZIP_LEVEL_DEFAULT: u32 = 6;
const ZSTD_LEVEL_DEFAULT: u32 = 1;

/// Archives a Kinesis stream in S3 as JSON lines, each record exactly once; or sends its lines to Firehose,
/// at least once.
#[derive(Parser, Clone, Debug)]
#[command(about, long_about = None)]
pub struct Settings {
    /// The stream to archive.
    #[arg(long, help_heading = "Source")]
    pub stream: String,

    /// Where an archive that does not exist yet begins: trim-horizon, latest, or a time (RFC 3339).
    /// An archive that exists goes on where it was.
    #[arg(long, default_value = "trim-horizon", value_parser = parse_start, help_heading = "Source")]
    pub start_position: StartPosition,

    /// Between reads of a shard while reading is behind.
    #[arg(long, default_value = "250ms", value_parser = parse_duration, help_heading = "Source")]
    pub poll_interval: Duration,

    /// Between reads of a shard that has nothing new.
    #[arg(long, default_value = "1s", value_parser = parse_duration, help_heading = "Source")]
    pub idle_poll_interval: Duration,

    /// The most that is read of a shard in a second. Kinesis gives 2 MB to all consumers together.
    #[arg(long, default_value = "2MB", value_parser = parse_bytes, help_heading = "Source")]
    pub shard_read_rate: u64,

    /// Between looks for new shards; also until a shard that an error stopped is tried again.
    #[arg(long, default_value = "30s", value_parser = parse_duration, help_heading = "Source")]
    pub discovery_interval: Duration,

    /// Where lines go: s3, each exactly once, or firehose, at least once (after a crash lines are sent again).
    /// Error lines and the state go to --bucket either way.
    #[arg(long, value_enum, default_value = "s3", help_heading = "Destination")]
    pub deliver: DeliverTo,

    /// The Firehose delivery stream of --deliver firehose; it takes puts (DirectPut).
    #[arg(long, help_heading = "Destination")]
    pub delivery_stream: Option<String>,

    /// The bucket to archive into.
    #[arg(long, help_heading = "Destination")]
    pub bucket: String,

    /// What keys begin with. YYYY/MM/DD/ follows unless it names the date itself:
    /// raw/dt=!{timestamp:yyyy-MM-dd}/ (yyyy, MM, dd, HH). !{partitionKey:partnerid} stands for that
    /// field of each line, and each value gets objects of its own.
    #[arg(long, default_value = "", help_heading = "Destination")]
    pub prefix: Prefix,

    /// The same for records that are not one JSON object or have no partition; without partition
    /// keys, but with !{firehose:error-output-type}.
    #[arg(long, default_value = "errors/", help_heading = "Destination")]
    pub error_prefix: Prefix,

    /// By whose clock days begin and end: an IANA name such as Asia/Shanghai.
    #[arg(long, default_value = "UTC", help_heading = "Destination")]
    pub time_zone: Zone,

    /// Where the state of shards lies; query engines skip names that begin with an underscore.
    #[arg(long, default_value = "_hoard/", help_heading = "Destination")]
    pub state_prefix: String,

    /// How objects are compressed.
    #[arg(long, value_enum, default_value = "gzip", help_heading = "Destination")]
    pub compression: CompressionName,

    /// 1 (fast) to 12 (small) for gzip, 6 unless set; 1 to 19 for zstd, 1 unless set.
    #[arg(long, help_heading = "Destination")]
    pub compression_level: Option<u32>,

    /// The KMS key that everything written is encrypted under (SSE-KMS with a bucket key); the
    /// bucket's default encryption unless set.
    #[arg(long, help_heading = "Destination")]
    pub kms_key_id: Option<String>,

    /// The storage class of objects; the bucket's default unless set.
    #[arg(long, value_enum, help_heading = "Destination")]
    pub storage_class: Option<StorageClassName>,

    /// A cut ends when its lines reach this size before compression.
    #[arg(long, default_value = "64MiB", value_parser = parse_bytes, help_heading = "Cuts")]
    pub flush_bytes: u64,

    /// A cut ends when its objects reach this size after compression; not counted unless set.
    #[arg(long, value_parser = parse_bytes, help_heading = "Cuts")]
    pub flush_stored_bytes: Option<u64>,

    /// A cut ends when its first record has been held for this long.
    #[arg(long, default_value = "60s", value_parser = parse_duration, help_heading = "Cuts")]
    pub flush_interval: Duration,

    /// A cut ends when its lines belong to more partitions than this; also how many the lines of one
    /// record may belong to.
    #[arg(long, default_value_t = 100, help_heading = "Cuts")]
    pub max_partitions: usize,

    /// An empty _SUCCESS is left under a day's prefix when every shard has passed its end by this
    /// much; none unless set.
    #[arg(long, value_parser = parse_duration, help_heading = "Destination")]
    pub day_marker_delay: Option<Duration>,

    /// The prefix that _SUCCESS is left under; --prefix unless set.
    #[arg(long, help_heading = "Destination")]
    pub day_marker_prefix: Option<Prefix>,

    /// Memory for all buffers and reads in flight. When it is spent, the largest buffer is cut and
    /// reading waits.
    #[arg(long, default_value = "256MiB", value_parser = parse_bytes, help_heading = "Cuts")]
    pub memory_budget: u64,

    /// A second delivery.
    #[command(flatten)]
    pub elasticsearch: ElasticsearchSettings,

    /// What this replica is called: the same after a restart, and never two at a time, such as the pod's
    /// name in a StatefulSet. With it a restarted replica goes on at once; without, it waits until the
    /// others (itself before the restart among them) are known to be dead or alive.
    #[arg(long, help_heading = "Replicas")]
    pub replica_name: Option<String>,

    /// Between two signs of life of a replica, and between its looks at the others.
    #[arg(long, default_value = "2s", value_parser = parse_duration, help_heading = "Replicas")]
    pub heartbeat_interval: Duration,

    /// A replica that gives no sign of life for so many intervals is dead, and its shards are taken over.
    #[arg(long, default_value = "5", help_heading = "Replicas")]
    pub heartbeat_misses: u32,

    /// What every program has.
    #[command(flatten)]
    pub runtime: RuntimeSettings,
}

/// Where lines go, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeliverTo {
    /// Into objects of --bucket, each exactly once.
    S3,
    /// To the delivery stream --delivery-stream, at least once.
    Firehose,
}

/// A compression by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressionName {
    /// `.jsonl.gz`
    Gzip,
    /// `.jsonl.zst`
    Zstd,
    /// `.jsonl`
    None,
}

/// The storage classes whose objects can be read at once: an archive that must be restored first can be
/// neither queried nor copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StorageClassName {
    /// `STANDARD`
    Standard,
    /// `STANDARD_IA`
    StandardIa,
    /// `ONEZONE_IA`
    OnezoneIa,
    /// `INTELLIGENT_TIERING`
    IntelligentTiering,
    /// `GLACIER_IR`
    GlacierIr,
}

/// Settings that have been checked, alone and against each other.
#[derive(Clone, Debug)]
pub struct Config {
    /// The stream's name.
    pub stream: String,
    /// The bucket's name.
    pub bucket: String,
    /// The Firehose delivery stream that lines go to in place of the bucket.
    pub delivery_stream: Option<String>,
    /// Where objects lie.
    pub layout: Arc<Layout>,
    /// Before the stream's name in the keys of states.
    pub state_prefix: String,
    /// Where a new archive begins.
    pub start: StartPosition,
    /// When a cut ends.
    pub limits: Limits,
    /// How objects are compressed.
    pub compression: Compression,
    /// How S3 keeps them.
    pub object_options: ObjectOptions,
    /// Whether and where days are marked as complete.
    pub day_marker: Option<DayMarker>,
    /// Bytes for all shards.
    pub memory_budget: u64,
    /// How often a shard is asked.
    pub pace: Pace,
    /// How often shards are listed.
    pub discovery_interval: Duration,
    /// A second delivery.
    pub elasticsearch: Option<Elasticsearch>,
    /// What this replica is called, if anything.
    pub replica_name: Option<String>,
    /// How often it gives a sign of life, and when another is given up.
    pub pulse: Pulse,
}

impl settings::Settings for Settings {
    const NAME: &'static str = "hoard";
    const ENV_PREFIX: &'static str = "HOARD_";
    const ADMIN_LISTEN: &'static str = "0.0.0.0:9602";
    type Config = Config;

    fn runtime(&self) -> &RuntimeSettings {
        &self.runtime
    }

    fn validate(self) -> Result<Config, InvalidSetting> {
        checks::names(&self)?;
        checks::delivery(&self)?;
        checks::prefixes(&self)?;
        checks::cuts(&self)?;
        checks::pace(&self)?;
        checks::replicas(&self)?;
        Ok(Config {
            compression: compression(&self)?,
            limits: limits(&self),
            object_options: object_options(&self)?,
            day_marker: day_marker(&self)?,
            layout: Arc::new(Layout {
                stream: self.stream.clone(),
                prefix: self.prefix,
                error_prefix: self.error_prefix,
                zone: self.time_zone,
                record_partitions_max: self.max_partitions,
                lines: match self.deliver {
                    DeliverTo::S3 => LinesTo::Bucket,
                    DeliverTo::Firehose => LinesTo::Firehose,
                },
            }),
            stream: self.stream,
            bucket: self.bucket,
            delivery_stream: self.delivery_stream,
            state_prefix: self.state_prefix,
            start: self.start_position,
            memory_budget: self.memory_budget,
            pace: Pace {
                behind: self.poll_interval,
                idle: self.idle_poll_interval,
                bytes_per_second: self.shard_read_rate,
            },
            discovery_interval: self.discovery_interval,
            elasticsearch: self.elasticsearch.validate()?,
            replica_name: self.replica_name,
            pulse: Pulse {
                interval: self.heartbeat_interval,
                misses: self.heartbeat_misses,
            },
        })
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        bytes: settings.flush_bytes,
        stored_bytes: settings.flush_stored_bytes.unwrap_or(u64::MAX),
        partitions: settings.max_partitions,
        age: settings.flush_interval,
    }
}

fn compression(settings: &Settings) -> Result<Compression, InvalidSetting> {
    let invalid = |problem| Err(InvalidSetting::new("--compression-level", problem));
    match (settings.compression, settings.compression_level) {
        (CompressionName::None, None) => Ok(Compression::None),
        (CompressionName::None, Some(_)) => invalid("has no meaning with --compression none"),
        (CompressionName::Gzip, level) => match level.unwrap_or(GZIP_LEVEL_DEFAULT) {
            level @ 1..=12 => Ok(Compression::Gzip { level }),
            _ => invalid("must be from 1 to 12 for gzip"),
        },
        (CompressionName::Zstd, level) => match level.unwrap_or(ZSTD_LEVEL_DEFAULT) {
            level @ 1..=19 => Ok(Compression::Zstd { level }),
            _ => invalid("must be from 1 to 19 for zstd"),
        },
    }
}

fn day_marker(settings: &Settings) -> Result<Option<DayMarker>, InvalidSetting> {
    let Some(delay) = settings.day_marker_delay else {
        return match settings.day_marker_prefix {
            Some(_) => Err(InvalidSetting::new(
                "--day-marker-prefix",
                "needs --day-marker-delay",
            )),
            None => Ok(None),
        };
    };
    if !(DAY_MARKER_DELAY_MIN..=DAY_MARKER_DELAY_MAX).contains(&delay) {
        let problem = "must be from 1m to 12h: arrival times run a little backwards";
        return Err(InvalidSetting::new("--day-marker-delay", problem));
    }
    let prefix = settings
        .day_marker_prefix
        .as_ref()
        .unwrap_or(&settings.prefix)
        .clone();
    let is_of_days = prefix.fields().is_empty() && prefix.unit() == Unit::Day && prefix.names_the_day();
    if !is_of_days || !prefix.sample().ends_with('/') {
        let problem = "must name year, month and day and no more, and end with /; it is --prefix unless set";
        return Err(InvalidSetting::new("--day-marker-prefix", problem));
    }
    Ok(Some(DayMarker {
        prefix,
        delay,
        interval: DAY_MARKER_INTERVAL.max(settings.discovery_interval),
    }))
}

fn object_options(settings: &Settings) -> Result<ObjectOptions, InvalidSetting> {
    let is_key_id = |id: &String| {
        (1..=KMS_KEY_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !settings.kms_key_id.iter().all(is_key_id) {
        let problem = "must be a key's id, alias or ARN, without spaces";
        return Err(InvalidSetting::new("--kms-key-id", problem));
    }
    let storage_class = settings.storage_class.map(|name| match name {
        StorageClassName::Standard => StorageClass::Standard,
        StorageClassName::StandardIa => StorageClass::StandardIa,
        StorageClassName::OnezoneIa => StorageClass::OnezoneIa,
        StorageClassName::IntelligentTiering => StorageClass::IntelligentTiering,
        StorageClassName::GlacierIr => StorageClass::GlacierIr,
    });
    Ok(ObjectOptions {
        kms_key_id: settings.kms_key_id.clone(),
        storage_class,
    })
}

fn parse_start(text: &str) -> Result<StartPosition, String> {
    match text {
        "trim-horizon" => Ok(StartPosition::TrimHorizon),
        "latest" => Ok(StartPosition::Latest),
        time => {
            let time: Timestamp = time.parse().map_err(|_| {
                "write trim-horizon, latest or a time such as 2026-01-31T06:00:00Z".to_owned()
            })?;
            let arrival = Arrival::from_millis(time.as_millisecond());
            arrival
                .map(StartPosition::At)
                .ok_or_else(|| "outside the calendar".to_owned())
        }
    }
}

#[cfg(test)]
mod tests;
