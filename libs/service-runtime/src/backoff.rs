//! Jittered, capped exponential delays between tries.
//!
//! Full jitter: each delay is drawn from `0..=min(cap, base × 2ⁿ)`, which spreads a crowd of
//! clients best (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).

use std::time::Duration;

/// The delays of one operation's tries.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    /// Starts with delays up to `base` and never exceeds `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, tries: 0 }
    }

    /// The delay before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self
            .base
            .saturating_mul(1_u32.checked_shl(self.tries).unwrap_or(u32::MAX))
            .min(self.cap);
        self.tries = self.tries.saturating_add(1);
        ceiling.mul_f64(rand::random::<f64>())
    }

    /// How many delays were handed out since the last success.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_cap_and_start_over_after_a_success() {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(base, cap);
        for tries in 0..200_u32 {
            let ceiling = base.saturating_mul(1 << tries.min(10)).min(cap);
            assert!(
                backoff.next_delay() <= ceiling,
                "try {tries} waits longer than {ceiling:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next_delay() <= base);
    }
}
