//! What may have left the stream before it was read: the stream keeps records for its retention, and gives
//! what follows a record that it no longer has as if nothing had been in between.
//!
//! Sequence numbers are not dense, so a gap cannot be seen in them. What can be known is how far the shard
//! had been read, by the arrival of its last record or by an answer that had nothing newer, and that
//! nothing older than the retention is there any more, by Kinesis' own clock. If the second is later than
//! the first, whatever arrived in between is lost; whether anything did, nobody knows.

use std::time::Duration;

use crate::record::Arrival;

/// How far a shard has been read, by Kinesis' clock.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    seen: Option<Arrival>,
}

/// Times of arrival of which nothing was read and the stream has nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Up to here everything was read.
    pub from: Arrival,
    /// What arrived from here on is read.
    pub to: Arrival,
}

/// What an answer of the stream shows of time.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// When it was given.
    pub served_at: Option<Arrival>,
    /// Whether the shard had nothing newer than its records.
    pub up_to_date: bool,
    /// The arrivals of its first and its last record.
    pub records: Option<(Arrival, Arrival)>,
}

impl Horizon {
    /// Of a shard that was read up to `seen`; `None` where nothing of it was, and so nothing can be missing.
    pub fn new(seen: Option<Arrival>) -> Self {
        Self { seen }
    }

    /// Takes an answer of a stream that keeps its records for `retention`.
    pub fn answered(&mut self, shown: Shown, retention: Option<Duration>) -> Option<Gap> {
        let gap = self.gap(shown, retention);
        let known = shown.served_at.filter(|_| shown.up_to_date);
        let last = shown.records.map(|(_, last)| last);
        self.seen = [self.seen, gap.map(|gap| gap.to), last, known]
            .into_iter()
            .max()
            .flatten();
        gap
    }

    fn gap(&self, shown: Shown, retention: Option<Duration>) -> Option<Gap> {
        let (from, served_at) = (self.seen?, shown.served_at?);
        let kept_since = before(served_at, retention?);
        // A record that is there although it is older: nothing behind it has gone either.
        let first = shown.records.map(|(first, _)| first);
        let to = first.map_or(kept_since, |first| first.min(kept_since));
        (from < to).then_some(Gap { from, to })
    }
}

/// Whether a state should say that an idle shard was read up to `now`: so often that it says more than
/// `passed` long before that leaves the retention.
pub fn is_worth_noting(passed: Option<Arrival>, now: Arrival, retention: Option<Duration>) -> bool {
    let Some(retention) = retention else {
        return false;
    };
    passed.is_none_or(|passed| passed < before(now, retention / 4))
}

fn before(time: Arrival, by: Duration) -> Arrival {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Arrival::from_millis(time.as_millis().saturating_sub(millis)).unwrap_or(Arrival::UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Option<Duration> = Some(Duration::from_secs(24 * 3600));
    const HOUR: i64 = 3_600_000;

    fn at(hour: i64) -> Arrival {
        Arrival::from_millis(1_700_000_000_000 + hour * HOUR).expect("in range")
    }

    fn shown(served: i64, up_to_date: bool, records: Option<(i64, i64)>) -> Shown {
        Shown {
            served_at: Some(at(served)),
            up_to_date,
            records: records.map(|(first, last)| (at(first), at(last))),
        }
    }

    fn gap(from: i64, to: i64) -> Option<Gap> {
        Some(Gap {
            from: at(from),
            to: at(to),
        })
    }

    #[test]
    fn an_outage_within_the_retention_loses_nothing() {
        let mut horizon = Horizon::new(Some(at(0)));
        assert_eq!(horizon.answered(shown(24, false, Some((3, 4))), DAY), None);
    }

    #[test]
    fn a_longer_one_may_have_lost_what_is_older_than_the_retention_and_says_so_once() {
        let mut horizon = Horizon::new(Some(at(0)));
        assert_eq!(horizon.answered(shown(30, false, Some((8, 20))), DAY), gap(0, 6));
        assert_eq!(horizon.answered(shown(31, true, Some((21, 30))), DAY), None);
        let mut silent = Horizon::new(Some(at(0)));
        assert_eq!(silent.answered(shown(30, true, None), DAY), gap(0, 6));
        assert_eq!(silent.answered(shown(40, true, Some((39, 39))), DAY), None);
    }

    #[test]
    fn a_record_that_is_still_there_bounds_what_can_be_gone() {
        let mut horizon = Horizon::new(Some(at(0)));
        assert_eq!(horizon.answered(shown(30, false, Some((2, 9))), DAY), gap(0, 2));
    }

    #[test]
    fn an_idle_shard_that_is_read_all_the_time_loses_nothing() {
        let mut horizon = Horizon::new(Some(at(0)));
        for hour in 1..100 {
            assert_eq!(horizon.answered(shown(hour, true, None), DAY), None);
        }
    }

    #[test]
    fn reading_that_falls_behind_the_retention_is_noticed_while_it_runs() {
        let mut horizon = Horizon::new(None);
        assert_eq!(horizon.answered(shown(0, false, Some((-23, -22))), DAY), None);
        assert_eq!(
            horizon.answered(shown(5, false, Some((-19, -18))), DAY),
            gap(-22, -19)
        );
    }

    #[test]
    fn where_nothing_is_known_nothing_is_claimed() {
        let mut new = Horizon::new(None);
        assert_eq!(new.answered(shown(100, true, Some((90, 99))), DAY), None);
        let mut without = Horizon::new(Some(at(0)));
        assert_eq!(without.answered(shown(100, true, None), None), None);
    }

    #[test]
    fn an_idle_shard_is_noted_four_times_a_retention() {
        assert!(is_worth_noting(None, at(0), DAY));
        assert!(!is_worth_noting(Some(at(0)), at(6), DAY));
        assert!(is_worth_noting(Some(at(0)), at(7), DAY));
        assert!(!is_worth_noting(Some(at(0)), at(7), None));
    }
}
