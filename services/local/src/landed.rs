//! What lies in the buckets of both sides, and where the followed events are: the journey writes it down
//! as it looks, the page shows it. Sums are of everything, single objects only the latest.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// Single objects that are remembered.
pub(crate) const LATEST_MAX: usize = 40;
/// Events that are followed; a newer one takes the place of the oldest.
pub(crate) const FOLLOWED_MAX: usize = 32;

/// Everything that is known of both sides. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Landed(Arc<Mutex<Known>>);

#[derive(Clone, Debug, Default)]
struct Known {
    china: Sum,
    europe: Sum,
    /// Newest first.
    latest: VecDeque<Landing>,
    followed: VecDeque<Followed>,
}

/// What a bucket holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sum {
    pub(crate) objects: usize,
    pub(crate) bytes: u64,
}

/// An archived object and its copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Landing {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// Its lines; `None` until it has been opened.
    pub(crate) events: Option<usize>,
    /// When it was stored in China, Unix time in milliseconds.
    pub(crate) china_ms: i64,
    /// The same of its copy in Europe; `None` until it is there.
    pub(crate) europe_ms: Option<i64>,
    /// Whether the copy is equal by checksum; `None` until it is there.
    pub(crate) equal: Option<bool>,
}

/// An event that somebody waits for.
#[derive(Clone, Debug)]
struct Followed {
    id: String,
    accepted: Instant,
    /// The object it is in, and when that was seen in China.
    china: Option<(String, Instant)>,
    /// When the copy of that object was seen in Europe.
    europe: Option<Instant>,
}

/// Where a followed event is, for the page. Seconds are from its answer to the look that found it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Whereabouts {
    pub(crate) eventid: String,
    pub(crate) key: Option<String>,
    pub(crate) china_seconds: Option<f64>,
    pub(crate) europe_seconds: Option<f64>,
}

/// All of it at one moment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) china: Sum,
    pub(crate) europe: Sum,
    pub(crate) latest: Vec<Landing>,
    pub(crate) followed: Vec<Whereabouts>,
}

impl Landed {
    /// What the buckets hold in all.
    pub(crate) fn sums(&self, china: Sum, europe: Sum) {
        let mut known = self.lock();
        (known.china, known.europe) = (china, europe);
    }

    /// An object was stored in China, or stored again.
    pub(crate) fn committed(&self, landing: Landing) {
        let mut known = self.lock();
        known.latest.retain(|other| other.key != landing.key);
        known.latest.push_front(landing);
        known.latest.truncate(LATEST_MAX);
    }

    /// An object was opened: it has so many lines, and these of the followed events are in it.
    pub(crate) fn opened(&self, key: &str, events: usize, found: &[String]) {
        let mut known = self.lock();
        if let Some(landing) = known.landing(key) {
            landing.events = Some(events);
        }
        let now = Instant::now();
        for followed in &mut known.followed {
            if followed.china.is_none() && found.contains(&followed.id) {
                followed.china = Some((key.to_owned(), now));
            }
        }
    }

    /// The copy of an object appeared in Europe.
    pub(crate) fn copied(&self, key: &str, at_ms: i64, equal: bool) {
        let mut known = self.lock();
        if let Some(landing) = known.landing(key) {
            (landing.europe_ms, landing.equal) = (Some(at_ms), Some(equal));
        }
        let now = Instant::now();
        for followed in &mut known.followed {
            let in_it = followed.china.as_ref().is_some_and(|(object, _)| object == key);
            if in_it && equal && followed.europe.is_none() {
                followed.europe = Some(now);
            }
        }
    }

    /// Looks out for an event that was accepted just now.
    pub(crate) fn follow(&self, id: String) {
        let mut known = self.lock();
        known.followed.push_back(Followed {
            id,
            accepted: Instant::now(),
            china: None,
            europe: None,
        });
        if known.followed.len() > FOLLOWED_MAX {
            known.followed.pop_front();
        }
    }

    /// The followed events that have not been seen in China.
    pub(crate) fn awaited(&self) -> Vec<String> {
        let known = self.lock();
        let awaited = known.followed.iter().filter(|followed| followed.china.is_none());
        awaited.map(|followed| followed.id.clone()).collect()
    }

    /// All of it, now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let known = self.lock();
        Snapshot {
            china: known.china,
            europe: known.europe,
            latest: known.latest.iter().cloned().collect(),
            followed: known.followed.iter().map(Followed::whereabouts).collect(),
        }
    }

    /// Nothing under the lock leaves it half changed.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn landing(&mut self, key: &str) -> Option<&mut Landing> {
        self.latest.iter_mut().find(|landing| landing.key == key)
    }
}

impl Followed {
    fn whereabouts(&self) -> Whereabouts {
        let after = |seen: Instant| seen.duration_since(self.accepted).as_secs_f64();
        Whereabouts {
            eventid: self.id.clone(),
            key: self.china.as_ref().map(|(key, _)| key.clone()),
            china_seconds: self.china.as_ref().map(|(_, seen)| after(*seen)),
            europe_seconds: self.europe.map(after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landing(key: &str) -> Landing {
        Landing {
            key: key.to_owned(),
            bytes: 10,
            events: None,
            china_ms: 1,
            europe_ms: None,
            equal: None,
        }
    }

    #[test]
    fn only_the_latest_objects_are_remembered_newest_first() {
        let landed = Landed::default();
        for number in 0..LATEST_MAX + 5 {
            landed.committed(landing(&number.to_string()));
        }
        landed.committed(landing("20"));
        let latest = landed.snapshot().latest;
        assert_eq!(latest.len(), LATEST_MAX);
        assert_eq!((latest[0].key.as_str(), latest[1].key.as_str()), ("20", "44"));
        assert_eq!(latest.iter().filter(|landing| landing.key == "20").count(), 1);
        // One that has been forgotten is no longer anybody's.
        landed.opened("0", 3, &[]);
        landed.copied("0", 2, true);
        assert_eq!(landed.snapshot().latest, latest);
    }

    #[test]
    fn a_followed_event_arrives_with_its_object_and_with_an_equal_copy_alone() {
        let landed = Landed::default();
        landed.follow("mine".to_owned());
        landed.committed(landing("other"));
        landed.opened("other", 1, &[]);
        landed.copied("other", 2, true);
        let of_mine = || landed.snapshot().followed[0].clone();
        assert_eq!((of_mine().key, of_mine().europe_seconds), (None, None));
        assert_eq!(landed.awaited(), ["mine"]);

        landed.committed(landing("object"));
        landed.opened("object", 7, &["mine".to_owned()]);
        assert_eq!(of_mine().key.as_deref(), Some("object"));
        assert!(of_mine().china_seconds.is_some());
        assert!(landed.awaited().is_empty());
        landed.copied("object", 3, false);
        assert_eq!(of_mine().europe_seconds, None, "that copy is not the object");
        landed.copied("object", 4, true);
        assert!(of_mine().europe_seconds >= of_mine().china_seconds);
        let first = landed.snapshot().latest[0].clone();
        assert_eq!(
            (first.events, first.europe_ms, first.equal),
            (Some(7), Some(4), Some(true))
        );
    }

    #[test]
    fn only_so_many_events_are_followed() {
        let landed = Landed::default();
        for number in 0..=FOLLOWED_MAX {
            landed.follow(number.to_string());
        }
        let awaited = landed.awaited();
        assert_eq!((awaited.len(), awaited[0].as_str()), (FOLLOWED_MAX, "1"));
    }
}
