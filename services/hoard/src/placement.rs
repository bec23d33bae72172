//! Which replica a shard belongs to: the same answer on every replica that sees the same replicas and
//! shards, without anybody in charge.
//!
//! Rendezvous hashing moves few shards when a replica comes or goes, but over a handful of shards it
//! is lopsided: 4 shards on 3 replicas often fall 3, 1 and 0. So loads are capped. The pairs of shard
//! and replica are walked from the heaviest hash down, and a pair is taken if the shard is free and
//! the replica has room; loads then differ by one at most.

use std::collections::{BTreeMap, BTreeSet};

use crate::encode::crc64_nvme;
use crate::sequence::ShardId;

/// The home of each shard; empty when there is no replica.
pub fn place<'a>(
    replicas: &BTreeSet<String>,
    shards: impl IntoIterator<Item = &'a ShardId>,
) -> BTreeMap<ShardId, String> {
    let shards: BTreeSet<&ShardId> = shards.into_iter().collect();
    if replicas.is_empty() {
        return BTreeMap::new();
    }
    let mut pairs: Vec<(u64, &ShardId, &String)> = shards
        .iter()
        .flat_map(|shard| {
            replicas
                .iter()
                .map(|replica| (weight(shard, replica), *shard, replica))
        })
        .collect();
    pairs.sort_unstable_by(|a, b| b.cmp(a));

    let least = shards.len() / replicas.len();
    // So many replicas have one shard more than the others.
    let mut extras = shards.len() % replicas.len();
    let mut loads: BTreeMap<&String, usize> = BTreeMap::new();
    let mut homes = BTreeMap::new();
    for (_, shard, replica) in pairs {
        if homes.contains_key(shard) {
            continue;
        }
        let load = loads.entry(replica).or_default();
        if *load > least || (*load == least && extras == 0) {
            continue;
        }
        if *load == least {
            extras -= 1;
        }
        *load += 1;
        homes.insert(shard.clone(), replica.clone());
    }
    homes
}

fn weight(shard: &ShardId, replica: &str) -> u64 {
    let shard = crc64_nvme(shard.as_str().as_bytes());
    let replica = crc64_nvme(replica.as_bytes());
    // A CRC alone is linear: names that differ alike would weigh alike.
    mix(mix(shard) ^ replica)
}

/// The finaliser of SplitMix64: every bit of the input changes half of the output's.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shards(count: usize) -> Vec<ShardId> {
        let name = |n| format!("shardId-{n:012}");
        (0..count)
            .map(|n| ShardId::try_from(name(n)).expect("valid"))
            .collect()
    }

    fn replicas(names: &[u64]) -> BTreeSet<String> {
        names.iter().map(|n| format!("replica-{n:x}")).collect()
    }

    #[test]
    fn nobody_is_there() {
        assert!(place(&BTreeSet::new(), &shards(3)).is_empty());
    }

    proptest! {
        #[test]
        fn every_shard_has_a_home_and_loads_differ_by_one_at_most(
            names in prop::collection::vec(any::<u64>(), 1..12),
            count in 0_usize..60,
        ) {
            let (replicas, shards) = (replicas(&names), shards(count));
            let homes = place(&replicas, &shards);
            prop_assert_eq!(homes.len(), count);
            let loads = replicas.iter().map(|replica| homes.values().filter(|home| *home == replica).count());
            let loads: Vec<usize> = loads.collect();
            prop_assert!(loads.iter().max().expect("some") - loads.iter().min().expect("some") <= 1, "{:?}", loads);
            let mut reversed = shards;
            reversed.reverse();
            prop_assert_eq!(homes, place(&replicas, &reversed));
        }
    }

    /// Not a law, since the cap moves a few shards more than plain rendezvous hashing would; but most
    /// must stay where they are, or a rolling update would move everything at every step.
    #[test]
    fn most_shards_stay_when_a_replica_joins() {
        let shards = shards(60);
        let (mut moved, mut needed) = (0, 0);
        for round in 0..20 {
            let names: Vec<u64> = (0..5).map(|n| round * 100 + n).collect();
            let before = place(&replicas(&names[..4]), &shards);
            let after = place(&replicas(&names), &shards);
            moved += shards
                .iter()
                .filter(|shard| before[*shard] != after[*shard])
                .count();
            needed += shards.len() / 5;
        }
        assert!(moved < 2 * needed, "{moved} moved where {needed} had to");
    }
}
