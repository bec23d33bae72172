//! Reconciles again and again inside the service, one at a time.
//!
//! Replicas do not agree on who does it: each compares for itself, at a time of its own, and a repair that two
//! of them begin is one compare-and-swap that one of them wins.

use std::io;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use service_runtime::BoxError;

use super::{End, Finding, Mode, Position, Reconcile, Report, Watch};

/// Runs at intervals, until a drain.
pub(crate) struct Schedule {
    pub(crate) reconcile: Reconcile,
    pub(crate) interval: Duration,
    pub(crate) mode: Mode,
}

/// The log has what was repaired and what failed; the metrics have the numbers.
struct Unwatched;

impl Watch for Unwatched {
    fn found(&mut self, _: &str, _: &Finding) -> io::Result<()> {
        Ok(())
    }

    fn reached(&mut self, _: &Report, _: &Position) -> io::Result<()> {
        Ok(())
    }
}

impl Schedule {
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let shutdown = self.reconcile.shutdown.clone();
        // Replicas that start together do not list together.
        let mut pause = self.interval.mul_f64(rand::random());
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => return Ok(()),
            }
            self.once().await;
            pause = self.interval.mul_f64(0.9 + 0.2 * rand::random::<f64>());
        }
    }

    async fn once(&self) {
        let metrics = &self.reconcile.copier.metrics.reconciles;
        let started = Instant::now();
        metrics.begun();
        let mut unwatched = Unwatched;
        let running = self
            .reconcile
            .run(self.mode, Report::default(), None, &mut unwatched);
        let (report, end) = Box::pin(running).await;
        metrics.ended(&report, &end, started.elapsed(), Timestamp::now());
        let total = report.total();
        let (objects, missing, different) = (total.objects(), total.missing, total.different());
        let (extra, pending, failed) = (total.extra, total.pending, total.failed());
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (outcome, repaired) = (end.outcome(&report), total.repaired);
        match &end {
            End::Failed(problem) => tracing::warn!(outcome, objects, problem, "reconcile"),
            End::Stopped => tracing::info!(outcome, objects, "reconcile"),
            End::Complete => tracing::info!(
                outcome,
                objects,
                missing,
                different,
                extra,
                pending,
                failed,
                repaired,
                took_ms,
                "reconcile"
            ),
        }
    }
}
