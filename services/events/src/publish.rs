//! Sends batches with PutRecords, several calls at a time, and looks at every result.
//!
//! The answer of PutRecords can be 200 and still say of each record that it failed. A record counts
//! as stored only if its own result has a sequence number and no error code; an answer with too few
//! or too many results says nothing about any record.

use std::sync::Arc;

use aws_clients::Failure;
use aws_sdk_kinesis::types::PutRecordsResultEntry;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use crate::{
    batch::{Bounds, Queue, Queued, Record, Sent},
    config::PublishSettings,
    metrics::Metrics,
    stream::Stream,
};

/// How many requests can hand over their records while the publisher is busy. What they hold is
/// counted in the budget of bytes; this bounds the channel itself.
const SUBMISSIONS: usize = 1024;

/// The far end of the service: takes records from all requests and settles each.
pub(crate) struct Publisher {
    stream: Stream,
    settings: PublishSettings,
    submissions: mpsc::Receiver<Vec<Record>>,
    metrics: Arc<Metrics>,
}

/// A call that has ended.
struct Call {
    batch: Vec<Queued>,
    verdicts: Vec<Sent>,
}

impl Publisher {
    pub(crate) fn new(
        stream: Stream,
        settings: PublishSettings,
        metrics: &Arc<Metrics>,
    ) -> (Self, mpsc::Sender<Vec<Record>>) {
        let (sender, submissions) = mpsc::channel(SUBMISSIONS);
        let metrics = Arc::clone(metrics);
        (
            Self {
                stream,
                settings,
                submissions,
                metrics,
            },
            sender,
        )
    }

    /// Works until nobody can submit any more and every record is settled.
    ///
    /// # Errors
    /// When a call panicked: its keys are unknown then, so that order could not be kept. The records
    /// it held have settled themselves as `retry`.
    pub(crate) async fn run(mut self) -> Result<(), JoinError> {
        let mut queue = Queue::new(self.bounds());
        let mut calls = JoinSet::new();
        let mut accepting = true;
        loop {
            self.send_due(&mut queue, &mut calls, !accepting);
            // Asked after sending, which also gives up what waited too long: with nothing accepted
            // and nothing queued, there is nothing left to wait for.
            if !accepting && queue.is_empty() {
                return Ok(());
            }
            // With every call in use only a call that ends can change anything.
            let due = queue
                .next_due()
                .filter(|_| calls.len() < self.settings.concurrency);
            tokio::select! {
                Some(ended) = calls.join_next() => {
                    let Call { batch, verdicts } = ended?;
                    queue.complete(batch, &verdicts, Instant::now());
                }
                submitted = self.submissions.recv(), if accepting => match submitted {
                    Some(records) => self.enqueue(&mut queue, records),
                    None => accepting = false,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            records: self.settings.batch_records,
            bytes: self.settings.batch_bytes,
            linger: self.settings.linger,
            time_to_live: self.settings.time_to_live,
        }
    }

    /// Everything that has been submitted by now joins the queue before the next call is made up.
    fn enqueue(&mut self, queue: &mut Queue, records: Vec<Record>) {
        let now = Instant::now();
        let mut next = Some(records);
        while let Some(records) = next {
            records.into_iter().for_each(|record| queue.push(record, now));
            next = self.submissions.try_recv().ok();
        }
    }

    /// An idle publisher sends at once. While a call is out, records gather for the linger, so that
    /// the busier the service is the fuller its calls are.
    fn send_due(&self, queue: &mut Queue, calls: &mut JoinSet<Call>, draining: bool) {
        while calls.len() < self.settings.concurrency {
            let eager = draining || calls.is_empty();
            let Some(batch) = queue.take(Instant::now(), eager) else {
                return;
            };
            self.metrics.batch(
                batch.len(),
                batch.iter().map(|queued| queued.record.bytes()).sum(),
            );
            calls.spawn(put(self.stream.clone(), batch, Arc::clone(&self.metrics)));
        }
    }
}

/// One PutRecords call.
async fn put(stream: Stream, batch: Vec<Queued>, metrics: Arc<Metrics>) -> Call {
    let entries = batch.iter().map(|queued| &queued.record);
    let started = Instant::now();
    let answer = stream.put(entries).await;
    metrics.put_seconds.observe(started.elapsed().as_secs_f64());
    let verdicts = match answer {
        Ok(results) => {
            let verdicts = read_results(batch.len(), &results, &metrics);
            if verdicts.contains(&Sent::Failed) {
                tracing::warn!(
                    failed = verdicts.iter().filter(|sent| **sent != Sent::Stored).count(),
                    sent = batch.len(),
                    "Kinesis did not take every record of a call"
                );
            }
            verdicts
        }
        Err(error) => {
            let failure = aws_clients::classify(&error);
            metrics.failed_records(failure.as_str(), batch.len());
            tracing::warn!(
                failure = failure.as_str(),
                error = aws_clients::describe(&error),
                records = batch.len(),
                "PutRecords failed"
            );
            vec![
                if failure.is_retryable() {
                    Sent::Failed
                } else {
                    Sent::Refused
                };
                batch.len()
            ]
        }
    };
    Call { batch, verdicts }
}

/// One verdict for each record sent.
fn read_results(sent: usize, results: &[PutRecordsResultEntry], metrics: &Metrics) -> Vec<Sent> {
    if results.len() != sent {
        tracing::error!(
            sent,
            results = results.len(),
            "PutRecords answered for other records"
        );
        metrics.failed_records("wrong_answer", sent);
        return vec![Sent::Failed; sent];
    }
    results
        .iter()
        .map(|result| match (result.error_code(), result.sequence_number()) {
            (None, Some(number)) if !number.is_empty() => Sent::Stored,
            (code, _) => {
                metrics.failed_records(error_label(code), 1);
                Sent::Failed
            }
        })
        .collect()
}

/// The codes that PutRecords documents for a record, and nothing else, so that labels are bounded.
fn error_label(code: Option<&str>) -> &'static str {
    match code {
        Some("ProvisionedThroughputExceededException") => Failure::Throttled.as_str(),
        Some("InternalFailure") => Failure::Transient.as_str(),
        Some(_) => "other",
        None => "wrong_answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(code: Option<&str>, number: Option<&str>) -> PutRecordsResultEntry {
        PutRecordsResultEntry::builder()
            .set_error_code(code.map(str::to_owned))
            .set_sequence_number(number.map(str::to_owned))
            .build()
    }

    #[test]
    fn a_record_is_stored_only_by_its_own_sequence_number() {
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("a new registry");
        let throttled = Some("ProvisionedThroughputExceededException");
        let results = [
            entry(None, Some("495")),
            entry(throttled, None),
            entry(throttled, Some("495")),
            entry(None, None),
            entry(None, Some("")),
        ];
        use Sent::{Failed, Stored};
        assert_eq!(
            read_results(5, &results, &metrics),
            [Stored, Failed, Failed, Failed, Failed]
        );
    }

    #[test]
    fn missing_and_surplus_results_are_never_a_success() {
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("a new registry");
        for results in [0, 1, 3] {
            let results = vec![entry(None, Some("495")); results];
            assert_eq!(read_results(2, &results, &metrics), [Sent::Failed; 2]);
        }
    }
}
