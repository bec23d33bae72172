//! `events config`, as an operator runs it.

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::{events, result, text};

/// A folder with a hash key and a client.
fn installed() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let hash_key = folder.path().join("hash-key");
    let made = [
        "client",
        "new-hash-key",
        "--file",
        hash_key.to_str().expect("UTF-8"),
    ];
    result(folder.path(), &made);
    result(folder.path(), &crate::NEW);
    folder
}

fn line<'t>(table: &'t str, flag: &str) -> Vec<&'t str> {
    let line = table
        .lines()
        .find(|line| line.split_whitespace().next() == Some(flag));
    line.unwrap_or_else(|| panic!("no {flag} in:\n{table}"))
        .split_whitespace()
        .collect()
}

#[test]
fn it_prints_each_setting_with_where_it_comes_from_and_no_secret() {
    let folder = installed();
    let path = |name: &str| folder.path().join(name);
    let table = result(folder.path(), &["config", "--stream", "plays", "--linger", "2ms"]);
    assert_eq!(line(&table, "--stream"), ["--stream", "plays", "flag"]);
    assert_eq!(line(&table, "--linger"), ["--linger", "2ms", "flag"]);
    assert_eq!(line(&table, "--listen"), ["--listen", "0.0.0.0:8080", "default"]);
    assert_eq!(
        line(&table, "--spool-folder"),
        ["--spool-folder", "-", "not", "set"]
    );
    let credentials = path("credentials.json");
    assert_eq!(
        line(&table, "--credentials-file"),
        [
            "--credentials-file",
            credentials.to_str().expect("UTF-8"),
            "EVENTS_CREDENTIALS_FILE"
        ]
    );
    let hash_key = fs::read_to_string(path("hash-key")).expect("there");
    assert!(!table.contains(hash_key.trim()));
    assert!(!table.contains("northwind"), "clients are no settings");
}

#[test]
fn what_the_service_would_refuse_ends_with_64_and_the_same_words() {
    let folder = installed();
    let empty = tempfile::tempdir().expect("a folder");
    let empty = empty.path().to_str().expect("UTF-8");
    let refused = |folder: &Path, arguments: &[&str]| {
        let output = events(folder, arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
        text(&output.stderr).to_owned()
    };
    for arguments in [
        &[][..],
        &["--stream", "a/b"],
        &["--stream", "plays", "--batch-bytes", "1GiB"],
        &["--stream", "plays", "--schemas-folder", empty],
        &["--stream", "plays", "--no-such-flag"],
    ] {
        let by_config = refused(folder.path(), &[&["config"], arguments].concat());
        let by_service = refused(folder.path(), arguments);
        assert_eq!(by_config, by_service, "{arguments:?}");
    }
    let message = refused(Path::new("/nowhere"), &["config", "--stream", "plays"]);
    assert!(message.contains("--credentials-hash-key-file"), "{message}");
}
