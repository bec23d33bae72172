//! How many events a client and a partner may send.
//!
//! Each has a bucket of tokens, and an event takes one from both, whatever becomes of it: one that is
//! rejected has cost its reading and judging. A request is charged as a whole or refused as a whole,
//! and a refusal takes nothing. One with more events than a bucket holds is let through when the
//! bucket is full, and what it owes is paid back before anything else is let through: so a batch of
//! any size gets through in the end, and the rate is kept.
//!
//! Buckets are kept by name, apart from the credentials: reading those again forgets no debt. The
//! quotas are those of one instance of the service.

use std::{
    fmt,
    num::NonZeroUsize,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;
use serde::{Deserialize, Serialize};

use crate::{
    bucket::{Bucket, Rate},
    credentials::Client,
    refusal::{Refusal, Scope},
};

/// How many clients, and partners, are remembered; beyond that the one that was quiet the longest is
/// forgotten. Only names in the credentials file get here.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// The fastest and the largest that can be asked for.
const MOST: u32 = 100_000_000;

/// `RATE` or `RATE:BURST`: events a second, and how many at once; as many as in a second, if not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quota {
    per_second: u32,
    burst: u32,
}

/// Why a text is no quota.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be RATE or RATE:BURST, events a second and events at once, each 1 to 100000000")]
pub struct InvalidQuota;

impl FromStr for Quota {
    type Err = InvalidQuota;

    fn from_str(text: &str) -> Result<Self, InvalidQuota> {
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text
                .parse()
                .ok()
                .filter(|number| digits && (1..=MOST).contains(number));
            number.ok_or(InvalidQuota)
        };
        let (rate, burst) = text.split_once(':').unwrap_or((text, text));
        Ok(Self {
            per_second: number(rate)?,
            burst: number(burst)?,
        })
    }
}

impl TryFrom<String> for Quota {
    type Error = InvalidQuota;

    fn try_from(text: String) -> Result<Self, InvalidQuota> {
        text.parse()
    }
}

impl From<Quota> for String {
    fn from(quota: Quota) -> Self {
        quota.to_string()
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.per_second, self.burst)
    }
}

impl Quota {
    fn rate(self) -> Rate {
        Rate {
            tokens: self.per_second,
            period: Duration::from_secs(1),
            burst: self.burst,
        }
    }
}

/// The quotas of whoever has none of their own in the credentials file.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuotaSettings {
    /// Of each client; without one, as many as it likes.
    pub client: Option<Quota>,
    /// Of each partner, all of its clients together.
    pub partner: Option<Quota>,
}

pub(crate) struct Quotas {
    settings: QuotaSettings,
    buckets: Mutex<Buckets>,
}

struct Buckets {
    clients: LruCache<Arc<str>, Bucket>,
    partners: LruCache<Arc<str>, Bucket>,
}

impl Quotas {
    pub(crate) fn new(settings: QuotaSettings) -> Self {
        let buckets = Mutex::new(Buckets {
            clients: LruCache::new(REMEMBERED),
            partners: LruCache::new(REMEMBERED),
        });
        Self { settings, buckets }
    }

    /// Charges the events of a request to its client and its partner, or refuses and charges neither.
    pub(crate) fn charge(&self, client: &Client, events: usize, now: Instant) -> Result<(), Refusal> {
        let own = client.quota().or(self.settings.client).map(Quota::rate);
        let shared = client.partner_quota().or(self.settings.partner).map(Quota::rate);
        if own.is_none() && shared.is_none() {
            return Ok(());
        }
        let events = events as u64;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = &mut *buckets;
        let mut own = own.map(|rate| (bucket(&mut buckets.clients, client.name(), now), rate));
        let mut shared = shared.map(|rate| (bucket(&mut buckets.partners, client.partner_name(), now), rate));
        let wait = |bucket: &Option<(&mut Bucket, Rate)>| {
            let wait = bucket
                .as_ref()
                .map(|(bucket, rate)| bucket.wait_for(events, *rate, now));
            wait.unwrap_or_default()
        };
        let (own_wait, shared_wait) = (wait(&own), wait(&shared));
        let wait = own_wait.max(shared_wait);
        if !wait.is_zero() {
            let scope = if own_wait >= shared_wait {
                Scope::Client
            } else {
                Scope::Partner
            };
            return Err(Refusal::OverQuota { scope, wait });
        }
        for (bucket, rate) in own.iter_mut().chain(&mut shared) {
            bucket.take(events, *rate, now);
        }
        Ok(())
    }
}

fn bucket<'b>(buckets: &'b mut LruCache<Arc<str>, Bucket>, name: &Arc<str>, now: Instant) -> &'b mut Bucket {
    buckets.get_or_insert_mut(Arc::clone(name), || Bucket::full(now))
}

#[cfg(test)]
#[path = "quota/tests.rs"]
mod tests;
