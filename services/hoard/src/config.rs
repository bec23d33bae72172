//! Settings as flags and variables, and the configuration that they become once they are checked.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use jiff::Timestamp;
use service_runtime::settings::{self, InvalidSetting, RuntimeSettings};
use service_runtime::units::{parse_bytes, parse_duration};

use crate::budget::READ_ALLOWANCE;
use crate::cut::Limits;
use crate::encode::Compression;
use crate::read::Pace;
use crate::record::Arrival;
use crate::start::StartPosition;

/// The least that a size setting may be.
const FLUSH_BYTES_MIN: u64 = 1024;
/// An object is put in one request, which S3 limits to 5 GiB; this keeps a redo affordable.
const FLUSH_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Five GetRecords calls a second and shard.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(200);
/// An S3 key has at most 1,024 bytes; date, stream, shard and sequence number take up to 420 of them.
const PREFIX_BYTES_MAX: usize = 512;
/// zlib-rs, one core, JSON logs: level 1 174 MB/s at ratio 2.6, 3 81 MB/s at 3.9, 6 44 MB/s at 4.3.
/// Beyond 3 each per cent of size costs several of CPU.
const GZIP_LEVEL_DEFAULT: u32 = 3;

/// Archives a Kinesis stream in S3 as JSON lines, each record exactly once.
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

    /// Between looks for new shards; also until a shard that an error stopped is tried again.
    #[arg(long, default_value = "30s", value_parser = parse_duration, help_heading = "Source")]
    pub discovery_interval: Duration,

    /// The bucket to archive into.
    #[arg(long, help_heading = "Destination")]
    pub bucket: String,

    /// What stands before YYYY/MM/DD/ in keys.
    #[arg(long, default_value = "", help_heading = "Destination")]
    pub prefix: String,

    /// The same for records that are not one JSON object.
    #[arg(long, default_value = "errors/", help_heading = "Destination")]
    pub error_prefix: String,

    /// Where the state of shards lies; query engines skip names that begin with an underscore.
    #[arg(long, default_value = "_hoard/", help_heading = "Destination")]
    pub state_prefix: String,

    /// How objects are compressed.
    #[arg(long, value_enum, default_value = "gzip", help_heading = "Destination")]
    pub compression: CompressionName,

    /// 1 (fast) to 9 (small); 3 unless set.
    #[arg(long, help_heading = "Destination")]
    pub compression_level: Option<u32>,

    /// A cut ends when its lines reach this size before compression.
    #[arg(long, default_value = "64MiB", value_parser = parse_bytes, help_heading = "Cuts")]
    pub flush_bytes: u64,

    /// A cut ends when its first record has been held for this long.
    #[arg(long, default_value = "60s", value_parser = parse_duration, help_heading = "Cuts")]
    pub flush_interval: Duration,

    /// Memory for all buffers and reads in flight. When it is spent, the largest buffer is cut and
    /// reading waits.
    #[arg(long, default_value = "256MiB", value_parser = parse_bytes, help_heading = "Cuts")]
    pub memory_budget: u64,

    /// What every program has.
    #[command(flatten)]
    pub runtime: RuntimeSettings,
}

/// A compression by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressionName {
    /// `.jsonl.gz`
    Gzip,
    /// `.jsonl`
    None,
}

/// Settings that have been checked, alone and against each other.
#[derive(Clone, Debug)]
pub struct Config {
    /// The stream's name.
    pub stream: String,
    /// The bucket's name.
    pub bucket: String,
    /// Before the date in the keys of lines.
    pub prefix: String,
    /// Before the date in the keys of error lines.
    pub error_prefix: String,
    /// Before the stream's name in the keys of states.
    pub state_prefix: String,
    /// Where a new archive begins.
    pub start: StartPosition,
    /// When a cut ends.
    pub limits: Limits,
    /// How objects are compressed.
    pub compression: Compression,
    /// Bytes for all shards.
    pub memory_budget: u64,
    /// How often a shard is asked.
    pub pace: Pace,
    /// How often shards are listed.
    pub discovery_interval: Duration,
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
        check_names(&self)?;
        check_prefixes(&self)?;
        check_cuts(&self)?;
        check_pace(&self)?;
        Ok(Config {
            compression: compression(&self)?,
            stream: self.stream,
            bucket: self.bucket,
            prefix: self.prefix,
            error_prefix: self.error_prefix,
            state_prefix: self.state_prefix,
            start: self.start_position,
            limits: Limits {
                bytes: self.flush_bytes,
                age: self.flush_interval,
            },
            memory_budget: self.memory_budget,
            pace: Pace {
                behind: self.poll_interval,
                idle: self.idle_poll_interval,
            },
            discovery_interval: self.discovery_interval,
        })
    }
}

fn check_names(settings: &Settings) -> Result<(), InvalidSetting> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let names = [
        ("--stream", &settings.stream, 1..=128),
        ("--bucket", &settings.bucket, 3..=63),
    ];
    for (flag, name, length) in names {
        if !length.contains(&name.len()) || !name.bytes().all(allowed) {
            let (min, max) = (length.start(), length.end());
            let problem = format!("must be {min} to {max} letters, digits, underscores, points and hyphens");
            return Err(InvalidSetting::new(flag, problem));
        }
    }
    Ok(())
}

fn check_prefixes(settings: &Settings) -> Result<(), InvalidSetting> {
    let prefixes = [
        ("--prefix", &settings.prefix),
        ("--error-prefix", &settings.error_prefix),
        ("--state-prefix", &settings.state_prefix),
    ];
    for (flag, prefix) in prefixes {
        if let Some(problem) = prefix_problem(prefix) {
            return Err(InvalidSetting::new(flag, problem));
        }
    }
    if settings.error_prefix == settings.prefix {
        let problem = "must differ from --prefix: both objects of a cut would have one key";
        return Err(InvalidSetting::new("--error-prefix", problem));
    }
    if settings.state_prefix.is_empty() {
        return Err(InvalidSetting::new("--state-prefix", "must not be empty"));
    }
    for (flag, prefix) in &prefixes[..2] {
        if prefix.starts_with(&settings.state_prefix) {
            let problem = format!("must not lie under --state-prefix {}", settings.state_prefix);
            return Err(InvalidSetting::new(*flag, problem));
        }
    }
    Ok(())
}

fn prefix_problem(prefix: &str) -> Option<String> {
    if prefix.len() > PREFIX_BYTES_MAX {
        return Some(format!("must be at most {PREFIX_BYTES_MAX} bytes"));
    }
    if prefix.starts_with('/') || prefix.contains("//") {
        return Some("must not begin with / nor contain //: engines see folders without a name".to_owned());
    }
    if prefix.contains("!{") {
        return Some("expressions are not supported: the date follows the prefix by itself".to_owned());
    }
    let unsafe_character = prefix
        .chars()
        .find(|&c| !(c.is_ascii_alphanumeric() || "/!-_.*'()=".contains(c)));
    unsafe_character
        .map(|c| format!("must not contain {c:?}: letters, digits and / ! - _ . * ' ( ) = are safe in keys"))
}

fn check_cuts(settings: &Settings) -> Result<(), InvalidSetting> {
    if !(FLUSH_BYTES_MIN..=FLUSH_BYTES_MAX).contains(&settings.flush_bytes) {
        return Err(InvalidSetting::new("--flush-bytes", "must be from 1KiB to 1GiB"));
    }
    let day = Duration::from_secs(24 * 60 * 60);
    if settings.flush_interval < Duration::from_secs(1) || settings.flush_interval > day {
        return Err(InvalidSetting::new("--flush-interval", "must be from 1s to 24h"));
    }
    let least = settings.flush_bytes + READ_ALLOWANCE;
    if settings.memory_budget < least {
        let problem = format!(
            "must be at least {least}: --flush-bytes {} and {READ_ALLOWANCE} for a read, or no cut could reach its size",
            settings.flush_bytes
        );
        return Err(InvalidSetting::new("--memory-budget", problem));
    }
    Ok(())
}

fn check_pace(settings: &Settings) -> Result<(), InvalidSetting> {
    if settings.poll_interval < POLL_INTERVAL_MIN {
        return Err(InvalidSetting::new(
            "--poll-interval",
            "must be at least 200ms: Kinesis allows 5 reads a second and shard",
        ));
    }
    if settings.idle_poll_interval < settings.poll_interval {
        return Err(InvalidSetting::new(
            "--idle-poll-interval",
            "must not be shorter than --poll-interval",
        ));
    }
    if settings.idle_poll_interval > Duration::from_secs(60) {
        return Err(InvalidSetting::new(
            "--idle-poll-interval",
            "must be at most 60s: an iterator lives for five minutes",
        ));
    }
    if settings.discovery_interval < Duration::from_secs(1) {
        return Err(InvalidSetting::new(
            "--discovery-interval",
            "must be at least 1s: Kinesis limits how often shards are listed",
        ));
    }
    Ok(())
}

fn compression(settings: &Settings) -> Result<Compression, InvalidSetting> {
    let invalid = |problem| Err(InvalidSetting::new("--compression-level", problem));
    match (settings.compression, settings.compression_level) {
        (CompressionName::None, None) => Ok(Compression::None),
        (CompressionName::None, Some(_)) => invalid("has no meaning with --compression none"),
        (CompressionName::Gzip, level) => match level.unwrap_or(GZIP_LEVEL_DEFAULT) {
            level @ 1..=9 => Ok(Compression::Gzip { level }),
            _ => invalid("must be from 1 to 9"),
        },
    }
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
mod tests {
    use super::*;
    use service_runtime::settings::config_from;

    fn config(args: &[&str]) -> Result<Config, String> {
        let required = [["--stream", "events"], ["--bucket", "archive"]];
        let missing = required.iter().filter(|pair| !args.contains(&pair[0]));
        let all: Vec<&str> = missing.flatten().chain(args).copied().collect();
        config_from::<Settings>(all).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_valid() {
        let config = config(&[]).expect("only stream and bucket are needed");
        assert_eq!(config.compression, Compression::Gzip { level: 3 });
        assert_eq!(config.start, StartPosition::TrimHorizon);
        assert_eq!(
            (config.prefix.as_str(), config.state_prefix.as_str()),
            ("", "_hoard/")
        );
    }

    #[test]
    fn a_start_is_a_word_or_a_time() {
        assert_eq!(
            config(&["--start-position", "latest"]).expect("a word").start,
            StartPosition::Latest
        );
        let time = config(&["--start-position", "1970-01-01T00:00:01Z"])
            .expect("a time")
            .start;
        assert_eq!(
            time,
            StartPosition::At(Arrival::from_millis(1000).expect("in range"))
        );
        assert!(
            config(&["--start-position", "yesterday"])
                .expect_err("neither")
                .contains("trim-horizon")
        );
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let cases: [(&[&str], &str); 15] = [
            (&["--stream", "a/b"], "--stream"),
            (&["--bucket", "x"], "--bucket"),
            (&["--prefix", "/raw/"], "--prefix"),
            (&["--prefix", "raw/!{timestamp:yyyy}/"], "expressions"),
            (&["--prefix", "a b"], "--prefix"),
            (&["--prefix", "_hoard/x/"], "--state-prefix"),
            (&["--error-prefix", ""], "--error-prefix"),
            (&["--state-prefix", ""], "--state-prefix"),
            (&["--flush-bytes", "100"], "--flush-bytes"),
            (&["--flush-bytes", "512MiB"], "--memory-budget"),
            (&["--flush-interval", "10ms"], "--flush-interval"),
            (
                &["--compression", "none", "--compression-level", "3"],
                "--compression-level",
            ),
            (&["--compression-level", "10"], "--compression-level"),
            (&["--poll-interval", "50ms"], "--poll-interval"),
            (&["--poll-interval", "2s"], "--idle-poll-interval"),
        ];
        for (args, named) in cases {
            let error = config(args).expect_err("cannot work");
            assert!(
                error.contains(named),
                "{args:?} says {error:?}, which does not name {named}"
            );
        }
    }
}
