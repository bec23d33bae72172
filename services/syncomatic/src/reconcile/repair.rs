//! Puts one object into place as a notification would: the same comparison, copy, proof and ledger, in a
//! lane of its own. Nothing is deleted here, and there is no way to ask for it. The policy is asked once more
//! before anything is read: whatever led here, what may not travel does not.
//!
//! With a ledger the decision to repair is durable before the first byte moves: a copy that a crash leaves
//! behind is found in place by the next reconcile, which would not record it any more.

use std::time::{Duration, Instant};

use super::Reconcile;
use super::scope::Scope;
use crate::converge::{Converged, Outcome, converge};
use crate::retries::with_retries;
use crate::sync::traceable;

/// How a repair ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repaired {
    /// Bytes of the source object.
    Copied(u64),
    /// Somebody else has put it into place meanwhile.
    AlreadyThere,
    Vanished,
}

impl Reconcile {
    /// The cause is a metric label.
    pub(super) async fn repair(
        &self,
        scope: &Scope,
        source_key: &str,
        destination_key: &str,
    ) -> Result<Repaired, &'static str> {
        if !scope.travels(source_key) {
            return Err("denied_by_policy");
        }
        self.record(scope, source_key, "repairing", None).await?;
        let started = Instant::now();
        let (copier, label) = (&*self.copier, traceable(source_key));
        let converging = with_retries(copier, &self.shutdown, &label, || {
            converge(copier, source_key, destination_key, scope.redacted())
        });
        let converged = match converging.await {
            Ok(converged) => converged,
            Err(failure) => {
                tracing::warn!(object = label, error = %failure, "not repaired");
                self.record(scope, source_key, failure.cause(), None).await?;
                return Err(failure.cause());
            }
        };
        let (outcome, repaired) = match converged.outcome {
            Outcome::Copied { bytes, .. } => ("copied", Repaired::Copied(bytes)),
            Outcome::AlreadyThere { .. } => ("already_there", Repaired::AlreadyThere),
            Outcome::Vanished => ("vanished", Repaired::Vanished),
        };
        if let Repaired::Copied(bytes) = repaired {
            self.show(scope, &label, &converged, bytes, started.elapsed());
        }
        self.record(scope, source_key, outcome, Some(&converged)).await?;
        Ok(repaired)
    }

    fn show(&self, scope: &Scope, label: &str, converged: &Converged, bytes: u64, took: Duration) {
        let metrics = &self.copier.metrics;
        metrics.object(&scope.label, "repaired", bytes);
        metrics.copied(bytes, took);
        if let (Some(routes), Some(copy)) = (scope.redacted(), &converged.redacted) {
            metrics.redacted(routes.redaction.event_types(), &copy.tally);
        }
        tracing::info!(object = label, route = scope.label, bytes, "repaired");
    }

    async fn record(
        &self,
        scope: &Scope,
        source_key: &str,
        outcome: &str,
        converged: Option<&Converged>,
    ) -> Result<(), &'static str> {
        let Some(ledger) = &self.ledger else {
            return Ok(());
        };
        let mut entry = ledger.decision(&scope.label, source_key, outcome);
        if let Some(converged) = converged {
            entry = ledger.in_place(entry, scope.treatment, converged);
        }
        let recorded = ledger.record(entry, &self.copier.metrics).await;
        recorded.map_err(|_| "ledger")
    }
}
