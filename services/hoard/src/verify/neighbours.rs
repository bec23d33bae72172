//! Which objects of other days matter: of each shard the last one before those asked for, the first
//! one after them, and those between. All others of those days are forgotten as they are listed.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::sequence::{SequenceNumber, ShardId};
use crate::verify::Found;
use crate::verify::chain::Role;

/// What is looked for of one shard.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The first records of the first and the last cut that are known.
    pub(super) span: (SequenceNumber, SequenceNumber),
    /// The cut before them.
    pub(super) before: bool,
    /// The cut after them.
    pub(super) after: bool,
}

/// The neighbours found so far.
pub(super) struct Neighbours {
    wanted: BTreeMap<ShardId, Wanted>,
    /// Whether shards of which nothing is known yet are of interest too.
    takes_unknown: bool,
    from: Date,
    nearest: BTreeMap<ShardId, Nearest>,
}

/// Each a cut, of one object or several.
#[derive(Default)]
struct Nearest {
    before: Vec<Found>,
    within: Vec<Found>,
    after: Vec<Found>,
}

impl Neighbours {
    /// `from` is the first day that was asked for.
    pub(super) fn new(wanted: BTreeMap<ShardId, Wanted>, takes_unknown: bool, from: Date) -> Self {
        Self {
            wanted,
            takes_unknown,
            from,
            nearest: BTreeMap::new(),
        }
    }

    /// An object of another day.
    pub(super) fn consider(&mut self, found: Found) {
        let role = match self.wanted.get(&found.shard) {
            Some(Wanted { span, before, after }) => {
                if found.first < span.0 {
                    before.then_some(Role::Before)
                } else if found.first > span.1 {
                    after.then_some(Role::After)
                } else {
                    Some(Role::Within)
                }
            }
            None if !self.takes_unknown => None,
            None if found.date < self.from => Some(Role::Before),
            None => Some(Role::After),
        };
        let Some(role) = role else {
            return;
        };
        let nearest = self.nearest.entry(found.shard.clone()).or_default();
        let found = Found { role, ..found };
        match role {
            Role::Before => keep(&mut nearest.before, found, Ordering::Greater),
            Role::After => keep(&mut nearest.after, found, Ordering::Less),
            Role::Within | Role::Asked => nearest.within.push(found),
        }
    }

    /// The neighbours.
    pub(super) fn into_found(self) -> Vec<Found> {
        let mut found = Vec::new();
        for nearest in self.nearest.into_values() {
            let Nearest {
                before,
                within,
                after,
            } = nearest;
            // Of a shard that has nothing on the days asked for, days that run into each other say
            // nothing: what lies between their cuts was not looked at.
            let in_order = match (before.first(), after.first()) {
                (Some(before), Some(after)) => before.first < after.first,
                _ => true,
            };
            if in_order {
                found.extend(before.into_iter().chain(within).chain(after));
            }
        }
        found
    }
}

/// Keeps the objects of the cut whose first record is the `wanted` one of all.
fn keep(nearest: &mut Vec<Found>, found: Found, wanted: Ordering) {
    let order = nearest.first().map(|kept| found.first.cmp(&kept.first));
    match order {
        Some(Ordering::Equal) => nearest.push(found),
        Some(order) if order != wanted => {}
        _ => *nearest = vec![found],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(first: u64, date: Date) -> Found {
        Found {
            key: format!("{date}-{first}"),
            date,
            role: Role::Asked,
            shard: shard(),
            first: number(first),
        }
    }

    fn shard() -> ShardId {
        ShardId::try_from("shardId-000000000000".to_owned()).expect("valid")
    }

    fn number(n: u64) -> SequenceNumber {
        SequenceNumber::try_from(n.to_string()).expect("digits")
    }

    fn chosen(wanted: Option<Wanted>, objects: &[(u64, Date)]) -> Vec<(u64, Role)> {
        let wanted = wanted.into_iter().map(|wanted| (shard(), wanted)).collect();
        let mut neighbours = Neighbours::new(wanted, true, DAY);
        for &(first, date) in objects {
            neighbours.consider(found(first, date));
        }
        let found = neighbours.into_found().into_iter();
        found
            .map(|found| (found.first.as_str().parse().expect("digits"), found.role))
            .collect()
    }

    const BEFORE: Date = jiff::civil::date(2026, 1, 1);
    const DAY: Date = jiff::civil::date(2026, 1, 2);
    const AFTER: Date = jiff::civil::date(2026, 1, 3);

    #[test]
    fn the_nearest_on_each_side_and_all_between_are_kept() {
        let wanted = Wanted {
            span: (number(20), number(40)),
            before: true,
            after: true,
        };
        let objects = [
            (8, BEFORE),
            (9, BEFORE),
            (9, BEFORE),
            (30, AFTER),
            (50, AFTER),
            (60, AFTER),
        ];
        assert_eq!(
            chosen(Some(wanted), &objects),
            [
                (9, Role::Before),
                (9, Role::Before),
                (30, Role::Within),
                (50, Role::After)
            ]
        );
    }

    #[test]
    fn a_shard_with_nothing_on_the_days_asked_for_has_neighbours_too() {
        let objects = [(8, BEFORE), (9, BEFORE), (50, AFTER), (60, AFTER)];
        assert_eq!(chosen(None, &objects), [(9, Role::Before), (50, Role::After)]);
        assert_eq!(
            chosen(None, &[(50, BEFORE), (9, AFTER)]),
            [],
            "unclear, so nothing is claimed"
        );
    }
}
