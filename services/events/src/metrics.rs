//! Every metric of the service, in one place; those of events by type and partner are in
//! [`crate::ledger`].

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    core::Collector,
};

use crate::{
    aggregate::Entry,
    ledger::Ledger,
    refusal::Scope,
    shard_map::{REFRESH_OUTCOMES, ShardMapMetrics},
    shards::Shards,
};

/// Why records of a PutRecords call are not taken, as far as it can be foreseen: a series that is there
/// from the start has a first rise that alerts see.
const PUT_CAUSES: [&str; 8] = [
    "throttled",
    "transient",
    "timeout",
    "denied",
    "not_found",
    "invalid",
    "other",
    "wrong_answer",
];

/// Names are the API of dashboards and alerts.
pub(crate) struct Metrics {
    /// What became of every event.
    pub(crate) ledger: Ledger,
    /// How long the stages of a request take.
    pub(crate) stages: Stages,
    /// The ids that are remembered.
    pub(crate) dedupe: DedupeMetrics,
    quota_refused: IntCounterVec,
    requests: IntCounterVec,
    failed_records: IntCounterVec,
    failed_attempts: IntCounterVec,
    failed_attempt_addresses: IntGauge,
    batch_records: Histogram,
    packed_events: Histogram,
    packed_bytes: Histogram,
    batch_bytes: Histogram,
    /// How long PutRecords calls take.
    pub(crate) put_seconds: Histogram,
    /// PutRecords calls that may be out.
    pub(crate) put_concurrency_limit: IntGauge,
    /// What each shard takes.
    pub(crate) shards: Shards,
    /// The map of shards that packed records go by.
    pub(crate) shard_map: ShardMapMetrics,
    /// Records that came out of the spool into the stream.
    pub(crate) spool_drained: IntCounter,
    /// Records that Kinesis will never take, put aside there.
    pub(crate) spool_buried: IntCounter,
    pub(crate) spool_dead_records: IntGauge,
    /// Times that its disk failed.
    pub(crate) spool_errors: IntCounter,
    /// What is in the spool, how old the oldest of it is, and how much may be in it.
    pub(crate) spool_records: IntGauge,
    pub(crate) spool_bytes: IntGauge,
    pub(crate) spool_limit_bytes: IntGauge,
    pub(crate) spool_oldest_age_seconds: Gauge,
    /// Bytes admitted and not settled yet.
    pub(crate) in_flight_bytes: IntGauge,
    /// Open connections on the public port.
    pub(crate) connections: IntGauge,
    /// Whether the credentials are the ones in their files.
    pub(crate) credentials_reload: ReloadMetrics,
    /// Whether the country database is the one in its file.
    pub(crate) country_database_reload: ReloadMetrics,
    /// Whether the schemas are the ones in their folder.
    pub(crate) schemas_reload: ReloadMetrics,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            ledger: register(registry, Ledger::new()?)?,
            stages: Stages::register(registry)?,
            dedupe: DedupeMetrics::register(registry)?,
            quota_refused: counters(
                registry,
                "events_quota_refused_events_total",
                "Events of requests that were refused because a quota was used up, by whose quota it was.",
                &["scope"],
            )?,
            requests: counters(
                registry,
                "events_requests_total",
                "Requests by route, status code and, where refused as a whole, why.",
                &["route", "status", "refusal"],
            )?,
            failed_records: counters(
                registry,
                "events_put_failed_records_total",
                "Records of PutRecords calls that were not taken, by cause; most are sent again.",
                &["cause"],
            )?,
            failed_attempts: counters(
                registry,
                "events_failed_attempts_total",
                "Requests without valid credentials: answered 401, or refused with 429 because too many \
                 from their address were.",
                &["outcome"],
            )?,
            failed_attempt_addresses: gauge(
                registry,
                "events_failed_attempt_addresses",
                "Addresses whose failed attempts are remembered; at most 65,536.",
            )?,
            batch_records: histogram(
                registry,
                "events_put_batch_records",
                "Records in a PutRecords call.",
                &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 499.0, 500.0],
            )?,
            packed_events: histogram(
                registry,
                "events_aggregate_events",
                "Events in an aggregated record.",
                &[2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 5e3],
            )?,
            packed_bytes: histogram(
                registry,
                "events_aggregate_bytes",
                "Bytes of an aggregated record with its partition key.",
                &[1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5.12e4, 1e5, 2.5e5, 5e5, 1.05e6],
            )?,
            batch_bytes: histogram(
                registry,
                "events_put_batch_bytes",
                "Bytes of data and partition keys in a PutRecords call.",
                &[1e3, 1e4, 5e4, 1e5, 2.5e5, 5e5, 1e6, 2.5e6, 5.25e6],
            )?,
            put_seconds: histogram(
                registry,
                "events_put_seconds",
                "How long PutRecords calls take.",
                &[
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                ],
            )?,
            put_concurrency_limit: gauge(
                registry,
                "events_put_concurrency_limit",
                "PutRecords calls that may be out; halved by throttling, at most --put-concurrency.",
            )?,
            shards: Shards::new(
                counters(
                    registry,
                    "events_shard_records_total",
                    "Records that a shard took.",
                    &["shard"],
                )?,
                counters(
                    registry,
                    "events_shard_throttles_total",
                    "How often the records that a shard took had been throttled before.",
                    &["shard"],
                )?,
            ),
            shard_map: ShardMapMetrics {
                refreshes: counters(
                    registry,
                    "events_shard_map_refreshes_total",
                    "Looks at the stream's open shards, by outcome.",
                    &["outcome"],
                )?,
                shards: gauge(
                    registry,
                    "events_shard_map_shards",
                    "Open shards that events are packed by; 0 while they are sent unpacked.",
                )?,
                mispredicted: counter(
                    registry,
                    "events_mispredicted_records_total",
                    "Aggregated records that came to another shard than the one they were packed for.",
                )?,
            },
            spool_drained: counter(
                registry,
                "events_spool_drained_total",
                "Events that came out of the spool into the stream.",
            )?,
            spool_buried: counter(
                registry,
                "events_spool_buried_total",
                "Events in the spool that Kinesis calls invalid, put aside.",
            )?,
            spool_dead_records: gauge(
                registry,
                "events_spool_dead_records",
                "Events put aside in the spool: anything but 0 wants a person.",
            )?,
            spool_errors: counter(
                registry,
                "events_spool_errors_total",
                "Times that the spool could not be read or written.",
            )?,
            spool_records: gauge(registry, "events_spool_records", "Events in the spool.")?,
            spool_bytes: gauge(
                registry,
                "events_spool_bytes",
                "What the events in the spool count for in its limit.",
            )?,
            spool_limit_bytes: gauge(
                registry,
                "events_spool_limit_bytes",
                "The spool's limit; 0 without a spool.",
            )?,
            spool_oldest_age_seconds: register(
                registry,
                Gauge::new(
                    "events_spool_oldest_age_seconds",
                    "Age of the oldest event in the spool; 0 when it is empty.",
                )?,
            )?,
            in_flight_bytes: gauge(
                registry,
                "events_in_flight_bytes",
                "Bytes admitted and not settled yet.",
            )?,
            connections: gauge(
                registry,
                "events_connections",
                "Open connections on the public port.",
            )?,
            credentials_reload: ReloadMetrics::register(registry, "credentials")?,
            country_database_reload: ReloadMetrics::register(registry, "country_database")?,
            schemas_reload: ReloadMetrics::register(registry, "schemas")?,
        };
        for scope in [Scope::Client, Scope::Partner] {
            metrics.quota_refused.with_label_values(&[scope.as_str()]);
        }
        for cause in PUT_CAUSES {
            metrics.failed_records.with_label_values(&[cause]);
        }
        for outcome in REFRESH_OUTCOMES {
            metrics.shard_map.refreshes.with_label_values(&[outcome]);
        }
        for outcome in ["answered", "refused"] {
            metrics.failed_attempts.with_label_values(&[outcome]);
        }
        Ok(metrics)
    }

    /// A request with so many events was over a quota.
    pub(crate) fn over_quota(&self, scope: Scope, events: usize) {
        let counter = self.quota_refused.with_label_values(&[scope.as_str()]);
        counter.inc_by(events as u64);
    }

    /// A request was answered.
    pub(crate) fn answered(&self, route: &'static str, status: u16, refusal: &'static str) {
        self.requests
            .with_label_values(&[route, &status.to_string(), refusal])
            .inc();
    }

    /// A request proved nobody, or was not looked at because too many before it had not.
    pub(crate) fn failed_attempt(&self, outcome: &'static str) {
        self.failed_attempts.with_label_values(&[outcome]).inc();
    }

    /// So many addresses are remembered for failed attempts.
    pub(crate) fn addresses(&self, count: usize) {
        self.failed_attempt_addresses
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Records of a call were not taken.
    pub(crate) fn failed_records(&self, cause: &'static str, count: usize) {
        self.failed_records
            .with_label_values(&[cause])
            .inc_by(count as u64);
    }

    /// A call is being made.
    pub(crate) fn batch(&self, records: &[Entry]) {
        self.batch_records.observe(records.len() as f64);
        let bytes: usize = records.iter().map(Entry::bytes).sum();
        self.batch_bytes.observe(bytes as f64);
        for record in records {
            if let Some(events) = record.packed_events() {
                self.packed_events.observe(events as f64);
                self.packed_bytes.observe(record.bytes() as f64);
            }
        }
    }
}

/// How long each stage of a request took; observed once a request.
#[derive(Clone)]
pub(crate) struct Stages {
    pub(crate) auth: Histogram,
    pub(crate) read: Histogram,
    pub(crate) decode: Histogram,
    pub(crate) validate: Histogram,
    pub(crate) publish: Histogram,
}

impl Stages {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let options = HistogramOpts::new(
            "events_stage_seconds",
            "How long the stages of requests take: auth; read, with undoing the content encoding; decode; \
             validate, with enriching; publish, until every event is settled.",
        )
        .buckets(vec![
            0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0,
        ]);
        let stages = register(registry, HistogramVec::new(options, &["stage"])?)?;
        let stage = |name: &str| stages.with_label_values(&[name]);
        Ok(Self {
            auth: stage("auth"),
            read: stage("read"),
            decode: stage("decode"),
            validate: stage("validate"),
            publish: stage("publish"),
        })
    }
}

/// Times one stage after the other.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// A stage has ended and the next begins.
    pub(crate) fn lap(&mut self, stage: &Histogram) {
        let now = Instant::now();
        stage.observe(now.duration_since(self.0).as_secs_f64());
        self.0 = now;
    }
}

/// The ids that are remembered to tell duplicates.
#[derive(Clone)]
pub(crate) struct DedupeMetrics {
    ids: IntGauge,
    limit: IntGauge,
    forgotten_early: IntCounter,
}

impl DedupeMetrics {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            ids: gauge(
                registry,
                "events_dedupe_ids",
                "Ids of accepted events that are remembered to tell duplicates.",
            )?,
            limit: gauge(
                registry,
                "events_dedupe_ids_limit",
                "How many are at most: --dedupe-events.",
            )?,
            forgotten_early: counter(
                registry,
                "events_dedupe_forgotten_early_total",
                "Ids that were forgotten before --dedupe-window was over, because there were too many.",
            )?,
        })
    }

    pub(crate) fn limit(&self, ids: usize) {
        self.limit.set(i64::try_from(ids).unwrap_or(i64::MAX));
    }

    pub(crate) fn remembered(&self, ids: usize) {
        self.ids.set(i64::try_from(ids).unwrap_or(i64::MAX));
    }

    pub(crate) fn forgotten_early(&self) {
        self.forgotten_early.inc();
    }

    /// How many are remembered, and were forgotten early.
    #[cfg(test)]
    pub(crate) fn shown(&self) -> (i64, u64) {
        (self.ids.get(), self.forgotten_early.get())
    }
}

/// Whether a value that is read from files is what the files hold.
#[derive(Clone, Debug)]
pub(crate) struct ReloadMetrics {
    failures: IntCounter,
    loaded: IntGauge,
}

impl ReloadMetrics {
    fn register(registry: &Registry, what: &str) -> prometheus::Result<Self> {
        Ok(Self {
            failures: counter(
                registry,
                &format!("events_{what}_reload_failures_total"),
                "Looks at changed files that could not be used; the last good ones are in use.",
            )?,
            loaded: gauge(
                registry,
                &format!("events_{what}_loaded_timestamp_seconds"),
                "When what is in use was read, in Unix time.",
            )?,
        })
    }

    /// The files were read and are in use.
    pub(crate) fn loaded(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.loaded.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    /// The files changed and cannot be used.
    pub(crate) fn failed(&self) {
        self.failures.inc();
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    register(registry, IntCounter::new(name, help)?)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    register(registry, IntGauge::new(name, help)?)
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(registry, Histogram::with_opts(options)?)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
