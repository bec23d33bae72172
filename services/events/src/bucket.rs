//! A bucket of tokens that fills up again with time.
//!
//! A bucket is told by one moment: when it will be full. With each token missing that is a little
//! later. So nothing has to tick, and a bucket that nobody takes from costs nothing (the virtual
//! scheduling form of the generic cell rate algorithm, ITU-T I.371).

use std::time::{Duration, Instant};

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Tokens that come in a period; at least one.
    pub(crate) tokens: u32,
    pub(crate) period: Duration,
    /// Tokens of a full bucket; at least one.
    pub(crate) burst: u32,
}

impl Rate {
    /// How long it takes for so many tokens to come.
    fn time_for(self, tokens: u64) -> Duration {
        let nanoseconds = self.period.as_nanos() * u128::from(tokens) / u128::from(self.tokens.max(1));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// How long until `tokens` are there; nothing, if they are. More than a full bucket are never
    /// there at once: for those, how long until it is full.
    pub(crate) fn wait_for(self, tokens: u64, rate: Rate, now: Instant) -> Duration {
        let burst = u64::from(rate.burst);
        let may_be_missing = rate.time_for(burst - tokens.min(burst));
        let missing = self.full_at.saturating_duration_since(now);
        missing.saturating_sub(may_be_missing)
    }

    /// Takes tokens, whether or not they are there. What is owed is paid back before any are there
    /// again.
    pub(crate) fn take(&mut self, tokens: u64, rate: Rate, now: Instant) {
        self.full_at = self.full_at.max(now) + rate.time_for(tokens);
    }

    /// Forgives what is owed: the bucket is empty at most.
    pub(crate) fn forgive(&mut self, rate: Rate, now: Instant) {
        self.full_at = self.full_at.min(now + rate.time_for(rate.burst.into()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate {
        tokens: 10,
        period: Duration::from_secs(1),
        burst: 5,
    };

    #[test]
    fn more_than_a_full_bucket_waits_until_it_is_full_and_is_paid_back() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        assert_eq!(bucket.wait_for(20, RATE, start), Duration::ZERO, "it is full");
        bucket.take(20, RATE, start);
        assert_eq!(bucket.wait_for(1, RATE, start), Duration::from_millis(1_600));
        assert_eq!(bucket.wait_for(20, RATE, start), Duration::from_secs(2));
        let later = start + Duration::from_secs(2);
        assert_eq!(bucket.wait_for(20, RATE, later), Duration::ZERO);
    }

    proptest! {
        /// Who waits as long as told, and takes no more than the burst at a time, is let in and never
        /// gets more than the burst and what has come since.
        #[test]
        fn the_wait_is_exact_and_the_rate_is_never_exceeded(
            tokens in 1u32..1_000, burst in 1u32..50,
            takes in prop::collection::vec((1u64..50, 0u64..2_000), 1..100),
        ) {
            let rate = Rate { tokens, period: Duration::from_secs(1), burst };
            let start = Instant::now();
            let (mut bucket, mut now, mut taken) = (Bucket::full(start), start, 0);
            for (asked, pause) in takes {
                let asked = asked.min(burst.into());
                now += Duration::from_micros(pause);
                let wait = bucket.wait_for(asked, rate, now);
                if let Some(early) = wait.checked_sub(Duration::from_nanos(1)) {
                    prop_assert!(!bucket.wait_for(asked, rate, now + early).is_zero());
                }
                now += wait;
                prop_assert!(bucket.wait_for(asked, rate, now).is_zero());
                bucket.take(asked, rate, now);
                taken += asked;
                let come = (now - start).as_secs_f64() * f64::from(tokens);
                // Each take is rounded down to a nanosecond.
                prop_assert!(taken as f64 <= f64::from(burst) + come + 1e-3);
            }
        }
    }
}
