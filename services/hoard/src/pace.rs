//! How often a shard is asked: within Kinesis' limits, and gently, for others may read it too.
//!
//! Kinesis allows 5 GetRecords calls and 2 MB a second and shard, for all consumers together
//! (<https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>). While reading is
//! behind, calls follow each other at the poll interval, or as much later as their bytes take at the
//! read rate; when it is not, at the idle interval. Each throttled call doubles the poll interval, up
//! to `SLOWEST` times; each that is answered brings it back by one `RECOVERY`th of what is too much.

use std::time::Duration;

/// The poll interval is stretched at most so often.
const SLOWEST: f64 = 16.0;
/// A shard that others read too is found out in a few calls, and forgotten in some dozens.
const RECOVERY: f64 = 8.0;

/// How often a shard is asked, as it is set.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between calls while reading is behind.
    pub behind: Duration,
    /// Between calls when the last answer was up to date.
    pub idle: Duration,
    /// At most so much is read of a shard.
    pub bytes_per_second: u64,
}

/// How often one shard is asked now.
#[derive(Clone, Debug)]
pub struct Pacer {
    pace: Pace,
    stretch: f64,
}

impl Pacer {
    /// Begins at the set pace.
    pub fn new(pace: Pace) -> Self {
        Self { pace, stretch: 1.0 }
    }

    /// From one call to the next whatever the first brings.
    pub fn least(&self) -> Duration {
        self.pace.behind.mul_f64(self.stretch)
    }

    /// From the call that was answered with so many bytes to the next.
    pub fn answered(&mut self, bytes: usize, up_to_date: bool) -> Duration {
        self.stretch -= (self.stretch - 1.0) / RECOVERY;
        let spent = Duration::from_secs_f64(bytes as f64 / self.pace.bytes_per_second as f64);
        let idle = if up_to_date {
            self.pace.idle
        } else {
            Duration::ZERO
        };
        self.least().max(spent).max(idle)
    }

    /// The last call was throttled.
    pub fn throttled(&mut self) {
        self.stretch = (self.stretch * 2.0).min(SLOWEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        behind: Duration::from_millis(250),
        idle: Duration::from_secs(1),
        bytes_per_second: 2_000_000,
    };

    #[test]
    fn full_answers_are_read_at_the_shards_rate_and_small_ones_at_the_poll_interval() {
        let mut pacer = Pacer::new(PACE);
        assert_eq!(pacer.answered(2_000_000, false), Duration::from_secs(1));
        assert_eq!(pacer.answered(10_000_000, false), Duration::from_secs(5));
        assert_eq!(pacer.answered(1000, false), Duration::from_millis(250));
        assert_eq!(pacer.answered(1000, true), Duration::from_secs(1));
    }

    #[test]
    fn a_shard_that_is_throttled_is_asked_less_and_then_as_before() {
        let mut pacer = Pacer::new(PACE);
        for _ in 0..10 {
            pacer.throttled();
        }
        assert_eq!(pacer.least(), Duration::from_secs(4));
        for _ in 0..60 {
            pacer.answered(0, false);
        }
        assert!(pacer.least() < Duration::from_millis(260));
    }
}
