//! Keeps PutRecords calls going, several at a time, while there are records to send.
//!
//! It acts and does not decide: [`crate::batch`] says what goes out and what waits,
//! [`service_runtime::concurrency`] how many calls may be out, [`crate::put`] what became of a call. What Kinesis
//! did not take in time goes through [`crate::spooling`] to disk and comes back from there.
//!
//! A drain sends at once what clients wait for; what fails past its time to live goes to the spool.
//! What the spool holds stays there for the next start.

use std::{sync::Arc, time::Duration};

use service_runtime::concurrency::Concurrency;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    aggregate::Packing,
    backlog::{Backlog, Done},
    batch::{Bounds, Queue, Record},
    config::PublishSettings,
    metrics::Metrics,
    put::{Call, put},
    shard_map::ShardMaps,
    spooling::Spooling,
    stream::Stream,
};

/// How many requests can hand over their records while the publisher is busy. What they hold is
/// counted in the budget of bytes; this bounds the channel itself.
const SUBMISSIONS: usize = 1024;

/// How often the age of the spool is shown, and a disk that failed is tried again.
const SPOOL_TICK: Duration = Duration::from_secs(1);

/// The far end of the service: takes records from all requests and settles each.
pub(crate) struct Publisher {
    stream: Stream,
    settings: PublishSettings,
    submissions: mpsc::Receiver<Vec<Record>>,
    /// Where to pack events by; None: each is a record of its own.
    maps: Option<Arc<ShardMaps>>,
    /// The spool, and what the queue has to know of it.
    spool: Option<(Spooling, Backlog)>,
    metrics: Arc<Metrics>,
}

impl Publisher {
    pub(crate) fn new(
        stream: Stream,
        settings: PublishSettings,
        maps: Option<Arc<ShardMaps>>,
        spool: Option<(Spooling, Backlog)>,
        metrics: &Arc<Metrics>,
    ) -> (Self, mpsc::Sender<Vec<Record>>) {
        let (sender, submissions) = mpsc::channel(SUBMISSIONS);
        let metrics = Arc::clone(metrics);
        (
            Self {
                stream,
                settings,
                submissions,
                maps,
                spool,
                metrics,
            },
            sender,
        )
    }

    /// Works until nobody can submit any more and every record is settled.
    ///
    /// # Errors
    /// When a call or the spool panicked: the keys in hand are unknown then, so that order could not
    /// be kept. The records they held have settled themselves as `retry`, or are on disk.
    pub(crate) async fn run(mut self) -> Result<(), JoinError> {
        let (mut spooling, backlog) = self.spool.take().unzip();
        let mut queue = Queue::new(self.bounds(0, 1), backlog);
        let mut tick = interval(SPOOL_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut concurrency = Concurrency::new(self.settings.concurrency);
        let mut calls = JoinSet::new();
        let mut accepting = true;
        loop {
            let allowed = concurrency.allowed();
            self.metrics.put_concurrency_limit.set(to_gauge(allowed));
            queue.set_bounds(self.bounds(calls.len(), allowed));
            self.send_due(&mut queue, &mut calls, allowed, !accepting);
            if let Some(spooling) = spooling.as_mut().filter(|spooling| spooling.is_idle())
                && let Some(work) = queue.spool_work(accepting)
            {
                spooling.start(work);
            }
            // Asked after sending, which also gives up what waited too long: with nothing accepted
            // and nothing queued, there is nothing left to wait for.
            let working = spooling.as_ref().is_some_and(Spooling::is_working);
            let failed = spooling.as_ref().is_some_and(Spooling::has_failed);
            if !accepting && queue.is_drained(failed) && calls.is_empty() && !working {
                return Ok(());
            }
            // With every call in use only a call that ends can change anything.
            let due = queue
                .next_due()
                .filter(|_| calls.len() < allowed && (accepting || queue.has_clients()));
            tokio::select! {
                Some(ended) = calls.join_next() => {
                    let call: Call = ended?;
                    let now = Instant::now();
                    concurrency.ended(call.load(), call.started, now);
                    queue.complete(call.batch, &call.verdicts, now);
                }
                Some(done) = worked(&mut spooling) => queue.spool_done(done?, Instant::now()),
                _ = tick.tick(), if spooling.is_some() => {
                    if let Some(spooling) = &mut spooling {
                        spooling.tick();
                        if spooling.has_failed() {
                            spooling.start(queue.spool_work(accepting).unwrap_or_default());
                        }
                    }
                }
                submitted = self.submissions.recv(), if accepting => match submitted {
                    Some(records) => self.enqueue(&mut queue, records),
                    None => accepting = false,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// The settings, within what the stream is known to take at this moment and what is out already.
    fn bounds(&self, out: usize, allowed: usize) -> Bounds {
        Bounds {
            records: self.settings.batch_records,
            bytes: self.settings.batch_bytes.min(self.stream.limits().call_bytes()),
            linger: adapted(self.settings.linger, out, allowed),
            time_to_live: self.settings.time_to_live,
        }
    }

    /// How events are packed, if they are and the shards are known.
    fn packing(&self) -> Option<Packing> {
        let map = self.maps.as_ref()?.current()?;
        let bytes = self.settings.aggregate_bytes;
        Some(Packing { map, bytes })
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

    /// An idle publisher sends at once. While calls are out, records gather for the linger, so that
    /// the busier the service is the fuller its calls are.
    fn send_due(&self, queue: &mut Queue, calls: &mut JoinSet<Call>, allowed: usize, draining: bool) {
        let packing = self.packing();
        while calls.len() < allowed && (!draining || queue.has_clients()) {
            let eager = draining || calls.is_empty();
            let Some(batch) = queue.take(Instant::now(), eager, packing.as_ref()) else {
                return;
            };
            self.metrics.batch(&batch);
            let (stream, maps) = (self.stream.clone(), self.maps.clone());
            calls.spawn(put(stream, batch, maps, Arc::clone(&self.metrics)));
            queue.set_bounds(self.bounds(calls.len(), allowed));
        }
    }
}

/// How long a record waits for company: nothing while no call is out, all of the setting once every
/// call is. In between there is room for calls that are not full.
fn adapted(linger: Duration, out: usize, allowed: usize) -> Duration {
    linger.mul_f64((out as f64 / allowed.max(1) as f64).min(1.0))
}

/// What the spool has done; never, if it does nothing.
async fn worked(spooling: &mut Option<Spooling>) -> Option<Result<Done, JoinError>> {
    spooling.as_mut()?.ended().await
}

fn to_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "publish/tests.rs"]
mod tests;
