//! What is shown of transfers, uploads in parts, and the queue.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{counter, counters};
use crate::queue::Depth;

/// The metrics of transfers.
pub(crate) struct Transfers {
    allowed: IntGaugeVec,
    uploads: IntCounterVec,
    parts: IntCounter,
    uploads_swept: IntCounter,
    sweep_errors: IntCounter,
    queue_messages: IntGaugeVec,
    queue_depth_errors: IntCounter,
}

impl Transfers {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauges = |name: &str, help: &str, label: &str| {
            let gauges = IntGaugeVec::new(Opts::new(format!("syncomatic_{name}"), help), &[label])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let transfers = Self {
            allowed: gauges(
                "transfers_allowed",
                "Transfers that may be under way at a side; fewer while it throttles.",
                "side",
            )?,
            uploads: counters(
                registry,
                "multipart_uploads_total",
                "Uploads in parts: new, or resumed after a failure or a crash.",
                &["begun"],
            )?,
            parts: counter(registry, "parts_total", "Parts that the destination has taken.")?,
            uploads_swept: counter(
                registry,
                "swept_uploads_total",
                "Uploads in parts that were abandoned, and ended.",
            )?,
            sweep_errors: counter(
                registry,
                "sweep_errors_total",
                "Looks for abandoned uploads that failed.",
            )?,
            queue_messages: gauges(
                "queue_messages",
                "Messages of the notification queue, as SQS estimates them.",
                "state",
            )?,
            queue_depth_errors: counter(
                registry,
                "queue_depth_errors_total",
                "Looks at the depth of the queue that failed; queue_messages is old then.",
            )?,
        };
        for begun in ["new", "resumed"] {
            transfers.uploads.with_label_values(&[begun]);
        }
        Ok(transfers)
    }

    pub(crate) fn allowed(&self, source: usize, destination: usize) {
        for (side, allowed) in [("source", source), ("destination", destination)] {
            let gauge: IntGauge = self.allowed.with_label_values(&[side]);
            gauge.set(i64::try_from(allowed).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn upload_begun(&self, how: &str) {
        self.uploads.with_label_values(&[how]).inc();
    }

    pub(crate) fn part_copied(&self) {
        self.parts.inc();
    }

    pub(crate) fn uploads_swept(&self, uploads: usize) {
        self.uploads_swept.inc_by(uploads as u64);
    }

    pub(crate) fn sweep_failed(&self) {
        self.sweep_errors.inc();
    }

    pub(crate) fn queue(&self, depth: Depth) {
        for (state, messages) in [
            ("visible", depth.visible),
            ("hidden", depth.hidden),
            ("delayed", depth.delayed),
        ] {
            self.queue_messages.with_label_values(&[state]).set(messages);
        }
    }

    pub(crate) fn queue_depth_failed(&self) {
        self.queue_depth_errors.inc();
    }
}
