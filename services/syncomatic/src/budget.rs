//! The memory that copies may use together. A copy waits for its share before it reads a byte.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::metrics::Metrics;

/// What a stream has in memory at most: the HTTP client's read and write buffers, of 400 KiB each, a
/// chunk held back, and the TLS records in between.
const STREAM_BYTES: u64 = 1024 * 1024;
/// What is counted beside an object's bytes, for headers and state.
const OVERHEAD_BYTES: u64 = 16 * 1024;
/// The budget's unit: semaphores count at most 2⁶⁰ permits at a time, but acquire only 2³².
const BUDGET_UNIT_BYTES: u64 = 1024;

/// The memory that copies may use together, in bytes.
pub(crate) struct Budget {
    units: Semaphore,
    units_max: u32,
    metrics: Arc<Metrics>,
}

/// What streaming `size` bytes takes.
pub(crate) fn of_stream(size: u64) -> u64 {
    size.saturating_add(OVERHEAD_BYTES).min(STREAM_BYTES)
}

/// Memory that a copy has; dropping gives it back.
pub(crate) struct Reserved<'a> {
    units: SemaphorePermit<'a>,
    metrics: &'a Metrics,
}

impl Budget {
    pub(crate) fn new(bytes: u64, metrics: Arc<Metrics>) -> Self {
        let units_max = u32::try_from(bytes / BUDGET_UNIT_BYTES).unwrap_or(u32::MAX);
        metrics.in_flight_bytes_max(u64::from(units_max) * BUDGET_UNIT_BYTES);
        Self {
            units: Semaphore::new(units_max as usize),
            units_max,
            metrics,
        }
    }

    /// Waits for so much memory.
    pub(crate) async fn reserve(&self, bytes: u64) -> Option<Reserved<'_>> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES))
            .unwrap_or(u32::MAX)
            .min(self.units_max);
        // The semaphore is never closed.
        let units = self.units.acquire_many(units).await.ok()?;
        self.metrics
            .in_flight_bytes(units.num_permits() as i64 * BUDGET_UNIT_BYTES as i64);
        Some(Reserved {
            units,
            metrics: &self.metrics,
        })
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.metrics
            .in_flight_bytes(-(self.units.num_permits() as i64 * BUDGET_UNIT_BYTES as i64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn copies_wait_for_memory_and_give_it_back() {
        let metrics = Arc::new(Metrics::register(&prometheus::Registry::new()).expect("a new registry"));
        let budget = Budget::new(2 * STREAM_BYTES, metrics);
        let first = budget.reserve(of_stream(u64::MAX)).await;
        let second = budget.reserve(STREAM_BYTES).await;
        assert_eq!(budget.units.available_permits(), 0);
        drop(first);
        assert_eq!(
            budget.units.available_permits() as u64 * BUDGET_UNIT_BYTES,
            STREAM_BYTES
        );
        drop(second);
        assert_eq!(
            budget.units.available_permits() as u64 * BUDGET_UNIT_BYTES,
            2 * STREAM_BYTES
        );
    }
}
