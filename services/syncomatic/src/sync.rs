//! What becomes of one message, and the order of the stages that decide it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use service_runtime::Shutdown;
use service_runtime::backoff::Backoff;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::acknowledge::{Verdict, acknowledge};
use crate::circuit::Circuit;
use crate::config::Limits;
use crate::converge::{Outcome, converge};
use crate::copy::Copier;
use crate::failure::{CopyFailure, Remedy};
use crate::metrics::Metrics;
use crate::notification::{self, Notification, ObjectCreated, Record};
use crate::policy::{Decision, Denial, Routes};
use crate::queue::{Message, SourceQueue};
use crate::verify::Proof;

/// The stages behind `poll`.
pub(crate) struct Sync {
    pub(crate) queue: Arc<SourceQueue>,
    pub(crate) routes: Routes,
    pub(crate) copier: Copier,
    pub(crate) limits: Limits,
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

    /// notification → policy → converge (copy, verify), for each record in turn.
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
                    Decision::Denied(denial) => self.denied(&object, denial),
                    Decision::Copy { destination_key } => self.copy(&object, &destination_key).await,
                },
            });
        }
        verdict
    }

    fn decide(&self, object: &ObjectCreated) -> Decision {
        if object.bucket == self.copier.source_bucket {
            self.routes.decide(&object.key)
        } else {
            Decision::Denied(Denial::ForeignBucket)
        }
    }

    fn malformed(&self, message: &Message, malformed: notification::Malformed) -> Verdict {
        self.metrics.record("malformed");
        tracing::warn!(message = message.id, reason = %malformed, "a message or record that cannot be understood");
        Verdict::Rejected(malformed.as_str())
    }

    fn denied(&self, object: &ObjectCreated, denial: Denial) -> Verdict {
        let reason = denial.as_str();
        self.metrics.record(reason);
        if denial == Denial::Declared {
            return Verdict::Done;
        }
        tracing::warn!(
            object = traceable(&object.key),
            sequencer = object.sequencer,
            reason,
            "denied"
        );
        Verdict::Rejected(reason)
    }

    async fn copy(&self, object: &ObjectCreated, destination_key: &str) -> Verdict {
        let started = Instant::now();
        match self.converge_with_retries(object, destination_key).await {
            Ok(outcome) => {
                self.circuit.succeeded();
                self.in_place(object, outcome, started.elapsed());
                Verdict::Done
            }
            Err(failure) => self.failed(object, &failure),
        }
    }

    /// Tries again while the message is hidden; a drain ends that, not a try that is under way.
    async fn converge_with_retries(
        &self,
        object: &ObjectCreated,
        destination_key: &str,
    ) -> Result<Outcome, CopyFailure> {
        let Limits {
            tries,
            backoff_base,
            backoff_cap,
            ..
        } = self.limits;
        let mut backoff = Backoff::new(backoff_base, backoff_cap);
        loop {
            let failure = match converge(&self.copier, &object.key, destination_key).await {
                Ok(outcome) => return Ok(outcome),
                Err(failure) => failure,
            };
            if failure.is_mismatch() {
                self.metrics.checksum_mismatch();
            }
            let pause = backoff.next_delay();
            if failure.remedy() != Remedy::Retry || backoff.tries() >= tries || self.shutdown.is_requested() {
                return Err(failure);
            }
            self.metrics.retried(failure.cause());
            tracing::info!(object = traceable(&object.key), error = %failure, "trying again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.requested() => return Err(failure),
            }
        }
    }

    fn in_place(&self, object: &ObjectCreated, outcome: Outcome, duration: Duration) {
        let (label, bytes, proof) = match outcome {
            Outcome::Copied { bytes, proof } => ("copied", bytes, Some(proof)),
            Outcome::AlreadyThere { proof } => ("already_there", 0, Some(proof)),
            Outcome::Vanished => ("vanished", 0, None),
        };
        self.metrics.record(label);
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
            "in place"
        );
    }

    fn failed(&self, object: &ObjectCreated, failure: &CopyFailure) -> Verdict {
        let cause = failure.cause();
        tracing::warn!(object = traceable(&object.key), sequencer = object.sequencer, error = %failure, "not in place");
        match failure.remedy() {
            Remedy::Reject => {
                self.metrics.record("rejected");
                return Verdict::Rejected(cause);
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
fn traceable(key: &str) -> String {
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
