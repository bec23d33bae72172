//! What the settings must be, alone and beside each other: each event that is let in fits a record, a
//! call, the budget and the spool, and each wait ends before the one around it.

use std::time::Duration;

use event_model::MAX_DEPTH_LIMIT;
use service_runtime::settings::InvalidSetting;

use super::{ADDED_BYTES, KINESIS_LARGE_BYTES, KINESIS_RECORD_BYTES, KINESIS_RECORDS, Settings};
use crate::admission::Budget;

/// The most that an event counts for in the spool beside its own bytes and what is added to them.
const SPOOL_OVERHEAD: usize = 2048;

/// The longest that one Kinesis call can take: the client's own time-out.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

impl Settings {
    /// As Kinesis names streams
    /// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_CreateStream.html>).
    pub(super) fn check_stream(&self) -> Result<(), InvalidSetting> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let valid = (1..=128).contains(&self.stream.len()) && self.stream.bytes().all(allowed);
        require(
            valid,
            "--stream",
            "must be 1 to 128 letters, digits, '_', '.' or '-'",
        )
    }

    /// Every event that is let in must fit a record, a call and the budget; one that did not would
    /// be answered `retry` for ever.
    pub(super) fn check_sizes(&self) -> Result<(), InvalidSetting> {
        let event = "--max-event-bytes";
        require(self.max_event_bytes >= 64, event, "must be at least 64")?;
        require(
            self.max_event_bytes.saturating_add(ADDED_BYTES) <= KINESIS_LARGE_BYTES,
            event,
            "must leave 2 KiB of the 10 MiB that a Kinesis record may have",
        )?;
        let body = "--max-body-bytes";
        require(
            self.max_body_bytes >= self.max_event_bytes,
            body,
            "must hold --max-event-bytes",
        )?;
        require(self.max_body_bytes <= 64 << 20, body, "must be at most 64 MiB")?;
        let decompressed = "--max-decompressed-bytes";
        require(
            self.max_decompressed_bytes >= self.max_event_bytes,
            decompressed,
            "must hold --max-event-bytes",
        )?;
        require(
            self.max_decompressed_bytes <= 256 << 20,
            decompressed,
            "must be at most 256 MiB",
        )?;
        let batch = "--batch-bytes";
        require(
            self.batch_bytes >= self.max_event_bytes + ADDED_BYTES,
            batch,
            "must hold --max-event-bytes and 2 KiB more",
        )?;
        require(
            self.batch_bytes <= KINESIS_LARGE_BYTES,
            batch,
            "must be at most 10 MiB",
        )?;
        let aggregate = "--aggregate-bytes";
        require(
            (1024..=KINESIS_RECORD_BYTES).contains(&self.aggregate_bytes),
            aggregate,
            "must be 1 KiB to 1 MiB",
        )?;
        require(
            self.aggregate_bytes <= self.batch_bytes,
            aggregate,
            "must be at most --batch-bytes",
        )?;
        let spool = "--spool-max-bytes";
        require(self.spool_max_bytes >= 1 << 20, spool, "must be at least 1 MiB")?;
        let largest = self.max_event_bytes + ADDED_BYTES + SPOOL_OVERHEAD;
        require(
            usize::try_from(self.spool_max_bytes).is_ok_and(|bytes| bytes >= largest),
            spool,
            "must hold --max-event-bytes and 4 KiB more",
        )?;
        let in_flight = "--in-flight-bytes";
        // While it is decompressed a request holds both forms of its body, afterwards the larger of
        // the two and what is added to its events.
        let (sent, decompressed) = (self.max_body_bytes, self.max_decompressed_bytes);
        let added = self.max_events.saturating_mul(ADDED_BYTES);
        let request = (sent + decompressed).max(sent.max(decompressed).saturating_add(added));
        require(
            self.budget().for_anyone() >= request,
            in_flight,
            "must hold --max-body-bytes with --max-decompressed-bytes, and the larger of them with 2 KiB more \
             for each of --max-events, within --shed-devices-percent and --client-share-percent of it",
        )?;
        require(
            self.in_flight_bytes <= 64 << 30,
            in_flight,
            "must be at most 64 GiB",
        )
    }

    pub(super) fn budget(&self) -> Budget {
        Budget {
            bytes: self.in_flight_bytes,
            devices_percent: self.shed_devices_percent,
            apps_percent: self.shed_apps_percent,
            client_percent: self.client_share_percent,
        }
    }

    /// A header that nobody is believed about would be a mistake that nobody sees.
    pub(super) fn check_edge(&self) -> Result<(), InvalidSetting> {
        let headers = self.client_address_header.is_some() || self.country_header.is_some();
        require(
            !headers || !self.trusted_proxies.is_empty(),
            "--trusted-proxies",
            "must name the proxies whose --client-address-header and --country-header are believed",
        )
    }

    pub(super) fn check_counts(&self) -> Result<(), InvalidSetting> {
        let depth = (1..=MAX_DEPTH_LIMIT).contains(&self.max_depth);
        require(depth, "--max-depth", "must be 1 to 100")?;
        let events = (1..=10_000).contains(&self.max_events);
        require(events, "--max-events", "must be 1 to 10000")?;
        let attempts = (1..=10_000).contains(&self.failed_attempts);
        require(attempts, "--failed-attempts", "must be 1 to 10000")?;
        let remembered = (1..=100_000_000).contains(&self.dedupe_events);
        require(remembered, "--dedupe-events", "must be 1 to 100000000")?;
        for (flag, percent) in [
            ("--shed-devices-percent", self.shed_devices_percent),
            ("--shed-apps-percent", self.shed_apps_percent),
            ("--client-share-percent", self.client_share_percent),
        ] {
            require((1..=100).contains(&percent), flag, "must be 1 to 100")?;
        }
        require(
            self.shed_devices_percent <= self.shed_apps_percent,
            "--shed-devices-percent",
            "must be at most --shed-apps-percent: devices are shed first",
        )?;
        let records = (1..=KINESIS_RECORDS).contains(&self.batch_records);
        require(records, "--batch-records", "must be 1 to 500")?;
        let calls = (1..=1024).contains(&self.put_concurrency);
        require(calls, "--put-concurrency", "must be 1 to 1024")?;
        require(
            self.max_connections > 0,
            "--max-connections",
            "must be at least 1",
        )
    }

    pub(super) fn check_times(&self) -> Result<(), InvalidSetting> {
        for (flag, time) in [
            ("--body-timeout", self.body_timeout),
            ("--idle-timeout", self.idle_timeout),
            ("--answer-timeout", self.answer_timeout),
            ("--record-time-to-live", self.record_time_to_live),
            ("--reload-interval", self.reload_interval),
            ("--stream-check-interval", self.stream_check_interval),
        ] {
            require(!time.is_zero(), flag, "must be more than 0")?;
        }
        let window = self.dedupe_window;
        require(
            !window.is_zero() && window <= Duration::from_secs(24 * 3600),
            "--dedupe-window",
            "must be more than 0 and at most 24h",
        )?;
        let refill = self.failed_attempts_refill;
        require(
            !refill.is_zero() && refill <= Duration::from_secs(3600),
            "--failed-attempts-refill",
            "must be more than 0 and at most 1h",
        )?;
        let linger = self.linger <= Duration::from_secs(1);
        require(linger, "--linger", "must be at most 1s")?;
        require(
            self.record_time_to_live + CALL_TIMEOUT < self.runtime.drain_deadline,
            "--record-time-to-live",
            "must be shorter than --drain-deadline by more than the 10s that a Kinesis call may take",
        )
    }
}

fn require(holds: bool, flag: &str, problem: &str) -> Result<(), InvalidSetting> {
    if holds {
        Ok(())
    } else {
        Err(InvalidSetting::new(flag, problem))
    }
}
