//! Writes the chain: what waits while one object is being written goes into the next.
//!
//! An object is tried until it is durable; its key is made of the chain and its first line, and it is only
//! ever written where there is nothing, so a try whose answer was lost is recognised. Nothing is left out:
//! the lines of a decision whose message could not wait are written all the same.

use std::sync::Arc;
use std::time::Duration;

use aws_clients::Failure;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use jiff::{Span, Timestamp};
use service_runtime::backoff::Backoff;
use service_runtime::{Latch, Shutdown};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::chain::{Chain, Held, Link, hash};
use super::{Place, Waiting};
use crate::failure::CallFailure;
use crate::metrics::Metrics;
use crate::object::head_source;

/// The most lines of one object.
const LINES_MAX: usize = 1000;
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_BASE: Duration = Duration::from_millis(200);
const RETRY_CAP: Duration = Duration::from_secs(10);
/// How far back the chain before is looked for, in days.
const DAYS_BACK: i32 = 31;
/// What of the drain deadline the last lines may take.
const DRAIN_SHARE: u32 = 10;

/// The one writer of a chain.
pub(crate) struct Writer {
    pub(crate) place: Place,
    pub(crate) policy: String,
    pub(crate) client: Client,
    pub(crate) waiting: mpsc::Receiver<Waiting>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) latch: Latch,
    pub(crate) shutdown: Shutdown,
}

/// The ledger could not be completed before the drain's end.
#[derive(Debug, thiserror::Error)]
#[error("the ledger could not be written before the end of the drain; what it lacks was not acknowledged")]
pub struct Incomplete;

/// Why an object is not written yet.
#[derive(Debug, thiserror::Error)]
enum NotWritten {
    #[error(transparent)]
    Call(#[from] CallFailure),
    #[error("no answer in time")]
    Timeout,
    #[error("there is another object under the key")]
    Taken,
}

impl NotWritten {
    fn cause(&self) -> &'static str {
        match self {
            Self::Call(call) => call.failure.as_str(),
            Self::Timeout => "timeout",
            Self::Taken => "taken",
        }
    }
}

impl Writer {
    /// Runs until the last [`super::Ledger`] is dropped, and then closes the chain.
    pub(crate) async fn run(mut self) -> Result<(), Incomplete> {
        self.latch.open();
        let shutdown = self.shutdown.clone();
        let end_of_drain = async {
            shutdown.requested().await;
            let deadline = shutdown.drain_deadline();
            tokio::time::sleep(deadline - deadline / DRAIN_SHARE).await;
        };
        tokio::select! {
            () = self.write_all() => Ok(()),
            () = end_of_drain => Err(Incomplete),
        }
    }

    async fn write_all(&mut self) {
        let run = rand::random::<u32>();
        let mut chain = Chain::new(format!("{}-{run:08x}", self.place.instance));
        while let Some(first) = self.waiting.recv().await {
            let group = self.gather(first).await;
            self.write(&mut chain, &group).await;
            for waiting in group {
                // Who no longer waits left its message for redelivery.
                let _ = waiting.durable.send(());
            }
        }
        if chain.next() > 0 {
            let key = self.key(&mut chain);
            let mut lines = Vec::new();
            chain.close(&mut lines);
            self.put(&key, lines.into()).await;
        }
    }

    /// What came meanwhile, and what comes soon.
    async fn gather(&mut self, first: Waiting) -> Vec<Waiting> {
        let until = Instant::now() + self.place.linger;
        let mut group = vec![first];
        while group.len() < LINES_MAX {
            match timeout_at(until, self.waiting.recv()).await {
                Ok(Some(waiting)) => group.push(waiting),
                Ok(None) | Err(_) => break,
            }
        }
        group
    }

    async fn write(&self, chain: &mut Chain, group: &[Waiting]) {
        let key = self.key(chain);
        let mut lines = Vec::new();
        if chain.next() == 0 {
            let previous = self.previous().await;
            chain.genesis(&self.policy, previous.as_ref(), &mut lines);
        }
        for waiting in group {
            chain.entry(&waiting.entry, &mut lines);
        }
        self.put(&key, lines.into()).await;
        self.metrics.ledger_lines(group.len());
    }

    /// The key of an object that begins with the chain's next line.
    fn key(&self, chain: &mut Chain) -> String {
        let day = day(chain.now());
        let (prefix, instance, first) = (&self.place.prefix, &chain.instance, chain.next());
        format!("{prefix}{day}/{instance}-{first:012}.jsonl")
    }

    /// Tries until the object is durable.
    async fn put(&self, key: &str, body: Bytes) {
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        loop {
            let tried = timeout(CALL_TIMEOUT, self.try_put(key, &body)).await;
            match tried.unwrap_or(Err(NotWritten::Timeout)) {
                Ok(()) => {
                    self.latch.open();
                    return;
                }
                Err(failure) => {
                    self.metrics.ledger_failed(failure.cause());
                    tracing::warn!(error = %failure, "the ledger cannot be written");
                    self.latch.close(failure.to_string());
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    async fn try_put(&self, key: &str, body: &Bytes) -> Result<(), NotWritten> {
        let at = self.place.side.at();
        let crc = BASE64_STANDARD.encode(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, body).to_be_bytes());
        let put = self.client.put_object().bucket(&self.place.bucket).key(key);
        let put = put
            .if_none_match("*")
            .content_type("application/x-ndjson")
            .checksum_crc64_nvme(&crc)
            .body(ByteStream::from(body.clone()));
        let Err(error) = put.send().await else {
            return Ok(());
        };
        let failure = CallFailure::new(at, "PutObject", &error);
        if failure.failure != Failure::PreconditionFailed {
            return Err(failure.into());
        }
        // An earlier try of ours whose answer was lost has these very bytes.
        match head_source(&self.client, &self.place.bucket, key).await? {
            Some(there) if there.crc64_nvme.as_deref() == Some(&crc) && there.size == body.len() as u64 => {
                Ok(())
            }
            Some(_) => Err(NotWritten::Taken),
            None => Err(failure.into()),
        }
    }

    /// The end of this writer's chain before, as far as it can be found: the chains hold without it.
    async fn previous(&self) -> Option<Link> {
        let found = timeout(CALL_TIMEOUT, self.find_previous()).await;
        match found.unwrap_or(Err(NotWritten::Timeout)) {
            Ok(found) => found,
            Err(failure) => {
                self.metrics.ledger_failed("previous");
                tracing::warn!(error = %failure, "the ledger's chain before is not known");
                None
            }
        }
    }

    async fn find_previous(&self) -> Result<Option<Link>, NotWritten> {
        let at = self.place.side.at();
        let (bucket, name) = (&self.place.bucket, &self.place.instance);
        let now = Timestamp::now();
        for back in 0..DAYS_BACK {
            let Ok(then) = now.checked_sub(Span::new().hours(24 * i64::from(back))) else {
                break;
            };
            let folder = format!("{}{}/", self.place.prefix, day(then));
            let list = self.client.list_objects_v2().bucket(bucket);
            let mut pages = list.prefix(format!("{folder}{name}-")).into_paginator().send();
            let mut newest = None;
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| CallFailure::new(at, "ListObjectsV2", &error))?;
                for object in page.contents.unwrap_or_default() {
                    let (Some(key), Some(modified)) = (object.key, object.last_modified) else {
                        continue;
                    };
                    let place = (modified.secs(), modified.subsec_nanos(), key);
                    let of_ours = place.2.strip_prefix(&folder).and_then(instance_of);
                    if of_ours.is_some_and(|instance| writer_of(instance) == name) {
                        newest = newest.max(Some(place));
                    }
                }
            }
            if let Some((_, _, key)) = newest {
                let instance = key
                    .strip_prefix(&folder)
                    .and_then(instance_of)
                    .unwrap_or_default();
                return Ok(self.last_line(&key).await?.map(|(seq, sha256)| Link {
                    instance: instance.to_owned(),
                    seq,
                    sha256,
                }));
            }
        }
        Ok(None)
    }

    async fn last_line(&self, key: &str) -> Result<Option<(u64, String)>, NotWritten> {
        let at = self.place.side.at();
        let get = self.client.get_object().bucket(&self.place.bucket).key(key);
        let object = get
            .send()
            .await
            .map_err(|error| CallFailure::new(at, "GetObject", &error))?;
        let body = object
            .body
            .collect()
            .await
            .map_err(|_| NotWritten::Timeout)?
            .into_bytes();
        let last = body.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
        Ok(last.and_then(|line| {
            let held: Held = serde_json::from_slice(line).ok()?;
            Some((held.seq, hash(line)))
        }))
    }
}

/// The day in UTC, as it stands in keys.
fn day(time: Timestamp) -> String {
    time.strftime("%Y/%m/%d").to_string()
}

/// The chain that an object of this file name belongs to: `{instance}-{first seq}.jsonl`.
pub(super) fn instance_of(file: &str) -> Option<&str> {
    first_seq(file).map(|(instance, _)| instance)
}

/// The chain and the first line that a file name stands for.
pub(super) fn first_seq(file: &str) -> Option<(&str, u64)> {
    let (instance, seq) = file.strip_suffix(".jsonl")?.rsplit_once('-')?;
    (seq.len() == 12)
        .then(|| seq.parse().ok())
        .flatten()
        .map(|seq| (instance, seq))
}

/// A chain's name without the part that is its own.
fn writer_of(instance: &str) -> &str {
    instance.rsplit_once('-').map_or("", |(writer, _)| writer)
}
