//! Whatever producers, operators and readers do: nothing is skipped, repeated or reordered.

use super::*;

/// One step of a producer, an operator or a reader.
#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>),
    Get {
        reader: prop::sample::Index,
        limit: usize,
    },
    Split {
        which: prop::sample::Index,
    },
    Merge {
        which: prop::sample::Index,
    },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 1..6).prop_map(Step::Put),
        4 => (any::<prop::sample::Index>(), 1..4_usize).prop_map(|(reader, limit)| Step::Get { reader, limit }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Split { which }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Merge { which }),
        2 => (0..3_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

/// A consumer that follows the shards from parents to children.
#[derive(Default)]
struct Consumer {
    iterators: BTreeMap<u32, String>,
    finished: BTreeSet<u32>,
    records: Vec<(String, String)>,
}

impl Consumer {
    fn advance(&mut self, client: &Client, shard: u32, limit: usize) {
        let Some(iterator) = self.iterators.get(&shard) else {
            return;
        };
        let page = client.call("GetRecords", json!({"ShardIterator": iterator, "Limit": limit}));
        for record in page["Records"].as_array().expect("records") {
            self.records
                .push((text(&record["PartitionKey"]), text(&record["SequenceNumber"])));
        }
        match page["NextShardIterator"].as_str() {
            Some(next) => {
                self.iterators.insert(shard, next.to_owned());
            }
            None => {
                self.iterators.remove(&shard);
                self.finished.insert(shard);
                for child in page["ChildShards"]
                    .as_array()
                    .expect("children of a closed shard")
                {
                    let parents = child["ParentShards"].as_array().expect("parents");
                    let number = |id: &Value| text(id)[8..].parse::<u32>().expect("a number");
                    if parents
                        .iter()
                        .all(|parent| self.finished.contains(&number(parent)))
                    {
                        let child = number(&child["ShardId"]);
                        self.iterators.insert(child, client.horizon(child));
                    }
                }
            }
        }
    }
}

proptest! {
    /// However puts, reads and resharding interleave: a consumer that reads parents before children
    /// gets every record exactly once, and those of one partition key in the order they were put.
    #[test]
    fn nothing_is_skipped_repeated_or_reordered(steps in steps()) {
        let client = Client::new();
        client.create(2);
        let mut consumer = Consumer::default();
        consumer.iterators.extend((0..2).map(|shard| (shard, client.horizon(shard))));
        let mut put: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for step in steps {
            let open = || client.call("ListShards", json!({"StreamName": "s", "ShardFilter": {"Type": "AT_LATEST"}}));
            match step {
                Step::Put(keys) => {
                    let records: Vec<_> = keys.iter().map(|key| json!({"PartitionKey": key.to_string(), "Data": "AAA="})).collect();
                    let answer = client.call("PutRecords", json!({"StreamName": "s", "Records": records}));
                    for (key, entry) in keys.iter().zip(answer["Records"].as_array().expect("entries")) {
                        put.entry(key.to_string()).or_default().push(text(&entry["SequenceNumber"]));
                    }
                }
                Step::Get { reader, limit } if !consumer.iterators.is_empty() => {
                    let shards: Vec<_> = consumer.iterators.keys().copied().collect();
                    consumer.advance(&client, *reader.get(&shards), limit);
                }
                Step::Split { which } => {
                    let shards = open();
                    let shard = which.get(shards["Shards"].as_array().expect("shards"));
                    let range = &shard["HashKeyRange"];
                    let bound = |name: &str| text(&range[name]).parse::<u128>().expect("a number");
                    let (start, end) = (bound("StartingHashKey"), bound("EndingHashKey"));
                    let middle = start + (end - start) / 2 + 1;
                    client.call("SplitShard", json!({"StreamName": "s", "ShardToSplit": shard["ShardId"], "NewStartingHashKey": middle.to_string()}));
                }
                Step::Merge { which } => {
                    let shards = open();
                    let mut shards = shards["Shards"].as_array().expect("shards").clone();
                    shards.sort_by_key(|shard| text(&shard["HashKeyRange"]["StartingHashKey"]).parse::<u128>().expect("a number"));
                    if shards.len() > 1 {
                        let at = which.index(shards.len() - 1);
                        client.call("MergeShards", json!({"StreamName": "s", "ShardToMerge": shards[at]["ShardId"], "AdjacentShardToMerge": shards[at + 1]["ShardId"]}));
                    }
                }
                Step::Wait(ms) => client.clock.advance(Duration::from_millis(ms)),
                Step::Get { .. } => {}
            }
        }
        let expected: usize = put.values().map(Vec::len).sum();
        for _ in 0..1_000 {
            for shard in consumer.iterators.keys().copied().collect::<Vec<_>>() {
                consumer.advance(&client, shard, 100);
            }
            if consumer.records.len() >= expected {
                break;
            }
        }
        let mut read: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, number) in consumer.records {
            read.entry(key).or_default().push(number);
        }
        prop_assert_eq!(&read, &put);
        for numbers in put.values() {
            prop_assert!(numbers.is_sorted_by(|left, right| left < right), "{:?}", numbers);
        }
    }
}
