//! Every metric of the service. Labels are bounded: outcomes and causes, never keys or buckets.

mod reconcile;
mod transfers;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

pub(crate) use self::reconcile::Reconciles;
pub(crate) use self::transfers::Transfers;
use crate::policy::Denial;
use crate::redact::{Pattern, Reason, Tally};

/// Up to a day: a backlog that lasts longer shows as the last bucket.
const LAG_BUCKETS_SECONDS: [f64; 12] = [
    0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0,
];
/// How a message ends ([`crate::acknowledge`]).
const MESSAGE_OUTCOMES: [&str; 6] = [
    "deleted",
    "dead_lettered",
    "rejected",
    "released",
    "left",
    "failed",
];
/// How a record ends ([`crate::sync`]), beside the ways in which it is denied.
const RECORD_OUTCOMES: [&str; 8] = [
    "test_event",
    "other_event",
    "malformed",
    "copied",
    "already_there",
    "vanished",
    "rejected",
    "unfinished",
];
/// Why a copy is tried again: the causes of [`crate::failure::CopyFailure`] that another try can mend.
const RETRY_CAUSES: [&str; 11] = [
    "throttled",
    "transient",
    "timeout",
    "conflict",
    "broken_stream",
    "truncated",
    "too_long",
    "checksum",
    "stalled",
    "unproven",
    "still_changing",
];
/// Why a call fails ([`aws_clients::Failure`]).
const CALL_CAUSES: [&str; 8] = [
    "throttled",
    "transient",
    "timeout",
    "denied",
    "not_found",
    "precondition_failed",
    "conflict",
    "invalid",
];
const COPY_BUCKETS_SECONDS: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 300.0, 1800.0];

/// The service's metrics, as typed functions.
pub(crate) struct Metrics {
    messages: IntCounterVec,
    messages_received: IntCounter,
    records: IntCounterVec,
    objects: IntCounterVec,
    object_bytes: IntCounterVec,
    redacted_fields: IntCounterVec,
    redacted_lines: IntCounter,
    quarantined_lines: IntCounterVec,
    canary_lines: IntCounterVec,
    ledger_lines: IntCounter,
    ledger_errors: IntCounterVec,
    ledger_waiting: IntGauge,
    ledger_wait: Histogram,
    copied_bytes: IntCounter,
    copy_duration: Histogram,
    replication_lag: Histogram,
    retries: IntCounterVec,
    checksum_mismatches: IntCounter,
    unattested: IntCounter,
    receive_errors: IntCounterVec,
    queue_errors: IntCounterVec,
    circuit_openings: IntCounterVec,
    in_flight_bytes: IntGauge,
    in_flight_bytes_max: IntGauge,
    in_flight_messages_max: IntGauge,
    in_hand: Arc<InHand>,
    pub(crate) transfers: Transfers,
    pub(crate) reconciles: Reconciles,
}

impl Metrics {
    /// Registers everything. Routes and event types, which settings decide, appear with the first of
    /// them; every other label is there from the start.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let in_hand = Arc::new(InHand::new()?);
        registry.register(Box::new(InHandCollector(in_hand.clone())))?;
        let metrics = Self {
            messages: counters(
                registry,
                "messages_total",
                "Messages by how they were settled.",
                &["outcome"],
            )?,
            messages_received: counter(registry, "messages_received_total", "Messages received.")?,
            records: counters(
                registry,
                "records_total",
                "Records of messages by outcome.",
                &["outcome"],
            )?,
            objects: counters(
                registry,
                "objects_total",
                "Objects by the route that decides about them and what became of them.",
                &["route", "outcome"],
            )?,
            object_bytes: counters(
                registry,
                "object_bytes_total",
                "Bytes of those objects, as the source stores them.",
                &["route", "outcome"],
            )?,
            redacted_fields: counters(
                registry,
                "redacted_fields_total",
                "Fields of lines that passed redaction, by event type and what was done with them.",
                &["eventtype", "action"],
            )?,
            redacted_lines: counter(registry, "redacted_lines_total", "Lines that passed redaction.")?,
            quarantined_lines: counters(
                registry,
                "quarantined_lines_total",
                "Lines that were kept on the source side, by reason.",
                &["reason"],
            )?,
            canary_lines: counters(
                registry,
                "canary_lines_total",
                "Lines with a kept value that looks like personal data, by what it looks like.",
                &["pattern"],
            )?,
            ledger_lines: counter(
                registry,
                "ledger_lines_total",
                "Lines that are durable in the ledger.",
            )?,
            ledger_errors: counters(
                registry,
                "ledger_errors_total",
                "Tries to write the ledger that failed, by cause.",
                &["cause"],
            )?,
            ledger_waiting: gauge(
                registry,
                "ledger_waiting_lines",
                "Decisions that wait to be durable in the ledger.",
            )?,
            ledger_wait: histogram(
                registry,
                "ledger_wait_seconds",
                "From a decision to its line's being durable, or given up.",
                &COPY_BUCKETS_SECONDS,
            )?,
            copied_bytes: counter(registry, "copied_bytes_total", "Bytes of objects copied.")?,
            copy_duration: histogram(
                registry,
                "copy_duration_seconds",
                "From the first look at an object to the proof that it is in place, copied objects only.",
                &COPY_BUCKETS_SECONDS,
            )?,
            replication_lag: histogram(
                registry,
                "replication_lag_seconds",
                "From the event's time at the source to the proof that its object is in place.",
                &LAG_BUCKETS_SECONDS,
            )?,
            retries: counters(
                registry,
                "retries_total",
                "Tries of a copy after its first, by cause.",
                &["cause"],
            )?,
            checksum_mismatches: counter(
                registry,
                "checksum_mismatches_total",
                "Copies whose bytes were found to differ; none of them was acknowledged.",
            )?,
            unattested: counter(
                registry,
                "unattested_objects_total",
                "Objects in place whose source stores no full-object CRC64NVME to compare with.",
            )?,
            receive_errors: counters(
                registry,
                "receive_errors_total",
                "Failed receives by cause.",
                &["cause"],
            )?,
            queue_errors: counters(
                registry,
                "queue_errors_total",
                "Other failed queue operations; their messages are delivered again.",
                &["operation"],
            )?,
            circuit_openings: counters(
                registry,
                "circuit_openings_total",
                "Refusals that stopped receiving, by cause.",
                &["cause"],
            )?,
            in_flight_bytes: gauge(
                registry,
                "in_flight_bytes",
                "Memory reserved for copies under way.",
            )?,
            in_flight_bytes_max: gauge(registry, "in_flight_bytes_max", "Bound of in_flight_bytes.")?,
            in_flight_messages_max: gauge(
                registry,
                "in_flight_messages_max",
                "Bound of in_flight_messages.",
            )?,
            in_hand,
            transfers: Transfers::register(registry)?,
            reconciles: Reconciles::register(registry)?,
        };
        metrics.show_closed_sets();
        Ok(metrics)
    }

    /// A counter that is absent until it first counts hides its first increase from `increase()`, and
    /// with it the one dead letter that an alert is for.
    fn show_closed_sets(&self) {
        let show = |counters: &IntCounterVec, labels: &[&str]| {
            for label in labels {
                counters.with_label_values(&[*label]);
            }
        };
        show(&self.messages, &MESSAGE_OUTCOMES);
        show(&self.records, &RECORD_OUTCOMES);
        show(&self.records, &Denial::ALL.map(Denial::as_str));
        show(&self.quarantined_lines, &Reason::ALL.map(Reason::as_str));
        show(&self.canary_lines, &Pattern::ALL.map(Pattern::as_str));
        show(&self.retries, &RETRY_CAUSES);
        show(&self.circuit_openings, &["denied", "not_found", "ledger"]);
        show(&self.receive_errors, &CALL_CAUSES);
        show(&self.ledger_errors, &CALL_CAUSES);
        show(
            &self.queue_errors,
            &["extend", "deleted", "dead_lettered", "rejected", "released"],
        );
    }

    /// A message is in hand until the guard is dropped.
    pub(crate) fn received(&self, sent_at: SystemTime) -> InHandGuard {
        self.messages_received.inc();
        self.in_hand.enter(sent_at)
    }

    pub(crate) fn settled(&self, outcome: &str) {
        self.messages.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn record(&self, outcome: &str) {
        self.records.with_label_values(&[outcome]).inc();
    }

    /// A decision waits for the ledger until the guard is dropped.
    pub(crate) fn ledger_waiting(&self) -> LedgerWaiting<'_> {
        self.ledger_waiting.inc();
        LedgerWaiting {
            metrics: self,
            since: Instant::now(),
        }
    }

    pub(crate) fn ledger_lines(&self, lines: usize) {
        self.ledger_lines.inc_by(lines as u64);
    }

    pub(crate) fn ledger_failed(&self, cause: &str) {
        self.ledger_errors.with_label_values(&[cause]).inc();
    }

    /// `route` is one of the configuration's, or a word for none.
    pub(crate) fn object(&self, route: &str, outcome: &str, bytes: u64) {
        let labels = [route, outcome];
        self.objects.with_label_values(&labels).inc();
        self.object_bytes.with_label_values(&labels).inc_by(bytes);
    }

    /// What redaction did with one object that is in place.
    pub(crate) fn redacted(&self, event_types: &[String], tally: &Tally) {
        self.redacted_lines.inc_by(tally.lines());
        for (event_type, action, count) in tally.fields() {
            let event_type = event_types.get(event_type).map_or("", String::as_str);
            let fields = self
                .redacted_fields
                .with_label_values(&[event_type, action.as_str()]);
            fields.inc_by(count);
        }
        for (reason, count) in tally.quarantined() {
            let lines = self.quarantined_lines.with_label_values(&[reason.as_str()]);
            lines.inc_by(count);
        }
        for (pattern, count) in tally.canaries() {
            self.canary_lines
                .with_label_values(&[pattern.as_str()])
                .inc_by(count);
        }
    }

    pub(crate) fn copied(&self, bytes: u64, duration: Duration) {
        self.copied_bytes.inc_by(bytes);
        self.copy_duration.observe(duration.as_secs_f64());
    }

    pub(crate) fn lag(&self, lag: Duration) {
        self.replication_lag.observe(lag.as_secs_f64());
    }

    pub(crate) fn retried(&self, cause: &str) {
        self.retries.with_label_values(&[cause]).inc();
    }

    pub(crate) fn checksum_mismatch(&self) {
        self.checksum_mismatches.inc();
    }

    pub(crate) fn unattested(&self) {
        self.unattested.inc();
    }

    pub(crate) fn receive_failed(&self, cause: &str) {
        self.receive_errors.with_label_values(&[cause]).inc();
    }

    pub(crate) fn queue_operation_failed(&self, operation: &str) {
        self.queue_errors.with_label_values(&[operation]).inc();
    }

    pub(crate) fn circuit_opened(&self, cause: &str) {
        self.circuit_openings.with_label_values(&[cause]).inc();
    }

    pub(crate) fn in_flight_bytes(&self, change: i64) {
        self.in_flight_bytes.add(change);
    }

    /// Each lane of copies adds its own.
    pub(crate) fn in_flight_bytes_max(&self, bytes: u64) {
        self.in_flight_bytes_max
            .add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(crate) fn in_flight_messages_max(&self, messages: usize) {
        self.in_flight_messages_max
            .set(i64::try_from(messages).unwrap_or(i64::MAX));
    }
}

/// A decision that waits for the ledger.
pub(crate) struct LedgerWaiting<'a> {
    metrics: &'a Metrics,
    since: Instant,
}

impl Drop for LedgerWaiting<'_> {
    fn drop(&mut self) {
        self.metrics.ledger_waiting.dec();
        self.metrics
            .ledger_wait
            .observe(self.since.elapsed().as_secs_f64());
    }
}

/// The messages in hand, by when they were sent; asked at each scrape.
struct InHand {
    /// The number tells messages of one instant apart.
    sent: Mutex<(u64, BTreeSet<(SystemTime, u64)>)>,
    messages: IntGauge,
    oldest: Gauge,
}

/// A message in hand.
pub(crate) struct InHandGuard {
    in_hand: Arc<InHand>,
    entry: (SystemTime, u64),
}

impl InHand {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            sent: Mutex::default(),
            messages: IntGauge::with_opts(opts("in_flight_messages", "Messages in hand."))?,
            oldest: Gauge::with_opts(opts(
                "oldest_in_hand_seconds",
                "Age of the oldest message in hand since it was sent to the queue; 0 without any.",
            ))?,
        })
    }

    fn enter(self: &Arc<Self>, sent_at: SystemTime) -> InHandGuard {
        let mut sent = self.lock();
        sent.0 += 1;
        let entry = (sent_at, sent.0);
        sent.1.insert(entry);
        InHandGuard {
            in_hand: self.clone(),
            entry,
        }
    }

    /// Each critical section leaves the set whole.
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeSet<(SystemTime, u64)>)> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InHandGuard {
    fn drop(&mut self) {
        self.in_hand.lock().1.remove(&self.entry);
    }
}

struct InHandCollector(Arc<InHand>);

impl Collector for InHandCollector {
    fn desc(&self) -> Vec<&Desc> {
        [self.0.messages.desc(), self.0.oldest.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let InHand { messages, oldest, .. } = &*self.0;
        {
            let sent = self.0.lock();
            messages.set(i64::try_from(sent.1.len()).unwrap_or(i64::MAX));
            let age = sent.1.first().and_then(|(sent_at, _)| sent_at.elapsed().ok());
            oldest.set(age.unwrap_or_default().as_secs_f64());
        }
        [messages.collect(), oldest.collect()].concat()
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("syncomatic_{name}"), help)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::with_opts(opts(name, help))?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(opts(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::with_opts(opts(name, help))?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, prometheus::Error> {
    let opts = HistogramOpts::new(format!("syncomatic_{name}"), help).buckets(buckets.to_vec());
    let histogram = Histogram::with_opts(opts)?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_message_in_hand_is_asked_for_at_each_scrape() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).expect("a new registry");
        let shown = |name: &str| {
            let families = registry.gather();
            let family = families
                .iter()
                .find(|family| family.name() == name)
                .expect("registered");
            family.get_metric()[0].get_gauge().get_value()
        };
        let old = metrics.received(SystemTime::now() - Duration::from_secs(100));
        let young = metrics.received(SystemTime::now());
        assert_eq!(shown("syncomatic_in_flight_messages") as u64, 2);
        assert!(shown("syncomatic_oldest_in_hand_seconds") >= 100.0);
        drop(old);
        assert!(shown("syncomatic_oldest_in_hand_seconds") < 100.0);
        drop(young);
        assert_eq!(shown("syncomatic_in_flight_messages") as u64, 0);
    }
}
