//! The throughput limits of a shard, which are off unless asked for.
//!
//! <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>

/// What one shard takes and gives in a second. Off by default, so that a load test measures the
/// service under test; switch them on to see how it copes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KinesisLimits {
    /// Bytes of data and partition keys that PutRecord and PutRecords may add.
    pub write_bytes_per_second: u32,
    /// Records that PutRecord and PutRecords may add.
    pub write_records_per_second: u32,
    /// Calls of GetRecords.
    pub reads_per_second: u32,
    /// Bytes of data and partition keys that GetRecords may return. One call may return up to
    /// 10 MiB; the calls after it then fail until the average is met again.
    pub read_bytes_per_second: u32,
}

impl KinesisLimits {
    /// The limits of AWS: 1 MiB and 1,000 records in, 2 MiB and 5 calls out.
    pub const AWS: Self = Self {
        write_bytes_per_second: 1 << 20,
        write_records_per_second: 1_000,
        reads_per_second: 5,
        read_bytes_per_second: 2 << 20,
    };
}

/// What one shard used lately.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    write_bytes: Bucket,
    write_records: Bucket,
    reads: Bucket,
    read_bytes: Bucket,
}

impl Meter {
    /// Whether a record of this size may be added now; counts it if so.
    pub(crate) fn admits_record(&mut self, limits: &KinesisLimits, bytes: u32, now_ms: u64) -> bool {
        self.write_bytes.refill(limits.write_bytes_per_second, now_ms);
        self.write_records.refill(limits.write_records_per_second, now_ms);
        let admitted = self.write_bytes.has(bytes) && self.write_records.has(1);
        if admitted {
            self.write_bytes.take(bytes);
            self.write_records.take(1);
        }
        admitted
    }

    /// Whether a call of GetRecords is admitted now; counts it if so.
    pub(crate) fn admits_read(&mut self, limits: &KinesisLimits, now_ms: u64) -> bool {
        self.reads.refill(limits.reads_per_second, now_ms);
        self.read_bytes.refill(limits.read_bytes_per_second, now_ms);
        let admitted = self.reads.has(1) && self.read_bytes.has(1);
        if admitted {
            self.reads.take(1);
        }
        admitted
    }

    /// Counts what an admitted call returned.
    pub(crate) fn count_read_bytes(&mut self, bytes: u32) {
        self.read_bytes.take(bytes);
    }
}

/// A bucket that holds one second's worth and starts full; it can be overdrawn.
/// Counts in thousandths, so that a millisecond refills a whole number.
#[derive(Debug, Default)]
struct Bucket {
    used: u64,
    filled_ms: u64,
    capacity: u64,
}

impl Bucket {
    fn refill(&mut self, per_second: u32, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.filled_ms);
        self.used = self
            .used
            .saturating_sub(elapsed_ms.saturating_mul(u64::from(per_second)));
        self.filled_ms = self.filled_ms.max(now_ms);
        self.capacity = u64::from(per_second) * 1_000;
    }

    fn has(&self, amount: u32) -> bool {
        self.used + u64::from(amount) * 1_000 <= self.capacity
    }

    fn take(&mut self, amount: u32) {
        self.used += u64::from(amount) * 1_000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_a_thousand_records_and_refills() {
        let mut meter = Meter::default();
        let admitted = |meter: &mut Meter, now_ms| {
            (0..2_000)
                .filter(|_| meter.admits_record(&KinesisLimits::AWS, 10, now_ms))
                .count()
        };
        assert_eq!(admitted(&mut meter, 50_000), 1_000);
        assert_eq!(admitted(&mut meter, 50_100), 100);
        assert_eq!(admitted(&mut meter, 60_000), 1_000);
    }

    #[test]
    fn a_second_holds_a_mebibyte() {
        let mut meter = Meter::default();
        assert!(meter.admits_record(&KinesisLimits::AWS, 1 << 20, 0));
        assert!(!meter.admits_record(&KinesisLimits::AWS, 1, 0));
        assert!(meter.admits_record(&KinesisLimits::AWS, 1 << 19, 500));
    }

    #[test]
    fn ten_mebibytes_in_one_call_block_the_shard_for_almost_five_seconds() {
        let mut meter = Meter::default();
        assert!(meter.admits_read(&KinesisLimits::AWS, 0));
        meter.count_read_bytes(10 << 20);
        assert!(!meter.admits_read(&KinesisLimits::AWS, 3_999));
        assert!(meter.admits_read(&KinesisLimits::AWS, 4_001));
    }

    #[test]
    fn five_calls_a_second() {
        let mut meter = Meter::default();
        assert_eq!(
            (0..9)
                .filter(|_| meter.admits_read(&KinesisLimits::AWS, 7))
                .count(),
            5
        );
        assert!(meter.admits_read(&KinesisLimits::AWS, 207));
    }
}
