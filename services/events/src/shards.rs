//! Which shards take the records, and which are hot.
//!
//! Kinesis names the shard of a record only once it has stored it; a throttled record is answered
//! without one. So each record carries how often it was throttled, and that is charged to the shard
//! that takes it in the end. A hot shard shows as one whose throttles grow while others' do not.
//!
//! Shard ids come and go with every reshard. The first [`LABELS`] get a label of their own, later
//! ones share `other`, so that the number of series is bounded.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use prometheus::IntCounterVec;

/// Shards with a label of their own.
const LABELS: usize = 256;
const OTHER: &str = "other";

/// What the shards took in one call: shard id → records, and how often these had been throttled.
pub(crate) type Taken<'a> = BTreeMap<&'a str, (u64, u64)>;

/// Counters by shard, with a bounded number of labels.
pub(crate) struct Shards {
    records: IntCounterVec,
    throttles: IntCounterVec,
    labels: Mutex<BTreeSet<String>>,
}

impl Shards {
    pub(crate) fn new(records: IntCounterVec, throttles: IntCounterVec) -> Self {
        let labels = Mutex::default();
        Self {
            records,
            throttles,
            labels,
        }
    }

    pub(crate) fn count(&self, taken: &Taken<'_>) {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        for (shard, (records, throttles)) in taken {
            if !labels.contains(*shard) && labels.len() < LABELS {
                labels.insert((*shard).to_owned());
            }
            let label = [if labels.contains(*shard) { *shard } else { OTHER }];
            self.records.with_label_values(&label).inc_by(*records);
            self.throttles.with_label_values(&label).inc_by(*throttles);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Opts, core::Collector};

    use super::*;

    #[test]
    fn labels_are_bounded_and_nothing_goes_uncounted() {
        let counter = |name| IntCounterVec::new(Opts::new(name, name), &["shard"]).expect("a counter");
        let shards = Shards::new(counter("records"), counter("throttles"));
        for number in 0..1_000 {
            let shard = format!("shardId-{number:012}");
            shards.count(&Taken::from([(shard.as_str(), (2, 1))]));
            shards.count(&Taken::from([("shardId-000000000007", (1, 0))]));
        }
        assert_eq!(
            shards.records.with_label_values(&["shardId-000000000007"]).get(),
            1_002
        );
        assert_eq!(
            shards
                .throttles
                .with_label_values(&["shardId-000000000007"])
                .get(),
            1
        );
        let families = shards.records.collect();
        let series = families[0].get_metric();
        assert_eq!(series.len(), LABELS + 1);
        let sum: f64 = series.iter().map(|metric| metric.get_counter().get_value()).sum();
        assert_eq!(sum, 3_000.0);
    }
}
