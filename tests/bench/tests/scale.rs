//! `bench scale` in its short form, with the build at hand: its figures say nothing of speed, but each is there,
//! and the work that stays the same is done.

use std::{os::unix::fs::symlink, path::Path};

use bench::{report::Table, scale::Scale};
use clap::Parser;

#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    scale: Scale,
}

/// What the flags measure of a program, which is this crate's own under another name.
async fn measured(name: &str, flags: &[&str]) -> Table {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join(name);
    symlink(Path::new(env!("CARGO_BIN_EXE_bench")), &program).expect("a name");
    let flags = [&["scale", name], flags].concat();
    let scale = Flags::try_parse_from(flags).expect("flags of ours").scale;
    let measured = scale.measure(&program).await;
    measured.unwrap_or_else(|failure| panic!("{failure}"))
}

fn column(table: &Table, name: &str) -> Vec<f64> {
    let place = table.columns.iter().position(|column| *column == name);
    let place = place.unwrap_or_else(|| panic!("no {name} in {:?}", table.columns));
    table.rows.iter().map(|row| row[place]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hoard_is_measured_over_its_shards() {
    let flags = [
        "--shards",
        "1,4",
        "--rate",
        "500",
        "--duration",
        "3s",
        "--flush-interval",
        "1s",
    ];
    let table = measured("hoard", &flags).await;
    assert_eq!(column(&table, "shards"), [1.0, 4.0]);
    for name in [
        "work: CPU ms/s",
        "work: calls/s",
        "GetRecords/s",
        "PutObject/s",
        "peak MiB",
    ] {
        assert!(
            column(&table, name).iter().all(|figure| *figure > 0.0),
            "{name}: {table:?}"
        );
    }
    let records = column(&table, "records read/s");
    assert!(records.iter().all(|rate| *rate > 0.0), "{table:?}");
    // Each shard is read by calls of its own, at most five a second.
    let reads = column(&table, "GetRecords/s");
    assert!(reads[1] > reads[0] && reads[0] <= 6.0, "{table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_is_measured_over_its_clients() {
    let table = measured("events", &["--clients", "1,30", "--requests", "300"]).await;
    assert_eq!(column(&table, "clients"), [1.0, 30.0]);
    assert_eq!(column(&table, "partners"), [1.0, 3.0]);
    for name in [
        "CPU µs/request",
        "requests/s",
        "PutRecords calls/1,000 requests",
        "MiB after",
    ] {
        assert!(
            column(&table, name).iter().all(|figure| *figure > 0.0),
            "{name}: {table:?}"
        );
    }
}
