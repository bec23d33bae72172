//! One PutRecords call, and a look at every result of it.
//!
//! The answer of PutRecords can be 200 and still say of each record that it failed. A record counts
//! as stored only if its own result has a sequence number and no error code; an answer with too few
//! or too many results says nothing about any record.

use std::sync::Arc;

use aws_clients::Failure;
use aws_sdk_kinesis::types::PutRecordsResultEntry;
use service_runtime::concurrency::Load;
use tokio::time::Instant;

use crate::{
    aggregate::Entry, batch::Sent, metrics::Metrics, shard_map::ShardMaps, shards::Taken, stream::Stream,
};

/// A call that has ended.
pub(crate) struct Call {
    pub(crate) batch: Vec<Entry>,
    pub(crate) verdicts: Vec<Sent>,
    pub(crate) started: Instant,
}

impl Call {
    pub(crate) fn load(&self) -> Load {
        if self.verdicts.contains(&Sent::Throttled) {
            Load::TooMuch
        } else if self.verdicts.iter().all(|sent| *sent == Sent::Stored) {
            Load::Fits
        } else {
            Load::Unknown
        }
    }
}

/// One PutRecords call.
pub(crate) async fn put(
    stream: Stream,
    mut batch: Vec<Entry>,
    maps: Option<Arc<ShardMaps>>,
    metrics: Arc<Metrics>,
) -> Call {
    let entries = batch.iter_mut().map(Entry::outgoing);
    let started = Instant::now();
    let answer = stream.put(entries).await;
    metrics.put_seconds.observe(started.elapsed().as_secs_f64());
    let verdicts = match answer {
        Ok(results) => {
            let verdicts = read_results(batch.len(), &results, &metrics);
            metrics.shards.count(&taken(&batch, &results, &verdicts));
            if let Some(maps) = maps {
                check_map(&maps, &batch, &results, &verdicts);
            }
            let failed = verdicts.iter().filter(|sent| **sent != Sent::Stored).count();
            if failed > 0 {
                tracing::warn!(
                    failed,
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
            vec![whole_call(failure); batch.len()]
        }
    };
    Call {
        batch,
        verdicts,
        started,
    }
}

/// What the failure of a call says about each of its records.
fn whole_call(failure: Failure) -> Sent {
    match failure {
        Failure::Throttled => Sent::Throttled,
        Failure::NotFound | Failure::Denied => Sent::Unavailable,
        retryable if retryable.is_retryable() => Sent::Failed,
        _ => Sent::Refused,
    }
}

/// The shards that took the records of a call.
fn taken<'a>(batch: &[Entry], results: &'a [PutRecordsResultEntry], verdicts: &[Sent]) -> Taken<'a> {
    let mut taken = Taken::new();
    for (entry, shard) in stored(batch, results, verdicts) {
        let (records, throttles) = taken.entry(shard).or_default();
        *records += 1;
        // Events that are packed together now may have been throttled apart.
        let most = entry.events().map(|queued| queued.throttles).max();
        *throttles += u64::from(most.unwrap_or_default());
    }
    taken
}

/// Drops the map of shards if a record that it packed is not where it said.
fn check_map(maps: &ShardMaps, batch: &[Entry], results: &[PutRecordsResultEntry], verdicts: &[Sent]) {
    for (entry, shard) in stored(batch, results, verdicts) {
        if let Some(map) = entry.mispredicted(shard) {
            maps.mispredicted(map);
        }
    }
}

/// The records that are stored, with the ids of their shards.
fn stored<'b, 'r>(
    batch: &'b [Entry],
    results: &'r [PutRecordsResultEntry],
    verdicts: &[Sent],
) -> impl Iterator<Item = (&'b Entry, &'r str)> {
    let all = batch.iter().zip(results).zip(verdicts);
    all.filter(|(_, sent)| **sent == Sent::Stored)
        .map(|((entry, result), _)| (entry, result.shard_id().unwrap_or_default()))
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
                let label = error_label(code);
                metrics.failed_records(label, 1);
                if label == Failure::Throttled.as_str() {
                    Sent::Throttled
                } else {
                    Sent::Failed
                }
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
        use Sent::{Failed, Stored, Throttled};
        assert_eq!(
            read_results(5, &results, &metrics),
            [Stored, Throttled, Throttled, Failed, Failed]
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
