use proptest::prelude::*;

use super::*;
use crate::Aggregate;

/// A record with this message.
fn sealed(message: &[u8]) -> Vec<u8> {
    let mut record = MAGIC.to_vec();
    record.extend_from_slice(message);
    record.extend_from_slice(&Md5::digest(message));
    record
}

fn aggregate() -> Vec<u8> {
    let mut aggregate = Aggregate::new();
    for (key, hash_key, data) in [("spk-1", Some("17"), "one"), ("spk-2", None, "two")] {
        aggregate.push(key, hash_key, data.as_bytes());
    }
    aggregate.finish()
}

#[test]
fn what_is_no_aggregate_says_why() {
    use BrokenAggregate::{NoMagic, TooShort, WrongDigest};
    let empty_message = sealed(b"");
    let mut flipped = aggregate();
    flipped[10] ^= 1;
    let cut = aggregate();
    for (record, expected) in [
        (&b"{\"a\":1}"[..], NoMagic),
        (b"", NoMagic),
        (&MAGIC[..3], NoMagic),
        (&MAGIC, TooShort { bytes: 4 }),
        (&empty_message, TooShort { bytes: 20 }),
        (&flipped, WrongDigest),
        (&cut[..cut.len() - 1], WrongDigest),
    ] {
        assert_eq!(open(record), Err(expected), "{record:?}");
        assert!(expected.is_plain_record());
    }
}

#[test]
fn a_message_that_is_not_as_the_format_says_says_where() {
    use BrokenAggregate::{Incomplete, KeyNotUtf8, NoSuchKey, NotProtobuf};
    // A key "k", then what is wrong, which begins at byte 7 of the record.
    let key = [0x0A, 1, b'k'];
    for (wrong, expected) in [
        (&[0x1A, 9, 0x08, 0][..], NotProtobuf { at: 7 }), // longer than the message
        (&[0x1A], NotProtobuf { at: 7 }),
        (&[0x1A, 2, 0x08, 0x80], NotProtobuf { at: 7 }), // a number without an end
        (&[0x02, 0], NotProtobuf { at: 7 }),             // field 0
        (&[0x1B, 0x1C], NotProtobuf { at: 7 }),          // a group
        (&[0x0F], NotProtobuf { at: 7 }),                // no such kind
        (
            &[0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
            NotProtobuf { at: 7 },
        ),
        (&[0x0A, 1, 0xFF], KeyNotUtf8 { at: 7 }),
        (&[0x12, 1, 0xC3], KeyNotUtf8 { at: 7 }),
        (
            &[0x1A, 2, 0x1A, 0],
            Incomplete {
                index: 0,
                field: "partition_key_index",
            },
        ),
        (
            &[0x1A, 2, 0x08, 0],
            Incomplete {
                index: 0,
                field: "data",
            },
        ),
        // Data of another kind is a field that is not known, so there is none.
        (
            &[0x1A, 4, 0x08, 0, 0x18, 0],
            Incomplete {
                index: 0,
                field: "data",
            },
        ),
        (
            &[0x1A, 4, 0x08, 1, 0x1A, 0],
            NoSuchKey {
                index: 0,
                key: 1,
                keys: 1,
            },
        ),
        (
            &[0x1A, 6, 0x08, 0, 0x10, 0, 0x1A, 0],
            NoSuchKey {
                index: 0,
                key: 0,
                keys: 0,
            },
        ),
    ] {
        let record = sealed(&[&key[..], wrong].concat());
        assert_eq!(open(&record), Err(expected), "{wrong:?}");
    }
}

#[test]
fn only_a_wrong_key_makes_it_an_aggregate_made_wrong() {
    let record = sealed(&[0x1A, 4, 0x08, 1, 0x1A, 0]);
    assert!(!open(&record).expect_err("no key").is_plain_record());
    assert!(open(&sealed(&[0x02, 0])).expect_err("no field").is_plain_record());
}

#[test]
fn fields_may_come_in_any_order_twice_or_be_unknown() {
    let record = sealed(&[
        0x1A, 15, // a record, in front of its key:
        0x22, 3, 0x0A, 1, b't', // a tag,
        0x1A, 1, b'a', 0x1A, 1, b'b', // data, twice,
        0x08, 0, // its key,
        0x38, 5, // and a field that is not known
        0x21, 1, 2, 3, 4, 5, 6, 7, 8, // not known: eight bytes,
        0x25, 1, 2, 3, 4, // four,
        0x3A, 1, 0xFF, // some
        0x0A, 1, b'k',
    ]);
    let expected = UserRecord {
        partition_key: "k",
        explicit_hash_key: None,
        data: b"b",
    };
    assert_eq!(open(&record), Ok(vec![expected]));
}

#[test]
fn keys_without_records_are_an_aggregate_of_nothing() {
    assert_eq!(open(&sealed(&[0x0A, 1, b'k'])), Ok(Vec::new()));
}

/// Bytes that are fields often enough to get further than the first.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => prop_oneof![Just(0x08), Just(0x0A), Just(0x10), Just(0x12), Just(0x1A), Just(0x22)],
        3 => 0..6_u8,
        1 => any::<u8>(),
    ];
    proptest::collection::vec(byte, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn no_bytes_make_it_panic(message in message(), at in 0..80_usize) {
        let mut record = sealed(&message);
        // What is opened lies in the record.
        for opened in open(&record).unwrap_or_default() {
            let range = record.as_ptr_range();
            prop_assert!(opened.data.is_empty() || range.contains(&opened.data.as_ptr()));
        }
        record.truncate(at);
        prop_assert!(open(&record).is_err() || at >= message.len() + 20);
    }
}
