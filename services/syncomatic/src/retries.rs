//! How many tries after the first there may be, over all objects.
//!
//! When a side is down every call fails, and retries multiply what it has to take. So each first try
//! pays a part of a token into a common purse and each retry takes a whole one: retries are a fixed
//! share of the work, with some put by for a short fault. What may not be retried now is left in the
//! queue, which delivers it again later.

use std::sync::{Mutex, PoisonError};

use service_runtime::Shutdown;
use service_runtime::backoff::Backoff;

use crate::copy::Copier;
use crate::failure::{CopyFailure, Remedy};

/// What each first try pays in: one retry for five of them.
const SHARE: f64 = 0.2;
/// The most that is put by, and what there is at the start.
const SAVED_MAX: f64 = 100.0;

/// The purse.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    tokens: Mutex<f64>,
}

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self {
            tokens: Mutex::new(SAVED_MAX),
        }
    }

    /// A first try begins.
    pub(crate) fn first_try(&self) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        *tokens = (*tokens + SHARE).min(SAVED_MAX);
    }

    /// Whether there may be another try now; if so it is paid for.
    pub(crate) fn retry(&self) -> bool {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = *tokens >= 1.0;
        if enough {
            *tokens -= 1.0;
        }
        enough
    }
}

/// Tries until it is done, will not be done by trying, or the tries are used up; a drain ends the pauses,
/// not a try that is under way. `label` stands for the work in log lines.
pub(crate) async fn with_retries<T, F>(
    copier: &Copier,
    shutdown: &Shutdown,
    label: &str,
    attempt: impl Fn() -> F,
) -> Result<T, CopyFailure>
where
    F: Future<Output = Result<T, CopyFailure>>,
{
    let limits = &copier.limits;
    let mut backoff = Backoff::new(limits.backoff_base, limits.backoff_cap);
    copier.retries.first_try();
    loop {
        let failure = match Box::pin(attempt()).await {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        if failure.is_mismatch() {
            copier.metrics.checksum_mismatch();
        }
        let pause = backoff.next_delay();
        let again = failure.remedy() == Remedy::Retry && backoff.tries() < limits.tries;
        if !again || shutdown.is_requested() || !copier.retries.retry() {
            return Err(failure);
        }
        copier.metrics.retried(failure.cause());
        tracing::info!(object = label, error = %failure, "trying again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_work_once_the_savings_are_spent() {
        let budget = RetryBudget::new();
        assert_eq!((0..1_000).filter(|_| budget.retry()).count(), 100);
        let retried = (0..1_000).filter(|_| {
            budget.first_try();
            budget.retry()
        });
        assert!((199..=200).contains(&retried.count()));
    }

    #[test]
    fn no_more_is_saved_than_the_most() {
        let budget = RetryBudget::new();
        (0..10_000).for_each(|_| budget.first_try());
        assert_eq!((0..1_000).filter(|_| budget.retry()).count(), 100);
    }
}
