//! One memory budget for all shards, in bytes.
//!
//! Invariant: what buffers hold plus what reads in flight may bring never exceeds the budget. A read
//! takes its [`READ_ALLOWANCE`] before it is sent; when its records are encoded, the buffer keeps
//! what it grew by and the rest is given back. While somebody waits and buffers leave too little room,
//! the largest are asked to be cut; so a reader waits for a commit, never for ever. Reads in flight
//! give back by themselves: for their sake nothing is cut.
//!
//! Waiters are served in order (the semaphore is fair): a large demand is not starved by small ones.
//! Nobody waits while holding part of what it needs, so waiters cannot block each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;

/// What one GetRecords answer can hold in memory at worst: 10 MiB of records, their base64 in the
/// JSON answer, and slack (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>).
/// It also covers what encoding such an answer can add to a buffer, error lines included.
pub const READ_ALLOWANCE: u64 = 24 * 1024 * 1024;
/// The budget's unit: permits are counted in 32 bits.
const UNIT: u64 = 1024;

/// The budget. Clones share it.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

struct Shared {
    limit: u32,
    units: Arc<Semaphore>,
    state: Mutex<State>,
    metrics: Metrics,
}

#[derive(Default)]
struct State {
    next_lease: u64,
    leases: BTreeMap<u64, LeaseState>,
    /// What each waiter waits for, by ticket.
    waiting: BTreeMap<u64, u32>,
    next_ticket: u64,
}

struct LeaseState {
    held: u32,
    /// Its memory is on its way back: asked to cut, or committing.
    returning: bool,
    asked: Arc<Notify>,
}

/// Memory for something about to be read.
pub struct Allowance {
    permit: OwnedSemaphorePermit,
}

/// What one shard's buffer holds. Dropping it gives everything back.
pub struct Lease {
    id: u64,
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
    asked: Arc<Notify>,
}

impl Allowance {
    /// Gives back what turned out not to be needed.
    pub fn shrink_to(&mut self, bytes: u64) {
        let surplus = self.permit.num_permits().saturating_sub(to_units(bytes) as usize);
        drop(self.permit.split(surplus));
    }
}

impl Budget {
    /// A budget of `bytes`, rounded down to whole KiB.
    pub fn new(bytes: u64, metrics: Metrics) -> Self {
        let limit = to_units(bytes.saturating_sub(UNIT - 1));
        metrics.budget_limit(u64::from(limit) * UNIT);
        let units = Arc::new(Semaphore::new(limit as usize));
        Self {
            shared: Arc::new(Shared {
                limit,
                units,
                state: Mutex::default(),
                metrics,
            }),
        }
    }

    /// Takes `bytes`, waiting for them if need be. More than the whole budget is cut down to it: one
    /// that waits for more would wait for ever.
    pub async fn acquire(&self, bytes: u64) -> Allowance {
        let units = to_units(bytes).min(self.shared.limit);
        let waiting = Waiting::enter(self, units);
        let permit = Arc::clone(&self.shared.units).acquire_many_owned(units).await;
        drop(waiting);
        self.show();
        // The semaphore is never closed; if it were, waiting for ever is what its absence means.
        match permit {
            Ok(permit) => Allowance { permit },
            Err(_) => std::future::pending().await,
        }
    }

    /// An empty lease for one shard's buffer.
    pub fn lease(&self) -> Lease {
        let asked = Arc::new(Notify::new());
        let mut state = self.lock();
        let id = state.next_lease;
        state.next_lease += 1;
        state.leases.insert(
            id,
            LeaseState {
                held: 0,
                returning: false,
                asked: Arc::clone(&asked),
            },
        );
        drop(state);
        Lease {
            id,
            budget: self.clone(),
            permit: None,
            asked,
        }
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        let free = u32::try_from(self.shared.units.available_permits()).unwrap_or(u32::MAX);
        u64::from(self.shared.limit.saturating_sub(free)) * UNIT
    }

    /// Asks the largest buffers to be cut until those that stay leave room for the most demanding
    /// waiter, and a quarter of the budget, so that shards need not read one at a time.
    fn relieve(&self, state: &mut State) {
        let Some(needed) = state.waiting.values().max().copied() else {
            return;
        };
        let room = needed.max(self.shared.limit / 4);
        let staying = |state: &State| -> u32 {
            let leases = state.leases.values().filter(|lease| !lease.returning);
            leases.map(|lease| lease.held).sum()
        };
        while self.shared.limit.saturating_sub(staying(state)) < room {
            let candidates = state
                .leases
                .values_mut()
                .filter(|lease| !lease.returning && lease.held > 0);
            let Some(largest) = candidates.max_by_key(|lease| lease.held) else {
                return;
            };
            largest.returning = true;
            largest.asked.notify_one();
        }
    }

    fn show(&self) {
        self.shared.metrics.budget_used(self.used());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Being in the queue; leaves it when dropped, whether served or given up.
struct Waiting<'a> {
    budget: &'a Budget,
    ticket: u64,
}

impl<'a> Waiting<'a> {
    fn enter(budget: &'a Budget, units: u32) -> Self {
        let mut state = budget.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.insert(ticket, units);
        budget.relieve(&mut state);
        Self { budget, ticket }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.budget.lock().waiting.remove(&self.ticket);
    }
}

impl Lease {
    /// Waits until this buffer is asked to be cut. Safe to drop and call again.
    pub async fn asked_to_cut(&self) {
        loop {
            self.asked.notified().await;
            // A question that was answered by a cut for another reason is no longer one.
            if self
                .budget
                .lock()
                .leases
                .get(&self.id)
                .is_some_and(|lease| lease.returning)
            {
                return;
            }
        }
    }

    /// The buffer now holds `footprint` bytes: keeps what it grew by out of `allowance` and gives the
    /// rest back.
    pub fn settle(&mut self, footprint: usize, mut allowance: Allowance) {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = to_units(footprint as u64) as usize;
        let grown = wanted.saturating_sub(held).min(allowance.permit.num_permits());
        debug_assert!(wanted <= held + grown, "an answer outgrew its allowance");
        if let Some(part) = allowance.permit.split(grown) {
            match &mut self.permit {
                Some(permit) => permit.merge(part),
                None => self.permit = Some(part),
            }
        }
        drop(allowance);
        self.update(false);
    }

    /// What is held is being committed and comes back soon.
    pub fn returning(&mut self) {
        self.update(true);
    }

    /// Gives everything back: the buffer is empty.
    pub fn release(&mut self) {
        self.permit = None;
        self.update(false);
    }

    fn update(&mut self, returning: bool) {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let mut state = self.budget.lock();
        if let Some(lease) = state.leases.get_mut(&self.id) {
            lease.held = u32::try_from(held).unwrap_or(u32::MAX);
            // A buffer that was asked stays asked until it is empty.
            lease.returning = held > 0 && (returning || lease.returning);
        }
        self.budget.relieve(&mut state);
        drop(state);
        self.budget.show();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.permit = None;
        let mut state = self.budget.lock();
        state.leases.remove(&self.id);
        self.budget.relieve(&mut state);
        drop(state);
        self.budget.show();
    }
}

fn to_units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const KIB: usize = 1024;

    fn budget(kib: u64) -> Budget {
        Budget::new(
            kib * 1024,
            Metrics::new(&prometheus::Registry::new()).expect("a new registry"),
        )
    }

    async fn filled(budget: &Budget, kib: usize) -> Lease {
        let mut lease = budget.lease();
        let allowance = budget.acquire((kib * KIB) as u64).await;
        lease.settle(kib * KIB, allowance);
        lease
    }

    #[tokio::test]
    async fn a_buffer_keeps_what_it_grew_by() {
        let budget = budget(100);
        let mut lease = budget.lease();
        let allowance = budget.acquire(50 * 1024).await;
        assert_eq!(budget.used(), 50 * 1024);
        lease.settle(10 * KIB, allowance);
        assert_eq!(budget.used(), 10 * 1024);
        lease.release();
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_waiter_has_the_largest_buffer_cut_and_only_it() {
        let budget = budget(100);
        let small = filled(&budget, 30).await;
        let mut large = filled(&budget, 60).await;
        let mut waiter = std::pin::pin!(budget.acquire(50 * 1024));
        assert!(waiter.as_mut().now_or_never().is_none(), "only 10 KiB are free");
        large.asked_to_cut().now_or_never().expect("the largest is asked");
        assert!(
            small.asked_to_cut().now_or_never().is_none(),
            "the largest would do"
        );
        large.release();
        assert!(waiter.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_buffer_that_is_being_committed_counts_as_coming_back() {
        let budget = budget(100);
        let mut committing = filled(&budget, 40).await;
        let other = filled(&budget, 60).await;
        committing.returning();
        let mut waiter = std::pin::pin!(budget.acquire(30 * 1024));
        assert!(waiter.as_mut().now_or_never().is_none());
        assert!(other.asked_to_cut().now_or_never().is_none());
        committing.release();
        assert!(waiter.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_question_that_was_answered_is_not_asked_again() {
        let budget = budget(100);
        let mut lease = filled(&budget, 100).await;
        let waiter = budget.acquire(50 * 1024);
        {
            let mut waiter = std::pin::pin!(waiter);
            assert!(waiter.as_mut().now_or_never().is_none());
            lease.release(); // cut for another reason before the question was heard
            assert!(waiter.now_or_never().is_some());
        }
        assert!(lease.asked_to_cut().now_or_never().is_none());
    }

    #[tokio::test]
    async fn reads_in_flight_come_back_without_a_cut() {
        let budget = budget(100);
        let lease = filled(&budget, 50).await;
        let in_flight = budget.acquire(40 * 1024).await;
        let mut waiter = std::pin::pin!(budget.acquire(40 * 1024));
        assert!(waiter.as_mut().now_or_never().is_none());
        assert!(lease.asked_to_cut().now_or_never().is_none());
        drop(in_flight);
        assert!(waiter.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_buffer_that_grows_while_somebody_waits_is_asked_then() {
        let budget = budget(100);
        let mut lease = filled(&budget, 50).await;
        let in_flight = budget.acquire(40 * 1024).await;
        let mut waiter = std::pin::pin!(budget.acquire(40 * 1024));
        assert!(waiter.as_mut().now_or_never().is_none());
        lease.settle(90 * KIB, in_flight);
        lease
            .asked_to_cut()
            .now_or_never()
            .expect("10 KiB are left and 40 are wanted");
    }

    #[tokio::test]
    async fn a_waiter_that_gave_up_asks_for_nothing() {
        let budget = budget(100);
        let mut lease = filled(&budget, 40).await;
        let in_flight = budget.acquire(60 * 1024).await;
        assert!(budget.acquire(60 * 1024).now_or_never().is_none(), "and gives up");
        lease.settle(90 * KIB, in_flight);
        assert!(lease.asked_to_cut().now_or_never().is_none());
    }

    #[tokio::test]
    async fn more_than_everything_is_everything() {
        let budget = budget(10);
        let allowance = budget.acquire(u64::MAX).await;
        assert_eq!(budget.used(), 10 * 1024);
        drop(allowance);
        assert_eq!(budget.used(), 0);
    }
}
