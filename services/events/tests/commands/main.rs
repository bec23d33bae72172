//! The program's commands, as a person or a script runs them.

mod config;
mod schema;

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

/// Runs `events` with the credentials in `folder`.
fn events(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_events"));
    command
        .env("EVENTS_CREDENTIALS_FILE", folder.join("credentials.json"))
        .env("EVENTS_CREDENTIALS_HASH_KEY_FILE", folder.join("hash-key"));
    command.args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// What a command that succeeds prints.
fn result(folder: &Path, arguments: &[&str]) -> String {
    let output = events(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&result(folder, arguments)).expect("JSON")
}

const NEW: [&str; 10] = [
    "client",
    "new",
    "--partner",
    "northwind",
    "--clientid",
    "northwind-app",
    "--kind",
    "app",
    "--allow",
    "play,navigation",
];

#[test]
fn a_client_goes_through_its_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let hash_key = folder.join("hash-key");
    let hash_key = hash_key.to_str().expect("UTF-8");
    result(folder, &["client", "new-hash-key", "--file", hash_key]);

    let new = json(folder, &[NEW.as_slice(), &["--json"]].concat());
    let key = new["key"].as_str().expect("a key").to_owned();
    let rotated = json(folder, &["client", "rotate", "--key", &key, "--json"]);
    assert_ne!(new["secret"], rotated["secret"]);

    let listed = json(folder, &["client", "list", "--json"]);
    let client = &listed["clients"][0];
    assert_eq!(client["allow"], serde_json::json!(["play", "navigation"]));
    assert_eq!(client["secrets"], 2);
    let stored = std::fs::read_to_string(folder.join("credentials.json")).expect("a file");
    let stored: Value = serde_json::from_str(&stored).expect("JSON");
    let printed = result(folder, &["client", "list"]) + &listed.to_string();
    for hash in stored["clients"][0]["secrets"].as_array().expect("hashes") {
        assert!(!printed.contains(hash.as_str().expect("text")), "{printed}");
    }
    assert!(
        printed.contains(&key) && printed.contains("northwind-app"),
        "{printed}"
    );

    let third = events(folder, &["client", "rotate", "--key", &key]);
    assert_eq!(third.status.code(), Some(1));
    assert!(text(&third.stderr).contains("events client retire"));

    result(folder, &["client", "retire", "--key", &key, "--keep", "newest"]);
    result(folder, &["client", "revoke", "--key", &key]);
    let listed = json(folder, &["client", "list", "--json"]);
    assert_eq!(listed["clients"], serde_json::json!([]));
}

#[test]
fn a_person_reads_key_and_secret_and_that_they_come_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let hash_key = folder.path().join("hash-key");
    let hash_key = hash_key.to_str().expect("UTF-8");
    result(folder.path(), &["client", "new-hash-key", "--file", hash_key]);
    let shown = result(folder.path(), &NEW);
    let line = |name: &str| {
        shown
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    assert_eq!(line("key").map(str::len), Some(20), "{shown}");
    assert_eq!(line("secret").map(str::len), Some(43), "{shown}");
    assert!(shown.contains("not shown again"), "{shown}");
}

#[test]
fn wrong_usage_ends_with_64_and_names_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases: [(&[&str], &str); 8] = [
        (&["client"], "Usage"),
        (&["client", "remove"], "remove"),
        (&["client", "new", "--partner", "northwind"], "--clientid"),
        (&["client", "new", "--kind", "toaster"], "device, app or platform"),
        (&["client", "retire", "--key", "k", "--keep", "both"], "both"),
        (&["clients"], "clients"),
        (&["spool"], "Usage"),
        (&["spool", "list"], "--spool-folder"),
    ];
    for (arguments, named) in cases {
        let output = events(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(named),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn a_missing_hash_key_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = events(folder.path(), &NEW);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("hash-key"));
    assert!(!folder.path().join("credentials.json").exists());
}

#[test]
fn a_folder_that_is_no_spool_is_not_made_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("spool");
    let path = missing.to_str().expect("UTF-8");
    for verb in ["list", "revive", "discard"] {
        let output = events(folder.path(), &["spool", verb, "--spool-folder", path]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("there is no spool in"));
    }
    assert!(!missing.exists());
}
