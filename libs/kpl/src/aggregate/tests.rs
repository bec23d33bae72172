use proptest::prelude::*;

use super::*;
use crate::{UserRecord, is_aggregate, open};

type Given = (String, Option<String>, Vec<u8>);

/// Few keys, so that they come again, and lengths on both sides of where a number takes a byte more.
fn given() -> impl Strategy<Value = Given> {
    let key = prop_oneof!["[a-c]", ".{1,8}", "x{120,135}"];
    let hash_key = proptest::option::of("[0-9]{1,3}");
    let data = prop_oneof![
        20 => proptest::collection::vec(any::<u8>(), 0..8),
        4 => (110..140_usize).prop_map(|length| vec![8; length]),
        1 => (16_370..16_390_usize).prop_map(|length| vec![7; length]),
    ];
    (key, hash_key, data)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_packed_is_opened_as_it_was_and_the_length_is_exact(
        given in proptest::collection::vec(given(), 1..150),
    ) {
        let mut aggregate = Aggregate::new();
        for (key, hash_key, data) in &given {
            let told = aggregate.len_with(key, hash_key.as_deref(), data.len());
            aggregate.push(key, hash_key.as_deref(), data);
            prop_assert_eq!(aggregate.len(), told);
        }
        prop_assert_eq!(aggregate.count(), given.len());
        let bytes = aggregate.finish();
        prop_assert_eq!(bytes.len(), aggregate.len());
        prop_assert!(is_aggregate(&bytes));
        let expected: Vec<_> = given
            .iter()
            .map(|(key, hash_key, data)| UserRecord {
                partition_key: key,
                explicit_hash_key: hash_key.as_deref(),
                data,
            })
            .collect();
        prop_assert_eq!(open(&bytes).expect("an aggregate"), expected);
    }
}

#[test]
fn an_empty_one_is_an_aggregate_to_no_reader() {
    let aggregate = Aggregate::default();
    assert!(aggregate.is_empty());
    assert!(
        open(&aggregate.finish())
            .expect_err("nothing in it")
            .is_plain_record()
    );
}
