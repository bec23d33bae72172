//! What the delivery to Firehose shows. Calls that failed as a whole are in `hoard_retries_total`, step
//! `deliver`.

use std::time::Duration;

use prometheus::{Error, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};
use prometheus::{exponential_buckets, linear_buckets};

/// Why Firehose did not take a record of a call that it answered. A metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was given too much.
    Throttled,
    /// It failed.
    Failed,
    /// Something else, or no result.
    Other,
}

impl Refusal {
    const ALL: [Self; 3] = [Self::Throttled, Self::Failed, Self::Other];

    /// By the error code of a record's result.
    pub fn of(code: Option<&str>) -> Self {
        match code {
            Some("ServiceUnavailableException" | "ThrottlingException") => Self::Throttled,
            Some("InternalFailure" | "InternalFailureException") => Self::Failed,
            _ => Self::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Failed => "failed",
            Self::Other => "other",
        }
    }
}

/// The metrics. Clones share them.
#[derive(Clone)]
pub struct FirehoseMetrics {
    records_total: IntCounter,
    bytes_total: IntCounter,
    retried_records_total: IntCounterVec,
    abandoned_records_total: IntCounter,
    request_seconds: Histogram,
    request_records: Histogram,
    request_bytes: Histogram,
    freshness_seconds: Histogram,
}

impl FirehoseMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let histogram = |name: &str, help: &str, buckets| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
        };
        let metrics = Self {
            records_total: IntCounter::new(
                "hoard_firehose_records_total",
                "Records that Firehose has accepted, one a line.",
            )?,
            bytes_total: IntCounter::new(
                "hoard_firehose_bytes_total",
                "Bytes of records that Firehose has accepted, line breaks included.",
            )?,
            retried_records_total: IntCounterVec::new(
                Opts::new(
                    "hoard_firehose_retried_records_total",
                    "Records that Firehose did not take of calls that it answered, and that are sent again.",
                ),
                &["cause"],
            )?,
            abandoned_records_total: IntCounter::new(
                "hoard_firehose_abandoned_records_total",
                "Records given up at a drain or hand-over before all of their read was accepted: who reads \
                 the shard next sends them, those that were accepted a second time.",
            )?,
            request_seconds: histogram(
                "hoard_firehose_request_seconds",
                "How long a call that was answered took.",
                exponential_buckets(0.005, 2.0, 14)?,
            )?,
            request_records: histogram(
                "hoard_firehose_request_records",
                "Records of a call.",
                linear_buckets(50.0, 50.0, 10)?,
            )?,
            request_bytes: histogram(
                "hoard_firehose_request_bytes",
                "Bytes of a call's records.",
                exponential_buckets(1024.0, 2.0, 11)?,
            )?,
            freshness_seconds: histogram(
                "hoard_firehose_freshness_seconds",
                "From the arrival of a read's first record until Firehose has accepted all of the read.",
                exponential_buckets(0.25, 2.0, 16)?,
            )?,
        };
        metrics.register(registry)?;
        for refusal in Refusal::ALL {
            metrics
                .retried_records_total
                .with_label_values(&[refusal.as_str()]);
        }
        Ok(metrics)
    }

    fn register(&self, registry: &Registry) -> Result<(), Error> {
        for counter in [
            &self.records_total,
            &self.bytes_total,
            &self.abandoned_records_total,
        ] {
            registry.register(Box::new(counter.clone()))?;
        }
        registry.register(Box::new(self.retried_records_total.clone()))?;
        for histogram in [
            &self.request_seconds,
            &self.request_records,
            &self.request_bytes,
            &self.freshness_seconds,
        ] {
            registry.register(Box::new(histogram.clone()))?;
        }
        Ok(())
    }

    /// A call of so many records and bytes was answered.
    pub fn answered(&self, records: usize, bytes: usize, took: Duration) {
        self.request_seconds.observe(took.as_secs_f64());
        self.request_records.observe(records as f64);
        self.request_bytes.observe(bytes as f64);
    }

    /// Records were accepted.
    pub fn accepted(&self, records: usize, bytes: usize) {
        self.records_total.inc_by(records as u64);
        self.bytes_total.inc_by(bytes as u64);
    }

    /// A record was not taken.
    pub fn refused(&self, refusal: Refusal) {
        self.retried_records_total
            .with_label_values(&[refusal.as_str()])
            .inc();
    }

    /// A read of so many records was given up.
    pub fn abandoned(&self, records: usize) {
        self.abandoned_records_total.inc_by(records as u64);
    }

    /// A read is accepted, so many milliseconds after its first record arrived.
    pub fn fresh(&self, millis: i64) {
        self.freshness_seconds.observe(millis as f64 / 1000.0);
    }
}
