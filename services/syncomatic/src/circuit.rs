//! Stops receiving while access is refused or a bucket is missing.
//!
//! Such a failure is seldom about one object, and every receive it wastes brings a message closer to
//! the dead letter queue. After a pause one message is let through; its success closes the circuit,
//! another refusal opens it for longer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service_runtime::Latch;
use tokio::time::Instant;

/// The pause grows up to this many times its base.
const PAUSE_GROWTH_MAX: u32 = 16;

/// Whether messages may be received.
pub(crate) struct Circuit {
    pause: Duration,
    state: Mutex<State>,
    latch: Latch,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
        growth: u32,
    },
}

/// How much may be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As much as can start.
    All,
    /// One message at a time.
    Probe,
    /// Nothing until then.
    WaitUntil(Instant),
}

impl Circuit {
    /// A closed circuit, shown by `latch`.
    pub(crate) fn new(pause: Duration, latch: Latch) -> Self {
        latch.open();
        Self {
            pause,
            state: Mutex::default(),
            latch,
        }
    }

    pub(crate) fn admission(&self) -> Admission {
        match *self.lock() {
            State::Closed => Admission::All,
            State::Open { until, .. } if Instant::now() >= until => Admission::Probe,
            State::Open { until, .. } => Admission::WaitUntil(until),
        }
    }

    /// Access was refused.
    pub(crate) fn refused(&self, reason: String) {
        let mut state = self.lock();
        let now = Instant::now();
        let growth = match *state {
            State::Closed => 1,
            // The pause is over, so this was the probe.
            State::Open { until, growth } if now >= until => (growth * 2).min(PAUSE_GROWTH_MAX),
            // Others in hand when it opened.
            State::Open { growth, .. } => growth,
        };
        *state = State::Open {
            until: now + self.pause * growth,
            growth,
        };
        self.latch.close(reason);
    }

    /// An object was brought into place. While the pause lasts this says nothing: it may have been
    /// under way before access was refused.
    pub(crate) fn succeeded(&self) {
        let mut state = self.lock();
        if let State::Open { until, .. } = *state
            && Instant::now() >= until
        {
            *state = State::Closed;
            self.latch.open();
        }
    }

    /// A panic elsewhere cannot leave the state half written.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use service_runtime::{Readiness, Shutdown};
    use tokio::time::advance;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn it_pauses_probes_and_pauses_longer_until_a_probe_succeeds() {
        let readiness = Readiness::new(Shutdown::new(Duration::from_secs(1)));
        let circuit = Circuit::new(PAUSE, readiness.latch("access"));
        assert_eq!(circuit.admission(), Admission::All);

        circuit.refused("denied".into());
        circuit.refused("denied".into());
        assert_eq!(readiness.reasons(), ["access: denied"]);
        assert_eq!(circuit.admission(), Admission::WaitUntil(Instant::now() + PAUSE));
        circuit.succeeded();
        assert_ne!(
            circuit.admission(),
            Admission::All,
            "a success during the pause is old news"
        );

        advance(PAUSE).await;
        assert_eq!(circuit.admission(), Admission::Probe);
        circuit.refused("still denied".into());
        assert_eq!(
            circuit.admission(),
            Admission::WaitUntil(Instant::now() + 2 * PAUSE)
        );

        advance(2 * PAUSE).await;
        circuit.succeeded();
        assert_eq!(circuit.admission(), Admission::All);
        assert!(readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_is_bounded() {
        let readiness = Readiness::new(Shutdown::new(Duration::from_secs(1)));
        let circuit = Circuit::new(PAUSE, readiness.latch("access"));
        for _ in 0..100 {
            circuit.refused("denied".into());
            let Admission::WaitUntil(until) = circuit.admission() else {
                panic!("open");
            };
            assert!(until <= Instant::now() + PAUSE * PAUSE_GROWTH_MAX);
            advance(until - Instant::now()).await;
        }
    }
}
