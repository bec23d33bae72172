//! `syncomatic reconcile`, the program: every kind of difference, what it prints, what it repairs, what it
//! leaves alone, and how it ends.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use aws_sdk_s3::types::{BucketVersioningStatus, ChecksumAlgorithm, VersioningConfiguration};
use local_cloud::Rule;
use serde_json::Value;
use sha2::{Digest, Sha256};
use syncomatic::verify::MARKER;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::harness::{Calls, DESTINATION_BUCKET, SOURCE_BUCKET, World, bytes, until};

const NO_GRACE: &str = "--reconcile-grace=0s";

/// The command, and the files that it reads.
struct Program<'w> {
    world: &'w World,
    files: TempDir,
    routes: &'static [&'static str],
}

impl<'w> Program<'w> {
    fn new(world: &'w World, routes: &'static [&'static str]) -> Self {
        let files = tempfile::tempdir().expect("a folder");
        let program = Self { world, files, routes };
        program.write("source", &world.china.account().secret_access_key);
        program.write("destination", &world.europe.account().secret_access_key);
        program.write("hash-key", &"0b".repeat(32));
        program
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.files.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (china, europe) = (self.world.china.account(), self.world.europe.account());
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncomatic"));
        command
            .env_clear()
            .env("SYNCOMATIC_SOURCE_REGION", &china.region)
            .env("SYNCOMATIC_SOURCE_BUCKET", SOURCE_BUCKET)
            .env("SYNCOMATIC_SOURCE_ENDPOINT_URL", self.world.china.endpoint_url())
            .env("SYNCOMATIC_SOURCE_ACCESS_KEY_ID", &china.access_key_id)
            .env("SYNCOMATIC_SOURCE_SECRET_ACCESS_KEY_FILE", self.path("source"))
            .env("SYNCOMATIC_DESTINATION_REGION", &europe.region)
            .env("SYNCOMATIC_DESTINATION_BUCKET", DESTINATION_BUCKET)
            .env(
                "SYNCOMATIC_DESTINATION_ENDPOINT_URL",
                self.world.europe.endpoint_url(),
            )
            .env("SYNCOMATIC_DESTINATION_ACCESS_KEY_ID", &europe.access_key_id)
            .env(
                "SYNCOMATIC_DESTINATION_SECRET_ACCESS_KEY_FILE",
                self.path("destination"),
            )
            .env("SYNCOMATIC_ROUTE", self.routes.join(","))
            .arg("reconcile")
            .args(arguments)
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Done {
        Done(self.command(arguments).output().await.expect("it runs"))
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    }
}

/// What the command printed, and its exit code.
struct Done(Output);

impl Done {
    fn code(&self) -> i32 {
        self.0.status.code().expect("no signal")
    }

    fn text(&self) -> String {
        let (out, err) = (&self.0.stdout, &self.0.stderr);
        format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
    }

    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.0.stdout).into_owned();
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        text.lines().map(line).collect()
    }

    /// Kind, why and key of each line but the summary, in the order of the lines.
    fn findings(&self) -> Vec<(String, String, String)> {
        let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let lines = self.lines();
        let found = lines.iter().filter(|line| line["kind"] != "summary");
        found
            .map(|line| (text(line, "kind"), text(line, "why"), text(line, "key")))
            .collect()
    }

    fn summary(&self) -> Value {
        let last = self
            .lines()
            .pop()
            .unwrap_or_else(|| panic!("no line: {}", self.text()));
        assert_eq!(last["kind"], "summary");
        last
    }
}

fn found(kind: &str, why: &str, key: &str) -> (String, String, String) {
    (kind.to_owned(), why.to_owned(), key.to_owned())
}

async fn put_destination(world: &World, key: &str, body: &[u8]) {
    let put = world
        .destination
        .s3
        .put_object()
        .bucket(DESTINATION_BUCKET)
        .key(key);
    put.body(body.to_vec().into()).send().await.expect("stored");
}

async fn delete(s3: &aws_sdk_s3::Client, bucket: &str, key: &str) {
    let delete = s3.delete_object().bucket(bucket).key(key);
    delete.send().await.expect("deleted");
}

fn traceable(key: &str) -> String {
    let digest = Sha256::digest(key);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn terminate(child: &Child) {
    let id = child.id().expect("running").to_string();
    let sent = std::process::Command::new("kill").args(["-TERM", &id]).status();
    assert!(sent.expect("kill runs").success());
}

/// One bucket pair through its life: filled, compared, damaged in every way, compared, repaired.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_difference_is_found_named_and_repaired() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["in/=>of/cn/:verbatim", "in/stays/:denied"]);
    let names = ["equal", "checksum", "missing", "other_source", "size", "unmarked"];
    for name in names {
        world
            .put_source(&format!("in/{name}"), format!("bytes of {name}"))
            .await;
    }
    world.put_source("in/stays/here", "denied").await;
    world.put_source("undeclared", "denied").await;
    put_destination(&world, "elsewhere", b"of no route").await;

    // An empty destination: the backfill.
    let dry = program.run(&[NO_GRACE, "--json"]).await;
    assert_eq!(dry.code(), 1, "{}", dry.text());
    assert_eq!(dry.summary()["total"]["missing"], 6);
    assert!(
        world.destination_bytes("of/cn/equal").await.is_none(),
        "it only looks"
    );
    let filled = program.run(&[NO_GRACE, "--json", "--repair"]).await;
    assert_eq!(filled.code(), 0, "{}", filled.text());
    assert_eq!(filled.summary()["total"]["repaired"], 6);
    for mode in [&[NO_GRACE, "--json"][..], &[NO_GRACE, "--json", "--deep"]] {
        let again = program.run(mode).await;
        assert_eq!((again.code(), again.findings()), (0, vec![]), "{}", again.text());
        assert_eq!(again.summary()["total"]["equal"], 6);
    }

    // Every way in which it can differ.
    let copied = world.get_destination("of/cn/checksum").await.expect("copied");
    let put = world.destination.s3.put_object().bucket(DESTINATION_BUCKET);
    put.key("of/cn/checksum")
        .set_metadata(copied.metadata.clone())
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .body(b"FALSE of checksum".to_vec().into())
        .send()
        .await
        .expect("stored");
    let sized = world.get_destination("of/cn/size").await.expect("copied");
    let put = world.destination.s3.put_object().bucket(DESTINATION_BUCKET);
    put.key("of/cn/size")
        .set_metadata(sized.metadata)
        .body(b"longer than it was".to_vec().into())
        .send()
        .await
        .expect("stored");
    delete(&world.destination.s3, DESTINATION_BUCKET, "of/cn/missing").await;
    world.put_source("in/other_source", "written anew").await;
    put_destination(&world, "of/cn/unmarked", b"somebody else's").await;
    put_destination(&world, "of/cn/extra", b"of nobody").await;
    put_destination(&world, "of/cn/stays/here", b"it should have stayed").await;
    let expected = vec![
        found("different", "checksum", "in/checksum"),
        found("extra", "", "in/extra"),
        found("missing", "", "in/missing"),
        found("different", "other_source", "in/other_source"),
        found("different", "size", "in/size"),
        found("extra", "", "in/stays/here"),
        found("different", "unmarked", "in/unmarked"),
    ];
    for mode in [
        &[NO_GRACE, "--json", "--show-keys"][..],
        &[NO_GRACE, "--json", "--show-keys", "--deep"],
    ] {
        let damaged = program.run(mode).await;
        assert_eq!(damaged.code(), 1);
        assert_eq!(damaged.findings(), expected, "{}", damaged.text());
    }
    // A person is shown numbers, and keys when asked for.
    let table = program.run(&[NO_GRACE]).await;
    assert!(
        table.text().contains("THEY DIFFER: 7 differences"),
        "{}",
        table.text()
    );
    assert!(!table.text().contains("in/unmarked"), "{}", table.text());
    let with_keys = program.run(&[NO_GRACE, "--show-keys"]).await;
    assert!(
        with_keys.text().contains("different (size)  in/size\n"),
        "{}",
        with_keys.text()
    );

    // Repaired, and nothing deleted.
    let deletions = Calls::count(&world.europe, &["s3:DeleteObject", "s3:DeleteObjects"]);
    let repaired = program.run(&[NO_GRACE, "--json", "--repair"]).await;
    assert_eq!(
        repaired.code(),
        1,
        "what is extra is still there: {}",
        repaired.text()
    );
    assert_eq!(repaired.summary()["total"]["repaired"], 5);
    assert_eq!(repaired.summary()["total"]["differences"], 2);
    assert_eq!(deletions.since(), [0, 0]);
    for name in names {
        let expected = if name == "other_source" {
            "written anew".to_owned()
        } else {
            format!("bytes of {name}")
        };
        let stored = world.destination_bytes(&format!("of/cn/{name}")).await;
        assert_eq!(stored.as_deref(), Some(expected.as_bytes()), "{name}");
    }
    for (key, body) in [("of/cn/extra", &b"of nobody"[..]), ("elsewhere", b"of no route")] {
        assert_eq!(world.destination_bytes(key).await.as_deref(), Some(body), "{key}");
    }
    for key in ["of/cn/extra", "of/cn/stays/here"] {
        delete(&world.destination.s3, DESTINATION_BUCKET, key).await;
    }
    assert_eq!(program.run(&[NO_GRACE, "--deep"]).await.code(), 0);
}

/// The listings of both sides show the same bytes; only the marker tells that the source was written anew.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_deep_look_finds_a_copy_of_another_version_with_the_same_bytes() {
    let world = World::without_queue().await;
    let versioning = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .build();
    let put = world.source.s3.put_bucket_versioning().bucket(SOURCE_BUCKET);
    put.versioning_configuration(versioning)
        .send()
        .await
        .expect("versions");
    let program = Program::new(&world, &["=>:verbatim"]);
    world.put_source("a", "same").await;
    assert_eq!(program.run(&[NO_GRACE, "--repair"]).await.code(), 0);
    world.put_source("a", "same").await;
    let calls = Calls::count(&world.china, &["s3:HeadObject"]);
    assert_eq!(program.run(&[NO_GRACE]).await.code(), 0);
    assert_eq!(calls.since(), [0], "the listings are enough");
    let deep = program.run(&[NO_GRACE, "--deep", "--json", "--show-keys"]).await;
    assert_eq!(deep.findings(), [found("different", "other_source", "a")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn awkward_keys_are_compared_and_copied() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["in /=>of+/:verbatim"]);
    let long = "l".repeat(1024 - "in /".len());
    let names = [
        "+",
        "%",
        "%25",
        "&",
        "=",
        "?",
        "#",
        "[",
        "]",
        " ",
        "  ",
        "//",
        "a//b",
        ".",
        "..",
        "../a",
        "./a",
        "a/",
        "ü",
        "u\u{308}",
        "漢字",
        "😀",
        "\u{ffff}",
        "a b+c%20d",
        "\u{1}",
        "\r\n",
        "<&>\"'",
        &long,
    ];
    for name in names {
        world.put_source(&format!("in /{name}"), name).await;
    }
    let filled = program.run(&[NO_GRACE, "--repair", "--json"]).await;
    assert_eq!(filled.code(), 0, "{}", filled.text());
    assert_eq!(filled.summary()["total"]["repaired"], names.len());
    for name in names {
        let stored = world.destination_bytes(&format!("of+/{name}")).await;
        assert_eq!(stored.as_deref(), Some(name.as_bytes()), "{name:?}");
    }
    let again = program.run(&[NO_GRACE, "--json"]).await;
    assert_eq!(again.summary()["total"]["equal"], names.len(), "{}", again.text());
    // A terminal gets no control characters of a key.
    delete(&world.destination.s3, DESTINATION_BUCKET, "of+/\u{1}").await;
    let shown = program.run(&[NO_GRACE, "--show-keys"]).await;
    assert!(shown.text().contains("missing  in /\\u{1}\n"), "{}", shown.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn redacted_copies_are_told_by_their_policy() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["red/=>eu/:redacted"]);
    let hash_key = format!("--hash-key-file={}", program.path("hash-key").display());
    let arguments = |more: &[&'static str]| {
        let all = [NO_GRACE, "--json", "--show-keys"].iter().chain(more);
        all.map(|argument| (*argument).to_owned())
            .chain([hash_key.clone()])
            .collect::<Vec<_>>()
    };
    let run = async |more: &[&'static str]| {
        let arguments = arguments(more);
        program
            .run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
            .await
    };
    let event = r#"{"eventtype":"play","schemaversion":"1-0-0","deviceid":"d","x":1}"#;
    for key in ["red/a", "red/verbatim", "red/jane.doe@example.org"] {
        world.put_source(key, format!("{event}\n")).await;
    }
    let filled = run(&["--repair"]).await;
    assert_eq!(filled.code(), 0, "{}", filled.text());
    assert_eq!(
        filled.findings()[1],
        found("denied", "denied_personal_key", "red/jane.doe@example.org")
    );
    assert_eq!(run(&[]).await.summary()["total"]["equal"], 2);

    let marker = "1 bucket=events-cn version=- etag=0 size=1 crc64nvme=- policy=verbatim";
    let put = world
        .destination
        .s3
        .put_object()
        .bucket(DESTINATION_BUCKET)
        .key("eu/verbatim");
    put.metadata(MARKER, marker)
        .body(event.as_bytes().to_vec().into())
        .send()
        .await
        .expect("stored");
    let leaked = run(&[]).await;
    assert_eq!(
        leaked.findings()[1],
        found("different", "other_treatment", "red/verbatim")
    );
    program.write("hash-key", &"0c".repeat(32));
    let rotated = run(&["--hash-key-name=k2"]).await;
    assert_eq!(
        rotated.findings()[0],
        found("different", "other_redaction", "red/a")
    );
    assert_eq!(rotated.code(), 1);
}

/// How old an object is follows from S3's clock: here both sides' is ahead of ours.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_younger_than_the_grace_is_pending_and_left_to_its_notification() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["=>:verbatim"]);
    world.put_source("a", "young").await;
    let grace = "--reconcile-grace=5m";
    let young = program.run(&[grace, "--json", "--show-keys", "--repair"]).await;
    assert_eq!(young.findings(), [found("pending", "", "a")]);
    assert_eq!((young.code(), &young.summary()["equal"]), (0, &true.into()));
    assert!(world.destination_bytes("a").await.is_none(), "not repaired");
    // Less than the 15 minutes by which a signature's time may be off.
    world.clock.advance(Duration::from_secs(10 * 60));
    let old = program.run(&[grace, "--json", "--show-keys"]).await;
    assert_eq!(old.findings(), [found("missing", "", "a")], "{}", old.text());
    assert!(old.summary()["total"]["oldest_uncopied_seconds"].as_u64() >= Some(10 * 60));
    assert_eq!(program.run(&[grace, "--repair"]).await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_listing_is_tried_again_and_a_refused_one_says_so() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["=>:verbatim"]);
    world.put_source("a", "x").await;
    for cloud in [&world.china, &world.europe] {
        cloud
            .faults()
            .inject(Rule::on("s3:ListObjectsV2").times(2).throttle());
    }
    world
        .china
        .faults()
        .inject(Rule::on("s3:ListObjectsV2").times(1).cut_off_answer_after(100));
    let throttled = program.run(&[NO_GRACE, "--json", "--repair"]).await;
    assert_eq!(throttled.code(), 0, "{}", throttled.text());
    assert_eq!(throttled.summary()["total"]["repaired"], 1);
    world
        .europe
        .faults()
        .inject(Rule::on("s3:ListObjectsV2").fail(403, "AccessDenied"));
    let refused = program.run(&[NO_GRACE, "--json", "--repair"]).await;
    assert_eq!(refused.code(), 69, "{}", refused.text());
    assert_eq!(
        (&refused.summary()["end"], &refused.summary()["equal"]),
        (&"failed".into(), &false.into())
    );
    assert!(refused.text().contains("AccessDenied"), "{}", refused.text());
}

/// One object that cannot be looked at does not stop the others.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_fails_is_counted_and_the_rest_goes_on() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["=>:verbatim"]);
    for key in ["a", "bad", "c"] {
        world.put_source(key, key).await;
    }
    let bad = || {
        Rule::on("s3:HeadObject")
            .resource_containing("/bad")
            .fail(403, "AccessDenied")
    };
    world.europe.faults().inject(bad());
    let repaired = program
        .run(&[NO_GRACE, "--json", "--show-keys", "--repair"])
        .await;
    assert_eq!(repaired.code(), 69, "{}", repaired.text());
    assert_eq!(repaired.findings()[1], found("failed", "denied", "bad"));
    assert_eq!(repaired.summary()["total"]["repaired"], 2);
    world.europe.faults().clear();
    assert_eq!(program.run(&[NO_GRACE, "--repair"]).await.code(), 0);
    world.europe.faults().inject(bad());
    let deep = program.run(&[NO_GRACE, "--json", "--show-keys", "--deep"]).await;
    assert_eq!(
        (deep.code(), deep.findings()),
        (69, vec![found("failed", "denied", "bad")])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_vanishes_in_the_middle_is_let_go() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["=>:verbatim"]);
    world.put_source("a", "soon gone").await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:HeadObject").times(1).delay(Duration::from_secs(1)));
    let child = program.start(&[NO_GRACE, "--json", "--show-keys", "--repair"]);
    until("it is being looked at", async || {
        world.europe.faults().injected("s3:HeadObject") == 1
    })
    .await;
    delete(&world.source.s3, SOURCE_BUCKET, "a").await;
    let done = Done(child.wait_with_output().await.expect("it ends"));
    assert_eq!(
        (done.code(), done.findings()),
        (0, vec![found("vanished", "", "a")])
    );
    assert!(world.destination_bytes("a").await.is_none());
}

/// While a repair is about to write, another copier brings a newer object: the older one must not replace
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_replaces_only_what_it_has_compared() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["=>:verbatim"]);
    world.put_source("a", "old").await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").times(1).delay(Duration::from_secs(2)));
    let slow = program.start(&[NO_GRACE, "--repair"]);
    until("it is being written", async || {
        world.europe.faults().injected("s3:PutObject") == 1
    })
    .await;
    world.put_source("a", "new").await;
    assert_eq!(program.run(&[NO_GRACE, "--repair"]).await.code(), 0);
    let written = world.get_destination("a").await.expect("repaired");
    let done = Done(slow.wait_with_output().await.expect("it ends"));
    assert_eq!(done.code(), 0, "{}", done.text());
    let after = world.get_destination("a").await.expect("still there");
    assert_eq!(after.last_modified, written.last_modified);
    let metadata = written.metadata.expect("a marker");
    assert_eq!(after.metadata.expect("a marker")[MARKER], metadata[MARKER]);
    assert_eq!(world.destination_bytes("a").await.as_deref(), Some(&b"new"[..]));
    // Nothing was written after it: the write of the old one was refused, and no other followed.
    assert!(!done.text().contains("1 repaired"), "{}", done.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_leaves_nothing_that_the_next_run_does_not_finish() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["=>:verbatim"]);
    for number in 0..20 {
        world
            .put_source(&format!("{number:02}"), bytes(1_000 + number))
            .await;
    }
    world.put_source("large", bytes(17 * 1024 * 1024)).await;
    let stuck = Rule::on("s3:UploadPart")
        .skip(1)
        .times(2)
        .delay(Duration::from_secs(60));
    world.europe.faults().inject(stuck);
    let mut child = program.start(&[NO_GRACE, "--repair"]);
    until("a part is on its way", async || {
        world.europe.faults().injected("s3:UploadPart") == 2
    })
    .await;
    child.kill().await.expect("killed");
    world.europe.faults().clear();
    let again = program.run(&[NO_GRACE, "--repair"]).await;
    assert_eq!(again.code(), 0, "{}", again.text());
    for number in 0..20 {
        let stored = world.destination_bytes(&format!("{number:02}")).await;
        assert_eq!(stored, Some(bytes(1_000 + number)));
    }
    assert_eq!(
        world.destination_bytes("large").await,
        Some(bytes(17 * 1024 * 1024))
    );
    assert_eq!(world.uploads().await, (0, 0));
    assert_eq!(program.run(&[NO_GRACE, "--deep"]).await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_with_what_is_known_and_the_next_run_goes_on() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["a/=>a/:verbatim", "b/=>b/:verbatim"]);
    for key in ["a/1", "a/2", "a/3", "b/1", "b/2", "b/3"] {
        world.put_source(key, key).await;
    }
    let checkpoint = format!("--checkpoint-file={}", program.path("checkpoint").display());
    let arguments = [
        NO_GRACE,
        "--repair",
        "--json",
        "--show-keys",
        "--reconcile-concurrency=1",
        &checkpoint,
    ];
    let slow = Rule::on("s3:PutObject")
        .skip(4)
        .times(1)
        .delay(Duration::from_secs(1));
    world.europe.faults().inject(slow);
    let child = program.start(&arguments);
    until("the fifth is being written", async || {
        world.europe.faults().injected("s3:PutObject") == 1
    })
    .await;
    terminate(&child);
    let stopped = Done(child.wait_with_output().await.expect("it ends"));
    assert_eq!(stopped.code(), 75, "{}", stopped.text());
    assert_eq!(stopped.summary()["end"], "stopped");
    assert_eq!(
        stopped.summary()["total"]["repaired"],
        5,
        "what was in hand is finished"
    );
    assert!(world.destination_bytes("b/3").await.is_none());
    assert!(Path::new(&program.path("checkpoint")).exists());

    let other = program.run(&[NO_GRACE, "--json", &checkpoint]).await;
    assert_eq!(
        other.code(),
        64,
        "without --repair it is another one: {}",
        other.text()
    );
    let lists = Calls::count(&world.china, &["s3:ListObjectsV2"]);
    let rest = program.run(&arguments).await;
    assert_eq!((rest.code(), rest.findings().len()), (0, 1), "{}", rest.text());
    assert_eq!(lists.since(), [1], "the first route is done");
    assert_eq!(rest.summary()["total"]["repaired"], 6, "all of them together");
    assert!(!program.path("checkpoint").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_has_its_lines_in_a_ledger_that_holds() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["=>:verbatim"]);
    for key in ["a", "b"] {
        world.put_source(key, key).await;
    }
    let ledger = [
        "--ledger-side=source",
        "--ledger-bucket=events-cn",
        "--ledger-instance=pod-1",
    ];
    let repair = [&[NO_GRACE, "--repair", "--json"][..], &ledger].concat();
    // The decision is durable before anything is written.
    world.china.faults().inject(
        Rule::on("s3:PutObject")
            .resource_containing("_ledger/")
            .times(2)
            .throttle(),
    );
    assert_eq!(program.run(&repair).await.code(), 0);
    let list = world
        .source
        .s3
        .list_objects_v2()
        .bucket(SOURCE_BUCKET)
        .prefix("_ledger/");
    let listed = list.send().await.expect("listed");
    let mut outcomes = Vec::new();
    for key in listed.contents().iter().filter_map(|object| object.key()) {
        assert!(key.contains("/reconcile-pod-1-"), "a chain of its own: {key}");
        let get = world.source.s3.get_object().bucket(SOURCE_BUCKET).key(key);
        let body = get
            .send()
            .await
            .expect("there")
            .body
            .collect()
            .await
            .expect("a body");
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        outcomes.extend(lines.map(|line| {
            let outcome = line["outcome"].as_str().or(line["kind"].as_str());
            (
                line["key"].as_str().unwrap_or_default().to_owned(),
                outcome.unwrap_or_default().to_owned(),
            )
        }));
    }
    for key in ["a", "b"] {
        let of = |outcome: &str| {
            outcomes
                .iter()
                .position(|line| *line == (traceable(key), outcome.to_owned()))
        };
        assert!(
            of("repairing") < of("copied") && of("repairing").is_some(),
            "{key}: {outcomes:?}"
        );
    }
    assert_eq!(outcomes.last().map(|(_, kind)| kind.as_str()), Some("close"));
    let equal = program.run(&[&[NO_GRACE, "--json"][..], &ledger].concat()).await;
    assert_eq!(
        equal.summary()["total"]["objects"],
        2,
        "the ledger itself does not travel"
    );
    assert_eq!(equal.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_only_when_asked_for() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["in/=>in/:verbatim"]);
    world.put_source("in/jane.doe", "x").await;
    put_destination(&world, "in/john.doe", b"x").await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").fail(403, "AccessDenied"));
    for arguments in [
        &[NO_GRACE, "--progress", "--repair"][..],
        &[NO_GRACE, "--json", "--progress", "--repair"],
    ] {
        let done = program.run(arguments).await;
        assert_eq!(done.code(), 1);
        assert!(!done.text().contains("doe"), "{}", done.text());
        assert!(done.text().contains("2 objects,"), "progress: {}", done.text());
    }
    let lines = program.run(&[NO_GRACE, "--json"]).await.lines();
    let objects: Vec<_> = lines.iter().filter_map(|line| line["object"].as_str()).collect();
    assert_eq!(objects, [traceable("in/jane.doe"), traceable("in/john.doe")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_refused_before_anything_is_listed() {
    let world = World::without_queue().await;
    let program = Program::new(&world, &["=>:verbatim"]);
    let lists = Calls::count(&world.china, &["s3:ListObjectsV2"]);
    for (argument, expected) in [
        (
            "--reconcile-concurrency=0",
            "--reconcile-concurrency (SYNCOMATIC_RECONCILE_CONCURRENCY)",
        ),
        ("--reconcile-grace=15d", "--reconcile-grace"),
        ("--reconcile-interval=1s", "--reconcile-interval"),
        ("--reconcile-tries=0", "--reconcile-tries"),
        ("--reconcile-bandwidth-bytes=1", "--reconcile-bandwidth-bytes"),
        ("--reconcile-memory-bytes=1", "--reconcile-memory-bytes"),
        ("--repiar", "--repiar"),
    ] {
        let refused = program.run(&[argument]).await;
        assert_eq!(refused.code(), 64, "{argument}: {}", refused.text());
        assert!(
            refused.text().contains(expected),
            "{argument}: {}",
            refused.text()
        );
    }
    for argument in ["--source-bucket=nowhere", "--source-region=cn-northwest-1"] {
        let missing = program.run(&[argument]).await;
        assert_eq!(missing.code(), 69, "{}", missing.text());
        assert!(
            missing.text().contains("HeadBucket at the source"),
            "{}",
            missing.text()
        );
    }
    assert_eq!(lists.since(), [0]);
}
