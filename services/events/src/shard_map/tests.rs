use prometheus::Opts;
use proptest::prelude::*;

use super::*;

/// The map of shards that begin at these hash keys and at 0.
pub(crate) fn map(starts: &[u128]) -> Arc<ShardMap> {
    let mut starts = [&[0], starts].concat();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts[1..].iter().map(|next| next - 1).chain([u128::MAX]);
    let shards = starts.iter().zip(ends).enumerate();
    let shards = shards.map(|(number, (first, last))| Shard::new(format!("shard-{number}"), *first, last));
    Arc::new(ShardMap::new(shards.collect()).expect("complete"))
}

pub(crate) fn maps() -> Arc<ShardMaps> {
    let counter = |name| Opts::new(name, name);
    ShardMaps::new(ShardMapMetrics {
        refreshes: IntCounterVec::new(counter("refreshes"), &["outcome"]).expect("a counter"),
        shards: IntGauge::new("shards", "shards").expect("a gauge"),
        mispredicted: IntCounter::new("mispredicted", "mispredicted").expect("a counter"),
    })
}

#[test]
fn a_key_belongs_to_the_shard_that_kinesis_gives_it() {
    // The MD5 of "a" begins with 0c, that of "b" with 92.
    let map = map(&[1 << 127]);
    assert_eq!(map.shard(map.place("a")).id, "shard-0");
    assert_eq!(map.shard(map.place("b")).id, "shard-1");
    assert_eq!(map.shard(1).hash_key(), "170141183460469231731687303715884105728");
}

#[test]
fn a_gap_an_overlap_or_nothing_is_no_map() {
    let shard = |first, last| Shard::new(String::new(), first, last);
    for shards in [
        vec![],
        vec![shard(0, 10)],
        vec![shard(1, u128::MAX)],
        vec![shard(0, 10), shard(12, u128::MAX)],
        vec![shard(0, 11), shard(11, u128::MAX)],
        vec![shard(0, u128::MAX), shard(5, u128::MAX)],
    ] {
        assert_eq!(ShardMap::new(shards), Err(Incomplete));
    }
    assert!(ShardMap::new(vec![shard(11, u128::MAX), shard(0, 10)]).is_ok());
}

#[test]
fn a_wrong_map_is_dropped_and_one_read_since_is_not() {
    let maps = maps();
    maps.learn(ShardMap::new(map(&[7]).shards.clone()).expect("complete"));
    let old = maps.current().expect("a map");
    maps.learn(ShardMap::new(map(&[7]).shards.clone()).expect("complete"));
    assert!(
        Arc::ptr_eq(&old, &maps.current().expect("a map")),
        "nothing changed"
    );

    maps.mispredicted(&old);
    assert!(maps.current().is_none());
    assert_eq!(maps.metrics.shards.get(), 0);
    maps.learn(ShardMap::new(map(&[9]).shards.clone()).expect("complete"));
    maps.mispredicted(&old);
    assert!(maps.current().is_some());
    assert_eq!(
        (maps.metrics.shards.get(), maps.metrics.mispredicted.get()),
        (2, 2)
    );
    let count = |outcome| maps.metrics.refreshes.with_label_values(&[outcome]).get();
    assert_eq!((count("changed"), count("unchanged")), (2, 1));
}

proptest! {
    #[test]
    fn every_key_belongs_to_the_shard_whose_range_holds_its_hash_key(
        starts in proptest::collection::vec(any::<u128>(), 0..20),
        key in ".{1,20}",
    ) {
        let map = map(&starts);
        let shard = map.shard(map.place(&key));
        let digest: [u8; 16] = Md5::digest(&key).into();
        let hash_key = u128::from_be_bytes(digest);
        prop_assert!((shard.first..=shard.last).contains(&hash_key));
    }
}
