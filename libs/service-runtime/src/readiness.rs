//! Latches: the program is ready when each part that matters has said so.
//!
//! A part takes a [`Latch`] when it is built, opens it once it can do its work, and closes it with a
//! reason when it no longer can. `/readyz` names every closed latch, so that an operator reads the
//! cause where the symptom shows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Shutdown;

/// The latches of one service. Clones share them.
#[derive(Clone, Debug)]
pub struct Readiness {
    latches: Arc<Mutex<Vec<LatchState>>>,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct LatchState {
    what: &'static str,
    closed_because: Option<String>,
}

/// One part's say in whether the service is ready. Dropping it leaves its last word standing.
#[derive(Debug)]
pub struct Latch {
    readiness: Readiness,
    index: usize,
}

impl Readiness {
    /// Not ready before the first latch is taken, nor once `shutdown` is requested. A service takes all
    /// its latches before it opens any.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            latches: Arc::default(),
            shutdown,
        }
    }

    /// Takes a latch for `what`, closed at first.
    pub fn latch(&self, what: &'static str) -> Latch {
        let mut latches = self.lock();
        latches.push(LatchState {
            what,
            closed_because: Some("starting".to_owned()),
        });
        Latch {
            readiness: self.clone(),
            index: latches.len() - 1,
        }
    }

    /// Whether every latch is open and no drain was requested.
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
    }

    /// Why the service is not ready, one sentence a cause; empty when it is.
    pub fn reasons(&self) -> Vec<String> {
        let draining = self
            .shutdown
            .is_requested()
            .then(|| "shutdown: draining".to_owned());
        let latches = self.lock();
        let unborn = latches.is_empty().then(|| "service: starting".to_owned());
        let closed = latches.iter().filter_map(|latch| {
            let reason = latch.closed_because.as_ref()?;
            Some(format!("{}: {reason}", latch.what))
        });
        draining.into_iter().chain(unborn).chain(closed).collect()
    }

    /// A panic elsewhere cannot leave a latch half written, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Vec<LatchState>> {
        self.latches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latch {
    /// Says that this part can do its work.
    pub fn open(&self) {
        self.set(None);
    }

    /// Says that it cannot, and why. The reason is shown to operators: no payload, no secret.
    pub fn close(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, closed_because: Option<String>) {
        let mut latches = self.readiness.lock();
        let latch = &mut latches[self.index];
        if latch.closed_because.is_none() != closed_because.is_none() {
            let reason = closed_because.as_deref();
            tracing::info!(
                part = latch.what,
                ready = reason.is_none(),
                reason,
                "readiness changed"
            );
        }
        latch.closed_because = closed_because;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ready_only_when_every_latch_is_open_and_nobody_asked_to_drain() {
        let shutdown = Shutdown::new(Duration::from_secs(1));
        let readiness = Readiness::new(shutdown.clone());
        assert_eq!(
            readiness.reasons(),
            ["service: starting"],
            "nobody has said that it is ready"
        );
        let stream = readiness.latch("stream");
        let bucket = readiness.latch("bucket");
        assert_eq!(readiness.reasons(), ["stream: starting", "bucket: starting"]);

        stream.open();
        bucket.open();
        assert!(readiness.is_ready());

        bucket.close("access denied");
        assert_eq!(readiness.reasons(), ["bucket: access denied"]);
        drop(bucket);
        assert!(!readiness.is_ready(), "a dropped latch keeps its last word");

        shutdown.request();
        assert_eq!(readiness.reasons()[0], "shutdown: draining");
    }
}
