//! One stream: which shard a record goes to, and how shards are split and merged.
//!
//! Invariants, enforced here and nowhere else:
//! - the open shards cover the hash key space exactly once;
//! - a shard's number is its place in the list, and shards are never removed from it;
//! - a child is born strictly later than its parents, which are closed at that moment.

use std::collections::BTreeMap;

use super::hash::{HashKeyRange, even_ranges};
use super::shard::Shard;

/// Shards that an ON_DEMAND stream begins with.
pub(crate) const ON_DEMAND_SHARDS: u32 = 4;
/// Retention in hours: default, and what can be asked for.
pub(crate) const RETENTION_HOURS_DEFAULT: u32 = 24;
pub(crate) const RETENTION_HOURS_MAX: u32 = 8_760;
/// Most open shards of a stream; AWS has an account quota that can be raised to any number.
pub(crate) const OPEN_SHARDS_MAX: usize = 10_000;

/// How capacity is bought; the emulator only remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum StreamMode {
    Provisioned,
    OnDemand,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    /// Differs between two streams that have the same name one after the other.
    pub(crate) id: u128,
    pub(crate) created_ms: u64,
    pub(crate) mode: StreamMode,
    pub(crate) retention_hours: u32,
    pub(crate) tags: BTreeMap<String, String>,
    /// All shards there ever were, by number.
    pub(crate) shards: Vec<Shard>,
    /// The open shards: start of the range and number, in the order of ranges.
    open: Vec<(u128, u32)>,
}

/// Which shards there were and which of them were open: what undoes a split or merge.
pub(crate) struct Topology {
    shards: usize,
    open: Vec<(u128, u32)>,
}

/// Why shards cannot be split or merged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReshardError {
    NoSuchShard(u32),
    NotOpen(u32),
    /// The new starting hash key is not inside the range.
    SplitOutside(HashKeyRange),
    NotAdjacent,
    TooManyShards,
}

impl Stream {
    pub(crate) fn new(name: String, id: u128, created_ms: u64, mode: StreamMode, shards: u32) -> Self {
        let shards = (0..)
            .zip(even_ranges(shards))
            .map(|(n, range)| Shard::new(n, range, created_ms))
            .collect();
        Self::with_shards(name, id, created_ms, mode, shards)
    }

    /// With shards that were there before.
    pub(crate) fn with_shards(
        name: String,
        id: u128,
        created_ms: u64,
        mode: StreamMode,
        shards: Vec<Shard>,
    ) -> Self {
        let mut stream = Self {
            name,
            id,
            created_ms,
            mode,
            retention_hours: RETENTION_HOURS_DEFAULT,
            tags: BTreeMap::new(),
            shards,
            open: Vec::new(),
        };
        stream.index_open_shards();
        stream
    }

    fn index_open_shards(&mut self) {
        let open = self.shards.iter().filter(|shard| shard.is_open());
        self.open = open.map(|shard| (shard.range.start, shard.number)).collect();
        self.open.sort_unstable();
    }

    /// Records that arrived before this are trimmed.
    pub(crate) fn horizon_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(u64::from(self.retention_hours) * 3_600_000)
    }

    /// The open shard that takes the hash key.
    pub(crate) fn route(&self, hash_key: u128) -> u32 {
        let after = self.open.partition_point(|(start, _)| *start <= hash_key);
        // The first open shard starts at 0, so that `after` is at least 1.
        self.open[after - 1].1
    }

    pub(crate) fn open_shard_count(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn shard(&self, number: u32) -> Option<&Shard> {
        self.shards.get(number as usize)
    }

    /// The shards that exist for clients: those not expired, in the order of their ids.
    pub(crate) fn listed_shards(&self, now_ms: u64) -> impl Iterator<Item = &Shard> {
        let horizon_ms = self.horizon_ms(now_ms);
        self.shards
            .iter()
            .filter(move |shard| !shard.is_expired(horizon_ms))
    }

    /// The shards that a closed shard was split or merged into.
    pub(crate) fn children(&self, parent: u32) -> impl Iterator<Item = &Shard> {
        self.shards
            .iter()
            .filter(move |shard| shard.parent == Some(parent) || shard.adjacent_parent == Some(parent))
    }

    pub(crate) fn topology(&self) -> Topology {
        Topology {
            shards: self.shards.len(),
            open: self.open.clone(),
        }
    }

    /// Takes back every split and merge since. Only before a record was put into a child.
    pub(crate) fn undo_to(&mut self, before: Topology) {
        self.shards.truncate(before.shards);
        for (_, number) in &before.open {
            self.shards[*number as usize].closed_ms = None;
        }
        self.open = before.open;
    }

    /// Closes a shard and opens two in its place, the upper one starting at the hash key, which must
    /// be greater than one plus the range's start and less than its end: so SplitShard wants it.
    pub(crate) fn split(&mut self, number: u32, start: u128, now_ms: u64) -> Result<(), ReshardError> {
        if self.open.len() >= OPEN_SHARDS_MAX {
            return Err(ReshardError::TooManyShards);
        }
        let range = self.open_shard(number)?.range;
        let too_low = start <= range.start.saturating_add(1);
        if too_low || start >= range.end {
            return Err(ReshardError::SplitOutside(range));
        }
        self.split_open_shard(number, start, now_ms)
    }

    fn split_open_shard(&mut self, number: u32, start: u128, now_ms: u64) -> Result<(), ReshardError> {
        let range = self.open_shard(number)?.range;
        let (low, high) = range.split_at(start).ok_or(ReshardError::SplitOutside(range))?;
        let birth_ms = self.close(&[number], now_ms);
        self.add_child(low, number, None, birth_ms);
        self.add_child(high, number, None, birth_ms);
        self.index_open_shards();
        Ok(())
    }

    /// Closes two neighbouring shards and opens one in their place.
    pub(crate) fn merge(&mut self, number: u32, adjacent: u32, now_ms: u64) -> Result<(), ReshardError> {
        let (one, other) = (self.open_shard(number)?.range, self.open_shard(adjacent)?.range);
        let range = one
            .merge_with(&other)
            .or_else(|| other.merge_with(&one))
            .ok_or(ReshardError::NotAdjacent)?;
        let birth_ms = self.close(&[number, adjacent], now_ms);
        self.add_child(range, number, Some(adjacent), birth_ms);
        self.index_open_shards();
        Ok(())
    }

    /// Splits and merges until the open shards are `count` equal ones. Shards in between are born
    /// and closed on the way, as AWS does it.
    pub(crate) fn reshape(&mut self, count: u32, now_ms: u64) -> Result<(), ReshardError> {
        if count as usize > OPEN_SHARDS_MAX {
            return Err(ReshardError::TooManyShards);
        }
        let wanted = even_ranges(count);
        for boundary in wanted.iter().map(|range| range.start) {
            let number = self.route(boundary);
            if self.shards[number as usize].range.start != boundary {
                self.split_open_shard(number, boundary, now_ms)?;
            }
        }
        for range in wanted {
            loop {
                let number = self.route(range.start);
                let end = self.shards[number as usize].range.end;
                if end >= range.end {
                    break;
                }
                self.merge(number, self.route(end + 1), now_ms)?;
            }
        }
        Ok(())
    }

    fn open_shard(&self, number: u32) -> Result<&Shard, ReshardError> {
        let shard = self.shard(number).ok_or(ReshardError::NoSuchShard(number))?;
        if shard.is_open() {
            Ok(shard)
        } else {
            Err(ReshardError::NotOpen(number))
        }
    }

    /// Closes the shards and returns the birth of their children.
    fn close(&mut self, parents: &[u32], now_ms: u64) -> u64 {
        let mut birth_ms = now_ms;
        for parent in parents {
            let shard = &self.shards[*parent as usize];
            birth_ms = birth_ms.max(shard.birth_ms + 1).max(shard.log.last_arrival_ms());
        }
        for parent in parents {
            self.shards[*parent as usize].closed_ms = Some(birth_ms);
        }
        birth_ms
    }

    fn add_child(&mut self, range: HashKeyRange, parent: u32, adjacent_parent: Option<u32>, birth_ms: u64) {
        let number = u32::try_from(self.shards.len()).expect("fewer than 2^32 shards");
        let mut shard = Shard::new(number, range, birth_ms);
        shard.parent = Some(parent);
        shard.adjacent_parent = adjacent_parent;
        self.shards.push(shard);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(shards: u32) -> Stream {
        Stream::new("s".to_owned(), 1, 1_000, StreamMode::Provisioned, shards)
    }

    /// The ranges of the open shards, in their order.
    fn open_ranges(stream: &Stream) -> Vec<HashKeyRange> {
        stream
            .open
            .iter()
            .map(|(_, number)| stream.shards[*number as usize].range)
            .collect()
    }

    /// The open shards cover 2^128 exactly once, whichever way one looks at it.
    fn assert_covered(stream: &Stream) {
        let ranges = open_ranges(stream);
        assert_eq!(ranges[0].start, 0);
        assert_eq!(ranges[ranges.len() - 1].end, u128::MAX);
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].end + 1, pair[1].start);
        }
        assert_eq!(
            ranges.len(),
            stream.shards.iter().filter(|shard| shard.is_open()).count()
        );
    }

    fn assert_lineage(stream: &Stream) {
        for shard in &stream.shards {
            for parent in shard.parent.into_iter().chain(shard.adjacent_parent) {
                let parent = &stream.shards[parent as usize];
                assert!(!parent.is_open());
                assert!(parent.birth_ms < shard.birth_ms);
                let end = parent.ending_sequence_number().expect("it is closed");
                assert!(end < shard.starting_sequence_number());
            }
        }
    }

    proptest! {
        #[test]
        fn any_splits_and_merges_keep_the_space_covered(
            shards in 1..6_u32,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u128>(), 0..3_u64), 0..40),
        ) {
            let mut stream = stream(shards);
            let mut now_ms = 1_000;
            for (split, which, key, pause) in steps {
                now_ms += pause;
                let at = which.index(stream.open.len());
                let number = stream.open[at].1;
                let before = stream.open.len();
                if split {
                    let range = stream.shards[number as usize].range;
                    let result = stream.split(stream.route(key), key, now_ms);
                    if result.is_err() {
                        prop_assert!(stream.shards.iter().any(|shard| result == Err(ReshardError::SplitOutside(shard.range))));
                        prop_assert_eq!(stream.open.len(), before);
                    }
                    prop_assert!(range.start <= range.end);
                } else if let Some((_, next)) = stream.open.get(at + 1).copied() {
                    stream.merge(next, number, now_ms).expect("neighbours merge in either order");
                    prop_assert_eq!(stream.open.len(), before - 1);
                }
                assert_covered(&stream);
                assert_lineage(&stream);
                let taker = &stream.shards[stream.route(key) as usize];
                prop_assert!(taker.is_open() && (taker.range.start..=taker.range.end).contains(&key));
            }
        }

        #[test]
        fn reshaping_gives_equal_shards(from in 1..9_u32, to in 1..9_u32) {
            let mut stream = stream(from);
            stream.reshape(to, 2_000).expect("few shards");
            assert_covered(&stream);
            assert_lineage(&stream);
            let ranges = open_ranges(&stream);
            prop_assert_eq!(ranges, even_ranges(to));
        }
    }

    #[test]
    fn a_reshape_is_undone_without_a_trace() {
        let mut stream = stream(3);
        stream
            .split(1, stream.shards[1].range.start + 9, 2_000)
            .expect("an open shard");
        let (ranges, before) = (open_ranges(&stream), stream.topology());
        stream.reshape(7, 3_000).expect("few shards");
        stream.undo_to(before);
        assert_eq!((open_ranges(&stream), stream.shards.len()), (ranges, 5));
        assert_covered(&stream);
        assert_lineage(&stream);
    }

    /// Shares of 2^128 that do not divide it end a key or two apart.
    #[test]
    fn reshaping_copes_with_remainders() {
        let mut stream = stream(6);
        stream.reshape(3, 2_000).expect("few shards");
        assert_eq!(open_ranges(&stream), even_ranges(3));
    }

    #[test]
    fn what_cannot_be_resharded_is_refused_and_changes_nothing() {
        let mut stream = stream(3);
        assert_eq!(stream.split(9, 5, 2_000), Err(ReshardError::NoSuchShard(9)));
        let range = stream.shards[0].range;
        for start in [0, 1, range.end, range.end + 1] {
            assert_eq!(
                stream.split(0, start, 2_000),
                Err(ReshardError::SplitOutside(range)),
                "{start}"
            );
        }
        assert_eq!(stream.merge(0, 2, 2_000), Err(ReshardError::NotAdjacent));
        assert_eq!(stream.merge(1, 1, 2_000), Err(ReshardError::NotAdjacent));
        stream.merge(0, 1, 2_000).expect("neighbours");
        assert_eq!(stream.merge(0, 1, 2_000), Err(ReshardError::NotOpen(0)));
        assert_eq!(stream.split(1, 5, 2_000), Err(ReshardError::NotOpen(1)));
        assert_eq!(stream.shards.len(), 4);
        assert_eq!(
            stream.children(1).map(|shard| shard.number).collect::<Vec<_>>(),
            [3]
        );
    }
}
