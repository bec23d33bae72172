//! `local --sample` as a newcomer runs it: the journey is told, a restart on the same folder goes on,
//! what is in the way is said in one line. Its page: [`page`].

#[path = "local_program/page.rs"]
mod page;

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use pipeline_tests::{Process, eventually};
use tempfile::TempDir;

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");

fn local(folder: &Path, more: &[&str]) -> Process {
    let folder = folder.display().to_string();
    let ports = [
        "--events-port",
        "--events-admin-port",
        "--hoard-admin-port",
        "--syncomatic-admin-port",
        "--source-port",
        "--destination-port",
    ];
    let mut args = vec![
        "--data-folder",
        &folder,
        "--admin-listen",
        "127.0.0.1:0",
        "--flush-interval",
        "1s",
    ];
    args.extend(
        ports
            .iter()
            .filter(|port| !more.contains(port))
            .flat_map(|port| [*port, "0"]),
    );
    args.extend(more);
    let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    Process::start(PIPELINE, "local", &args, &[])
}

/// The archived objects of a bucket, as the files they are.
fn files(bucket: &Path) -> Vec<PathBuf> {
    let found = Command::new("find")
        .arg(bucket)
        .args(["-name", "*.jsonl.gz"])
        .output();
    let found = String::from_utf8(found.expect("find runs").stdout).expect("plain names");
    found.lines().map(PathBuf::from).collect()
}

/// The lines in them, sorted.
fn lines(bucket: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for file in files(bucket) {
        let mut text = String::new();
        let file = File::open(file).expect("it was there just now");
        MultiGzDecoder::new(file).read_to_string(&mut text).expect("gzip");
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_travels_and_a_restart_goes_on() {
    let folder = TempDir::new().expect("a temporary folder");
    let first = local(folder.path(), &["--sample"]);
    let accepted = first.printed("sample events from").await;
    let (sent, total) = accepted
        .trim()
        .trim_start_matches("accepted")
        .trim()
        .split_once(" of ")
        .expect("counts");
    assert_eq!(
        Some(sent),
        total.split(' ').next(),
        "every sample event is accepted: {accepted}"
    );
    first.printed("s3://events-china/20").await;
    first.printed("\"partnerid\":").await;
    first.printed("equal by checksum").await;
    let curl = first.printed("curl -u").await;
    run_curl(&curl).await;

    let expected = sent.parse::<usize>().expect("a count") + 1;
    eventually(
        "the sample and the curl's event in China",
        Duration::from_secs(30),
        async || {
            let told = committed(&first.stdout());
            (told.iter().map(|line| events_in(line)).sum::<usize>() == expected).then_some(())
        },
    )
    .await
    .unwrap_or_else(|late| panic!("{late}\n{}", first.transcript()));

    let ended = first.terminate().await;
    assert!(ended.status.success(), "{ended:#?}");
    let told = committed(&ended.stdout);
    let (china, europe) = (
        folder.path().join("china/s3/events-china"),
        folder.path().join("europe/s3/events-china-in-europe"),
    );
    assert_eq!(
        (files(&china).len(), files(&europe).len()),
        (told.len(), told.len()),
        "each object is a file on both sides"
    );

    let again = local(folder.path(), &[]);
    let found = again.printed("from earlier runs").await;
    assert!(
        found.contains(&format!("{0} objects in China and {0} in Europe", told.len())),
        "{found}"
    );
    assert_eq!(
        again.printed("curl -u").await.split(' ').nth(4),
        curl.split(' ').nth(4),
        "credentials are kept"
    );
    assert!(again.terminate().await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_a_kill_arrives_after_it() {
    let folder = TempDir::new().expect("a temporary folder");
    let first = local(folder.path(), &["--sample"]);
    let accepted = first.printed("sample events from").await;
    first.kill().await;
    let expected: usize = accepted
        .split_whitespace()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .expect("a count");

    let again = local(folder.path(), &[]);
    let bucket = |side: &str, name: &str| folder.path().join(side).join("s3").join(name);
    eventually(
        "every accepted event on both sides",
        Duration::from_secs(60),
        async || {
            let china = lines(&bucket("china", "events-china"));
            let europe = lines(&bucket("europe", "events-china-in-europe"));
            (china.len() == expected && china == europe).then_some(())
        },
    )
    .await
    .unwrap_or_else(|late| panic!("{late}\n{}", again.transcript()));
    assert!(again.terminate().await.status.success());
}

/// The lines that tell of an object in China.
fn committed(stdout: &[String]) -> Vec<String> {
    stdout
        .iter()
        .filter(|line| line.contains("s3://events-china/"))
        .cloned()
        .collect()
}

/// `…  42 events, 3.1 KiB`
fn events_in(line: &str) -> usize {
    let (before, _) = line.split_once(" events,").expect("a count of events");
    before
        .rsplit(' ')
        .next()
        .and_then(|count| count.parse().ok())
        .expect("a number")
}

/// The printed command, sent as HTTP: the test does not need curl.
async fn run_curl(line: &str) {
    let words: Vec<&str> = line
        .split_whitespace()
        .skip_while(|word| *word != "curl")
        .collect();
    let (credential, url) = (words[2], words[3]);
    let (key, secret) = credential.split_once(':').expect("key and secret");
    let body = line.split('\'').nth(3).expect("the body is quoted");
    let request = reqwest::Client::new().post(url).basic_auth(key, Some(secret));
    let answer = request
        .header("content-type", "application/json")
        .body(body.to_owned())
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        answer.status(),
        200,
        "{}",
        answer.text().await.unwrap_or_default()
    );
}

#[tokio::test]
async fn a_taken_port_is_one_clear_line() {
    let folder = TempDir::new().expect("a temporary folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    for flag in ["--events-port", "--hoard-admin-port", "--source-port"] {
        let ended = local(folder.path(), &[flag, &port]).wait().await;
        assert!(!ended.status.success());
        assert_eq!(ended.stderr.len(), 1, "{ended:?}");
        assert!(
            ended.stderr[0].contains(flag) && ended.stderr[0].contains(&port),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_one_clear_line() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("a-file");
    std::fs::write(&file, "in the way").expect("the temporary folder can be written");
    let ended = local(&file.join("data"), &[]).wait().await;
    assert_eq!(ended.status.code(), Some(64), "{ended:?}");
    assert_eq!(ended.stderr.len(), 1, "{ended:?}");
    assert!(ended.stderr[0].contains("--data-folder"), "{ended:?}");
}
