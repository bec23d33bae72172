//! Receives messages: only what can start at once, nothing while access is refused, and with growing
//! pauses while the queue does not answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use service_runtime::backoff::Backoff;
use service_runtime::tasks::{TaskFailure, Tasks};
use service_runtime::{BoxError, Latch, Shutdown};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::circuit::{Admission, Circuit};
use crate::metrics::Metrics;
use crate::queue::{LONG_POLL, Message, SourceQueue};

/// SQS hands out at most ten messages a call.
const BATCH_MAX: usize = 10;
const RETRY_BASE: Duration = Duration::from_millis(500);
const RETRY_CAP: Duration = Duration::from_secs(30);
/// What of the drain deadline is kept for making unfinished messages visible again.
const RELEASE_SHARE: u32 = 5;

/// The receiving end of the queue.
pub(crate) struct Poll {
    pub(crate) queue: Arc<SourceQueue>,
    pub(crate) circuit: Arc<Circuit>,
    pub(crate) concurrency: usize,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shutdown: Shutdown,
    pub(crate) latch: Latch,
}

/// Places for messages in hand.
struct Permits {
    messages: Arc<Semaphore>,
    probes: Arc<Semaphore>,
}

/// A place; dropping it frees it.
struct Place {
    _message: OwnedSemaphorePermit,
    _probe: Option<OwnedSemaphorePermit>,
}

impl Permits {
    fn new(concurrency: usize) -> Self {
        Self {
            messages: Arc::new(Semaphore::new(concurrency)),
            probes: Arc::new(Semaphore::new(1)),
        }
    }

    /// All places that are free, up to `at_most`; waits for the first.
    async fn all(&self, at_most: usize) -> Vec<Place> {
        let first = acquire(&self.messages).await;
        let more = std::iter::from_fn(|| self.messages.clone().try_acquire_owned().ok());
        let places = std::iter::once(first).chain(more.take(at_most - 1));
        places
            .map(|message| Place {
                _message: message,
                _probe: None,
            })
            .collect()
    }

    /// One place, once the probe before it has ended.
    async fn probe(&self) -> Vec<Place> {
        let probe = Some(acquire(&self.probes).await);
        let message = acquire(&self.messages).await;
        vec![Place {
            _message: message,
            _probe: probe,
        }]
    }
}

async fn acquire(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    permits
        .clone()
        .acquire_owned()
        .await
        .expect("the semaphore is never closed")
}

impl Poll {
    /// Receives until a drain is requested, starting `handle` for each message, and then waits for
    /// those in hand. `handle` is told by the token when it has to give up.
    pub(crate) async fn run<F>(
        self,
        handle: impl Fn(Message, CancellationToken) -> F,
    ) -> Result<(), TaskFailure>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.metrics.in_flight_messages_max(self.concurrency);
        self.latch.open();
        let permits = Permits::new(self.concurrency);
        let give_up = CancellationToken::new();
        let mut in_hand = Tasks::new(self.shutdown.clone());
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        while let Some(mut places) = self.until_drained(self.places(&permits)).await {
            // After a failure the answer itself is news: it should not take a long poll to come.
            let wait = if backoff.tries() == 0 {
                LONG_POLL
            } else {
                Duration::ZERO
            };
            let received = self.queue.receive(places.len(), wait);
            match self.until_drained(received).await {
                None => break,
                Some(Ok(messages)) => {
                    self.latch.open();
                    backoff.reset();
                    for message in messages {
                        let place = places.pop();
                        let counted = self.metrics.received(message.sent_at);
                        let handled = handle(message, give_up.clone());
                        in_hand.spawn("message", async move {
                            handled.await;
                            drop((place, counted));
                            Ok::<_, BoxError>(())
                        });
                    }
                }
                Some(Err(failure)) => {
                    self.metrics.receive_failed(failure.failure.as_str());
                    tracing::warn!(error = %failure, "cannot receive");
                    self.latch.close(failure.to_string());
                    let pause = backoff.next_delay().max(RETRY_BASE / 4);
                    self.until_drained(tokio::time::sleep(pause)).await;
                }
            }
            while let Some(ended) = in_hand.join_next().now_or_never().flatten() {
                ended.1?;
            }
        }
        self.drain(in_hand, &give_up).await
    }

    /// Finishes what is in hand, and near the deadline gives up what is not finished.
    async fn drain(&self, mut in_hand: Tasks, give_up: &CancellationToken) -> Result<(), TaskFailure> {
        let deadline = self.shutdown.drain_deadline();
        let patience = tokio::time::sleep(deadline - deadline / RELEASE_SHARE);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                ended = in_hand.join_next() => match ended {
                    Some((_, outcome)) => outcome?,
                    None => return Ok(()),
                },
                () = &mut patience, if !give_up.is_cancelled() => {
                    tracing::warn!(messages = in_hand.len(), "giving up what is not finished; it will be delivered again");
                    give_up.cancel();
                }
            }
        }
    }

    /// Places for as many messages as may be received now, one at least.
    async fn places(&self, permits: &Permits) -> Vec<Place> {
        loop {
            let admission = self.circuit.admission();
            let places = match admission {
                Admission::WaitUntil(until) => {
                    tokio::time::sleep_until(until).await;
                    continue;
                }
                Admission::Probe => permits.probe().await,
                Admission::All => permits.all(BATCH_MAX).await,
            };
            // Waiting may have taken long.
            if self.circuit.admission() == admission {
                return places;
            }
        }
    }

    /// The outcome of `work`, or `None` if a drain is requested first. A receive that is dropped may
    /// have been answered with messages: they are visible again after their time-out.
    async fn until_drained<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.shutdown.requested() => None,
            done = work => Some(done),
        }
    }
}
