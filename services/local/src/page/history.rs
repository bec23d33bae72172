//! What the page knows of the services: the last few minutes as points, the counts as they are now.
//! Bounded: [`POINTS_MAX`] points, and of labels what the services themselves allow.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::exposition::Scrape;

/// Points that are kept, one a second: three minutes.
pub(crate) const POINTS_MAX: usize = 180;

/// What a look at the three services found, in the order of the flow; `None` where there was no answer.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) events: Option<Scrape>,
    pub(crate) hoard: Option<Scrape>,
    pub(crate) syncomatic: Option<Scrape>,
}

/// The last minutes and the latest counts.
#[derive(Debug, Default)]
pub(crate) struct History {
    points: VecDeque<Point>,
    next: u64,
    counts: Counts,
    /// Of the point before.
    accepted_before: BTreeMap<String, u64>,
    rejected_before: u64,
    freshness_before: Summed,
    replication_before: Summed,
}

/// One look, as what happened since the look before it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    /// Counts up from 0 without a gap.
    pub(crate) number: u64,
    /// Unix time in milliseconds.
    pub(crate) time_ms: i64,
    /// How long ago the look before it was.
    pub(crate) seconds: f64,
    /// Events accepted, by type; types without any are left out.
    pub(crate) accepted: BTreeMap<String, u64>,
    /// Events rejected.
    pub(crate) rejected: u64,
    /// Mean age of the first record of the cuts that were committed; `None` where there was none.
    pub(crate) freshness_seconds: Option<f64>,
    /// Mean time from storing in China to proof in Europe; `None` where nothing was copied.
    pub(crate) replication_seconds: Option<f64>,
}

/// Counts since the program was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Counts {
    pub(crate) types: BTreeMap<String, TypeCounts>,
    /// Rejected events, by reason.
    pub(crate) rejections: BTreeMap<String, u64>,
    /// Requests that were refused as a whole, by why.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Accepted events that wait on disk for Kinesis.
    pub(crate) spooled_records: u64,
    /// Lines that hoard has stored.
    pub(crate) archived_lines: u64,
    /// Objects that hoard has stored.
    pub(crate) archived_objects: u64,
    /// Their lines before and after compression.
    pub(crate) uncompressed_bytes: u64,
    pub(crate) stored_bytes: u64,
    /// How far hoard's reading is behind, of the shard that is farthest.
    pub(crate) lag_seconds: f64,
    /// Objects that syncomatic has copied.
    pub(crate) copied_objects: u64,
    /// Age of the oldest notification that syncomatic has in hand.
    pub(crate) oldest_in_hand_seconds: f64,
}

/// What became of the events of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TypeCounts {
    pub(crate) accepted: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
    pub(crate) retry: u64,
}

/// A histogram's sum and count.
#[derive(Clone, Copy, Debug, Default)]
struct Summed {
    sum: f64,
    count: f64,
}

impl History {
    /// Adds a look. A service that did not answer keeps its counts, and what it did meanwhile is part of
    /// its next answer.
    pub(crate) fn add(&mut self, look: &Look, time_ms: i64, seconds: f64) {
        let mut point = Point {
            number: self.next,
            time_ms,
            seconds,
            accepted: BTreeMap::new(),
            rejected: 0,
            freshness_seconds: None,
            replication_seconds: None,
        };
        if let Some(events) = &look.events {
            self.counts.read_events(events);
            (point.accepted, point.rejected) = self.happened();
        }
        if let Some(hoard) = &look.hoard {
            self.counts.read_hoard(hoard);
            let now = Summed::of(hoard, "hoard_freshness_seconds");
            point.freshness_seconds = now.mean_since(&mut self.freshness_before);
        }
        if let Some(syncomatic) = &look.syncomatic {
            self.counts.read_syncomatic(syncomatic);
            let now = Summed::of(syncomatic, "syncomatic_replication_lag_seconds");
            point.replication_seconds = now.mean_since(&mut self.replication_before);
        }
        self.next += 1;
        self.points.push_back(point);
        if self.points.len() > POINTS_MAX {
            self.points.pop_front();
        }
    }

    /// The points from number `first` on.
    pub(crate) fn points_from(&self, first: u64) -> Vec<Point> {
        let from = self.points.partition_point(|point| point.number < first);
        self.points.range(from..).cloned().collect()
    }

    /// The latest counts.
    pub(crate) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// What was accepted and rejected since the point before.
    fn happened(&mut self) -> (BTreeMap<String, u64>, u64) {
        let now: BTreeMap<_, _> = self
            .counts
            .types
            .iter()
            .map(|(name, counts)| (name.clone(), counts.accepted))
            .collect();
        let rejected_now = self.counts.rejections.values().sum();
        let mut accepted = BTreeMap::new();
        for (name, count) in &now {
            let before = self.accepted_before.get(name).copied().unwrap_or_default();
            if *count > before {
                accepted.insert(name.clone(), count - before);
            }
        }
        let rejected = u64::saturating_sub(rejected_now, self.rejected_before);
        (self.accepted_before, self.rejected_before) = (now, rejected_now);
        (accepted, rejected)
    }
}

impl Counts {
    fn read_events(&mut self, scrape: &Scrape) {
        self.types.clear();
        type Column = fn(&mut TypeCounts) -> &mut u64;
        let columns: [(&str, Column); 5] = [
            ("events_published_total", |counts| &mut counts.accepted),
            ("events_spooled_total", |counts| &mut counts.accepted),
            ("events_duplicate_total", |counts| &mut counts.duplicate),
            ("events_rejected_total", |counts| &mut counts.rejected),
            ("events_retry_total", |counts| &mut counts.retry),
        ];
        for (name, column) in columns {
            for (event_type, count) in scrape.sum_by(name, "eventtype") {
                *column(self.types.entry(event_type).or_default()) += whole(count);
            }
        }
        self.rejections = seen(scrape.sum_by("events_rejected_total", "reason"));
        self.refusals = seen(scrape.sum_by("events_requests_total", "refusal"));
        // Requests that were not refused.
        self.refusals.remove("");
        self.spooled_records = whole(scrape.sum("events_spool_records"));
    }

    fn read_hoard(&mut self, scrape: &Scrape) {
        self.archived_lines = whole(scrape.sum_where("hoard_lines_total", "kind", "lines"));
        self.archived_objects = whole(scrape.sum_where("hoard_objects_total", "kind", "lines"));
        self.uncompressed_bytes = whole(scrape.sum("hoard_uncompressed_bytes_total"));
        self.stored_bytes = whole(scrape.sum("hoard_stored_bytes_total"));
        self.lag_seconds = scrape.max("hoard_shard_lag_seconds");
    }

    fn read_syncomatic(&mut self, scrape: &Scrape) {
        self.copied_objects = whole(scrape.sum_where("syncomatic_objects_total", "outcome", "copied"));
        self.oldest_in_hand_seconds = scrape.max("syncomatic_oldest_in_hand_seconds");
    }
}

impl Summed {
    fn of(scrape: &Scrape, histogram: &str) -> Self {
        Self {
            sum: scrape.sum(&format!("{histogram}_sum")),
            count: scrape.sum(&format!("{histogram}_count")),
        }
    }

    /// The mean of what came since `before`, which becomes this.
    fn mean_since(self, before: &mut Self) -> Option<f64> {
        let came = self.count - before.count;
        let mean = (came > 0.0).then(|| (self.sum - before.sum) / came);
        *before = self;
        mean
    }
}

/// A counter's value; the services count in whole numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole, and far below 2^53; the cast saturates"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Those that have counted.
fn seen(counts: BTreeMap<String, f64>) -> BTreeMap<String, u64> {
    let whole = counts.into_iter().map(|(name, count)| (name, whole(count)));
    whole.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(published: u64, spooled: u64, rejected: u64) -> Look {
        let text = format!(
            "events_published_total{{eventtype=\"play\",partner=\"a\"}} {published}\n\
             events_published_total{{eventtype=\"play\",partner=\"b\"}} 1\n\
             events_published_total{{eventtype=\"navigation\",partner=\"a\"}} 0\n\
             events_spooled_total{{eventtype=\"play\",partner=\"a\"}} {spooled}\n\
             events_rejected_total{{reason=\"invalid\",eventtype=\"play\",partner=\"a\"}} {rejected}\n\
             events_rejected_total{{reason=\"malformed\",eventtype=\"unknown\",partner=\"a\"}} 0\n\
             events_requests_total{{route=\"/v1/events\",status=\"200\",refusal=\"\"}} 9\n\
             events_requests_total{{route=\"/v1/events\",status=\"401\",refusal=\"no_credential\"}} 2\n"
        );
        Look {
            events: Some(Scrape::parse(&text).expect("the text format")),
            ..Look::default()
        }
    }

    fn hoard(sum: f64, count: u64) -> Look {
        let text = format!(
            "hoard_freshness_seconds_bucket{{le=\"+Inf\"}} 99\nhoard_freshness_seconds_sum {sum}\n\
             hoard_freshness_seconds_count {count}\nhoard_shard_lag_seconds{{shard=\"0\"}} 0.5\n\
             hoard_shard_lag_seconds{{shard=\"1\"}} 2\nhoard_lines_total{{kind=\"lines\"}} 350\n\
             hoard_lines_total{{kind=\"errors\"}} 3\n"
        );
        Look {
            hoard: Some(Scrape::parse(&text).expect("the text format")),
            ..Look::default()
        }
    }

    #[test]
    fn a_point_is_what_happened_since_the_one_before() {
        let mut history = History::default();
        history.add(&events(10, 0, 0), 1000, 1.0);
        history.add(&events(12, 3, 2), 2000, 1.0);
        history.add(&events(12, 3, 2), 3000, 1.0);
        let points = history.points_from(0);
        let accepted: Vec<_> = points
            .iter()
            .map(|point| point.accepted.get("play").copied())
            .collect();
        assert_eq!(
            accepted,
            [Some(11), Some(5), None],
            "of both partners, published or spooled"
        );
        assert_eq!(
            points.iter().map(|point| point.rejected).collect::<Vec<_>>(),
            [0, 2, 0]
        );
        let counts = history.counts();
        let play = counts.types["play"];
        assert_eq!((play.accepted, play.rejected, play.duplicate), (16, 2, 0));
        assert_eq!(counts.rejections, [("invalid".to_owned(), 2)].into());
        assert_eq!(counts.refusals, [("no_credential".to_owned(), 2)].into());
    }

    #[test]
    fn what_happened_while_a_service_did_not_answer_is_in_its_next_answer() {
        let mut history = History::default();
        history.add(&events(10, 0, 0), 1000, 1.0);
        history.add(&Look::default(), 2000, 1.0);
        history.add(&events(15, 0, 0), 3000, 1.0);
        let points = history.points_from(0);
        assert!(points[1].accepted.is_empty());
        assert_eq!(points[2].accepted["play"], 5);
    }

    #[test]
    fn times_are_means_of_what_came_and_none_where_nothing_came() {
        let mut history = History::default();
        for (sum, count) in [(0.0, 0), (3.0, 2), (3.0, 2), (7.0, 3)] {
            history.add(&hoard(sum, count), 0, 1.0);
        }
        let points = history.points_from(0);
        let freshness: Vec<_> = points.iter().map(|point| point.freshness_seconds).collect();
        assert_eq!(freshness, [None, Some(1.5), None, Some(4.0)]);
        assert_eq!(
            (history.counts().lag_seconds, history.counts().archived_lines),
            (2.0, 350)
        );
    }

    #[test]
    fn only_so_many_points_are_kept_and_only_newer_ones_given() {
        let mut history = History::default();
        for _ in 0..POINTS_MAX + 20 {
            history.add(&Look::default(), 0, 1.0);
        }
        let last = POINTS_MAX as u64 + 19;
        let numbers = |first| {
            let points = history.points_from(first);
            (points.len(), points.first().map(|point| point.number))
        };
        assert_eq!(numbers(0), (POINTS_MAX, Some(20)));
        assert_eq!(numbers(last), (1, Some(last)));
        assert_eq!(numbers(last + 1), (0, None));
        assert_eq!(numbers(u64::MAX), (0, None));
    }
}
