//! `bench compare` with programs that are trivial, or our own: what does the work is measured, and what
//! does not do it is told.

use std::{
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

const BENCH: &str = env!("CARGO_BIN_EXE_bench");

/// A folder in which this binary has the names of the programs.
fn programs() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for name in ["hoard", "syncomatic"] {
        symlink(BENCH, folder.path().join(name)).expect("a name");
    }
    folder
}

/// Runs a comparison of one round, and gives its report; `Err` is what it says on standard error.
fn compare(folder: &Path, arguments: &[&str]) -> Result<Value, String> {
    let json = folder.join("report.json");
    let mut bench = Command::new(BENCH);
    bench
        .arg("compare")
        .args(&arguments[..1])
        .args(["--rounds", "1", "--devices", "100", "--json"])
        .arg(&json);
    let Output { status, stderr, .. } = bench
        .args(&arguments[1..])
        .env("PROGRAMS", folder)
        .output()
        .expect("it starts");
    if !status.success() {
        return Err(String::from_utf8_lossy(&stderr).into_owned());
    }
    let text = std::fs::read(json).expect("a report");
    Ok(serde_json::from_slice(&text).expect("JSON"))
}

fn figure(report: &Value, what: &str) -> f64 {
    let lines = report["lines"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["what"] == what);
    let line = line.unwrap_or_else(|| panic!("no {what}: {report}"));
    line["median"].as_f64().expect("a number")
}

#[test]
fn whatever_drains_a_stream_is_measured() {
    let folder = programs();
    let hoard = r#"exec "$PROGRAMS/hoard" --stream "$STREAM" --bucket "$BUCKET" --flush-interval 1s \
        --admin-listen 127.0.0.1:0"#;
    let drain = ["drain", "--events", "2000", "--limit", "60s", "--"];
    let report = compare(folder.path(), &[&drain[..], &["sh", "-c", hoard]].concat()).expect("figures");
    assert_eq!(figure(&report, "events that are missing"), 0.0);
    assert_eq!(figure(&report, "events that are there again"), 0.0);
    assert!(figure(&report, "processor time") > 0.0, "{report}");
    assert!(figure(&report, "the most memory") > 1.0, "{report}");

    let report = compare(folder.path(), &[&drain[..], &["true"]].concat()).expect("figures");
    assert_eq!(figure(&report, "events that are missing"), 2_000.0);
    let verdict = &report["lines"].as_array().expect("lines")[5]["verdict"];
    assert_eq!(verdict, "missed", "{report}");
}

#[test]
fn whatever_copies_a_bucket_is_measured() {
    let folder = programs();
    let syncomatic = r#"printf %s "$SOURCE_SECRET_ACCESS_KEY" > "$PROGRAMS/source"
        printf %s "$DESTINATION_SECRET_ACCESS_KEY" > "$PROGRAMS/destination"
        exec "$PROGRAMS/syncomatic" --admin-listen 127.0.0.1:0 \
        --source-region "$SOURCE_REGION" --source-bucket "$SOURCE_BUCKET" --source-queue "$SOURCE_QUEUE_URL" \
        --source-endpoint-url "$SOURCE_ENDPOINT_URL" --source-access-key-id "$SOURCE_ACCESS_KEY_ID" \
        --source-secret-access-key-file "$PROGRAMS/source" \
        --destination-region "$DESTINATION_REGION" --destination-bucket "$DESTINATION_BUCKET" \
        --destination-endpoint-url "$DESTINATION_ENDPOINT_URL" \
        --destination-access-key-id "$DESTINATION_ACCESS_KEY_ID" \
        --destination-secret-access-key-file "$PROGRAMS/destination""#;
    let copy = [
        "copy",
        "--objects",
        "20",
        "--bytes",
        "10000",
        "--limit",
        "60s",
        "--",
    ];
    let report = compare(folder.path(), &[&copy[..], &["sh", "-c", syncomatic]].concat()).expect("figures");
    assert_eq!(figure(&report, "objects that are missing or not the same"), 0.0);
    assert!(figure(&report, "processor time an object") > 0.0, "{report}");

    let report = compare(folder.path(), &[&copy[..], &["true"]].concat()).expect("figures");
    assert_eq!(figure(&report, "objects that are missing or not the same"), 20.0);
    let slow = ["copy", "--objects", "1", "--limit", "200ms", "--", "sleep", "60"];
    let late = compare(folder.path(), &slow).expect_err("too late");
    assert!(late.contains("sleep: was not done within"), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_endpoint_takes_the_same_events() {
    let folder = programs();
    let mut handler = tokio::process::Command::new(BENCH)
        .arg("handler")
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut stdout = tokio::io::BufReader::new(handler.stdout.take().expect("piped"));
    let read = tokio::io::AsyncBufReadExt::read_line(&mut stdout, &mut line);
    read.await.expect("its address");
    let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
    let pid = handler.id().expect("running").to_string();
    let http = move |path: &str| {
        let url = format!("http://{address}{path}");
        let load = [
            "--requests",
            "200",
            "--batch",
            "10",
            "--latency",
            "300ms",
            "--header",
            "x-key: secret",
        ];
        let arguments = [&["http", "--url", &url, "--pid", &pid], &load[..]].concat();
        compare(folder.path(), &arguments)
    };
    let (taken, refused) = tokio::task::spawn_blocking(move || (http("/v1/events"), http("/nowhere")))
        .await
        .expect("both run");
    let report = taken.expect("figures");
    assert!(
        figure(&report, "on the wall clock, as fast as it answers") > 0.0,
        "{report}"
    );
    assert!(figure(&report, "the most memory") > 0.0, "{report}");
    let refused = refused.expect_err("not found");
    assert!(refused.contains("404"), "{refused}");
}
