//! What settings become, and which are refused.

use super::*;
use service_runtime::settings::config_from;

fn config(args: &[&str]) -> Result<Config, String> {
    let required = [["--stream", "events"], ["--bucket", "archive"]];
    let missing = required.iter().filter(|pair| !args.contains(&pair[0]));
    let all: Vec<&str> = missing.flatten().chain(args).copied().collect();
    config_from::<Settings>(all).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_valid() {
    let config = config(&[]).expect("only stream and bucket are needed");
    assert_eq!(
        config.compression,
        Compression::Gzip {
            level: GZIP_LEVEL_DEFAULT
        }
    );
    assert_eq!(config.start, StartPosition::TrimHorizon);
    assert_eq!(
        (
            config.layout.prefix.sample().as_str(),
            config.state_prefix.as_str()
        ),
        ("2026/01/31/", "_hoard/")
    );
}

#[test]
fn a_start_is_a_word_or_a_time() {
    assert_eq!(
        config(&["--start-position", "latest"]).expect("a word").start,
        StartPosition::Latest
    );
    let time = config(&["--start-position", "1970-01-01T00:00:01Z"])
        .expect("a time")
        .start;
    assert_eq!(
        time,
        StartPosition::At(Arrival::from_millis(1000).expect("in range"))
    );
    assert!(
        config(&["--start-position", "yesterday"])
            .expect_err("neither")
            .contains("trim-horizon")
    );
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    let cases: [(&[&str], &str); 42] = [
        (&["--deliver", "firehose"], "--delivery-stream"),
        (&["--delivery-stream", "d"], "--delivery-stream"),
        (
            &["--deliver", "firehose", "--delivery-stream", "a/b"],
            "--delivery-stream",
        ),
        (
            &[
                "--deliver",
                "firehose",
                "--delivery-stream",
                "d",
                "--prefix",
                "raw/",
            ],
            "--prefix",
        ),
        (
            &[
                "--deliver",
                "firehose",
                "--delivery-stream",
                "d",
                "--day-marker-delay",
                "15m",
            ],
            "--day-marker-delay",
        ),
        (&["--shard-read-rate", "3MB"], "--shard-read-rate"),
        (&["--replica-name", "a/b"], "--replica-name"),
        (&["--heartbeat-interval", "10ms"], "--heartbeat-interval"),
        (&["--heartbeat-misses", "2"], "--heartbeat-misses"),
        (&["--stream", "a/b"], "--stream"),
        (&["--bucket", "x"], "--bucket"),
        (&["--prefix", "/raw/"], "--prefix"),
        (&["--prefix", "raw/!{timestamp:mm}/"], "finer than an hour"),
        (&["--prefix", "!{firehose:error-output-type}/"], "--prefix"),
        (&["--error-prefix", "e/!{partitionKey:p}/"], "--error-prefix"),
        (
            &["--prefix", "a/", "--error-prefix", "a/!{timestamp:yyyy/MM/dd}/"],
            "one key",
        ),
        (&["--prefix", "!{partitionKey:p}/"], "begin that with a folder"),
        (
            &["--prefix", "a/!{partitionKey:p}/", "--error-prefix", "a/e/"],
            "begin that with a folder",
        ),
        (
            &["--prefix", "a/!{partitionKey:p}/", "--state-prefix", "a/s/"],
            "--state-prefix",
        ),
        (
            &["--prefix", "a/!{partitionKey:p}/", "--error-prefix", "a"],
            "--error-prefix",
        ),
        (&["--time-zone", "Mars/Olympus"], "Mars/Olympus"),
        (&["--flush-stored-bytes", "1"], "--flush-stored-bytes"),
        (&["--max-partitions", "1"], "--max-partitions"),
        (&["--day-marker-delay", "1s"], "--day-marker-delay"),
        (&["--day-marker-prefix", "raw/"], "--day-marker-delay"),
        (
            &["--day-marker-delay", "10m", "--prefix", "raw/!{partitionKey:p}/"],
            "--day-marker-prefix",
        ),
        (
            &["--day-marker-delay", "10m", "--prefix", "!{timestamp:yyyy/MM}/"],
            "--day-marker-prefix",
        ),
        (
            &["--day-marker-delay", "10m", "--prefix", "!{timestamp:yyyy/MM/dd}"],
            "--day-marker-prefix",
        ),
        (&["--kms-key-id", ""], "--kms-key-id"),
        (&["--storage-class", "deep-archive"], "--storage-class"),
        (
            &["--compression", "zstd", "--compression-level", "20"],
            "--compression-level",
        ),
        (&["--prefix", "a b"], "--prefix"),
        (&["--prefix", "_hoard/x/"], "--state-prefix"),
        (&["--error-prefix", ""], "--error-prefix"),
        (&["--state-prefix", ""], "--state-prefix"),
        (&["--flush-bytes", "100"], "--flush-bytes"),
        (&["--flush-bytes", "512MiB"], "--memory-budget"),
        (&["--flush-interval", "10ms"], "--flush-interval"),
        (
            &["--compression", "none", "--compression-level", "3"],
            "--compression-level",
        ),
        (&["--compression-level", "13"], "--compression-level"),
        (&["--poll-interval", "50ms"], "--poll-interval"),
        (&["--poll-interval", "2s"], "--idle-poll-interval"),
    ];
    for (args, named) in cases {
        let error = config(args).expect_err("cannot work");
        assert!(
            error.contains(named),
            "{args:?} says {error:?}, which does not name {named}"
        );
    }
}

#[test]
fn partitions_and_errors_may_share_a_folder_that_no_value_can_name() {
    let args = ["--prefix", "!{partitionKey:p}/", "--error-prefix", "_errors/"];
    let config = config(&args).expect("no value begins with an underscore");
    assert_eq!(config.layout.prefix.fields(), ["p"]);
}
