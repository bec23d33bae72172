//! The time that the emulated services see: the system's, or one that a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use tokio::sync::Notify;

/// A wall clock; a cheap handle. Clones show the same time.
///
/// Arrival times, retention, iterators, visibility time-outs and delays follow it. Time-outs of a
/// connection and the length of a long poll are real time always.
#[derive(Clone, Debug)]
pub struct Clock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Where a stopped clock started, in milliseconds since the epoch; None runs with the system's.
    stopped_at_ms: Option<u64>,
    advanced_ms: AtomicU64,
    advanced: Notify,
}

impl Clock {
    /// Runs with the system's clock.
    pub fn system() -> Self {
        Self::starting(None)
    }

    /// Stands still at a time (milliseconds precision) until it is advanced.
    pub fn stopped_at(time: SystemTime) -> Self {
        Self::starting(Some(milliseconds(
            time.duration_since(UNIX_EPOCH).unwrap_or_default(),
        )))
    }

    fn starting(stopped_at_ms: Option<u64>) -> Self {
        let shared = Shared {
            stopped_at_ms,
            advanced_ms: AtomicU64::new(0),
            advanced: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Moves the clock forward; a running one keeps running from there.
    pub fn advance(&self, by: Duration) {
        self.shared
            .advanced_ms
            .fetch_add(milliseconds(by), Ordering::SeqCst);
        self.shared.advanced.notify_waiters();
    }

    /// The time it shows, in milliseconds since the epoch.
    pub fn now_ms(&self) -> u64 {
        let base = self.shared.stopped_at_ms.unwrap_or_else(|| {
            milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
        });
        base + self.shared.advanced_ms.load(Ordering::SeqCst)
    }

    /// The time that it shows as the `Date` of an answer (RFC 9110, section 5.6.7); `None` beyond the
    /// calendar.
    pub(crate) fn http_date(&self) -> Option<HeaderValue> {
        let time = jiff::Timestamp::from_millisecond(i64::try_from(self.now_ms()).ok()?).ok()?;
        HeaderValue::from_str(&time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
    }

    /// Returns once the clock may show the time: it was reached, or the clock was advanced.
    /// Waits for ever on a stopped clock that nobody advances.
    pub(crate) async fn wait_until(&self, time_ms: u64) {
        let advanced = self.shared.advanced.notified();
        let left = time_ms.saturating_sub(self.now_ms());
        if left == 0 {
            return;
        }
        if self.shared.stopped_at_ms.is_some() {
            return advanced.await;
        }
        tokio::select! {
            () = advanced => {}
            () = tokio::time::sleep(Duration::from_millis(left)) => {}
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_clock_moves_when_told_and_only_then() {
        let clock = Clock::stopped_at(UNIX_EPOCH + Duration::from_secs(100));
        let other = clock.clone();
        assert_eq!(clock.now_ms(), 100_000);
        other.advance(Duration::from_millis(5));
        assert_eq!(clock.now_ms(), 100_005);
    }

    #[test]
    fn answers_are_dated_by_it() {
        let clock = Clock::stopped_at(UNIX_EPOCH + Duration::from_secs(784_111_777));
        assert_eq!(
            clock.http_date().expect("a date"),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }

    #[test]
    fn a_running_clock_can_be_ahead() {
        let (clock, system) = (Clock::system(), Clock::system());
        clock.advance(Duration::from_hours(1));
        assert!(clock.now_ms() >= system.now_ms() + 3_590_000);
    }

    #[tokio::test]
    async fn advancing_wakes_who_waits() {
        let clock = Clock::stopped_at(UNIX_EPOCH);
        let waiting = clock.wait_until(10);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        clock.advance(Duration::from_millis(10));
        tokio::time::timeout(Duration::from_secs(10), waiting)
            .await
            .expect("woken");
    }
}
