//! Sends requests over kept-alive connections, and counts what is answered.
//!
//! | loop | a request goes out | measures |
//! |---|---|---|
//! | [`closed`] | when the one before it on its connection is answered | processor time, and the most a service takes |
//! | [`open`] | at its own time, whatever became of those before it | latency |
//!
//! Latency counts from the moment at which a request was to be sent. A service that stands still for a
//! second so makes every request late that fell into that second, as it does for its users; counting
//! from the moment of sending would see one late request (coordinated omission).

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Deserialize;
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet, time::Instant};

/// The longest latency that is told apart, in microseconds: what takes longer counts as that.
const LONGEST_MICROS: u64 = 60_000_000;

/// Why load cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not a URL of the form that is taken.
    #[error("the URL must be http://HOST[:PORT][/PATH]")]
    Url,
    /// Nobody is there, or it hung up.
    #[error("{0}")]
    Connection(String),
}

/// Where requests go, and on whose behalf.
#[derive(Clone, Debug)]
pub struct Target {
    address: SocketAddr,
    authority: HeaderValue,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Target {
    /// Resolves `http://HOST[:PORT][/PATH]`; the path is `/v1/events` where there is none.
    ///
    /// # Errors
    /// When it is not such a URL, or the host is not known.
    pub async fn resolve(url: &str, key: &str, secret: &str) -> Result<Self, LoadError> {
        let credentials = BASE64_STANDARD.encode(format!("{key}:{secret}"));
        let mut authorization =
            HeaderValue::from_str(&format!("Basic {credentials}")).map_err(|_| LoadError::Url)?;
        authorization.set_sensitive(true);
        let mut target = Self::plain(url, &[(header::AUTHORIZATION, authorization)]).await?;
        if target.path == "/" {
            "/v1/events".clone_into(&mut target.path);
        }
        Ok(target)
    }

    /// Resolves `http://HOST[:PORT]/PATH`. Every request has these headers; the content type is JSON unless
    /// they say otherwise.
    ///
    /// # Errors
    /// When it is not such a URL, or the host is not known.
    pub async fn plain(url: &str, headers: &[(HeaderName, HeaderValue)]) -> Result<Self, LoadError> {
        let uri: Uri = url.parse().map_err(|_| LoadError::Url)?;
        let authority = uri.authority().ok_or(LoadError::Url)?;
        if uri.scheme_str() != Some("http") {
            return Err(LoadError::Url);
        }
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(80));
        let mut found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port))
            .await
            .map_err(|error| LoadError::Connection(format!("cannot find {host}: {error}")))?;
        let address = found.next().ok_or(LoadError::Url)?;
        let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self {
            address,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| LoadError::Url)?,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            headers: std::iter::once(&json).chain(headers).cloned().collect(),
        })
    }
}

/// A kept-alive connection.
#[derive(Debug)]
pub struct Connection {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends with the connection.
    _driver: JoinSet<()>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody is there.
    pub async fn open(target: &Target) -> Result<Self, LoadError> {
        let failed =
            |error: &dyn std::fmt::Display| LoadError::Connection(format!("cannot connect: {error}"));
        let stream = TcpStream::connect(target.address)
            .await
            .map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // How it ended is seen by the request that is under way.
            connection.await.unwrap_or_default();
        });
        Ok(Self {
            target: target.clone(),
            sender,
            _driver: driver,
        })
    }

    /// Posts a body and gives the whole answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn post(&mut self, body: Bytes) -> Result<(StatusCode, Bytes), LoadError> {
        self.post_with(&[], body).await
    }

    /// The same with more headers.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn post_with(
        &mut self,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), LoadError> {
        let broken = |error: hyper::Error| LoadError::Connection(format!("the connection broke: {error}"));
        let mut request = Request::post(self.target.path.as_str())
            .header(header::HOST, &self.target.authority)
            .body(Full::new(body))
            .map_err(|_| LoadError::Url)?;
        for (name, value) in self.target.headers.iter().chain(headers) {
            request.headers_mut().insert(name, value.clone());
        }
        self.sender.ready().await.map_err(broken)?;
        let (head, body) = self
            .sender
            .send_request(request)
            .await
            .map_err(broken)?
            .into_parts();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        Ok((head.status, body))
    }
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Requests that were answered.
    pub requests: u64,
    /// Requests that were not: the connection broke, and the next one goes over a new one.
    pub broken: u64,
    /// Events that were accepted.
    pub accepted: u64,
    /// Events that were recognised as sent before.
    pub duplicates: u64,
    /// Events that were refused.
    pub rejected: u64,
    /// Events that should be sent again.
    pub retry: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// How long answers took, in microseconds.
    pub micros: Histogram<u64>,
    /// How long it all took.
    pub took: Duration,
}

/// The numbers of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    accepted: u64,
    duplicate: u64,
    rejected: u64,
    retry: u64,
}

impl Loaded {
    fn new() -> Self {
        Self {
            requests: 0,
            broken: 0,
            accepted: 0,
            duplicates: 0,
            rejected: 0,
            retry: 0,
            statuses: BTreeMap::new(),
            micros: Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("sensible bounds"),
            took: Duration::ZERO,
        }
    }

    fn count(&mut self, answered: Result<(StatusCode, Bytes), LoadError>, latency: Duration) {
        let Ok((status, body)) = answered else {
            self.broken += 1;
            return;
        };
        self.requests += 1;
        *self.statuses.entry(status.as_u16()).or_default() += 1;
        self.micros
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST_MICROS));
        // Not every answer counts events: a problem with the whole request does not.
        let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
        self.accepted += answer.accepted;
        self.duplicates += answer.duplicate;
        self.rejected += answer.rejected;
        self.retry += answer.retry;
    }

    /// A latency by its quantile, 0.99 for that which one request in a hundred exceeds, in milliseconds.
    #[must_use]
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most LONGEST_MICROS")]
        let micros = self.micros.value_at_quantile(quantile) as f64;
        micros / 1e3
    }
}

/// What has been answered so far, for whoever wants to look.
pub type Progress = Arc<Mutex<Loaded>>;

/// Where the bodies come from; the load ends when there is none.
pub type Bodies = Arc<Mutex<dyn FnMut() -> Option<Bytes> + Send>>;

/// Bodies that are there already, so that making them takes no time while it counts.
#[must_use]
pub fn prepared(bodies: Vec<Bytes>) -> Bodies {
    let mut bodies = bodies.into_iter();
    Arc::new(Mutex::new(move || bodies.next()))
}

/// A progress at nothing.
#[must_use]
pub fn progress() -> Progress {
    Arc::new(Mutex::new(Loaded::new()))
}

/// What is counted under the lock cannot panic half way.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps one request out on each of so many connections until there are no bodies left.
///
/// # Errors
/// When no connection can be made.
pub async fn closed(target: &Target, connections: usize, bodies: &Bodies) -> Result<Loaded, LoadError> {
    let progress = progress();
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        let (bodies, progress) = (Arc::clone(bodies), Arc::clone(&progress));
        let mut connection = Connection::open(target).await?;
        workers.spawn(async move {
            while let Some(body) = next(&bodies) {
                let sent = Instant::now();
                let answered = connection.post(body).await;
                let broken = answered.is_err();
                lock(&progress).count(answered, sent.elapsed());
                if broken {
                    connection = Connection::open(&connection.target).await?;
                }
            }
            Ok(())
        });
    }
    finish(workers, &progress, started).await
}

fn next(bodies: &Bodies) -> Option<Bytes> {
    (lock(bodies))()
}

async fn finish(
    mut workers: JoinSet<Result<(), LoadError>>,
    progress: &Progress,
    started: Instant,
) -> Result<Loaded, LoadError> {
    while let Some(ended) = workers.join_next().await {
        ended.map_err(|error| LoadError::Connection(format!("a connection's task failed: {error}")))??;
    }
    let mut loaded = lock(progress).clone();
    loaded.took = started.elapsed();
    Ok(loaded)
}

/// When requests are to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Arrivals {
    /// Requests a second, on average.
    pub rate: f64,
    /// For how long.
    pub duration: Duration,
    /// Decides the gaps between them.
    pub seed: u64,
}

impl Arrivals {
    /// The moments, counted from the start. Independent clients arrive as a Poisson process: the gaps
    /// are exponential.
    fn offsets(self) -> impl Iterator<Item = Duration> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut at = 0.0;
        std::iter::repeat_with(move || {
            at -= (1.0 - rng.random::<f64>()).ln() / self.rate;
            Duration::from_secs_f64(at)
        })
        .take_while(move |offset| *offset < self.duration)
    }
}

/// Requests that were to be sent at these moments and are not taken up yet.
struct Due {
    moments: Mutex<VecDeque<Instant>>,
    /// A permit for each, and one for each worker when there will be no more.
    count: Semaphore,
}

/// Sends each request at its time, over whichever of so many connections is free then. Answers are
/// counted in `progress` as they come.
///
/// # Errors
/// When no connection can be made.
pub async fn open(
    target: &Target,
    connections: usize,
    arrivals: Arrivals,
    bodies: &Bodies,
    progress: &Progress,
) -> Result<Loaded, LoadError> {
    let due = Arc::new(Due {
        moments: Mutex::default(),
        count: Semaphore::new(0),
    });
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        let (bodies, due, progress) = (Arc::clone(bodies), Arc::clone(&due), Arc::clone(progress));
        let mut connection = Connection::open(target).await?;
        workers.spawn(async move {
            loop {
                let permit = due.count.acquire().await;
                permit
                    .map_err(|_| LoadError::Connection("nothing is due".to_owned()))?
                    .forget();
                let moment = lock(&due.moments).pop_front();
                let (Some(moment), Some(body)) = (moment, next(&bodies)) else {
                    return Ok(());
                };
                let answered = connection.post(body).await;
                let broken = answered.is_err();
                lock(&progress).count(answered, moment.elapsed());
                if broken {
                    connection = Connection::open(&connection.target).await?;
                }
            }
        });
    }
    let started = Instant::now();
    let clock = std::thread::spawn(move || announce(&due, arrivals, started, connections));
    let loaded = finish(workers, progress, started).await;
    clock
        .join()
        .map_err(|_| LoadError::Connection("the clock failed".to_owned()))?;
    loaded
}

/// Announces each request when its time has come. The runtime's timers count in milliseconds, which is
/// as long as an answer takes; this thread's are twenty times as fine.
#[expect(clippy::disallowed_methods, reason = "it is no thread of the runtime's")]
fn announce(due: &Due, arrivals: Arrivals, started: Instant, workers: usize) {
    for offset in arrivals.offsets() {
        let moment = started + offset;
        let wait = moment.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        lock(&due.moments).push_back(moment);
        due.count.add_permits(1);
    }
    due.count.add_permits(workers);
}

#[cfg(test)]
#[path = "load/tests.rs"]
mod tests;
