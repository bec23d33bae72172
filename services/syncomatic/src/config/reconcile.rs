//! How both buckets are compared, and with how much of everything.

use std::time::Duration;

use clap::Args;
use service_runtime::settings::InvalidSetting;
use service_runtime::units::{parse_bytes, parse_duration};

use super::Limits;

const INTERVAL_MIN: Duration = Duration::from_secs(60);
const GRACE_MAX: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const MEMORY_MIN_BYTES: u64 = 1024 * 1024;
const BANDWIDTH_MIN: u64 = 1024 * 1024;

#[derive(Args, Debug)]
#[command(next_help_heading = "Reconcile")]
pub(super) struct ReconcileSettings {
    /// How often the service itself compares both buckets, give or take a tenth; never unless set.
    #[arg(long, value_parser = parse_duration)]
    reconcile_interval: Option<Duration>,
    /// What the service finds to be missing or different it copies. Nothing is ever deleted.
    #[arg(long)]
    reconcile_repair: bool,
    /// The service looks at every object on both sides, and does not trust equal ETags and sizes of the
    /// listings.
    #[arg(long)]
    reconcile_deep: bool,
    /// Objects younger than this that are not in place are only pending: their notifications may be on
    /// their way.
    #[arg(long, default_value = "15m", value_parser = parse_duration)]
    reconcile_grace: Duration,
    /// Objects that a reconcile looks at or copies at once.
    #[arg(long, default_value_t = ReconcileLimits::default().concurrency)]
    reconcile_concurrency: usize,
    /// Memory for objects that it copies, beside --memory-bytes.
    #[arg(long, default_value = "32MiB", value_parser = parse_bytes)]
    reconcile_memory_bytes: u64,
    /// Bytes a second that its copies may move, beside --bandwidth-bytes; without it there is no limit.
    #[arg(long, value_parser = parse_bytes)]
    reconcile_bandwidth_bytes: Option<u64>,
    /// Tries for one call or object.
    #[arg(long, default_value_t = ReconcileLimits::default().tries)]
    reconcile_tries: u32,
}

/// How both buckets are compared.
#[derive(Clone, Debug)]
pub struct ReconcileLimits {
    /// How often the service does it by itself, if it does.
    pub interval: Option<Duration>,
    /// Whether the service then copies what is missing or different.
    pub repairs: bool,
    /// Whether the service then looks at every object.
    pub is_deep: bool,
    /// How young an object may be and not be in place.
    pub grace: Duration,
    /// Objects that are looked at or copied at once.
    pub concurrency: usize,
    /// Bytes of objects on their way that may be in memory at once.
    pub memory_bytes: u64,
    /// Bytes a second that its copies may move.
    pub bandwidth: Option<u64>,
    /// Tries for one call or object.
    pub tries: u32,
    /// Objects of one page of a listing; S3 gives at most 1,000.
    pub page_objects: i32,
}

impl Default for ReconcileLimits {
    fn default() -> Self {
        Self {
            interval: None,
            repairs: false,
            is_deep: false,
            grace: Duration::from_secs(15 * 60),
            concurrency: 16,
            memory_bytes: 32 * 1024 * 1024,
            bandwidth: None,
            tries: 5,
            page_objects: 1000,
        }
    }
}

impl ReconcileLimits {
    /// The limits of the copies that a reconcile makes: its own, and for the rest those of the service.
    pub(crate) fn of_lane(&self, service: &Limits) -> Limits {
        Limits {
            concurrency: self.concurrency,
            transfers: self.concurrency,
            memory_bytes: self.memory_bytes,
            bandwidth: self.bandwidth,
            tries: self.tries,
            ..service.clone()
        }
    }
}

impl ReconcileSettings {
    /// Checks the settings. `redacts` is the memory that one redacted copy takes, where a route redacts.
    pub(super) fn limits(self, redacts: Option<u64>) -> Result<ReconcileLimits, InvalidSetting> {
        let refuse = |flag: &str, problem: &str| Err(InvalidSetting::new(flag, problem));
        if self
            .reconcile_interval
            .is_some_and(|interval| interval < INTERVAL_MIN)
        {
            return refuse("--reconcile-interval", "must be at least 1m");
        }
        if self.reconcile_grace > GRACE_MAX {
            return refuse(
                "--reconcile-grace",
                "must be at most 14d, which is as long as a queue keeps messages",
            );
        }
        if !(1..=1024).contains(&self.reconcile_concurrency) {
            return refuse("--reconcile-concurrency", "must be between 1 and 1024");
        }
        if self.reconcile_memory_bytes < MEMORY_MIN_BYTES {
            return refuse("--reconcile-memory-bytes", "must be at least 1MiB");
        }
        if redacts.is_some_and(|bytes| self.reconcile_memory_bytes < bytes) {
            let problem = "must have room for one redacted copy, as --memory-bytes, where a route redacts";
            return refuse("--reconcile-memory-bytes", problem);
        }
        if self
            .reconcile_bandwidth_bytes
            .is_some_and(|rate| rate < BANDWIDTH_MIN)
        {
            return refuse("--reconcile-bandwidth-bytes", "must be at least 1MiB");
        }
        if !(1..=100).contains(&self.reconcile_tries) {
            return refuse("--reconcile-tries", "must be between 1 and 100");
        }
        Ok(ReconcileLimits {
            interval: self.reconcile_interval,
            repairs: self.reconcile_repair,
            is_deep: self.reconcile_deep,
            grace: self.reconcile_grace,
            concurrency: self.reconcile_concurrency,
            memory_bytes: self.reconcile_memory_bytes,
            bandwidth: self.reconcile_bandwidth_bytes,
            tries: self.reconcile_tries,
            ..ReconcileLimits::default()
        })
    }
}
