//! What the settings must be, alone and beside each other.

use std::time::Duration;

use service_runtime::settings::InvalidSetting;

use super::{DeliverTo, Settings};
use crate::budget::READ_ALLOWANCE;

/// The least that a size setting may be.
const FLUSH_BYTES_MIN: u64 = 1024;
/// An object is put in one request, which S3 limits to 5 GiB; this keeps a redo affordable.
const FLUSH_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Five GetRecords calls a second and shard.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(200);
/// Slower than this no shard is read.
const SHARD_READ_RATE_MIN: u64 = 64_000;
/// What Kinesis gives of a shard in a second, to all consumers that share it.
const SHARD_READ_RATE_MAX: u64 = 2 * 1024 * 1024;
/// The longest state prefix, in bytes: an S3 key has at most 1,024, stream and shard take up to 262.
const STATE_PREFIX_BYTES_MAX: usize = 512;
/// Everything that a cut writes is announced in one small object, a few hundred bytes each.
const PARTITIONS_MAX: usize = 500;
/// A delivery stream's name, in bytes.
const DELIVERY_STREAM_BYTES_MAX: usize = 64;

pub(super) fn names(settings: &Settings) -> Result<(), InvalidSetting> {
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

/// What has a meaning for lines in the bucket alone is refused where they go elsewhere.
pub(super) fn delivery(settings: &Settings) -> Result<(), InvalidSetting> {
    let stream = match (settings.deliver, &settings.delivery_stream) {
        (DeliverTo::S3, None) => return Ok(()),
        (DeliverTo::S3, Some(_)) => {
            return Err(InvalidSetting::new(
                "--delivery-stream",
                "needs --deliver firehose",
            ));
        }
        (DeliverTo::Firehose, None) => {
            let problem = "must be given with --deliver firehose";
            return Err(InvalidSetting::new("--delivery-stream", problem));
        }
        (DeliverTo::Firehose, Some(stream)) => stream,
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if !(1..=DELIVERY_STREAM_BYTES_MAX).contains(&stream.len()) || !stream.bytes().all(allowed) {
        let problem = "must be 1 to 64 letters, digits, underscores, points and hyphens";
        return Err(InvalidSetting::new("--delivery-stream", problem));
    }
    if !settings.prefix.is_unset() {
        let problem = "has no meaning with --deliver firehose: set the delivery stream's";
        return Err(InvalidSetting::new("--prefix", problem));
    }
    if settings.day_marker_delay.is_some() {
        let problem = "has no meaning with --deliver firehose: its objects come when it likes";
        return Err(InvalidSetting::new("--day-marker-delay", problem));
    }
    Ok(())
}

/// No object may have the key of another that means something else, whatever the records say.
pub(super) fn prefixes(settings: &Settings) -> Result<(), InvalidSetting> {
    let Settings {
        prefix,
        error_prefix,
        state_prefix,
        ..
    } = settings;
    if let Some(problem) = state_prefix_problem(state_prefix) {
        return Err(InvalidSetting::new("--state-prefix", problem));
    }
    if prefix.names_error_type() {
        let problem = "must not name !{firehose:error-output-type}: lines have none";
        return Err(InvalidSetting::new("--prefix", problem));
    }
    if !error_prefix.fields().is_empty() {
        let problem = "must not name partition keys: a record that is not one JSON object has no fields";
        return Err(InvalidSetting::new("--error-prefix", problem));
    }
    if error_prefix.sample() == prefix.sample() {
        let problem = "must differ from --prefix: both objects of a cut would have one key";
        return Err(InvalidSetting::new("--error-prefix", problem));
    }
    for (flag, other) in [
        ("--error-prefix", error_prefix.head()),
        ("--state-prefix", state_prefix),
    ] {
        if !prefix.fields().is_empty() && is_reachable(other, prefix.head()) {
            let problem = format!(
                "could be named by a partition key of --prefix: begin that with a folder of its own, or {flag} \
                 with an underscore, which no value begins with"
            );
            return Err(InvalidSetting::new(flag, problem));
        }
    }
    for (flag, prefix) in [("--prefix", prefix), ("--error-prefix", error_prefix)] {
        if prefix.sample().starts_with(state_prefix) {
            let problem = format!("must not lie under --state-prefix {state_prefix}");
            return Err(InvalidSetting::new(flag, problem));
        }
    }
    Ok(())
}

/// Whether a value that follows `head` could complete it to `prefix`.
fn is_reachable(prefix: &str, head: &str) -> bool {
    match prefix.strip_prefix(head) {
        Some(rest) => !rest.starts_with('_'),
        None => head.starts_with(prefix),
    }
}

fn state_prefix_problem(prefix: &str) -> Option<String> {
    if prefix.is_empty() {
        return Some("must not be empty".to_owned());
    }
    if prefix.len() > STATE_PREFIX_BYTES_MAX {
        return Some(format!("must be at most {STATE_PREFIX_BYTES_MAX} bytes"));
    }
    if prefix.starts_with('/') || prefix.contains("//") {
        return Some("must not begin with / nor contain //".to_owned());
    }
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "/!-_.*'()=".contains(c);
    let unsafe_character = prefix.chars().find(|&c| !is_safe(c));
    unsafe_character
        .map(|c| format!("must not contain {c:?}: letters, digits and / ! - _ . * ' ( ) = are safe in keys"))
}

pub(super) fn cuts(settings: &Settings) -> Result<(), InvalidSetting> {
    if !(FLUSH_BYTES_MIN..=FLUSH_BYTES_MAX).contains(&settings.flush_bytes) {
        return Err(InvalidSetting::new("--flush-bytes", "must be from 1KiB to 1GiB"));
    }
    let stored = settings.flush_stored_bytes;
    if stored.is_some_and(|stored| !(FLUSH_BYTES_MIN..=FLUSH_BYTES_MAX).contains(&stored)) {
        return Err(InvalidSetting::new(
            "--flush-stored-bytes",
            "must be from 1KiB to 1GiB",
        ));
    }
    if !(2..=PARTITIONS_MAX).contains(&settings.max_partitions) {
        let problem = format!("must be from 2 to {PARTITIONS_MAX}: each is an object of every cut");
        return Err(InvalidSetting::new("--max-partitions", problem));
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

pub(super) fn pace(settings: &Settings) -> Result<(), InvalidSetting> {
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
    if !(SHARD_READ_RATE_MIN..=SHARD_READ_RATE_MAX).contains(&settings.shard_read_rate) {
        return Err(InvalidSetting::new(
            "--shard-read-rate",
            "must be from 64KB to 2MB: Kinesis gives no more, and a shard takes up to 1 MB in",
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

pub(super) fn replicas(settings: &Settings) -> Result<(), InvalidSetting> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if let Some(name) = &settings.replica_name
        && (!(1..=128).contains(&name.len()) || !name.bytes().all(allowed))
    {
        let problem = "must be 1 to 128 letters, digits, underscores, points and hyphens";
        return Err(InvalidSetting::new("--replica-name", problem));
    }
    let minute = Duration::from_secs(60);
    if !(Duration::from_millis(200)..=minute).contains(&settings.heartbeat_interval) {
        return Err(InvalidSetting::new(
            "--heartbeat-interval",
            "must be from 200ms to 60s: each is a request to S3",
        ));
    }
    if !(3..=100).contains(&settings.heartbeat_misses) {
        return Err(InvalidSetting::new(
            "--heartbeat-misses",
            "must be from 3 to 100: a slow request or two must not cost a replica its shards",
        ));
    }
    Ok(())
}
