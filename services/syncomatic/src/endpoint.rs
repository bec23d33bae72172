//! One side's S3 as copies use it: the client, how many transfers may be out, and new connections
//! when the old ones have gone silent.
//!
//! An S3 that answers 503 is asked less at a time, and more again bit by bit
//! ([`service_runtime::concurrency`]). Each side has a window of its own: they throttle apart.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use aws_clients::Failure;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use service_runtime::concurrency::{Concurrency, Load};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::failure::{At, CopyFailure};

/// Connections are not renewed more often than this, however many copies stall together.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// One side's S3.
pub(crate) struct Endpoint {
    pub(crate) at: At,
    pub(crate) bucket: String,
    clients: RwLock<Clients>,
    window: Mutex<Window>,
    freed: Notify,
}

struct Clients {
    client: Client,
    /// The same without a read time-out: see [`without_read_timeout`].
    uploads: Client,
    renewed: Option<Instant>,
}

struct Window {
    concurrency: Concurrency,
    out: usize,
}

/// A transfer's place in the window, given back when dropped.
pub(crate) struct Place<'e> {
    endpoint: &'e Endpoint,
    started: Instant,
}

impl Endpoint {
    pub(crate) fn new(at: At, client: &Client, bucket: String, transfers_max: usize) -> Self {
        let client = checking_on_demand(client);
        Self {
            at,
            bucket,
            clients: RwLock::new(Clients {
                uploads: without_read_timeout(&client),
                client,
                renewed: None,
            }),
            window: Mutex::new(Window {
                concurrency: Concurrency::new(transfers_max),
                out: 0,
            }),
            freed: Notify::new(),
        }
    }

    pub(crate) fn client(&self) -> Client {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients.client.clone()
    }

    /// For calls that send a body of any length.
    pub(crate) fn uploads(&self) -> Client {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients.uploads.clone()
    }

    /// Waits until a transfer may begin.
    pub(crate) async fn place(&self) -> Place<'_> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // From here on a place that becomes free is not missed.
            freed.as_mut().enable();
            {
                let mut window = self.lock();
                if window.out < window.concurrency.allowed() {
                    window.out += 1;
                    return Place {
                        endpoint: self,
                        started: Instant::now(),
                    };
                }
            }
            freed.await;
        }
    }

    /// How many transfers may be out at the moment.
    pub(crate) fn allowed(&self) -> usize {
        self.lock().concurrency.allowed()
    }

    /// From now on every call opens a new connection. Those under way keep theirs.
    pub(crate) fn renew_connections(&self) {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if clients.renewed.is_some_and(|at| now < at + RENEWAL_PAUSE) {
            return;
        }
        let config = clients.client.config().to_builder();
        let config = config.http_client(aws_clients::http_client()).build();
        let client = Client::from_conf(config);
        *clients = Clients {
            uploads: without_read_timeout(&client),
            client,
            renewed: Some(now),
        };
        tracing::info!(side = %self.at, "new connections");
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Takes in how the transfer went.
    pub(crate) fn ended<T>(self, outcome: &Result<T, CopyFailure>) {
        let load = match outcome {
            Ok(_) => Load::Fits,
            Err(CopyFailure::Call(call))
                if call.at == self.endpoint.at && call.failure == Failure::Throttled =>
            {
                Load::TooMuch
            }
            Err(_) => Load::Unknown,
        };
        let mut window = self.endpoint.lock();
        window.concurrency.ended(load, self.started, Instant::now());
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.endpoint.lock().out -= 1;
        // All of them: the window may have grown by more than the one place.
        self.endpoint.freed.notify_waiters();
    }
}

/// A client that checks an answer's bytes only where it is asked to: copies are checked on their way, and
/// a failure of the SDK's own check looks like a broken connection.
fn checking_on_demand(client: &Client) -> Client {
    let config = client.config().to_builder();
    let config = config.response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    Client::from_conf(config.build())
}

/// A client whose calls may take as long as their bodies need. The SDK's read time-out counts from the
/// start of a request to its answer, the whole upload included; `stream::Progress` is what notices a
/// copy that has stopped.
fn without_read_timeout(client: &Client) -> Client {
    let timeouts = client
        .config()
        .timeout_config()
        .map(TimeoutConfig::to_builder)
        .unwrap_or_default();
    let config = client
        .config()
        .to_builder()
        .timeout_config(timeouts.disable_read_timeout().build());
    Client::from_conf(config.build())
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::config::BehaviorVersion;
    use futures::FutureExt;

    use super::*;
    use crate::failure::CallFailure;

    fn endpoint(transfers_max: usize) -> Endpoint {
        let config = aws_sdk_s3::Config::builder().behavior_version(BehaviorVersion::latest());
        let client = Client::from_conf(config.build());
        Endpoint::new(At::Source, &client, "bucket".into(), transfers_max)
    }

    fn throttled(at: At) -> Result<(), CopyFailure> {
        Err(CallFailure::of(at, "GetObject", Failure::Throttled).into())
    }

    #[tokio::test]
    async fn no_more_transfers_are_out_than_allowed_and_throttling_allows_fewer() {
        let endpoint = endpoint(4);
        let mut places = Vec::new();
        for _ in 0..4 {
            places.push(endpoint.place().await);
        }
        assert!(endpoint.place().now_or_never().is_none(), "four are out");
        places.pop().expect("a place").ended(&throttled(At::Destination));
        assert_eq!(endpoint.allowed(), 4, "the other side's throttling says nothing");
        places.pop().expect("a place").ended(&throttled(At::Source));
        assert_eq!(endpoint.allowed(), 2);
        assert!(endpoint.place().now_or_never().is_none(), "two are out still");
        drop(places.pop());
        endpoint
            .place()
            .now_or_never()
            .expect("one is out")
            .ended(&Ok(()));
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_when_a_place_is_given_back() {
        let endpoint = endpoint(1);
        let place = endpoint.place().await;
        let (_, waited) = tokio::join!(async { place.ended(&Ok(())) }, endpoint.place());
        waited.ended(&Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_not_renewed_all_the_time() {
        let endpoint = endpoint(1);
        let renewed = || endpoint.clients.read().expect("no panic").renewed;
        endpoint.renew_connections();
        let first = renewed();
        endpoint.renew_connections();
        assert_eq!(renewed(), first);
        tokio::time::advance(RENEWAL_PAUSE).await;
        endpoint.renew_connections();
        assert_ne!(renewed(), first);
    }
}
