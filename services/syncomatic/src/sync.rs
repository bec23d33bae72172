//! What becomes of one message, and the order of the stages that decide it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use service_runtime::Shutdown;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::acknowledge::{Verdict, acknowledge};
use crate::circuit::Circuit;
use crate::converge::{Converged, Outcome, converge};
use crate::copy::{Copier, RedactedRoutes};
use crate::decide::decide;
use crate::failure::{CopyFailure, Remedy};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::notification::{self, Notification, ObjectCreated, Record};
use crate::policy::{Decision, Denial, Routes, Treatment};
use crate::queue::{Message, SourceQueue};
use crate::retries::with_retries;
use crate::verify::Proof;

/// The stages behind `poll`.
pub(crate) struct Sync {
    pub(crate) queue: Arc<SourceQueue>,
    pub(crate) routes: Routes,
    /// There where a route redacts.
    pub(crate) redacted: Option<RedactedRoutes>,
    /// There where decisions are recorded.
    pub(crate) ledger: Option<Ledger>,
    pub(crate) copier: Arc<Copier>,
    pub(crate) circuit: Arc<Circuit>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shutdown: Shutdown,
}

impl Sync {
    /// One message: settled in one way or another, and kept hidden until then.
    pub(crate) async fn handle(self: Arc<Self>, message: Message, give_up: CancellationToken) {
        let verdict = tokio::select! {
            verdict = self.verdict(&message) => verdict,
            never = self.queue.keep_hidden(&message, &self.metrics) => match never {},
            () = give_up.cancelled() => Verdict::Unfinished,
        };
        let draining = self.shutdown.is_requested();
        acknowledge(&self.queue, &self.metrics, &message, verdict, draining).await;
    }

    /// notification → policy → converge (copy, verify) → ledger, for each record in turn.
    async fn verdict(&self, message: &Message) -> Verdict {
        let records = match notification::parse(&message.body) {
            Ok(Notification::Records(records)) => records,
            Ok(Notification::TestEvent) => {
                self.metrics.record("test_event");
                return Verdict::Done;
            }
            Err(malformed) => return self.malformed(message, malformed),
        };
        let mut verdict = Verdict::Done;
        for record in records {
            verdict = verdict.max(match record {
                Err(malformed) => self.malformed(message, malformed),
                Ok(Record::OtherEvent) => {
                    self.metrics.record("other_event");
                    Verdict::Done
                }
                Ok(Record::Created(object)) => match self.decide(&object) {
                    Decision::Denied(denial) => self.denied(&object, denial).await,
                    Decision::Copy {
                        destination_key,
                        treatment,
                    } => self.copy(&object, &destination_key, treatment).await,
                },
            });
        }
        verdict
    }

    fn decide(&self, object: &ObjectCreated) -> Decision {
        if object.bucket != self.copier.source.bucket {
            return Decision::Denied(Denial::ForeignBucket);
        }
        let redacted = self.redacted.as_ref();
        decide(&self.routes, redacted, &self.copier.journal_prefix, &object.key)
    }

    /// The label of the route that decides about an object.
    fn route(&self, object: &ObjectCreated) -> String {
        let route = self.routes.find(&object.key);
        let of_ours = route.filter(|_| object.bucket == self.copier.source.bucket);
        of_ours.map_or_else(|| "none".to_owned(), |(route, _)| route.to_string())
    }

    fn malformed(&self, message: &Message, malformed: notification::Malformed) -> Verdict {
        self.metrics.record("malformed");
        tracing::warn!(message = message.id, reason = %malformed, "a message or record that cannot be understood");
        Verdict::Rejected(malformed.as_str())
    }

    /// The verdict, once the decision is recorded.
    async fn recorded(
        &self,
        object: &ObjectCreated,
        outcome: &str,
        in_place: Option<(Treatment, &Converged)>,
        verdict: Verdict,
    ) -> Verdict {
        let Some(ledger) = &self.ledger else {
            return verdict;
        };
        let mut entry = ledger.decision(&self.route(object), &object.key, outcome);
        if let Some((treatment, converged)) = in_place {
            entry = ledger.in_place(entry, treatment, converged);
        }
        match ledger.record(entry, &self.metrics).await {
            Ok(()) => verdict,
            Err(not_recorded) => {
                self.metrics.circuit_opened("ledger");
                self.circuit.refused(not_recorded.to_string());
                Verdict::Unfinished
            }
        }
    }

    async fn denied(&self, object: &ObjectCreated, denial: Denial) -> Verdict {
        let reason = denial.as_str();
        self.metrics.record(reason);
        self.metrics.object(&self.route(object), reason, 0);
        match denial {
            Denial::Own => return Verdict::Done,
            Denial::Declared => return self.recorded(object, reason, None, Verdict::Done).await,
            _ => {}
        }
        tracing::warn!(
            object = traceable(&object.key),
            sequencer = object.sequencer,
            reason,
            "denied"
        );
        self.recorded(object, reason, None, Verdict::Rejected(reason))
            .await
    }

    async fn copy(&self, object: &ObjectCreated, destination_key: &str, treatment: Treatment) -> Verdict {
        let started = Instant::now();
        let redacted = match (treatment, &self.redacted) {
            (Treatment::Verbatim, _) => None,
            (Treatment::Redacted, Some(redacted)) => Some(redacted),
            // Nothing says what may pass.
            (Treatment::Redacted, None) => return self.denied(object, Denial::Undeclared).await,
        };
        let (copier, label) = (&*self.copier, traceable(&object.key));
        let converging = with_retries(copier, &self.shutdown, &label, || {
            converge(copier, &object.key, destination_key, redacted)
        });
        let converged = match converging.await {
            Ok(converged) => converged,
            Err(failure) => return self.failed(object, &failure).await,
        };
        let outcome = self.in_place(object, &converged, started.elapsed());
        let in_place = Some((treatment, &converged));
        let verdict = self.recorded(object, outcome, in_place, Verdict::Done).await;
        if verdict == Verdict::Done {
            self.circuit.succeeded();
        }
        verdict
    }

    /// Counts, logs and names the outcome.
    fn in_place(&self, object: &ObjectCreated, converged: &Converged, duration: Duration) -> &'static str {
        let (label, bytes, proof) = match converged.outcome {
            Outcome::Copied { bytes, proof } => ("copied", bytes, Some(proof)),
            Outcome::AlreadyThere { proof } => ("already_there", 0, Some(proof)),
            Outcome::Vanished => ("vanished", 0, None),
        };
        self.metrics.record(label);
        let size = converged.source.as_ref().map_or(0, |source| source.size);
        self.metrics.object(&self.route(object), label, size);
        if let (Some(routes), Some(copy)) = (&self.redacted, &converged.redacted) {
            self.metrics.redacted(routes.redaction.event_types(), &copy.tally);
        }
        if proof == Some(Proof::Unattested) {
            self.metrics.unattested();
        }
        let lag = object.event_time.and_then(age);
        if label == "copied" {
            self.metrics.copied(bytes, duration);
            if let Some(lag) = lag {
                self.metrics.lag(lag);
            }
        }
        tracing::info!(
            object = traceable(&object.key),
            sequencer = object.sequencer,
            outcome = label,
            bytes,
            lag_ms = lag.map(|lag| lag.as_millis()),
            lines = converged.redacted.as_ref().map(|copy| copy.tally.lines()),
            quarantined = converged
                .redacted
                .as_ref()
                .map(|copy| copy.tally.lines_quarantined()),
            "in place"
        );
        label
    }

    async fn failed(&self, object: &ObjectCreated, failure: &CopyFailure) -> Verdict {
        let cause = failure.cause();
        tracing::warn!(object = traceable(&object.key), sequencer = object.sequencer, error = %failure, "not in place");
        match failure.remedy() {
            Remedy::Reject => {
                self.metrics.record("rejected");
                self.metrics.object(&self.route(object), cause, 0);
                return self.recorded(object, cause, None, Verdict::Rejected(cause)).await;
            }
            Remedy::Pause => {
                self.metrics.circuit_opened(cause);
                self.circuit.refused(failure.to_string());
            }
            Remedy::Retry | Remedy::Leave => {}
        }
        self.metrics.record("unfinished");
        Verdict::Unfinished
    }
}

/// `None` for a time to come: the clocks differ.
fn age(time: Timestamp) -> Option<Duration> {
    Timestamp::now().duration_since(time).try_into().ok()
}

/// What a log line has in place of a key: enough to find the lines of a key that one knows.
pub(crate) fn traceable(key: &str) -> String {
    let digest = Sha256::digest(key);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s 2026/a.gz | sha256sum | cut -c1-16`
    #[test]
    fn a_key_is_traceable_by_who_knows_it() {
        assert_eq!(traceable("abc"), "ba7816bf8f01cfea");
    }
}
