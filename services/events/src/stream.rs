//! The stream: the calls the service makes, and whether it is there.

use std::{convert::Infallible, time::Duration};

use aws_clients::Failure;
use aws_sdk_kinesis::{
    Client,
    error::SdkError,
    operation::put_records::PutRecordsError,
    primitives::Blob,
    types::{PutRecordsRequestEntry, PutRecordsResultEntry, StreamStatus},
};
use service_runtime::{Latch, Shutdown};

use crate::batch::Record;

/// How soon a stream that is not there is looked for again.
const MISSING_CHECK: Duration = Duration::from_secs(1);

/// A Kinesis stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    client: Client,
    name: String,
}

impl Stream {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// One PutRecords call; the results as they came.
    pub(crate) async fn put(
        &self,
        records: impl Iterator<Item = &Record>,
    ) -> Result<Vec<PutRecordsResultEntry>, SdkError<PutRecordsError>> {
        let entries = records
            .map(|record| {
                PutRecordsRequestEntry::builder()
                    .data(Blob::new(record.line.as_slice()))
                    .partition_key(&*record.partition_key)
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

    /// Why the stream cannot be written to, if it is known that it cannot.
    async fn problem(&self) -> Option<Problem> {
        let call = self.client.describe_stream_summary().stream_name(&self.name);
        match call.send().await {
            Ok(answer) => match answer
                .stream_description_summary
                .map(|summary| summary.stream_status)
            {
                Some(StreamStatus::Active | StreamStatus::Updating) => None,
                Some(status) => Some(Problem::Known(format!("the stream is {status}"))),
                None => Some(Problem::Unknown("the answer has no status".to_owned())),
            },
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
