use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{batch::tests::queued, shard_map::tests::map};

const BOUNDS: Bounds = Bounds {
    records: 10,
    bytes: 2_000,
    linger: Duration::ZERO,
    time_to_live: Duration::from_secs(1),
};

fn sent(entry: &mut Entry) -> (Vec<u8>, String, Option<String>) {
    let outgoing = entry.outgoing();
    (
        outgoing.data,
        outgoing.partition_key.to_owned(),
        outgoing.explicit_hash_key.map(str::to_owned),
    )
}

#[tokio::test]
async fn an_event_alone_is_sent_as_it_is_and_several_are_packed_for_their_shard() {
    // The MD5 of "a" begins with 0c, that of "b" with 92, that of "c" with 4a.
    let packing = Packing {
        map: map(&[1 << 127]),
        bytes: 500,
    };
    let mut packer = Packer::new(BOUNDS, Some(&packing));
    for (key, line) in [("a", "{1}"), ("b", "{2}"), ("c", "{3}")] {
        let slot = packer.push(&mut VecDeque::from([queued(key, line)]));
        assert!(slot.is_some(), "there is room");
    }
    let mut entries = packer.finish().expect("records");
    let mut all: Vec<_> = entries.iter_mut().map(sent).collect();
    all.sort();
    let half = (1_u128 << 127).to_string();
    let both_halves = [
        packing.map.place("a"),
        packing.map.place("b"),
        packing.map.place("c"),
    ];
    assert_eq!(both_halves, [0, 1, 0]);
    let [alone, packed] = &all[..] else {
        panic!("two shards, two records")
    };
    assert_eq!(*alone, (b"{2}".to_vec(), "b".to_owned(), None));
    assert_eq!((packed.1.as_str(), packed.2.as_deref()), ("a", Some("0")));
    let opened = kpl::open(&packed.0).expect("an aggregate");
    let keys: Vec<_> = opened.iter().map(|user| user.partition_key).collect();
    assert_eq!(keys, ["a", "c"]);
    assert!(opened.iter().all(|user| user.explicit_hash_key == Some("0")));
    assert_eq!(packing.map.shard(1).hash_key(), half);

    let packed = entries.iter().find(|entry| entry.packed_events() == Some(2));
    let packed = packed.expect("a packed record");
    assert!(packed.mispredicted("shard-0").is_none());
    assert!(packed.mispredicted("shard-7").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn sizes_are_exact_and_within_bounds_and_keys_keep_their_order(
        starts in proptest::collection::vec(1_u128.., 0..4),
        bytes in 1_024..1_500_usize,
        lanes in proptest::collection::vec(proptest::collection::vec(1..400_usize, 1..8), 1..30),
        packs in any::<bool>(),
    ) {
        let packing = Packing { map: map(&starts), bytes };
        let packing = packs.then_some(&packing);
        let mut packer = Packer::new(BOUNDS, packing);
        let mut given = Vec::new();
        for (key, lengths) in lanes.iter().enumerate() {
            let key = format!("k{key}");
            let events = lengths.iter().enumerate().map(|(number, length)| {
                queued(&key, &format!("{number}-{}", "x".repeat(*length)))
            });
            let mut events = events.collect();
            let Some(slot) = packer.push(&mut events) else { break };
            while packer.push_behind(slot, &mut events) {}
            let taken = lengths.len() - events.len();
            given.extend((0..taken).map(|number| (key.clone(), number)));
        }
        let mut entries = packer.finish().expect("the first always fits");
        let said: usize = entries.iter().map(Entry::bytes).sum();
        prop_assert!(entries.len() <= BOUNDS.records && said <= BOUNDS.bytes);

        let (mut exact, mut found) = (0, Vec::new());
        for entry in &mut entries {
            let (shard, packed) = (entry.packed.as_ref().map(|packed| packed.place), entry.packed_events());
            let (data, key, _) = sent(entry);
            exact += data.len() + key.len();
            let opened = match packed {
                None => vec![(key, data)],
                Some(_) => {
                    prop_assert!(data.len() + key.len() <= bytes);
                    let users = kpl::open(&data).expect("an aggregate");
                    users.iter().map(|user| (user.partition_key.to_owned(), user.data.to_vec())).collect()
                }
            };
            prop_assert!(packed.is_none_or(|events| events == opened.len() && events > 1));
            for (key, data) in opened {
                let place = packing.map(|packing| packing.map.place(&key));
                prop_assert!(shard.is_none() || shard == place);
                let number = data[..1][0] - b'0';
                found.push((key, usize::from(number)));
            }
        }
        prop_assert_eq!(exact, said);
        found.sort_by(|one, other| one.0.cmp(&other.0));
        given.sort_by(|one, other| one.0.cmp(&other.0));
        prop_assert_eq!(found, given, "each once, those of a key in their order");
    }
}
