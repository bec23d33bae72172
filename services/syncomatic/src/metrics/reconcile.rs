//! What is shown of reconciles that run inside the service.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{counter, counters, gauge, opts};
use crate::failure::At;
use crate::reconcile::{End, Report};

/// The metrics of reconciles.
pub(crate) struct Reconciles {
    running: IntGauge,
    runs: IntCounterVec,
    objects: IntCounter,
    list_calls: IntCounterVec,
    differences: IntGaugeVec,
    oldest_uncopied: IntGauge,
    last_completed: Gauge,
    last_duration: Gauge,
}

impl Reconciles {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let seconds = |name: &str, help: &str| {
            let gauge = Gauge::with_opts(opts(name, help))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let differences = IntGaugeVec::new(
            Opts::new(
                "syncomatic_reconcile_differences",
                "Objects by route and what was the matter with them when the last complete reconcile ended.",
            ),
            &["route", "kind"],
        )?;
        registry.register(Box::new(differences.clone()))?;
        let reconciles = Self {
            running: gauge(registry, "reconcile_running", "1 while a reconcile runs.")?,
            runs: counters(
                registry,
                "reconcile_runs_total",
                "Reconciles by how they ended.",
                &["outcome"],
            )?,
            objects: counter(registry, "reconcile_objects_total", "Keys that were compared.")?,
            list_calls: counters(
                registry,
                "reconcile_list_calls_total",
                "Calls of ListObjectsV2, retries included.",
                &["side"],
            )?,
            differences,
            oldest_uncopied: gauge(
                registry,
                "reconcile_oldest_uncopied_seconds",
                "Age of the oldest source object that was not in place when the last complete reconcile ended.",
            )?,
            last_completed: seconds(
                "reconcile_last_completed_timestamp_seconds",
                "When the last complete reconcile ended; 0 before the first.",
            )?,
            last_duration: seconds(
                "reconcile_last_duration_seconds",
                "How long the last complete reconcile took.",
            )?,
        };
        // Absent until it first counts, a counter hides its first increase.
        for outcome in ["equal", "different", "failed", "stopped"] {
            reconciles.runs.with_label_values(&[outcome]);
        }
        for side in [At::Source, At::Destination] {
            reconciles.list_calls.with_label_values(&[side.to_string()]);
        }
        Ok(reconciles)
    }

    pub(crate) fn begun(&self) {
        self.running.set(1);
    }

    /// A call of ListObjectsV2 begins.
    pub(crate) fn listed(&self, at: At) {
        self.list_calls.with_label_values(&[at.to_string()]).inc();
    }

    pub(crate) fn compared(&self, objects: u64) {
        self.objects.inc_by(objects);
    }

    /// What an incomplete one has found says nothing about the rest, so the gauges stay.
    pub(crate) fn ended(&self, report: &Report, end: &End, took: Duration, now: Timestamp) {
        self.running.set(0);
        self.runs.with_label_values(&[end.outcome(report)]).inc();
        if *end != End::Complete {
            return;
        }
        for (route, tally) in &report.routes {
            let left = (tally.missing + tally.different()).saturating_sub(tally.repaired);
            for (kind, objects) in [
                ("missing", tally.missing),
                ("different", tally.different()),
                ("extra", tally.extra),
                ("pending", tally.pending),
                ("failed", tally.failed()),
                ("unrepaired", left),
            ] {
                let gauge = self.differences.with_label_values(&[route.as_str(), kind]);
                gauge.set(i64::try_from(objects).unwrap_or(i64::MAX));
            }
        }
        let oldest = report.total().oldest_uncopied_seconds.unwrap_or(0);
        self.oldest_uncopied
            .set(i64::try_from(oldest).unwrap_or(i64::MAX));
        self.last_completed.set(now.as_millisecond() as f64 / 1000.0);
        self.last_duration.set(took.as_secs_f64());
    }
}
