//! A limit on the bytes that all copies together move in a second.
//!
//! The line is modelled as busy until a moment: each chunk that has passed moves it on by the time that
//! the chunk takes at the configured rate, and nobody reads on while the line is busy for longer than
//! a short burst. Streams wait in turn, so that a large object does not starve small ones.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How far ahead of the rate chunks may pass: without it, timers' granularity would cost throughput.
const BURST: Duration = Duration::from_millis(50);

/// The limit, shared by all streams.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    bytes_per_second: u64,
    busy_until: Mutex<Option<Instant>>,
}

impl Bandwidth {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            busy_until: Mutex::new(None),
        }
    }

    /// Accounts for `bytes` that have passed; the moment from which on more may, if that is to come.
    pub(crate) fn passed(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = busy_until.map_or(now, |until| until.max(now)) + takes;
        *busy_until = Some(until);
        until.checked_sub(BURST).filter(|from| *from > now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever obeys never passes more than the rate and one burst, and one chunk.
        #[test]
        fn the_rate_is_kept(
            rate in 1_000..1_000_000_u64,
            chunks in proptest::collection::vec((1..100_000_usize, 0..500_u64), 1..100),
        ) {
            let bandwidth = Bandwidth::new(rate);
            let start = Instant::now();
            let (mut now, mut bytes) = (start, 0);
            for (chunk, idle) in chunks {
                now += Duration::from_millis(idle);
                let allowed = (now - start + BURST).as_secs_f64() * rate as f64;
                prop_assert!(bytes as f64 <= allowed + 1.0, "{bytes} of {allowed}");
                bytes += chunk;
                now = bandwidth.passed(chunk, now).unwrap_or(now);
            }
        }
    }

    #[test]
    fn an_idle_line_lets_a_burst_pass_at_once() {
        let bandwidth = Bandwidth::new(1_000_000);
        let now = Instant::now();
        assert_eq!(bandwidth.passed(50_000, now), None);
        assert_eq!(bandwidth.passed(50_000, now), Some(now + BURST));
        // What was not used while the line was idle is not saved up.
        assert_eq!(bandwidth.passed(50_000, now + Duration::from_secs(9)), None);
    }
}
