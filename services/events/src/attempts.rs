//! How often an address may present credentials that prove nothing.
//!
//! Each address has a bucket of tokens that fills up again with time. A failed attempt takes one; once
//! there is none, failed attempts are answered 429 and told to wait, an unknown key and a wrong secret
//! alike. Right credentials take none and are always let in: many devices share an address, and one
//! that is misconfigured must not shut the others out. Nobody guesses 256 random bits; what is bounded
//! here is the noise. Memory is bounded too: of more addresses than [`ADDRESSES`], the one that was
//! quiet the longest is forgotten.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;

use crate::{
    bucket::{Bucket, Rate},
    metrics::Metrics,
    refusal::Refusal,
};

/// How many addresses are remembered: about 6 MiB.
const ADDRESSES: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// How often attempts may fail.
#[derive(Clone, Debug)]
pub struct AttemptSettings {
    /// How many may fail in a row.
    pub burst: u32,
    /// How long until one more may fail.
    pub refill: Duration,
}

/// The failed attempts of every address.
pub(crate) struct FailedAttempts {
    rate: Rate,
    buckets: Mutex<LruCache<IpAddr, Bucket>>,
    metrics: Arc<Metrics>,
}

impl FailedAttempts {
    pub(crate) fn new(settings: &AttemptSettings, metrics: Arc<Metrics>) -> Self {
        Self {
            rate: Rate {
                tokens: 1,
                period: settings.refill,
                burst: settings.burst,
            },
            buckets: Mutex::new(LruCache::new(ADDRESSES)),
            metrics,
        }
    }

    /// Refuses an address whose bucket is empty.
    pub(crate) fn check(&self, address: IpAddr, now: Instant) -> Result<(), Refusal> {
        let bucket = self.lock().peek(&network(address)).copied();
        let wait = bucket.map_or(Duration::ZERO, |bucket| bucket.wait_for(1, self.rate, now));
        if wait.is_zero() {
            return Ok(());
        }
        self.metrics.failed_attempt("refused");
        Err(Refusal::TooManyFailures { wait })
    }

    /// Takes a token. Of attempts that failed at the same time, all count.
    pub(crate) fn failed(&self, address: IpAddr, now: Instant) {
        let mut buckets = self.lock();
        let bucket = buckets.get_or_insert_mut(network(address), || Bucket::full(now));
        bucket.take(1, self.rate, now);
        // Never below empty, however many fail at once: one refill later there is a token again.
        bucket.forgive(self.rate, now);
        self.metrics.failed_attempt("answered");
        self.metrics.addresses(buckets.len());
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<IpAddr, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an address is counted under: an IPv6 address stands for its /64, which is one customer's
/// (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
#[path = "attempts/tests.rs"]
mod tests;
