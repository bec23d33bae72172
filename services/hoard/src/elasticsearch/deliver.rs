//! One shard, from the stream to the cluster, from where its cursor stands until it ends or is to stop.
//!
//! A batch of records is held until every document of it is delivered or refused for good; only then
//! does the position move. Memory is taken before a read and given back when its documents are gone,
//! so a cluster that hangs holds up this delivery and nothing else.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client as KinesisClient;
use service_runtime::backoff::Backoff;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::{Allowance, Budget, READ_ALLOWANCE};
use crate::elasticsearch::Elasticsearch;
use crate::elasticsearch::bulk::{self, Document, Outcome};
use crate::elasticsearch::client::{Client, FailedRequest, RequestFailure};
use crate::elasticsearch::cursor::Cursor;
use crate::elasticsearch::metrics::{Delivered, ElasticsearchMetrics};
use crate::line;
use crate::metrics::Metrics;
use crate::read::{Batch, Reader};
use crate::record::{Arrival, Record};
use crate::sequence::{SequenceNumber, ShardId};
use crate::start::{self, Origin};
use crate::store::Store;

/// How often the position is written at most: what is delivered after it is sent again after a crash.
const CURSOR_INTERVAL: Duration = Duration::from_secs(5);
/// Pauses between tries of a request.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// What the deliveries of all shards share.
pub struct Delivery {
    /// The settings.
    pub settings: Elasticsearch,
    /// The cluster.
    pub client: Client,
    /// The stream.
    pub kinesis: KinesisClient,
    /// The stream's name.
    pub stream: String,
    /// Where the archive begins, and with it this delivery.
    pub origin: Origin,
    /// The bucket, for cursors.
    pub store: Store,
    /// Memory, apart from the archive's.
    pub budget: Budget,
    /// Requests that may be out.
    pub requests: Semaphore,
    /// What is shown.
    pub metrics: ElasticsearchMetrics,
    /// What the reader counts: the archive's reader shows the same records already.
    pub reader_metrics: Metrics,
}

/// Why the delivery of a shard ends before the shard does.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The position is not what this program writes.
    #[error("position {key} cannot be read")]
    Position {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Stopped {
    /// The position at `key` is not what this program writes.
    pub fn state(key: &str, source: serde_json::Error) -> Self {
        Self::Position {
            key: key.to_owned(),
            source,
        }
    }
}

impl Delivery {
    /// The delivery that `settings` describe.
    pub fn new(
        settings: Elasticsearch,
        kinesis: KinesisClient,
        stream: &str,
        origin: Origin,
        store: Store,
        registry: &prometheus::Registry,
    ) -> Result<Self, prometheus::Error> {
        let reader_metrics = Metrics::new(&prometheus::Registry::new())?;
        Ok(Self {
            client: Client::new(&settings),
            kinesis,
            stream: stream.to_owned(),
            origin,
            store,
            budget: Budget::new(settings.memory_budget, reader_metrics.clone()),
            requests: Semaphore::new(settings.concurrency),
            metrics: ElasticsearchMetrics::new(registry)?,
            reader_metrics,
            settings,
        })
    }
}

/// Delivers a shard until it ends or is to stop.
pub async fn deliver_shard(
    delivery: Arc<Delivery>,
    shard: ShardId,
    stop: CancellationToken,
) -> Result<(), Stopped> {
    let mut shard = tokio::select! {
        started = ShardDelivery::start(&delivery, &shard) => started?,
        () = stop.cancelled() => return Ok(()),
    };
    while !shard.cursor.position().is_ended {
        tokio::select! {
            delivered = shard.deliver_next() => delivered?,
            // What is under way is abandoned: sending it again changes nothing.
            () = stop.cancelled() => return shard.save(false).await,
        }
    }
    Ok(())
}

struct ShardDelivery<'a> {
    delivery: &'a Delivery,
    shard: ShardId,
    cursor: Cursor,
    reader: Reader,
    /// The last record that is delivered; the cursor follows.
    after: Option<SequenceNumber>,
    saved: Instant,
}

impl<'a> ShardDelivery<'a> {
    async fn start(delivery: &'a Delivery, shard: &ShardId) -> Result<Self, Stopped> {
        let cursor = Cursor::load(&delivery.store, shard).await?;
        let after = cursor.position().after.clone();
        Ok(Self {
            delivery,
            shard: shard.clone(),
            reader: delivery.reader(shard, delivery.origin, after.clone()),
            after,
            cursor,
            saved: Instant::now(),
        })
    }

    async fn deliver_next(&mut self) -> Result<(), Stopped> {
        let (batch, allowance) = self.read().await;
        let delivery = self.delivery;
        let (end, up_to_date) = (batch.end, batch.up_to_date);
        if let Some(last) = batch.records.last() {
            let after = last.sequence_number.clone();
            if self.skip(&batch.records) {
                self.after = Some(after);
                return Ok(());
            }
            self.send(batch.records).await;
            self.after = Some(after);
        } else if up_to_date {
            delivery.metrics.lag(&self.shard, 0);
        }
        drop(allowance);
        if end || self.saved.elapsed() >= CURSOR_INTERVAL {
            self.save(end).await?;
        }
        Ok(())
    }

    /// Memory first, then the records.
    async fn read(&mut self) -> (Batch, Allowance) {
        loop {
            self.reader.turn().await;
            let mut allowance = self.delivery.budget.acquire(READ_ALLOWANCE).await;
            if let Some(batch) = self.reader.attempt().await {
                // The records, their documents, and the body that is being sent.
                allowance.shrink_to(batch.footprint_max() * 2);
                return (batch, allowance);
            }
        }
    }

    /// Leaves records out that are older than allowed, and goes on where they are not.
    fn skip(&mut self, records: &[Record]) -> bool {
        let (Some(max_lag), Some(first)) = (self.delivery.settings.max_lag, records.first()) else {
            return false;
        };
        let max_lag = i64::try_from(max_lag.as_millis()).unwrap_or(i64::MAX);
        let now = start::now().as_millis();
        if now - first.arrival.as_millis() <= max_lag {
            return false;
        }
        // Half of what is allowed: catching up must not end where it began.
        let target = now - max_lag / 2;
        let skipped = target - first.arrival.as_millis();
        let inside = records
            .iter()
            .filter(|record| record.arrival.as_millis() < target)
            .count();
        self.delivery.metrics.skipped(inside as u64, skipped);
        tracing::warn!(shard = %self.shard, skipped_ms = skipped, "elasticsearch is too far behind: skipping forward");
        let origin = Arrival::from_millis(target).map_or(self.delivery.origin, Origin::At);
        self.reader = self.delivery.reader(&self.shard, origin, None);
        true
    }

    /// Sends every document of these records, in bodies of the size that is set.
    async fn send(&self, records: Vec<Record>) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut oldest = None;
        for record in records {
            for document in self.documents(&record) {
                if bytes + document.bytes() > self.delivery.settings.batch_bytes && !batch.is_empty() {
                    self.send_batch(std::mem::take(&mut batch), oldest.take()).await;
                    bytes = 0;
                }
                bytes += document.bytes();
                oldest.get_or_insert(record.arrival);
                batch.push(document);
            }
            tokio::task::consume_budget().await;
        }
        if !batch.is_empty() {
            self.send_batch(batch, oldest).await;
        }
    }

    /// The documents of one record: one, or those of an aggregate.
    fn documents(&self, record: &Record) -> Vec<Document> {
        let place = format!("{}:{}", self.shard, record.sequence_number);
        let index = self.delivery.settings.index.index(record.arrival);
        let mut documents = Vec::new();
        let mut add = |id: &str, data: &[u8]| match line::json_line(data, &[]) {
            Ok((line, _)) => documents.push(Document::new(&index, id, &line)),
            Err(_) => self.delivery.metrics.documents(Delivered::NotJson, 1),
        };
        if !kpl::is_aggregate(&record.data) {
            add(&place, &record.data);
            return documents;
        }
        match kpl::open(&record.data) {
            Ok(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    add(&format!("{place}:{index}"), part.data);
                }
            }
            Err(_) => self.delivery.metrics.documents(Delivered::NotJson, 1),
        }
        documents
    }

    /// Sends until each document is delivered or refused for good.
    async fn send_batch(&self, mut documents: Vec<Document>, oldest: Option<Arrival>) {
        let delivery = self.delivery;
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        // After a body that was too large, fewer at a time.
        let mut at_once = documents.len();
        while !documents.is_empty() {
            let age = oldest.map_or(0, |oldest| start::now().as_millis() - oldest.as_millis());
            delivery.metrics.lag(&self.shard, age);
            let count = at_once.min(documents.len());
            match self.request(&documents[..count]).await {
                Ok(outcomes) => {
                    if outcomes.iter().any(|outcome| *outcome != Outcome::Again) {
                        backoff.reset();
                    }
                    let is_throttled = outcomes.contains(&Outcome::Again);
                    let mut outcomes = outcomes.iter();
                    // Those beyond this request have no outcome and stay.
                    documents.retain(|_| outcomes.next().is_none_or(|outcome| *outcome == Outcome::Again));
                    if is_throttled {
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                }
                Err(failed) if failed.failure == RequestFailure::TooLarge && count == 1 => {
                    delivery.metrics.documents(Delivered::Refused, 1);
                    documents.remove(0);
                }
                Err(failed) if failed.failure == RequestFailure::TooLarge => at_once = count / 2,
                Err(failed) => {
                    let pause = backoff.next_delay();
                    let (failure, detail) = (failed.failure.as_str(), failed.detail);
                    tracing::warn!(shard = %self.shard, failure, detail, pause_ms = pause.as_millis(), "elasticsearch: a request failed and is tried again");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn request(&self, documents: &[Document]) -> Result<Vec<Outcome>, FailedRequest> {
        let delivery = self.delivery;
        // Never closed.
        let _turn = delivery.requests.acquire().await;
        let body = bulk::body(documents);
        let (started, bytes) = (Instant::now(), body.len());
        let answered = delivery.client.bulk(body).await;
        delivery.metrics.request(
            started.elapsed(),
            answered.as_ref().err().map(|failed| failed.failure),
        );
        let outcomes = bulk::outcomes(&answered?, documents.len()).map_err(|_| {
            delivery.metrics.request_failed(RequestFailure::Answer);
            RequestFailure::Answer
        })?;
        delivery.metrics.sent(bytes, &outcomes);
        Ok(outcomes)
    }

    async fn save(&mut self, is_ended: bool) -> Result<(), Stopped> {
        self.saved = Instant::now();
        if is_ended || self.after != self.cursor.position().after {
            self.cursor.advance(self.after.clone(), is_ended).await?;
        }
        Ok(())
    }
}

impl Delivery {
    fn reader(&self, shard: &ShardId, origin: Origin, after: Option<SequenceNumber>) -> Reader {
        let (client, stream) = (&self.kinesis, &self.stream);
        Reader::new(
            client,
            stream,
            shard,
            origin,
            after,
            self.settings.pace,
            &self.reader_metrics,
        )
    }
}
