//! The stream: the calls the service makes, and whether it is there.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_clients::Failure;
use aws_sdk_kinesis::{
    Client,
    error::SdkError,
    operation::put_records::PutRecordsError,
    primitives::Blob,
    types::{
        self, PutRecordsRequestEntry, PutRecordsResultEntry, ShardFilter, ShardFilterType, StreamStatus,
    },
};
use service_runtime::{Latch, Shutdown};

use crate::{
    aggregate::Outgoing,
    config::{KINESIS_CALL_BYTES, KINESIS_LARGE_BYTES, KINESIS_RECORD_BYTES},
    shard_map::Shard,
};

/// How soon a stream that is not there is looked for again.
const MISSING_CHECK: Duration = Duration::from_secs(1);

/// How large records and calls may be. Every stream takes records of 1 MiB and calls of 5 MiB; only
/// one that says so of itself takes records up to 10 MiB, and then calls of 10 MiB
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateMaxRecordSize.html>,
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>).
#[derive(Clone, Debug)]
pub(crate) struct StreamLimits {
    record_bytes: Arc<AtomicUsize>,
}

impl StreamLimits {
    fn new() -> Self {
        let record_bytes = Arc::new(AtomicUsize::new(KINESIS_RECORD_BYTES));
        Self { record_bytes }
    }

    /// Takes in `MaxRecordSizeInKiB` of `DescribeStreamSummary`; an answer without it raises nothing.
    fn learn(&self, max_record_kib: Option<i32>) {
        let told = max_record_kib.and_then(|kib| usize::try_from(kib).ok());
        let bytes = told.map_or(KINESIS_RECORD_BYTES, |kib| kib.saturating_mul(1024));
        let bytes = bytes.clamp(KINESIS_RECORD_BYTES, KINESIS_LARGE_BYTES);
        self.record_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Most bytes of a record: data and partition key.
    pub(crate) fn record_bytes(&self) -> usize {
        self.record_bytes.load(Ordering::Relaxed)
    }

    /// Most bytes of a call.
    pub(crate) fn call_bytes(&self) -> usize {
        if self.record_bytes() > KINESIS_RECORD_BYTES {
            KINESIS_LARGE_BYTES
        } else {
            KINESIS_CALL_BYTES
        }
    }
}

/// A Kinesis stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    client: Client,
    name: String,
    limits: StreamLimits,
}

impl Stream {
    pub(crate) fn new(client: Client, name: String) -> Self {
        let limits = StreamLimits::new();
        Self { client, name, limits }
    }

    /// What the stream is known to take; the watch keeps it up to date.
    pub(crate) fn limits(&self) -> &StreamLimits {
        &self.limits
    }

    /// One PutRecords call; the results as they came.
    pub(crate) async fn put(
        &self,
        records: impl Iterator<Item = Outgoing<'_>>,
    ) -> Result<Vec<PutRecordsResultEntry>, SdkError<PutRecordsError>> {
        let entries = records
            .map(|record| {
                PutRecordsRequestEntry::builder()
                    .data(Blob::new(record.data))
                    .partition_key(record.partition_key)
                    .set_explicit_hash_key(record.explicit_hash_key.map(str::to_owned))
                    .build()
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(SdkError::construction_failure)?;
        let call = self
            .client
            .put_records()
            .stream_name(&self.name)
            .set_records(Some(entries));
        Ok(call.send().await?.records)
    }

    /// The shards that take records at this moment, or why they cannot be known, in a line.
    pub(crate) async fn open_shards(&self) -> Result<Vec<Shard>, String> {
        // Shards that were closed before this moment are not in the list.
        let open = ShardFilter::builder()
            .r#type(ShardFilterType::AtLatest)
            .build()
            .map_err(|error| error.to_string())?;
        let (mut shards, mut token) = (Vec::new(), None);
        loop {
            let call = self.client.list_shards();
            // A token stands for the stream and the filter, and goes without them.
            let call = match token.take() {
                Some(token) => call.next_token(token),
                None => call.stream_name(&self.name).shard_filter(open.clone()),
            };
            let answer = call.send().await.map_err(|error| aws_clients::describe(&error))?;
            for shard in answer.shards.unwrap_or_default() {
                shards.push(read_shard(&shard).ok_or("a shard without a range of hash keys")?);
            }
            token = answer.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    /// Why the stream cannot be written to, if it is known that it cannot. Learns its limits.
    async fn problem(&self) -> Option<Problem> {
        let call = self.client.describe_stream_summary().stream_name(&self.name);
        match call.send().await {
            Ok(answer) => {
                let Some(summary) = answer.stream_description_summary else {
                    return Some(Problem::Unknown("the answer has no status".to_owned()));
                };
                self.limits.learn(summary.max_record_size_in_kib);
                match summary.stream_status {
                    StreamStatus::Active | StreamStatus::Updating => None,
                    status => Some(Problem::Known(format!("the stream is {status}"))),
                }
            }
            Err(error) => {
                let text = aws_clients::describe(&error);
                Some(match aws_clients::classify(&error) {
                    Failure::NotFound => Problem::Known("the stream does not exist".to_owned()),
                    Failure::Denied => Problem::Known(text),
                    _ => Problem::Unknown(text),
                })
            }
        }
    }
}

fn read_shard(shard: &types::Shard) -> Option<Shard> {
    let range = shard.hash_key_range()?;
    let first = range.starting_hash_key().parse().ok()?;
    let last = range.ending_hash_key().parse().ok()?;
    Some(Shard::new(shard.shard_id().to_owned(), first, last))
}

enum Problem {
    /// Writing would fail.
    Known(String),
    /// Looking failed, which says little about writing.
    Unknown(String),
}

/// Keeps the latch true: open while the stream can be written to. A stream that is missing, at the
/// start or later, is waited for and not an end. Failing to look closes nothing that was open.
pub(crate) async fn watch(
    stream: Stream,
    latch: Latch,
    interval: Duration,
    shutdown: Shutdown,
) -> Result<(), Infallible> {
    let mut open = false;
    loop {
        let pause = match stream.problem().await {
            None => {
                if !open {
                    tracing::info!(stream = stream.name, "the stream can be written to");
                }
                latch.open();
                open = true;
                interval
            }
            Some(Problem::Unknown(_)) if open => interval,
            Some(Problem::Known(reason) | Problem::Unknown(reason)) => {
                tracing::warn!(stream = stream.name, reason, "the stream cannot be written to");
                latch.close(reason);
                open = false;
                MISSING_CHECK.min(interval)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_raised_only_by_what_the_stream_says_of_itself() {
        const MIB: usize = 1 << 20;
        let limits = StreamLimits::new();
        let both = || (limits.record_bytes(), limits.call_bytes());
        assert_eq!(both(), (MIB, 5 * MIB), "before it has said anything");
        for (told, record, call) in [
            (Some(10_240), 10 * MIB, 10 * MIB),
            (Some(2_048), 2 * MIB, 10 * MIB),
            (Some(1_024), MIB, 5 * MIB),
            (Some(i32::MAX), 10 * MIB, 10 * MIB),
            (None, MIB, 5 * MIB),
            (Some(-1), MIB, 5 * MIB),
            (Some(0), MIB, 5 * MIB),
        ] {
            limits.learn(told);
            assert_eq!(both(), (record, call), "{told:?}");
        }
    }
}
