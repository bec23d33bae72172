//! Every number that the service shows, as typed functions.
//!
//! Labels are closed sets, but for `shard`, which is bounded by the stream and forgotten when the
//! shard ends.

mod labels;

use std::time::Duration;

use aws_clients::Failure;
use prometheus::{
    Counter, Error, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry,
};

pub use self::labels::{Beat, Conflict, Step};
use crate::cut::Cause;
use crate::horizon::Gap;
use crate::line::BadRecord;
use crate::ownership::Change;
use crate::pending::{Kind, Pending, PlannedObject};
use crate::replicas::{Replicas, Standing};
use crate::sequence::ShardId;
use crate::shards::Audit;

/// How many shards stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounts {
    /// Being archived here.
    pub running: usize,
    /// Waiting for their parents' end.
    pub waiting: usize,
    /// This replica's, as soon as their owner has released them or is known to be dead.
    pub awaited: usize,
    /// Other replicas'.
    pub elsewhere: usize,
    /// Read to their end.
    pub ended: usize,
    /// Stopped by an error; tried again.
    pub failed: usize,
    /// Gone from the stream before their end was archived.
    pub expired: usize,
}

/// The service's metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    shards: IntGaugeVec,
    shard_lag_seconds: GaugeVec,
    shard_record_age_seconds: GaugeVec,
    shard_retention_risk_ratio: GaugeVec,
    stream_retention_seconds: Gauge,
    hash_range_defects: IntGaugeVec,
    replicas: IntGaugeVec,
    heartbeats_total: IntCounterVec,
    owner_changes_total: IntCounterVec,
    hand_over_seconds: Histogram,
    s3_calls_total: IntCounterVec,
    records_read_total: IntCounter,
    bytes_read_total: IntCounter,
    records_repeated_total: IntCounter,
    records_bad_total: IntCounterVec,
    records_missing_total: IntCounter,
    possible_losses_total: IntCounter,
    possible_loss_seconds_total: Counter,
    records_committed_total: IntCounter,
    objects_total: IntCounterVec,
    object_bytes: HistogramVec,
    lines_total: IntCounterVec,
    cut_objects: Histogram,
    stored_bytes_total: IntCounter,
    days_marked_total: IntCounter,
    uncompressed_bytes_total: IntCounter,
    cuts_total: IntCounterVec,
    recovered_cuts_total: IntCounterVec,
    freshness_seconds: Histogram,
    commit_seconds: HistogramVec,
    retries_total: IntCounterVec,
    conflicts_total: IntCounterVec,
    buffer_bytes: IntGauge,
    buffer_limit_bytes: IntGauge,
    flush_interval_seconds: Gauge,
}

impl Metrics {
    /// Registers all metrics. Fails if the registry already has them.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let made = Make { registry };
        let metrics = Self {
            shards: made.gauges(
                "hoard_shards",
                "Shards of the stream by where they stand.",
                &["state"],
            )?,
            shard_lag_seconds: made.shard_gauge(
                "hoard_shard_lag_seconds",
                "How far reading is behind the newest record of the shard (MillisBehindLatest).",
            )?,
            shard_record_age_seconds: made.shard_gauge(
                "hoard_shard_record_age_seconds",
                "Age of the last record read, from its arrival in the stream.",
            )?,
            shard_retention_risk_ratio: made.shard_gauge(
                "hoard_shard_retention_risk_ratio",
                "How far reading is behind, as a share of the stream's retention. At 1 records are lost.",
            )?,
            stream_retention_seconds: made.plain_gauge(
                "hoard_stream_retention_seconds",
                "How long the stream keeps its records.",
            )?,
            hash_range_defects: made.gauges(
                "hoard_stream_hash_range_defects",
                "Stretches of hash keys that no open shard takes (hole) or two do (overlap).",
                &["defect"],
            )?,
            replicas: made.gauges(
                "hoard_replicas",
                "Replicas by how this one sees them, itself included.",
                &["standing"],
            )?,
            heartbeats_total: made.counters(
                "hoard_heartbeats_total",
                "Signs of life of this replica, by how they went.",
                &["outcome"],
            )?,
            owner_changes_total: made.counters(
                "hoard_owner_changes_total",
                "Shards that came to this replica or left it, by cause.",
                &["cause"],
            )?,
            hand_over_seconds: made.histogram(
                "hoard_hand_over_seconds",
                "From being asked to stop a shard to its release: cut, commit, release.",
                prometheus::exponential_buckets(0.01, 2.0, 12)?,
            )?,
            s3_calls_total: made.counters(
                "hoard_s3_calls_total",
                "Calls to S3, those that failed included.",
                &["operation"],
            )?,
            records_read_total: made.counter("hoard_records_read_total", "Records read from the stream.")?,
            bytes_read_total: made
                .counter("hoard_bytes_read_total", "Bytes of records read from the stream.")?,
            records_repeated_total: made.counter(
                "hoard_records_repeated_total",
                "Records that the stream gave again although reading was past them; left out.",
            )?,
            records_bad_total: made.counters(
                "hoard_records_bad_total",
                "Records that are not one JSON object, archived as error lines.",
                &["reason"],
            )?,
            records_missing_total: made.counter(
                "hoard_records_missing_total",
                "Records of a prepared cut that the stream no longer has. Anything but 0 is loss.",
            )?,
            possible_losses_total: made.counter(
                "hoard_possible_losses_total",
                "Times that reading went on behind what had left the stream unread; the log says which shard and \
                 when. Anything but 0 may be loss.",
            )?,
            possible_loss_seconds_total: made.seconds(
                "hoard_possible_loss_seconds_total",
                "How much time those stretches span: what arrived in them is not archived.",
            )?,
            records_committed_total: made.counter(
                "hoard_records_committed_total",
                "Records whose checkpoint is durable.",
            )?,
            objects_total: made.counters("hoard_objects_total", "Objects stored, by kind.", &["kind"])?,
            object_bytes: made.histograms(
                "hoard_object_bytes",
                "Size of stored objects.",
                &["kind"],
                prometheus::exponential_buckets(1024.0, 4.0, 10)?,
            )?,
            lines_total: made.counters("hoard_lines_total", "Lines stored, by kind of object.", &["kind"])?,
            cut_objects: made.histogram(
                "hoard_cut_objects",
                "Objects of a cut: one for each partition, and the error lines.",
                prometheus::exponential_buckets(1.0, 2.0, 11)?,
            )?,
            stored_bytes_total: made.counter("hoard_stored_bytes_total", "Bytes of objects stored.")?,
            days_marked_total: made.counter("hoard_days_marked_total", "Days marked as complete here.")?,
            uncompressed_bytes_total: made.counter(
                "hoard_uncompressed_bytes_total",
                "Bytes of lines committed, before compression.",
            )?,
            cuts_total: made.counters(
                "hoard_cuts_total",
                "Cuts committed, by what ended them.",
                &["cause"],
            )?,
            recovered_cuts_total: made.counters(
                "hoard_recovered_cuts_total",
                "Prepared cuts found at the start of a shard, by how they were finished.",
                &["how"],
            )?,
            freshness_seconds: made.histogram(
                "hoard_freshness_seconds",
                "From the arrival of a cut's first record to its commit.",
                prometheus::exponential_buckets(0.25, 2.0, 16)?,
            )?,
            commit_seconds: made.histograms(
                "hoard_commit_seconds",
                "Duration of the steps of a commit, retries included.",
                &["step"],
                prometheus::exponential_buckets(0.005, 2.0, 14)?,
            )?,
            retries_total: made.counters(
                "hoard_retries_total",
                "Failed calls that were or will be tried again.",
                &["step", "failure"],
            )?,
            conflicts_total: made.counters(
                "hoard_conflicts_total",
                "Refused conditional writes, by what they meant.",
                &["meaning"],
            )?,
            buffer_bytes: made.gauge("hoard_buffer_bytes", "Memory taken from the budget.")?,
            buffer_limit_bytes: made.gauge("hoard_buffer_limit_bytes", "The memory budget.")?,
            flush_interval_seconds: made
                .plain_gauge("hoard_flush_interval_seconds", "The flush interval that is set.")?,
        };
        metrics.show_closed_sets();
        Ok(metrics)
    }

    /// A counter that is absent until it first counts hides its first increase from `increase()`.
    fn show_closed_sets(&self) {
        for cause in Cause::ALL {
            self.cuts_total.with_label_values(&[cause.as_str()]);
        }
        for reason in BadRecord::ALL {
            self.records_bad_total.with_label_values(&[reason.as_str()]);
        }
        for change in Change::ALL {
            self.owner_changes_total.with_label_values(&[change.as_str()]);
        }
        for beat in Beat::ALL {
            self.heartbeats_total.with_label_values(&[beat.as_str()]);
        }
        for conflict in Conflict::ALL {
            self.conflicts_total.with_label_values(&[conflict.as_str()]);
        }
        for kind in [Kind::Lines, Kind::Errors] {
            self.objects_total.with_label_values(&[kind.as_str()]);
            self.lines_total.with_label_values(&[kind.as_str()]);
        }
        for how in ["found", "redone"] {
            self.recovered_cuts_total.with_label_values(&[how]);
        }
    }

    /// Where the stream's shards stand.
    pub fn shards(&self, counts: ShardCounts) {
        let states = [
            ("running", counts.running),
            ("waiting", counts.waiting),
            ("awaited", counts.awaited),
            ("elsewhere", counts.elsewhere),
            ("ended", counts.ended),
            ("failed", counts.failed),
            ("expired", counts.expired),
        ];
        for (state, count) in states {
            self.shards
                .with_label_values(&[state])
                .set(count.try_into().unwrap_or(i64::MAX));
        }
    }

    /// An answer of GetRecords.
    pub fn read(&self, shard: &ShardId, records: usize, bytes: usize, millis_behind: i64) {
        self.records_read_total.inc_by(records as u64);
        self.bytes_read_total.inc_by(bytes as u64);
        self.shard_lag_seconds
            .with_label_values(&[shard.as_str()])
            .set(seconds(millis_behind));
        let retention = self.stream_retention_seconds.get();
        if retention > 0.0 {
            self.shard_retention_risk_ratio
                .with_label_values(&[shard.as_str()])
                .set(seconds(millis_behind) / retention);
        }
    }

    /// How long the stream keeps its records.
    pub fn retention(&self, retention: Duration) {
        self.stream_retention_seconds.set(retention.as_secs_f64());
    }

    /// How the open shards' ranges of hash keys fit together.
    pub fn hash_ranges(&self, audit: Audit) {
        for (defect, count) in [("hole", audit.holes), ("overlap", audit.overlaps)] {
            let gauge = self.hash_range_defects.with_label_values(&[defect]);
            gauge.set(count.try_into().unwrap_or(i64::MAX));
        }
    }

    /// Who is there.
    pub fn replicas(&self, replicas: &Replicas) {
        let standings = [
            ("alive", 1 + replicas.count(Standing::Alive)),
            ("leaving", replicas.count(Standing::Leaving)),
            ("dead", replicas.count(Standing::Dead)),
        ];
        for (standing, count) in standings {
            let gauge = self.replicas.with_label_values(&[standing]);
            gauge.set(count.try_into().unwrap_or(i64::MAX));
        }
    }

    /// A sign of life.
    pub fn heartbeat(&self, beat: Beat) {
        self.heartbeats_total.with_label_values(&[beat.as_str()]).inc();
    }

    /// A shard came or went.
    pub fn owner_changed(&self, change: Change) {
        self.owner_changes_total
            .with_label_values(&[change.as_str()])
            .inc();
    }

    /// A shard was cut, committed and released.
    pub fn hand_over(&self, took: Duration) {
        self.hand_over_seconds.observe(took.as_secs_f64());
    }

    /// A call to S3 is made.
    pub fn s3_call(&self, operation: &'static str) {
        self.s3_calls_total.with_label_values(&[operation]).inc();
    }

    /// The age of the last record read.
    pub fn record_age(&self, shard: &ShardId, millis: i64) {
        self.shard_record_age_seconds
            .with_label_values(&[shard.as_str()])
            .set(seconds(millis));
    }

    /// Nothing more will be said about this shard.
    pub fn forget_shard(&self, shard: &ShardId) {
        let gauges = [
            &self.shard_lag_seconds,
            &self.shard_record_age_seconds,
            &self.shard_retention_risk_ratio,
        ];
        for gauge in gauges {
            // Absent already: nothing was ever read of it.
            let _absent = gauge.remove_label_values(&[shard.as_str()]);
        }
    }

    /// A record that was given a second time.
    pub fn record_repeated(&self) {
        self.records_repeated_total.inc();
    }

    /// A record that became an error line.
    pub fn record_bad(&self, reason: BadRecord) {
        self.records_bad_total.with_label_values(&[reason.as_str()]).inc();
    }

    /// Records of a prepared cut that cannot be had any more.
    pub fn records_missing(&self, records: u64) {
        self.records_missing_total.inc_by(records);
    }

    /// Reading goes on behind what may have left the stream unread.
    pub fn possible_loss(&self, gap: Gap) {
        self.possible_losses_total.inc();
        self.possible_loss_seconds_total
            .inc_by(seconds(gap.to.as_millis() - gap.from.as_millis()));
    }

    /// A day is marked as complete.
    pub fn day_marked(&self) {
        self.days_marked_total.inc();
    }

    /// An object of `stored` bytes is durable.
    pub fn object(&self, object: &PlannedObject, stored: usize) {
        let PlannedObject {
            kind, lines, bytes, ..
        } = object;
        self.objects_total.with_label_values(&[kind.as_str()]).inc();
        self.lines_total
            .with_label_values(&[kind.as_str()])
            .inc_by(*lines);
        self.stored_bytes_total.inc_by(stored as u64);
        self.object_bytes
            .with_label_values(&[kind.as_str()])
            .observe(stored as f64);
        self.uncompressed_bytes_total.inc_by(*bytes);
    }

    /// A cut is committed: its checkpoint is durable.
    pub fn cut(&self, cause: Cause, cut: &Pending, freshness_millis: i64) {
        self.cut_objects.observe(cut.objects.len() as f64);
        self.cuts_total.with_label_values(&[cause.as_str()]).inc();
        self.records_committed_total.inc_by(cut.records);
        self.freshness_seconds.observe(seconds(freshness_millis));
    }

    /// A prepared cut that was found at the start is committed.
    pub fn recovered(&self, how: &'static str, records: u64) {
        self.recovered_cuts_total.with_label_values(&[how]).inc();
        self.records_committed_total.inc_by(records);
    }

    /// A step of a commit is done.
    pub fn step(&self, step: Step, duration: Duration) {
        self.commit_seconds
            .with_label_values(&[step.as_str()])
            .observe(duration.as_secs_f64());
    }

    /// A call failed and is tried again.
    pub fn retry(&self, step: Step, failure: Failure) {
        self.retries_total
            .with_label_values(&[step.as_str(), failure.as_str()])
            .inc();
    }

    /// A conditional write was refused.
    pub fn conflict(&self, conflict: Conflict) {
        self.conflicts_total.with_label_values(&[conflict.as_str()]).inc();
    }

    /// The budget in use.
    pub fn budget_used(&self, bytes: u64) {
        self.buffer_bytes.set(bytes.try_into().unwrap_or(i64::MAX));
    }

    /// The budget.
    pub fn budget_limit(&self, bytes: u64) {
        self.buffer_limit_bytes.set(bytes.try_into().unwrap_or(i64::MAX));
    }

    /// The setting that freshness is judged by.
    pub fn flush_interval(&self, interval: Duration) {
        self.flush_interval_seconds.set(interval.as_secs_f64());
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// Makes and registers.
struct Make<'a> {
    registry: &'a Registry,
}

impl Make<'_> {
    fn register<M: prometheus::core::Collector + Clone + 'static>(&self, metric: M) -> Result<M, Error> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.register(IntCounter::new(name, help)?)
    }

    fn seconds(&self, name: &str, help: &str) -> Result<Counter, Error> {
        self.register(Counter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.register(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn shard_gauge(&self, name: &str, help: &str) -> Result<GaugeVec, Error> {
        self.register(GaugeVec::new(Opts::new(name, help), &["shard"])?)
    }

    fn plain_gauge(&self, name: &str, help: &str) -> Result<Gauge, Error> {
        self.register(Gauge::new(name, help)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Result<Histogram, Error> {
        self.register(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets),
        )?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> Result<HistogramVec, Error> {
        self.register(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets),
            labels,
        )?)
    }
}
