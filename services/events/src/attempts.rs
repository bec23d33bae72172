//! How often an address may present credentials that prove nothing.
//!
//! Each address has a bucket of tokens that fills up again with time. A failed attempt takes one; once
//! there is none, failed attempts are answered 429 and told to wait, an unknown key and a wrong secret
//! alike. Right credentials take none and are always let in: many devices share an address, and one
//! that is misconfigured must not shut the others out. Nobody guesses 256 random bits; what is bounded
//! here is the noise. Memory is bounded too: of more addresses than [`ADDRESSES`], the one that was
//! quiet the longest is forgotten.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderName};
use lru::LruCache;

use crate::{metrics::Metrics, refusal::Refusal};

/// How many addresses are remembered: about 6 MiB.
const ADDRESSES: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// The address of whoever opened the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// How often attempts may fail.
#[derive(Clone, Debug)]
pub struct AttemptSettings {
    /// How many may fail in a row.
    pub burst: u32,
    /// How long until one more may fail.
    pub refill: Duration,
    /// The header in which a trusted edge names the client's address.
    pub address_header: Option<HeaderName>,
}

/// The failed attempts of every address.
pub(crate) struct FailedAttempts {
    settings: AttemptSettings,
    buckets: Mutex<LruCache<IpAddr, Bucket>>,
    metrics: Arc<Metrics>,
}

/// A bucket, told by the time at which it will be full again: with each token missing, that is one
/// refill later.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Instant,
}

impl FailedAttempts {
    pub(crate) fn new(settings: AttemptSettings, metrics: Arc<Metrics>) -> Self {
        Self {
            settings,
            buckets: Mutex::new(LruCache::new(ADDRESSES)),
            metrics,
        }
    }

    /// Refuses an address whose bucket is empty.
    pub(crate) fn check(&self, address: IpAddr, now: Instant) -> Result<(), Refusal> {
        let full_at = self.lock().peek(&address).map(|bucket| bucket.full_at);
        let missing = full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now));
        let room = self.settings.refill * (self.settings.burst - 1);
        match missing.checked_sub(room) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(wait) => {
                self.metrics.failed_attempt("refused");
                Err(Refusal::TooManyFailures { wait })
            }
        }
    }

    /// Takes a token. Of attempts that failed at the same time, all count.
    pub(crate) fn failed(&self, address: IpAddr, now: Instant) {
        let refill = self.settings.refill;
        let mut buckets = self.lock();
        let bucket = buckets.get_or_insert_mut(address, || Bucket { full_at: now });
        // Never below empty, however many fail at once: one refill later there is a token again.
        let limit = now + refill * self.settings.burst;
        bucket.full_at = (bucket.full_at.max(now) + refill).min(limit);
        self.metrics.failed_attempt("answered");
        self.metrics.addresses(buckets.len());
    }

    /// The address that a request is counted under: what the trusted edge says, else the peer's. An
    /// IPv6 address stands for its /64, which is one customer's (RFC 6177).
    pub(crate) fn address(&self, headers: &HeaderMap, Peer(peer): Peer) -> IpAddr {
        let header = self.settings.address_header.as_ref();
        let named = header.and_then(|name| nearest(headers, name));
        network(named.unwrap_or_else(|| peer.ip()))
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<IpAddr, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last address in the header: the one that the edge itself added. Those before it are whatever
/// the client wrote.
fn nearest(headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    let last = value.rsplit(',').next()?.trim();
    // Some edges write the port too, CloudFront that of an IPv6 address without brackets.
    let with_port = || last.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bare_port = || last.rsplit_once(':')?.0.parse().ok();
    last.parse().ok().or_else(with_port).or_else(bare_port)
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
#[path = "attempts/tests.rs"]
mod tests;
