//! One request to drain, seen by every task, and the deadline that bounds it.
//!
//! The order is the same for every service: not ready → stop taking work → finish or hand over what
//! is in hand → exit. [`Shutdown::requested`] is the first arrow; [`crate::tasks::Tasks::join`]
//! enforces the last.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long a drain may take unless a setting says otherwise. Kubernetes kills a pod 30 s after
/// SIGTERM by default; this leaves it time to notice the exit.
pub const DEFAULT_DRAIN_DEADLINE: Duration = Duration::from_secs(25);

/// The request to drain. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    drain_deadline: Duration,
}

impl Shutdown {
    /// A shutdown that nobody has requested yet.
    pub fn new(drain_deadline: Duration) -> Self {
        Self {
            token: CancellationToken::new(),
            drain_deadline,
        }
    }

    /// Asks for a drain. Asking again changes nothing.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Whether a drain has been asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until a drain is asked for; returns at once if it has been. Safe to drop and call again.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// How long after the request everything must be finished.
    pub fn drain_deadline(&self) -> Duration {
        self.drain_deadline
    }

    /// The request as a token, for libraries that take one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}
