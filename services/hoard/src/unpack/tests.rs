//! Aggregates, whole and broken.

use proptest::prelude::*;

use super::*;
use crate::layout::LinesTo;
use crate::period::Zone;

fn layout(prefix: &str) -> Layout {
    Layout {
        stream: "events".to_owned(),
        prefix: prefix.parse().expect("valid"),
        error_prefix: "errors/".parse().expect("valid"),
        zone: Zone::utc(),
        record_partitions_max: 2,
        lines: LinesTo::Bucket,
    }
}

fn aggregate(records: &[&[u8]]) -> Vec<u8> {
    let mut aggregate = kpl::Aggregate::new();
    for (n, data) in records.iter().enumerate() {
        aggregate.push(&format!("key-{n}"), None, data);
    }
    aggregate.finish()
}

fn lines(unpacked: &Unpacked<'_>) -> Vec<String> {
    let lines = unpacked.lines.iter();
    lines
        .map(|line| String::from_utf8_lossy(&line.text).into_owned())
        .collect()
}

fn bad(unpacked: &Unpacked<'_>) -> Vec<(BadRecord, Option<usize>)> {
    unpacked
        .bad
        .iter()
        .map(|bad| (bad.reason, bad.sub_sequence))
        .collect()
}

#[test]
fn a_plain_record_is_one_line_or_one_error() {
    let layout = layout("raw/");
    assert_eq!(lines(&unpack(b" {\"n\":1}\n", &layout)), ["{\"n\":1}"]);
    assert_eq!(bad(&unpack(b"none", &layout)), [(BadRecord::NotJson, None)]);
}

#[test]
fn user_records_are_lines_in_their_order_and_bad_ones_keep_their_place() {
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(4_000));
    let record = aggregate(&[b"{\"n\":0}", b"none", large.as_bytes(), b"{\"n\":3}", b""]);
    let layout = layout("raw/");
    let unpacked = unpack(&record, &layout);
    assert_eq!(lines(&unpacked), ["{\"n\":0}", &large, "{\"n\":3}"]);
    assert_eq!(
        bad(&unpacked),
        [(BadRecord::NotJson, Some(1)), (BadRecord::Empty, Some(4))]
    );
    assert_eq!(unpacked.bad[0].data, b"none");
}

#[test]
fn broken_aggregates_are_kept_whole() {
    let layout = layout("raw/");
    let good = aggregate(&[b"{\"n\":0}", b"{\"n\":1}"]);
    let mut wrong_digest = good.clone();
    *wrong_digest.last_mut().expect("bytes") ^= 1;
    let mut flipped = good.clone();
    flipped[6] ^= 0x40;
    for record in [
        &wrong_digest[..],
        &flipped,
        &good[..good.len() - 3],
        &good[..10],
        &kpl::MAGIC,
    ] {
        let unpacked = unpack(record, &layout);
        assert_eq!(bad(&unpacked), [(BadRecord::BrokenAggregate, None)]);
        assert_eq!((unpacked.lines.len(), unpacked.bad[0].data), (0, record));
    }
    let empty = aggregate(&[]);
    let unpacked = unpack(&empty, &layout);
    assert_eq!(
        (unpacked.lines.len(), unpacked.bad.len(), unpacked.bad[0].data),
        (0, 1, &empty[..])
    );
}

#[test]
fn many_bad_user_records_take_no_more_than_the_record_itself() {
    let layout = layout("raw/");
    let mut records: Vec<&[u8]> = vec![b"x"; 10_000];
    records.push(b"{\"n\":1}");
    let record = aggregate(&records);
    let unpacked = unpack(&record, &layout);
    assert_eq!(lines(&unpacked), ["{\"n\":1}"]);
    assert_eq!(bad(&unpacked), [(BadRecord::BadUserRecords, None)]);
    assert_eq!(unpacked.bad[0].data, record);
}

#[test]
fn a_record_may_not_open_partitions_without_number() {
    let layout = layout("raw/!{partitionKey:p}/");
    let two = aggregate(&[b"{\"p\":1}", b"{\"p\":2}", b"{\"p\":1}"]);
    assert_eq!(unpack(&two, &layout).lines.len(), 3);
    let three = aggregate(&[b"{\"p\":1}", b"{\"p\":2}", b"{\"p\":3}"]);
    let unpacked = unpack(&three, &layout);
    assert_eq!(
        (unpacked.lines.len(), bad(&unpacked)),
        (0, vec![(BadRecord::TooManyPartitions, None)])
    );
}

proptest! {
    /// Whatever is packed comes out: as a line, as an error line, or within one.
    #[test]
    fn nothing_is_dropped(
        records in proptest::collection::vec(prop_oneof![
            "[a-z]{0,20}".prop_map(|text| format!("{{\"v\":\"{text}\"}}").into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..300),
        ], 1..20),
    ) {
        let layout = layout("raw/");
        let record = aggregate(&records.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let unpacked = unpack(&record, &layout);
        prop_assert!(unpacked.bytes_max() <= error_line_bytes_max(&record) + record.len());
        let good = records.iter().filter(|data| json_line(data, &[]).is_ok()).count();
        prop_assert_eq!(unpacked.lines.len(), good);
        match &unpacked.bad[..] {
            [Bad { sub_sequence: None, data, .. }] => prop_assert_eq!(*data, &record[..]),
            bad => {
                prop_assert_eq!(bad.len(), records.len() - good);
                for bad in bad {
                    prop_assert_eq!(bad.data, &records[bad.sub_sequence.expect("a place")][..]);
                }
            }
        }
    }

    #[test]
    fn any_bytes_behind_the_magic_end_as_something(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let record = [&kpl::MAGIC[..], &bytes].concat();
        let unpacked = unpack(&record, &layout("raw/"));
        prop_assert!(unpacked.lines.len() + unpacked.bad.len() > 0);
    }
}
