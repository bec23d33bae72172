//! `hoard replay`: what was lost comes back as it was, and nothing is overwritten.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use hoard::Config;
use hoard::encode::Compression;
use hoard::replay::{self, Outcome, Range, Wanted};
use hoard::sequence::ShardId;
use hoard::verify::progress::Progress;
use hoard::verify::{self, Plan};
use jiff::civil::{Date, date};
use local_cloud::Clock;

use crate::world::{BUCKET, STREAM, World, sequence};

const DAY: Date = date(2026, 3, 10);
const SHARD: &str = "shardId-000000000000";
const HOUR: Duration = Duration::from_secs(3600);

/// An object, as it is stored.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    body: Vec<u8>,
    metadata: HashMap<String, String>,
}

/// Noon of [`DAY`], one shard, cuts of 400 bytes, some with error objects.
async fn archived() -> (World, Config) {
    let noon = std::time::UNIX_EPOCH + Duration::from_secs(1_773_144_000);
    let world = World::with_clock(1, Clock::stopped_at(noon)).await;
    let mut config = world.config();
    config.limits.bytes = 400;
    // What the clock ends, a replay cannot know; here nothing is.
    config.limits.age = HOUR;
    let hoard = world.start(config.clone());
    for round in 0..4 {
        world.send(round * 20..(round + 1) * 20).await;
        world.send_raw(&[format!("not json {round}").into_bytes()]).await;
    }
    let clock_ends_it = async || world.lines_count("raw/").await >= 72;
    world.until("all full cuts are archived", clock_ends_it).await;
    hoard.stop().await;
    (world, config)
}

async fn objects(world: &World) -> HashMap<String, Stored> {
    let mut objects = HashMap::new();
    for key in [world.keys("raw/").await, world.keys("errors/").await].concat() {
        let answer = world
            .s3
            .get_object()
            .bucket(BUCKET)
            .key(&key)
            .send()
            .await
            .expect("there");
        let metadata = answer.metadata.unwrap_or_default();
        let body = answer.body.collect().await.expect("whole").to_vec();
        objects.insert(key, Stored { body, metadata });
    }
    objects
}

async fn delete(world: &World, key: &str) {
    let request = world.s3.delete_object().bucket(BUCKET).key(key);
    request.send().await.expect("deleted");
}

async fn replay(world: &World, config: &Config, wanted: Wanted) -> Vec<Outcome> {
    let (kinesis, s3) = (world.kinesis.clone(), world.s3.clone());
    let outcomes = replay::run(config.clone(), kinesis, s3, wanted, &Progress::default()).await;
    outcomes.expect("stream and bucket are there")
}

async fn is_whole(world: &World, config: &Config) -> bool {
    let plan = Plan::new(config, DAY, DAY);
    let report = verify::run(world.s3.clone(), &plan, &Progress::default()).await;
    report.expect("readable").whole
}

fn range(object: &Stored) -> Range {
    let of = |name: &str| object.metadata[name].clone();
    Range {
        shard: ShardId::try_from(SHARD.to_owned()).expect("valid"),
        after: Some(sequence(&of("after-sequence-number"))),
        first: None,
        last: sequence(&of("last-sequence-number")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lost_object_comes_back_byte_for_byte() {
    let (world, config) = archived().await;
    let before = objects(&world).await;
    assert!(before.len() > 6, "{}", before.len());
    for (key, object) in &before {
        let is_at_an_edge = object.metadata["after-sequence-number"] == "start"
            || object.metadata["last-sequence-number"] == last(&before);
        if is_at_an_edge && object.metadata["cut-objects"] == "1" {
            continue; // on a day that is long past, nothing links to it
        }
        delete(&world, key).await;
        let outcomes = replay(&world, &config, Wanted::Days(DAY, DAY)).await;
        let rebuilt =
            |outcome: &Outcome| matches!(outcome, Outcome::Rebuilt { key: found, .. } if found == key);
        assert!(outcomes.iter().any(rebuilt), "{key}: {outcomes:?}");
        assert!(outcomes.iter().all(Outcome::is_good), "{key}: {outcomes:?}");
        assert!(
            objects(&world).await == before,
            "{key} came back otherwise than it was"
        );
    }
    assert!(is_whole(&world, &config).await);
    assert_eq!(replay(&world, &config, Wanted::Days(DAY, DAY)).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_cuts_in_a_row_come_back_and_what_is_there_stays() {
    let (world, config) = archived().await;
    let before = objects(&world).await;
    let first_cut = before
        .values()
        .map(|object| sequence(&object.metadata["first-sequence-number"]))
        .min();
    for (key, object) in &before {
        if Some(sequence(&object.metadata["first-sequence-number"])) != first_cut
            && object.metadata["last-sequence-number"] != last(&before)
        {
            delete(&world, key).await;
        }
    }
    assert!(!is_whole(&world, &config).await);
    let outcomes = replay(&world, &config, Wanted::Days(DAY, DAY)).await;
    assert!(
        outcomes.len() > 4 && outcomes.iter().all(Outcome::is_good),
        "{outcomes:?}"
    );
    assert!(objects(&world).await == before);
}

fn last(objects: &HashMap<String, Stored>) -> String {
    let last = objects
        .values()
        .map(|object| sequence(&object.metadata["last-sequence-number"]))
        .max();
    last.expect("some").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_with_other_content_is_reported_and_left_alone() {
    let (world, config) = archived().await;
    let before = objects(&world).await;
    let (key, object) = before
        .iter()
        .find(|(_, object)| {
            object.metadata["cut-objects"] == "2" && object.metadata["after-sequence-number"] != "start"
        })
        .expect("a cut of two objects");
    let mut foreign = object.clone();
    foreign
        .metadata
        .insert("uncompressed-crc64nvme".to_owned(), "00000000deadbeef".to_owned());
    let request = world.s3.put_object().bucket(BUCKET).key(key);
    let request = request.body(ByteStream::from(foreign.body.clone()));
    request
        .set_metadata(Some(foreign.metadata.clone()))
        .send()
        .await
        .expect("put");
    let range = range(object);
    let outcomes = replay(&world, &config, Wanted::Range(range)).await;
    let different = |outcome: &Outcome| matches!(outcome, Outcome::Different { key: found } if found == key);
    assert!(outcomes.iter().any(different), "{outcomes:?}");
    assert!(objects(&world).await[key] == foreign, "not overwritten");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_left_the_stream_is_said_to_be_gone_and_nothing_is_written() {
    let (world, config) = archived().await;
    let before = objects(&world).await;
    let in_the_middle = |object: &&Stored| {
        object.metadata["after-sequence-number"] != "start" && object.metadata["cut-objects"] == "1"
    };
    let object = before.values().find(in_the_middle).expect("some");
    let range = range(object);
    let (key, _) = before.iter().find(|(_, found)| *found == object).expect("itself");
    delete(&world, key).await;
    world.clock.advance(25 * HOUR);
    world.send(100..101).await;
    let outcomes = replay(&world, &config, Wanted::Range(range)).await;
    assert!(matches!(&outcomes[..], [Outcome::Gone { .. }]), "{outcomes:?}");
    assert!(!objects(&world).await.contains_key(key));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_committed_is_not_touched() {
    let (world, config) = archived().await;
    world.send(200..210).await;
    let state = world.state(SHARD).await.expect("claimed");
    let after = state.checkpoint.expect("committed");
    let beyond = sequence(&format!("{}9", after.as_str()));
    let range = Range {
        shard: ShardId::try_from(SHARD.to_owned()).expect("valid"),
        after: Some(after),
        first: None,
        last: beyond,
    };
    let outcomes = replay(&world, &config, Wanted::Range(range)).await;
    assert!(
        matches!(&outcomes[..], [Outcome::NotCommitted { .. }]),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_rebuilds_what_verify_prints() {
    let (world, config) = archived().await;
    let before = objects(&world).await;
    let alone = |object: &&Stored| {
        object.metadata["after-sequence-number"] != "start"
            && object.metadata["cut-objects"] == "1"
            && object.metadata["last-sequence-number"] != last(&before)
    };
    let lost = before.values().find(alone).expect("some");
    let (key, _) = before.iter().find(|(_, object)| *object == lost).expect("itself");
    delete(&world, key).await;
    let settings = [
        "--stream",
        STREAM,
        "--bucket",
        BUCKET,
        "--prefix",
        "raw/",
        "--compression-level",
        "1",
    ];
    let run = async |command: &str, more: &[&str]| {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_hoard"));
        program
            .arg(command)
            .args(settings)
            .args(more)
            .env_clear()
            .envs(world.environment());
        let output = program.kill_on_drop(true).output().await.expect("runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            text,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, table, _) = run("verify", &["--day", "2026-03-10"]).await;
    assert_eq!(code, Some(1), "{table}");
    let printed = table
        .lines()
        .find_map(|line| line.trim().strip_prefix("hoard replay "));
    let printed: Vec<&str> = printed.expect("a command").split(' ').collect();
    let (code, result, error) = run("replay", &printed).await;
    assert_eq!((code, error.as_str()), (Some(0), ""), "{result}");
    assert!(
        result.contains(&format!("rebuilt        {key}")) && result.ends_with("all is there\n"),
        "{result}"
    );
    assert!(matches!(config.compression, Compression::Gzip { level: 1 }));
    assert!(objects(&world).await == before);
    let (code, _, _) = run("verify", &["--day", "2026-03-10"]).await;
    assert_eq!(code, Some(0));
    let (code, _, error) = run("replay", &["--shard", SHARD, "--after", "5", "--last", "4"]).await;
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("--last"), "{error}");
}
