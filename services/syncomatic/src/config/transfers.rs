//! How objects travel: in what pieces, how many at a time, how fast, and how they are stored.

use std::time::Duration;

use clap::Args;
use service_runtime::settings::InvalidSetting;
use service_runtime::units::{parse_bytes, parse_duration};

use super::Limits;
use crate::attributes::Storage;

const MIB: u64 = 1024 * 1024;
/// The least that S3 takes as a part that is not the last, and the most
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const PART_BYTES_MIN: u64 = 5 * MIB;
const PART_BYTES_MAX: u64 = 5 * 1024 * MIB;
/// The most that one PutObject takes.
const PUT_BYTES_MAX: u64 = 5 * 1024 * MIB;
/// Below this, streams wait for their turn so long that they seem to have stalled.
const BANDWIDTH_MIN: u64 = MIB;

#[derive(Args, Debug)]
#[command(next_help_heading = "Transfers")]
pub(super) struct TransferSettings {
    /// Objects larger than this are copied in parts, several at a time; up to 5 GiB.
    #[arg(long, default_value = "16MiB", value_parser = parse_bytes)]
    multipart_threshold_bytes: u64,
    /// Bytes of a part; more where an object would have over 10,000 parts.
    #[arg(long, default_value = "8MiB", value_parser = parse_bytes)]
    part_bytes: u64,
    /// Parts of one object that are on their way at once.
    #[arg(long, default_value_t = Limits::default().parts_at_once)]
    parts_at_once: usize,
    /// Objects and parts that are on their way at once; fewer while a side answers 503.
    #[arg(long, default_value_t = Limits::default().transfers)]
    transfers: usize,
    /// Bytes a second that all copies together may move; without it there is no limit.
    #[arg(long, value_parser = parse_bytes)]
    bandwidth_bytes: Option<u64>,
    /// Where the destination bucket keeps track of uploads in parts. Nothing is copied to it.
    #[arg(long, default_value = "_syncomatic/uploads/")]
    journal_prefix: String,
    /// How often to look for uploads that nobody goes on with; one that has not changed in between is
    /// ended.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    upload_sweep_interval: Duration,
    /// Storage classes at the destination: SOURCE-CLASS=DESTINATION-CLASS, repeated or separated by
    /// commas, * for every other class, such as STANDARD=STANDARD_IA. What none names is stored as the
    /// bucket does by default.
    #[arg(long, value_delimiter = ',', value_parser = class_pair)]
    storage_class: Vec<(String, String)>,
    /// Key of the destination side's KMS to encrypt with; else as the bucket does by default.
    #[arg(long)]
    destination_kms_key_id: Option<String>,
}

impl TransferSettings {
    /// Checks the settings, and adds them to `limits`.
    pub(super) fn limits(&self, limits: &Limits) -> Result<Limits, InvalidSetting> {
        let refuse = |flag: &str, problem: &str| Err(InvalidSetting::new(flag, problem));
        if !(PART_BYTES_MIN..=PUT_BYTES_MAX).contains(&self.multipart_threshold_bytes) {
            return refuse("--multipart-threshold-bytes", "must be between 5MiB and 5GiB");
        }
        if !(PART_BYTES_MIN..=PART_BYTES_MAX).contains(&self.part_bytes) {
            return refuse("--part-bytes", "must be between 5MiB and 5GiB");
        }
        if !(1..=256).contains(&self.parts_at_once) {
            return refuse("--parts-at-once", "must be between 1 and 256");
        }
        if !(1..=4096).contains(&self.transfers) {
            return refuse("--transfers", "must be between 1 and 4096");
        }
        if self.bandwidth_bytes.is_some_and(|rate| rate < BANDWIDTH_MIN) {
            return refuse("--bandwidth-bytes", "must be at least 1MiB");
        }
        if self.upload_sweep_interval < limits.progress_deadline * 2 {
            let problem = "must be at least twice --progress-deadline, or copies under way seem abandoned";
            return refuse("--upload-sweep-interval", problem);
        }
        Ok(Limits {
            multipart_threshold_bytes: self.multipart_threshold_bytes,
            part_bytes: self.part_bytes,
            parts_at_once: self.parts_at_once,
            transfers: self.transfers,
            bandwidth: self.bandwidth_bytes,
            sweep_interval: self.upload_sweep_interval,
            ..limits.clone()
        })
    }

    /// The prefix of the journal.
    pub(super) fn journal_prefix(&self) -> Result<String, InvalidSetting> {
        let prefix = &self.journal_prefix;
        if prefix.is_empty() || prefix.len() > 512 || !prefix.ends_with('/') {
            let problem = "must be a folder: up to 512 bytes that end with /";
            return Err(InvalidSetting::new("--journal-prefix", problem));
        }
        Ok(prefix.clone())
    }

    /// How objects are stored.
    pub(super) fn storage(&self) -> Storage {
        Storage {
            classes: self.storage_class.clone(),
            kms_key_id: self.destination_kms_key_id.clone(),
        }
    }
}

/// S3 adds classes now and then, so only the form is checked.
fn class_pair(text: &str) -> Result<(String, String), String> {
    let class = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        !name.is_empty() && name.bytes().all(plain)
    };
    match text.split_once('=') {
        Some((from, to)) if (from == "*" || class(from)) && class(to) => Ok((from.into(), to.into())),
        _ => {
            Err("write SOURCE-CLASS=DESTINATION-CLASS, such as STANDARD=STANDARD_IA or *=STANDARD_IA".into())
        }
    }
}
