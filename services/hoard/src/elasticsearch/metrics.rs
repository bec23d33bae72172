//! What the second delivery shows.

use std::time::Duration;

use prometheus::{
    Counter, Error, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry,
    exponential_buckets,
};

use crate::elasticsearch::bulk::Outcome;
use crate::elasticsearch::client::RequestFailure;
use crate::sequence::ShardId;

/// What became of a document. A metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It was created.
    Created,
    /// It was there already.
    Exists,
    /// The cluster will never take it, for its mapping as a rule.
    Refused,
    /// The record is not one JSON object.
    NotJson,
}

impl Delivered {
    const ALL: [Self; 4] = [Self::Created, Self::Exists, Self::Refused, Self::NotJson];

    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Exists => "exists",
            Self::Refused => "refused",
            Self::NotJson => "not_json",
        }
    }
}

/// The metrics. Clones share them.
#[derive(Clone)]
pub struct ElasticsearchMetrics {
    documents_total: IntCounterVec,
    retried_documents_total: IntCounter,
    bytes_total: IntCounter,
    request_failures_total: IntCounterVec,
    request_seconds: Histogram,
    lag_seconds: GaugeVec,
    skipped_records_total: IntCounter,
    skipped_seconds_total: Counter,
}

impl ElasticsearchMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let counter = |name: &str, help: &str| IntCounter::new(name, help);
        let seconds = exponential_buckets(0.005, 2.0, 14)?;
        let metrics = Self {
            documents_total: IntCounterVec::new(
                Opts::new(
                    "hoard_elasticsearch_documents_total",
                    "Documents by what became of them.",
                ),
                &["outcome"],
            )?,
            retried_documents_total: counter(
                "hoard_elasticsearch_retried_documents_total",
                "Documents that the cluster did not take and that are sent again.",
            )?,
            bytes_total: counter(
                "hoard_elasticsearch_bytes_total",
                "Bytes of requests that were answered.",
            )?,
            request_failures_total: IntCounterVec::new(
                Opts::new(
                    "hoard_elasticsearch_request_failures_total",
                    "Requests that failed as a whole and are made again.",
                ),
                &["failure"],
            )?,
            request_seconds: Histogram::with_opts(
                HistogramOpts::new("hoard_elasticsearch_request_seconds", "Duration of requests.")
                    .buckets(seconds),
            )?,
            lag_seconds: GaugeVec::new(
                Opts::new(
                    "hoard_elasticsearch_lag_seconds",
                    "Age of the oldest event of the shard that is being delivered.",
                ),
                &["shard"],
            )?,
            skipped_records_total: counter(
                "hoard_elasticsearch_skipped_records_total",
                "Records in hand when a delivery skipped forward. Those it did not read are not known.",
            )?,
            skipped_seconds_total: Counter::new(
                "hoard_elasticsearch_skipped_seconds_total",
                "Time of arrivals that was skipped, over all shards.",
            )?,
        };
        for metric in [
            &metrics.retried_documents_total,
            &metrics.bytes_total,
            &metrics.skipped_records_total,
        ] {
            registry.register(Box::new(metric.clone()))?;
        }
        registry.register(Box::new(metrics.skipped_seconds_total.clone()))?;
        registry.register(Box::new(metrics.documents_total.clone()))?;
        registry.register(Box::new(metrics.request_failures_total.clone()))?;
        registry.register(Box::new(metrics.request_seconds.clone()))?;
        registry.register(Box::new(metrics.lag_seconds.clone()))?;
        for outcome in Delivered::ALL {
            metrics.documents(outcome, 0);
        }
        for failure in RequestFailure::ALL {
            metrics
                .request_failures_total
                .with_label_values(&[failure.as_str()]);
        }
        Ok(metrics)
    }

    /// Documents are done with.
    pub fn documents(&self, outcome: Delivered, count: u64) {
        self.documents_total
            .with_label_values(&[outcome.as_str()])
            .inc_by(count);
    }

    /// A request was answered, item by item.
    pub fn sent(&self, bytes: usize, outcomes: &[Outcome]) {
        self.bytes_total.inc_by(bytes as u64);
        for outcome in outcomes {
            match outcome {
                Outcome::Created => self.documents(Delivered::Created, 1),
                Outcome::Exists => self.documents(Delivered::Exists, 1),
                Outcome::Refused => self.documents(Delivered::Refused, 1),
                Outcome::Again => self.retried_documents_total.inc(),
            }
        }
    }

    /// A request is over.
    pub fn request(&self, duration: Duration, failure: Option<RequestFailure>) {
        self.request_seconds.observe(duration.as_secs_f64());
        if let Some(failure) = failure {
            self.request_failed(failure);
        }
    }

    /// A request failed as a whole.
    pub fn request_failed(&self, failure: RequestFailure) {
        self.request_failures_total
            .with_label_values(&[failure.as_str()])
            .inc();
    }

    /// How old the oldest undelivered event in hand is.
    pub fn lag(&self, shard: &ShardId, millis: i64) {
        self.lag_seconds
            .with_label_values(&[shard.as_str()])
            .set(millis as f64 / 1000.0);
    }

    /// Events were left out.
    pub fn skipped(&self, records: u64, millis: i64) {
        self.skipped_records_total.inc_by(records);
        self.skipped_seconds_total.inc_by(millis.max(0) as f64 / 1000.0);
    }

    /// Nothing more will be said about this shard here.
    pub fn forget_shard(&self, shard: &ShardId) {
        // Absent already: nothing was ever read of it.
        let _absent = self.lag_seconds.remove_label_values(&[shard.as_str()]);
    }
}
