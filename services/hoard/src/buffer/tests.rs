//! Any sequence of records, cut as the pipeline cuts it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::line::json_line;
use crate::period::{Unit, Zone};
use crate::record::Arrival;
use crate::sequence::SequenceNumber;

const MIDNIGHT: i64 = 1_767_225_600_000;

fn shard() -> ShardId {
    ShardId::try_from("shardId-000000000000".to_owned()).expect("valid")
}

fn record(sequence: usize, millis: i64, data: &[u8]) -> Record {
    Record {
        sequence_number: SequenceNumber::try_from((sequence + 1).to_string()).expect("valid"),
        arrival: Arrival::from_millis(millis).expect("in range"),
        data: data.to_vec(),
    }
}

fn buffer(bytes: u64) -> Buffer {
    buffer_under("raw/", bytes)
}

fn buffer_under(prefix: &str, bytes: u64) -> Buffer {
    let limits = Limits {
        bytes,
        stored_bytes: u64::MAX,
        partitions: 3,
        age: Duration::from_secs(60),
    };
    let layout = Layout {
        stream: "events".to_owned(),
        prefix: prefix.parse().expect("valid"),
        error_prefix: "errors/".parse().expect("valid"),
        zone: Zone::utc(),
        record_partitions_max: 3,
        lines: LinesTo::Bucket,
    };
    let form = Form {
        layout: Arc::new(layout),
        compression: Compression::None,
    };
    Buffer::new(shard(), limits, form)
}

/// The pipeline's order: cut before a record of another day, push, cut when full; the rest at the end.
fn cut_all(mut buffer: Buffer, records: &[Record]) -> Vec<(Cause, Cut)> {
    let mut cuts = Vec::new();
    let mut take = |buffer: &mut Buffer, cause| {
        cuts.extend(buffer.cut().expect("memory").map(|cut| (cause, cut)));
    };
    for record in records {
        if let Some(cause) = buffer.ends_before(record) {
            take(&mut buffer, cause);
        }
        let _counted = buffer.push(record, Instant::now()).expect("memory");
        if let Some(cause) = buffer.is_full() {
            take(&mut buffer, cause);
        }
    }
    take(&mut buffer, Cause::Shutdown);
    cuts
}

fn lines(cut: &Cut, kind: Kind) -> Vec<String> {
    let objects = cut.objects.iter().filter(|object| object.kind == kind);
    objects.flat_map(lines_of).collect()
}

fn lines_of(object: &CutObject) -> Vec<String> {
    let text = String::from_utf8(object.encoded.body.to_vec()).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_day_boundary_cuts_and_each_side_keeps_its_day() {
    let records = [
        record(0, MIDNIGHT - 2, b"{\"n\":0}"),
        record(1, MIDNIGHT - 1, b"{\"n\":1}"),
        record(2, MIDNIGHT, b"{\"n\":2}"),
        // Arrival times may run slightly backwards: the record still goes to its own day.
        record(3, MIDNIGHT - 1, b"{\"n\":3}"),
        record(4, MIDNIGHT + 1, b"{\"n\":4}"),
    ];
    let cuts = cut_all(buffer(u64::MAX), &records);
    let days: Vec<_> = cuts
        .iter()
        .map(|(cause, cut)| (*cause, cut.span.period.to_string(), cut.span.records))
        .collect();
    let expected = [
        (Cause::Day, "2025-12-31", 2),
        (Cause::Day, "2026-01-01", 1),
        (Cause::Day, "2025-12-31", 1),
        (Cause::Shutdown, "2026-01-01", 1),
    ];
    assert_eq!(
        days,
        expected.map(|(cause, day, records)| (cause, day.to_owned(), records))
    );
}

#[test]
fn size_counts_error_lines_too() {
    let records: Vec<_> = (0..4).map(|n| record(n, MIDNIGHT, b"not json")).collect();
    let cuts = cut_all(buffer(300), &records);
    assert_eq!(
        cuts.iter().map(|(cause, _)| *cause).collect::<Vec<_>>(),
        [Cause::Size, Cause::Size]
    );
}

#[test]
fn age_counts_from_the_first_record_held() {
    let mut buffer = buffer(u64::MAX);
    assert_eq!(buffer.due(), None);
    let opened = Instant::now();
    let _good = buffer.push(&record(0, MIDNIGHT, b"{}"), opened).expect("memory");
    let _good = buffer
        .push(&record(1, MIDNIGHT, b"{}"), opened + Duration::from_secs(30))
        .expect("memory");
    assert_eq!(buffer.due(), Some(opened + Duration::from_secs(60)));
    assert!(buffer.cut().expect("memory").is_some());
    assert_eq!(buffer.due(), None);
    assert!(buffer.cut().expect("memory").is_none(), "an empty cut is no cut");
}

fn partitioned(n: usize, partition: &str) -> Record {
    record(
        n,
        MIDNIGHT,
        format!("{{\"n\":{n},\"p\":\"{partition}\"}}").as_bytes(),
    )
}

#[test]
fn each_partition_of_a_cut_is_an_object_of_its_own() {
    let names = ["b", "a", "b", "../a", "a"];
    let mut records: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| partitioned(n, name))
        .collect();
    records.push(record(5, MIDNIGHT, b"{}"));
    let cuts = cut_all(buffer_under("raw/!{partitionKey:p}/", u64::MAX), &records);
    let [(Cause::Shutdown, cut)] = &cuts[..] else {
        panic!("one cut")
    };
    let lines: Vec<_> = cut.objects.iter().map(lines_of).collect();
    assert_eq!(lines[0], ["{\"n\":1,\"p\":\"a\"}", "{\"n\":4,\"p\":\"a\"}"]);
    assert_eq!(lines[1], ["{\"n\":0,\"p\":\"b\"}", "{\"n\":2,\"p\":\"b\"}"]);
    let errors: Vec<_> = lines[2]
        .iter()
        .map(|line| line.contains("bad-partition") || line.contains("no-partition"))
        .collect();
    assert_eq!(errors, [true, true]);

    let (pending, _) = crate::commit::plan(&shard(), cuts.into_iter().next().expect("one").1);
    let keys: Vec<_> = pending.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "raw/a/2026/01/01/events-shardId-000000000000-1.jsonl",
            "raw/b/2026/01/01/events-shardId-000000000000-1.jsonl",
            "errors/2026/01/01/events-shardId-000000000000-1.jsonl",
        ]
    );
}

#[test]
fn a_cut_ends_with_the_record_that_opens_one_partition_too_many() {
    let names = ["a", "b", "c", "a", "b", "c", "d", "a"];
    let records: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| partitioned(n, name))
        .collect();
    let cuts = cut_all(buffer_under("raw/!{partitionKey:p}/", u64::MAX), &records);
    let ends: Vec<_> = cuts
        .iter()
        .map(|(cause, cut)| (*cause, cut.span.records, cut.objects.len()))
        .collect();
    assert_eq!(ends, [(Cause::Partitions, 7, 4), (Cause::Shutdown, 1, 1)]);
}

#[test]
fn stored_bytes_end_a_cut_too() {
    let mut buffer = buffer(u64::MAX);
    buffer.limits.stored_bytes = 300_000;
    let line = format!("{{\"text\":\"{}\"}}", "x".repeat(9_986));
    let records: Vec<_> = (0..60).map(|n| record(n, MIDNIGHT, line.as_bytes())).collect();
    let cuts = cut_all(buffer, &records);
    assert_eq!(cuts[0].0, Cause::StoredSize);
    // Compressed bytes grow by whole blocks: two of 27 lines of 10 kB.
    assert_eq!(cuts[0].1.span.records, 54);
}

#[test]
fn footprints_of_many_partitions_stay_near_what_they_hold() {
    let mut buffer = buffer_under("raw/!{partitionKey:p}/", u64::MAX);
    let mut bytes = 0;
    for n in 0..20_000 {
        let record = partitioned(n, &format!("partner-{}", n % 200));
        bytes += record.data.len() + 1;
        let _good = buffer.push(&record, Instant::now()).expect("memory");
    }
    let footprint = buffer.footprint();
    assert!(
        footprint >= bytes && footprint < bytes / 8 * 9 + 200 * 2_048,
        "{footprint} for {bytes}"
    );
}

fn any_records() -> impl Strategy<Value = Vec<Record>> {
    let data = prop_oneof![
        4 => "[a-z]{0,40}".prop_map(|text| format!("{{\"v\":\"{text}\"}}").into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    // Arrivals that wander around midnight, forwards and backwards.
    let arrival = MIDNIGHT - 3..MIDNIGHT + 3;
    proptest::collection::vec((arrival, data), 0..80).prop_map(|records| {
        let numbered = records.into_iter().enumerate();
        numbered
            .map(|(n, (millis, data))| record(n, millis, &data))
            .collect()
    })
}

proptest! {
    #[test]
    fn every_record_is_in_exactly_one_cut_in_order_and_on_its_day(
        records in any_records(),
        bytes in 1_u64..400,
    ) {
        let cuts = cut_all(buffer(bytes), &records);
        let mut rest = &records[..];
        for (_, cut) in &cuts {
            let count = usize::try_from(cut.span.records).expect("small");
            prop_assert!(count > 0 && count <= rest.len());
            let (held, after) = rest.split_at(count);
            rest = after;
            prop_assert_eq!(&cut.span.first, &held[0].sequence_number);
            prop_assert_eq!(&cut.span.last, &held[count - 1].sequence_number);
            prop_assert!(held.iter().all(|record| Zone::utc().period(record.arrival, Unit::Day) == cut.span.period));
            prop_assert_eq!(Some(cut.span.first_arrival), held.iter().map(|record| record.arrival).min());
            prop_assert_eq!(Some(cut.span.last_arrival), held.iter().map(|record| record.arrival).max());

            let good: Vec<_> = held.iter().filter_map(|record| json_line(&record.data, &[]).ok()).collect();
            let good: Vec<_> = good.iter().map(|(line, _)| String::from_utf8_lossy(line).into_owned()).collect();
            prop_assert_eq!(lines(cut, Kind::Lines), good);
            let bad: Vec<_> = held.iter().filter(|record| json_line(&record.data, &[]).is_err()).collect();
            let kept: Vec<Vec<u8>> = lines(cut, Kind::Errors).iter().map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                STANDARD.decode(line["rawData"].as_str().expect("text")).expect("base64")
            }).collect();
            prop_assert_eq!(kept, bad.iter().map(|record| record.data.clone()).collect::<Vec<_>>());
        }
        prop_assert!(rest.is_empty(), "{} records are in no cut", rest.len());
    }
}
