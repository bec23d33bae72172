use service_runtime::settings::config_from;

use super::*;
use crate::credentials::{CredentialsFile, HashKey, issue};

pub(crate) const LIMITS: Limits = Limits {
    event_bytes: 32 << 10,
    events: 500,
    body_bytes: 1 << 20,
    decompressed_bytes: 5 << 20,
    depth: 32,
    body_timeout: Duration::from_secs(10),
};

/// The configuration from these flags, in addition to those that are required.
fn config(flags: &[&str]) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let (hash_key, hash_key_text) = HashKey::generate();
    let issued = issue(&hash_key, "app", "northwind", event_model::Producer::App, &["*"]);
    let file = serde_json::to_vec(&CredentialsFile {
        clients: vec![issued.entry],
        ..CredentialsFile::default()
    })
    .expect("JSON");
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let credentials = write("credentials.json", &file);
    let hash_key = write("hash-key", hash_key_text.as_bytes());
    let mut arguments = vec![
        "--credentials-file",
        &credentials,
        "--credentials-hash-key-file",
        &hash_key,
    ];
    if !flags.contains(&"--stream") {
        arguments.extend(["--stream", "events"]);
    }
    arguments.extend(flags);
    config_from::<Settings>(arguments).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_valid() {
    let config = config(&[]).expect("valid");
    assert_eq!(config.limits.event_bytes, LIMITS.event_bytes);
    assert_eq!(config.limits.body_bytes, LIMITS.body_bytes);
    assert_eq!(
        (config.publish.batch_records, config.publish.batch_bytes),
        (500, 5 << 20)
    );
}

#[test]
fn contradictions_are_refused_by_the_name_of_the_flag() {
    let cases: [(&[&str], &str); 40] = [
        (&["--stream", ""], "--stream"),
        (&["--stream", "a/b"], "--stream"),
        (&["--max-event-bytes", "10MiB"], "--max-event-bytes"),
        (&["--max-event-bytes", "1"], "--max-event-bytes"),
        (&["--max-body-bytes", "16KiB"], "--max-body-bytes"),
        (&["--batch-bytes", "33KiB"], "--batch-bytes"),
        (&["--batch-bytes", "11MiB"], "--batch-bytes"),
        (&["--aggregate-bytes", "1023"], "--aggregate-bytes"),
        (&["--aggregate-bytes", "1025KiB"], "--aggregate-bytes"),
        (
            &["--aggregate-bytes", "100KiB", "--batch-bytes", "99KiB"],
            "--aggregate-bytes",
        ),
        (&["--in-flight-bytes", "5MiB"], "--in-flight-bytes"),
        (&["--max-decompressed-bytes", "16KiB"], "--max-decompressed-bytes"),
        (&["--max-decompressed-bytes", "1GiB"], "--max-decompressed-bytes"),
        (&["--max-decompressed-bytes", "64MiB"], "--in-flight-bytes"),
        (&["--max-depth", "101"], "--max-depth"),
        (&["--max-events", "0"], "--max-events"),
        (&["--batch-records", "501"], "--batch-records"),
        (&["--put-concurrency", "0"], "--put-concurrency"),
        (&["--record-time-to-live", "15s"], "--record-time-to-live"),
        (&["--reload-interval", "0s"], "--reload-interval"),
        (&["--schemas-folder", "/nowhere"], "--schemas-folder"),
        (&["--cors-origin", "https://app.example.com/"], "--cors-origin"),
        (&["--cors-origin", "*,https://app.example.com"], "--cors-origin"),
        (&["--spool-max-bytes", "1"], "--spool-max-bytes"),
        (
            &[
                "--spool-max-bytes",
                "2MiB",
                "--max-event-bytes",
                "2MiB",
                "--max-body-bytes",
                "4MiB",
            ],
            "--spool-max-bytes",
        ),
        (&["--dedupe-window", "0s"], "--dedupe-window"),
        (&["--dedupe-events", "0"], "--dedupe-events"),
        (&["--client-quota", "0"], "--client-quota"),
        (&["--partner-quota", "5/s"], "--partner-quota"),
        (&["--shed-devices-percent", "95"], "--shed-devices-percent"),
        (&["--client-share-percent", "0"], "--client-share-percent"),
        (&["--client-share-percent", "9"], "--in-flight-bytes"),
        (&["--trusted-proxies", "10.0.0.0/33"], "--trusted-proxies"),
        (&["--country-header", "x-country"], "--trusted-proxies"),
        (
            &["--client-address-header", "x-forwarded-for"],
            "--trusted-proxies",
        ),
        (&["--country-database", "/does/not/exist"], "--country-database"),
        (&["--failed-attempts", "0"], "--failed-attempts"),
        (&["--failed-attempts-refill", "0s"], "--failed-attempts-refill"),
        (
            &["--client-address-header", "not a header"],
            "--client-address-header",
        ),
        (&["--country-header", "not a header"], "--country-header"),
    ];
    for (flags, expected) in cases {
        let problem = config(flags).expect_err("a contradiction");
        assert!(problem.contains(expected), "{flags:?}: {problem}");
    }
}

#[test]
fn an_event_must_fit_what_the_stream_takes() {
    const MIB: usize = 1 << 20;
    let large = Limits {
        event_bytes: 4 * MIB,
        ..LIMITS
    };
    assert_eq!(large.within(MIB).event_bytes, MIB - 2048);
    assert_eq!(large.within(10 * MIB).event_bytes, 4 * MIB);
    assert_eq!(LIMITS.within(MIB).event_bytes, LIMITS.event_bytes);
}

#[test]
fn missing_credentials_are_named() {
    let error = config_from::<Settings>(["--stream", "events"]).expect_err("no credentials");
    assert!(error.to_string().contains("--credentials-file"), "{error}");
}
