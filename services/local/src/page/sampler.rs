//! Asks the three services once a second for what they tell everybody: `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use service_runtime::Shutdown;
use tokio::time::MissedTickBehavior;

use super::exposition::Scrape;
use super::history::{Counts, History, Look, Point};
use crate::services::Addresses;

/// From one look to the next.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
/// A service that takes longer has not answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// An answer that is longer is not taken; the largest today has 41 KB.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What is known of the services.
#[derive(Debug)]
pub(crate) struct Sampler {
    http: reqwest::Client,
    admin: [(&'static str, SocketAddr); 3],
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    history: History,
    services: Vec<Service>,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) state: State,
    /// Why it is not ready, in its own words, or why it could not be asked.
    pub(crate) because: Vec<String>,
    /// Its metrics, for a person to read.
    pub(crate) metrics_url: String,
}

/// See [`Service`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Ready,
    NotReady,
    NoAnswer,
}

/// A service that could not be asked.
#[derive(Debug, thiserror::Error)]
enum Silent {
    #[error("it does not answer on {0}")]
    Unreachable(SocketAddr),
    #[error("its metrics are longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Malformed(#[from] super::exposition::Malformed),
}

impl Sampler {
    /// For the services at these addresses.
    pub(crate) fn new(http: reqwest::Client, at: &Addresses) -> Self {
        Self {
            http,
            admin: [
                ("events", at.events_admin),
                ("hoard", at.hoard_admin),
                ("syncomatic", at.syncomatic_admin),
            ],
            known: Mutex::default(),
        }
    }

    /// Looks until `stop` is requested.
    pub(crate) async fn run(&self, stop: Shutdown) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The counters began with the program, just now.
        let mut before = Instant::now().checked_sub(INTERVAL).unwrap_or_else(Instant::now);
        while !stop.is_requested() {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.requested() => return,
            }
            let now = Instant::now();
            self.look(now.duration_since(before)).await;
            before = now;
        }
    }

    /// The state of each service, the counts, and the points from number `first` on.
    pub(crate) fn known(&self, first: u64) -> (Vec<Service>, Counts, Vec<Point>) {
        let known = self.lock();
        (
            known.services.clone(),
            known.history.counts(),
            known.history.points_from(first),
        )
    }

    async fn look(&self, since_last: Duration) {
        let [events, hoard, syncomatic] = self.admin;
        let (events, hoard, syncomatic) =
            tokio::join!(self.ask(events), self.ask(hoard), self.ask(syncomatic));
        let look = Look {
            events: events.1,
            hoard: hoard.1,
            syncomatic: syncomatic.1,
        };
        let mut known = self.lock();
        known.history.add(&look, unix_ms(), since_last.as_secs_f64());
        known.services = vec![events.0, hoard.0, syncomatic.0];
    }

    async fn ask(&self, (name, admin): (&'static str, SocketAddr)) -> (Service, Option<Scrape>) {
        let mut service = Service {
            name,
            state: State::NoAnswer,
            because: Vec::new(),
            metrics_url: format!("http://{admin}/metrics"),
        };
        let asked = async { Ok((self.reasons(admin).await?, self.scrape(admin).await?)) };
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(Ok((reasons, scrape))) => {
                service.state = if reasons.is_empty() {
                    State::Ready
                } else {
                    State::NotReady
                };
                service.because = reasons;
                (service, Some(scrape))
            }
            Ok(Err(silent)) => {
                service.because = vec![Silent::to_string(&silent)];
                (service, None)
            }
            Err(_) => {
                service.because = vec![format!("no answer within {ANSWER_TIMEOUT:?}")];
                (service, None)
            }
        }
    }

    /// Why it is not ready; none if it is.
    async fn reasons(&self, admin: SocketAddr) -> Result<Vec<String>, Silent> {
        let (ready, text) = self.get(admin, "readyz").await?;
        if ready {
            return Ok(Vec::new());
        }
        Ok(text.lines().map(str::to_owned).collect())
    }

    async fn scrape(&self, admin: SocketAddr) -> Result<Scrape, Silent> {
        let (_, text) = self.get(admin, "metrics").await?;
        Ok(Scrape::parse(&text)?)
    }

    /// Whether the answer is a good one, and its text.
    async fn get(&self, admin: SocketAddr, path: &str) -> Result<(bool, String), Silent> {
        let unreachable = |_| Silent::Unreachable(admin);
        let request = self.http.get(format!("http://{admin}/{path}"));
        let mut answer = request.send().await.map_err(unreachable)?;
        let good = answer.status().is_success();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(Silent::TooLong);
            }
        }
        Ok((good, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Nothing under the lock leaves it half changed.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unix time in milliseconds.
pub(crate) fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
