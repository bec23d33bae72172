//! One budget of bytes for all that is in flight.
//!
//! A request is admitted with the bytes it may bring, before its body is read; what it holds is
//! given back when the last of its records is settled, not when its client goes away. So the budget
//! bounds memory however slow Kinesis is and however many clients there are.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::Refusal;

/// What a request costs even if it brings next to nothing.
const MIN_COST: usize = 1024;

#[derive(Debug)]
pub(crate) struct Admission {
    budget: Arc<Semaphore>,
    in_flight: IntGauge,
}

impl Admission {
    pub(crate) fn new(budget_bytes: usize, in_flight: IntGauge) -> Self {
        Self {
            budget: Arc::new(Semaphore::new(budget_bytes)),
            in_flight,
        }
    }

    /// Admits `bytes`, or refuses at once: whoever would wait here holds a connection and memory.
    pub(crate) fn admit(&self, bytes: usize) -> Result<Admitted, Refusal> {
        let bytes = bytes.max(MIN_COST);
        let permit = take(&self.budget, bytes)?;
        self.in_flight.add(to_gauge(bytes));
        let budget = Arc::clone(&self.budget);
        Ok(Admitted {
            budget,
            permit,
            in_flight: self.in_flight.clone(),
        })
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    budget: Arc<Semaphore>,
    permit: OwnedSemaphorePermit,
    in_flight: IntGauge,
}

impl Admitted {
    /// Changes the share to what the request turned out to hold.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        let bytes = bytes.max(MIN_COST);
        let held = self.permit.num_permits();
        if bytes > held {
            self.permit.merge(take(&self.budget, bytes - held)?);
            self.in_flight.add(to_gauge(bytes - held));
        } else if let Some(surplus) = self.permit.split(held - bytes) {
            self.in_flight.sub(to_gauge(surplus.num_permits()));
        }
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.in_flight.sub(to_gauge(self.permit.num_permits()));
    }
}

fn take(budget: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
    let bytes = u32::try_from(bytes).map_err(|_| Refusal::Overloaded)?;
    Arc::clone(budget)
        .try_acquire_many_owned(bytes)
        .map_err(|_| Refusal::Overloaded)
}

fn to_gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(budget: usize) -> Admission {
        Admission::new(budget, IntGauge::new("bytes", "bytes").expect("a gauge"))
    }

    #[test]
    fn the_budget_is_never_exceeded_and_always_given_back() {
        let admission = admission(10_000);
        let first = admission.admit(6_000).expect("there is room");
        assert_eq!(admission.admit(6_000).expect_err("full"), Refusal::Overloaded);
        assert_eq!(admission.in_flight.get(), 6_000);
        drop(first);
        assert_eq!(admission.in_flight.get(), 0);
        admission.admit(10_000).expect("all of it is back");
    }

    #[test]
    fn a_share_grows_and_shrinks() {
        let admission = admission(10_000);
        let mut share = admission.admit(4_000).expect("there is room");
        share.resize(9_000).expect("there is room");
        assert_eq!(admission.in_flight.get(), 9_000);
        assert_eq!(share.resize(10_001), Err(Refusal::Overloaded));
        assert_eq!(admission.in_flight.get(), 9_000);
        share.resize(2_000).expect("less");
        assert_eq!(admission.in_flight.get(), 2_000);
        let other = admission.admit(8_000).expect("the rest");
        drop((share, other));
        assert_eq!(admission.in_flight.get(), 0);
    }

    #[test]
    fn an_empty_request_costs_something() {
        let admission = admission(MIN_COST);
        let _share = admission.admit(0).expect("there is room");
        admission.admit(0).expect_err("full");
    }
}
