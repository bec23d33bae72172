//! The crate against aggregates that AWS's own library for Python has made: the same records, the same
//! bytes. `vectors/check.py` makes them, and shows that the library opens them.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use kpl::{Aggregate, UserRecord, is_aggregate, open};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    /// `aggregator`, or `message`: with what the aggregator never writes, so only to be opened.
    by: String,
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    partition_key: String,
    explicit_hash_key: Option<String>,
    /// In base64.
    data: String,
}

#[test]
fn what_aws_packs_is_opened_and_packed_to_the_same_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let cases = fs::read(folder.join("cases.json")).expect("the cases");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("cases");
    assert_eq!(cases.len(), 7);
    for case in cases {
        let bytes = fs::read(folder.join(format!("{}.bin", case.name))).expect("a vector");
        let data = case.records.iter().map(|record| STANDARD.decode(&record.data));
        let data: Vec<_> = data.collect::<Result<_, _>>().expect("base64");
        let records = case.records.iter().zip(&data).map(|(record, data)| UserRecord {
            partition_key: &record.partition_key,
            explicit_hash_key: record.explicit_hash_key.as_deref(),
            data,
        });
        let records: Vec<_> = records.collect();
        assert!(is_aggregate(&bytes));
        assert_eq!(open(&bytes).as_ref(), Ok(&records), "{}", case.name);
        if case.by == "aggregator" {
            let mut aggregate = Aggregate::new();
            for record in &records {
                aggregate.push(record.partition_key, record.explicit_hash_key, record.data);
            }
            assert_eq!(aggregate.finish(), bytes, "{}", case.name);
        }
    }
}
