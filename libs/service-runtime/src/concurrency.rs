//! How many calls to a service may be out: additive increase, multiplicative decrease.
//!
//! Throttling says that a service is given more than it takes. Sending less at a time, and more
//! again bit by bit, finds what they do take and shares it fairly with other writers (Chiu and Jain,
//! 1989; RFC 5681 for the same idea in TCP). A round of calls that all go well adds one; a call with
//! throttling halves, once for all calls that were out together, because they tell of the
//! same moment. Failures of other kinds say nothing about load and change nothing.
//!
//! It starts at the bound, so that a service that is never throttled is never held back.

use tokio::time::Instant;

/// What a call that has ended says about load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// All of it was taken.
    Fits,
    /// It, or a part of it, was throttled.
    TooMuch,
    /// Something else failed.
    Unknown,
}

/// The number of calls that may be out, as it follows from how calls end.
#[derive(Debug)]
pub struct Concurrency {
    window: f64,
    bound: f64,
    halved_at: Option<Instant>,
}

impl Concurrency {
    /// At most `bound` calls, and never fewer than one.
    pub fn new(bound: usize) -> Self {
        let bound = bound.max(1) as f64;
        Self {
            window: bound,
            bound,
            halved_at: None,
        }
    }

    /// How many calls may be out.
    pub fn allowed(&self) -> usize {
        self.window as usize
    }

    /// Takes in how a call went that began at `started`.
    pub fn ended(&mut self, load: Load, started: Instant, now: Instant) {
        match load {
            Load::Fits => self.window = (self.window + 1.0 / self.window).min(self.bound),
            Load::TooMuch if self.halved_at.is_none_or(|at| started >= at) => {
                self.window = (self.window / 2.0).max(1.0);
                self.halved_at = Some(now);
            }
            Load::TooMuch | Load::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// A round: as many calls as are allowed, all out together.
    fn round(concurrency: &mut Concurrency, load: Load, now: &mut Instant) {
        let started = *now;
        for _ in 0..concurrency.allowed() {
            *now += Duration::from_millis(1);
            concurrency.ended(load, started, *now);
        }
        *now += Duration::from_millis(1);
    }

    #[test]
    fn a_throttled_round_halves_once_and_good_rounds_add_one_each() {
        let (mut concurrency, mut now) = (Concurrency::new(16), Instant::now());
        assert_eq!(concurrency.allowed(), 16);
        for halved in [8, 4, 2, 1, 1] {
            round(&mut concurrency, Load::TooMuch, &mut now);
            assert_eq!(concurrency.allowed(), halved);
        }
        let mut rounds = 0;
        while concurrency.allowed() < 16 {
            let before = concurrency.allowed();
            round(&mut concurrency, Load::Fits, &mut now);
            assert!(concurrency.allowed() <= before + 1);
            rounds += 1;
        }
        assert!((15..=30).contains(&rounds), "{rounds} rounds from 1 to 16");
        round(&mut concurrency, Load::Fits, &mut now);
        assert_eq!(concurrency.allowed(), 16, "never above the bound");
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_follows_each_call(
            bound in 1..64_usize,
            calls in proptest::collection::vec((0..3_u8, 0..50_u64), 0..400),
        ) {
            let (mut concurrency, start) = (Concurrency::new(bound), Instant::now());
            let mut now = start;
            let mut halved_at = None;
            for (load, age) in calls {
                now += Duration::from_millis(1);
                let began = now.checked_sub(Duration::from_millis(age)).unwrap_or(start);
                let load = [Load::Fits, Load::TooMuch, Load::Unknown][usize::from(load)];
                let before = concurrency.window;
                concurrency.ended(load, began, now);
                let after = concurrency.window;
                prop_assert!((1..=bound).contains(&concurrency.allowed()));
                match load {
                    Load::Fits => prop_assert!(after >= before && after <= before + 1.0),
                    Load::TooMuch if halved_at.is_none_or(|at| began >= at) => {
                        prop_assert!(after <= (before / 2.0).max(1.0));
                        halved_at = Some(now);
                    }
                    Load::TooMuch | Load::Unknown => prop_assert!((after - before).abs() < f64::EPSILON),
                }
            }
        }
    }
}
