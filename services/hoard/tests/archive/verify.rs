//! `hoard verify` against archives that are whole, and against every way in which they are not.

use std::process::Output;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use hoard::sequence::SequenceNumber;
use hoard::verify::chain::{Broken, Edge};
use hoard::verify::folders::Folders;
use hoard::verify::object::Problem;
use hoard::verify::progress::Progress;
use hoard::verify::report::{Report, ShardReport};
use hoard::verify::{self, CannotVerify, Plan};
use jiff::civil::{Date, date};
use local_cloud::{Clock, Rule};

use crate::world::{BUCKET, STREAM, World, sequence};

const DAY: Date = date(2026, 3, 10);
const MINUTE: Duration = Duration::from_secs(60);

/// Noon of [`DAY`], UTC.
fn noon() -> Clock {
    Clock::stopped_at(std::time::UNIX_EPOCH + Duration::from_secs(1_773_144_000))
}

fn plan(world: &World) -> Plan {
    Plan {
        bucket: BUCKET.to_owned(),
        stream: STREAM.to_owned(),
        state_folder: format!("_hoard/{STREAM}/"),
        folders: Folders::new(&world.config()),
        from: DAY,
        to: DAY,
        today: date(2026, 3, 12),
        is_quick: false,
        concurrency: 4,
    }
}

async fn verify(world: &World, plan: &Plan) -> Report {
    let report = verify::run(world.s3.clone(), plan, &Progress::default()).await;
    report.expect("readable")
}

/// An archive of one shard in several cuts, each with a lines object and an error object.
async fn archived() -> World {
    let world = World::with_clock(1, noon()).await;
    let mut config = world.config();
    config.limits.bytes = 400;
    let hoard = world.start(config);
    for round in 0..4 {
        world.send(round * 20..(round + 1) * 20).await;
        world.send_raw(&[format!("not json {round}").into_bytes()]).await;
    }
    world.until_archived(80).await;
    world
        .until("the bad records are archived", async || {
            world.lines_count("errors/").await == 4
        })
        .await;
    hoard.stop().await;
    world
}

fn only_shard(report: &Report) -> &ShardReport {
    assert_eq!(report.shards.len(), 1);
    &report.shards[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_day_is_called_whole_and_counted() {
    let world = archived().await;
    for is_quick in [false, true] {
        let report = verify(
            &world,
            &Plan {
                is_quick,
                ..plan(&world)
            },
        )
        .await;
        assert!(report.whole, "{report}");
        assert_eq!(report.totals.lines, 84);
        let objects = world.keys("raw/").await.len() + world.keys("errors/").await.len();
        assert_eq!(report.totals.objects, objects as u64);
        let shard = only_shard(&report);
        assert_eq!(
            (&shard.begin, &shard.end),
            (&Some(Edge::Start), &Some(Edge::Checkpoint))
        );
        assert_eq!(shard.runs.len(), 1);
        assert!(shard.runs[0].cuts > 4, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_object_that_is_deleted_is_missed() {
    let world = archived().await;
    let keys = [world.keys("raw/").await, world.keys("errors/").await].concat();
    let first_cut = keys.iter().map(|key| sequence_of(key)).min().expect("some");
    for key in keys {
        let body = take_away(&world, &key).await;
        let report = verify(&world, &plan(&world)).await;
        let shard = only_shard(&report);
        if sequence_of(&key) == first_cut && shard.broken.is_empty() {
            // Nothing but the link tells of what was before a shard's first cut.
            assert_eq!(shard.begin, Some(Edge::Open), "{key}\n{report}");
        } else {
            let is_hole = |broken: &Broken| matches!(broken, Broken::Gap { .. } | Broken::Incomplete { .. });
            assert!(
                !report.whole && shard.broken.iter().all(is_hole),
                "{key}\n{report}"
            );
            assert_eq!(shard.broken.len(), 1, "{key}\n{report}");
        }
        body.put_back(&world, &key).await;
    }
    assert!(verify(&world, &plan(&world)).await.whole);
}

/// The first record of an object's cut, by its key.
fn sequence_of(key: &str) -> SequenceNumber {
    let name = key.rsplit('-').next().expect("named");
    sequence(name.split('.').next().expect("with an extension"))
}

/// An object that was taken away.
struct Taken {
    body: bytes::Bytes,
    metadata: std::collections::HashMap<String, String>,
}

async fn take_away(world: &World, key: &str) -> Taken {
    let answer = world
        .s3
        .get_object()
        .bucket(BUCKET)
        .key(key)
        .send()
        .await
        .expect("there");
    let metadata = answer.metadata.unwrap_or_default();
    let body = answer.body.collect().await.expect("whole").into_bytes();
    let request = world.s3.delete_object().bucket(BUCKET).key(key);
    request.send().await.expect("deleted");
    Taken { body, metadata }
}

impl Taken {
    async fn put_back(&self, world: &World, key: &str) {
        put(world, key, self.body.to_vec(), self.metadata.clone()).await;
    }
}

async fn put(world: &World, key: &str, body: Vec<u8>, metadata: std::collections::HashMap<String, String>) {
    let request = world.s3.put_object().bucket(BUCKET).key(key);
    let request = request.body(ByteStream::from(body)).set_metadata(Some(metadata));
    request.send().await.expect("put");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_and_metadata_that_do_not_agree_are_named() {
    let world = archived().await;
    let key = world.keys("raw/").await.swap_remove(1);
    let original = take_away(&world, &key).await;
    type Change = fn(&mut Vec<u8>, &mut std::collections::HashMap<String, String>);
    type Expected = fn(&Problem) -> bool;
    let cases: [(&str, Change, Expected); 9] = [
        (
            "a byte flipped",
            |body, _| {
                let middle = body.len() / 2;
                body[middle] ^= 0x10;
            },
            |problem| matches!(problem, Problem::Damaged { .. } | Problem::Crc { .. }),
        ),
        (
            "cut off",
            |body, _| body.truncate(body.len() - 9),
            |problem| matches!(problem, Problem::Damaged { .. } | Problem::Crc { .. }),
        ),
        (
            "a member added",
            |body, _| body.extend(gzip(b"{}\n")),
            |problem| {
                matches!(
                    problem,
                    Problem::Lines { .. } | Problem::Bytes { .. } | Problem::Crc { .. }
                )
            },
        ),
        (
            "no line break at the end",
            |body, _| body.extend(gzip(b"{}")),
            |problem| {
                matches!(
                    problem,
                    Problem::LineEnds | Problem::Bytes { .. } | Problem::Crc { .. } | Problem::Lines { .. }
                )
            },
        ),
        (
            "a letter changed, everything else right",
            |body, _| {
                let mut text = String::new();
                let mut decoder = flate2::read::MultiGzDecoder::new(&body[..]);
                std::io::Read::read_to_string(&mut decoder, &mut text).expect("gzip");
                *body = gzip(text.replacen("play", "clay", 1).as_bytes());
            },
            |problem| matches!(problem, Problem::Crc { .. }),
        ),
        (
            "a number changed",
            |_, metadata| {
                metadata.insert("record-count".to_owned(), "7".to_owned());
            },
            |problem| matches!(problem, Problem::Lines { expected: 7, .. }),
        ),
        (
            "no metadata",
            |_, metadata| metadata.clear(),
            |problem| matches!(problem, Problem::Metadata { .. }),
        ),
        (
            "another shard's",
            |_, metadata| {
                metadata.insert("shard".to_owned(), "shardId-000000000009".to_owned());
            },
            |problem| matches!(problem, Problem::Place),
        ),
        (
            "another day's",
            |_, metadata| {
                metadata.insert("last-arrival".to_owned(), "2026-03-11T00:00:00.000Z".to_owned());
            },
            |problem| matches!(problem, Problem::Day { .. }),
        ),
    ];
    for (what, change, is_expected) in cases {
        let (mut body, mut metadata) = (original.body.to_vec(), original.metadata.clone());
        change(&mut body, &mut metadata);
        put(&world, &key, body, metadata).await;
        let report = verify(&world, &plan(&world)).await;
        assert!(!report.whole, "{what}");
        let faults = &only_shard(&report).faults;
        assert!(!faults.is_empty(), "{what}");
        for fault in faults {
            assert!(
                fault.key == key && is_expected(&fault.problem),
                "{what}: {fault:?}"
            );
        }
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_records_in_a_second_object_overlap() {
    let world = archived().await;
    let key = world.keys("raw/").await.swap_remove(2);
    let copied = take_away(&world, &key).await;
    copied.put_back(&world, &key).await;
    // A writer that names objects by their last record would do this.
    let (mut metadata, last) = (
        copied.metadata.clone(),
        copied.metadata["last-sequence-number"].clone(),
    );
    metadata.insert("first-sequence-number".to_owned(), last.clone());
    let (folder, _) = key.rsplit_once('-').expect("named");
    put(
        &world,
        &format!("{folder}-{last}.jsonl.gz"),
        copied.body.to_vec(),
        metadata,
    )
    .await;
    let report = verify(&world, &plan(&world)).await;
    let is_overlap = |broken: &Broken| matches!(broken, Broken::Overlap { .. } | Broken::Incomplete { .. });
    assert!(only_shard(&report).broken.iter().any(is_overlap), "{report}");
}

/// Two days: the first ends with the last object before midnight, wherever the second begins.
#[tokio::test(flavor = "multi_thread")]
async fn days_touch_each_other_and_what_is_lost_between_them_shows_on_both() {
    let clock = noon();
    let world = World::with_clock(1, clock.clone()).await;
    let hoard = world.start(world.config());
    for day in 0..3 {
        world.send(day * 10..(day + 1) * 10).await;
        world.until_archived((day + 1) * 10).await;
        clock.advance(12 * 60 * MINUTE + MINUTE);
        world.send(100 + day..101 + day).await;
        world
            .until("the night's record is archived", async || {
                world.lines_count("raw/").await > (day + 1) * 10 + day
            })
            .await;
        clock.advance(12 * 60 * MINUTE - MINUTE);
    }
    hoard.stop().await;
    let whole = |day: Date| Plan {
        from: day,
        to: day,
        today: date(2026, 3, 20),
        ..plan(&world)
    };
    let second = verify(&world, &whole(date(2026, 3, 11))).await;
    assert!(second.whole, "{second}");
    let shard = only_shard(&second);
    assert_eq!(shard.begin, Some(Edge::Continues { day: DAY }));
    assert_eq!(
        shard.end,
        Some(Edge::Continues {
            day: date(2026, 3, 12)
        })
    );

    let keys = world.keys("raw/2026/03/11/").await;
    let mut taken = Vec::new();
    for key in &keys {
        taken.push(take_away(&world, key).await);
    }
    for day in [DAY, date(2026, 3, 11), date(2026, 3, 12)] {
        let report = verify(&world, &whole(day)).await;
        let broken = &only_shard(&report).broken;
        assert!(
            matches!(
                &broken[..],
                [Broken::Gap {
                    from: Some(DAY),
                    to: Some(_),
                    ..
                }]
            ),
            "{day}: {report}"
        );
    }
    taken[0].put_back(&world, &keys[0]).await;
    taken[1].put_back(&world, &keys[1]).await;
    let all = Plan {
        to: date(2026, 3, 13),
        ..whole(DAY)
    };
    let report = verify(&world, &all).await;
    assert!(report.whole, "{report}");
    assert_eq!(report.totals.lines, 33);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_is_being_committed_is_in_progress_and_no_fault() {
    let world = World::with_clock(1, noon()).await;
    let hoard = world.start(world.config());
    world.send(0..10).await;
    world.until_archived(10).await;
    world.faults().inject(
        Rule::on("s3:PutObject")
            .resource_containing(".jsonl")
            .delay(Duration::from_secs(3600)),
    );
    world.send(10..20).await;
    world.until_injected("s3:PutObject", 1).await;
    let report = verify(&world, &plan(&world)).await;
    assert!(report.whole, "{report}");
    let pending = only_shard(&report).pending.as_ref().expect("announced");
    assert_eq!(pending.records, 10);
    assert!(report.to_string().contains("in progress: 10 records"), "{report}");
    hoard.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_end_and_children_start() {
    let world = World::with_clock(1, noon()).await;
    let hoard = world.start(world.config());
    world.send(0..10).await;
    let request = world.kinesis.split_shard().stream_name(STREAM);
    let request = request
        .shard_to_split("shardId-000000000000")
        .new_starting_hash_key("170141183460469231731687303715884105728");
    request.send().await.expect("split");
    world.until_active().await;
    world.send(10..40).await;
    world.until_archived(40).await;
    hoard.stop().await;
    let report = verify(&world, &plan(&world)).await;
    assert!(report.whole, "{report}");
    assert_eq!(report.shards.len(), 3);
    let ends: Vec<_> = report.shards.iter().map(|shard| shard.end.clone()).collect();
    assert_eq!(ends[0], Some(Edge::ShardEnd));
    assert_eq!(ends[1..], [Some(Edge::Checkpoint), Some(Edge::Checkpoint)]);
    assert!(report.shards.iter().all(|shard| shard.begin == Some(Edge::Start)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_without_states_is_verified_by_its_links() {
    let world = archived().await;
    let plan = Plan {
        state_folder: "_nothing/".to_owned(),
        ..plan(&world)
    };
    let report = verify(&world, &plan).await;
    assert!(report.whole, "{report}");
    assert_eq!(only_shard(&report).end, Some(Edge::Open));
    let key = world.keys("raw/").await.swap_remove(1);
    take_away(&world, &key).await;
    assert!(!verify(&world, &plan).await.whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_waited_out_and_what_is_denied_is_not() {
    let world = archived().await;
    for operation in ["s3:GetObject", "s3:ListObjectsV2", "s3:HeadObject"] {
        world.faults().inject(Rule::on(operation).times(2).throttle());
        world.faults().inject(Rule::on(operation).times(1).cut_off());
    }
    assert!(verify(&world, &plan(&world)).await.whole);
    world.faults().inject(
        Rule::on("s3:GetObject")
            .resource_containing(".jsonl")
            .fail(403, "AccessDenied"),
    );
    let error = verify::run(world.s3.clone(), &plan(&world), &Progress::default()).await;
    assert!(matches!(error, Err(CannotVerify::Unreadable(_))), "{error:?}");
}

/// The program itself, as a person or a script runs it.
async fn command(world: &World, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hoard"));
    command
        .args(args)
        .env_clear()
        .envs(world.environment())
        .kill_on_drop(true);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().await.expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_it_in_a_table_in_json_and_by_its_exit_code() {
    let world = archived().await;
    let verify = [
        "verify", "--stream", STREAM, "--bucket", BUCKET, "--prefix", "raw/",
    ];
    let day = [&verify[..], &["--day", "2026-03-10"]].concat();
    let (code, table, errors) = command(&world, &day).await;
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{table}");
    assert!(
        table.contains("start of the shard      checkpoint") && table.contains("\nwhole: 1 shard,"),
        "{table}"
    );

    let alone = world.objects("raw/").await.into_iter().skip(1);
    let mut alone = alone.filter(|object| object.metadata["cut-objects"] == "1");
    let key = alone.next().expect("a cut of one object").key;
    let taken = take_away(&world, &key).await;
    let (code, table, _) = command(&world, &day).await;
    assert_eq!(code, Some(1), "{table}");
    let range = (
        &taken.metadata["after-sequence-number"],
        &taken.metadata["last-sequence-number"],
    );
    let replay = format!(
        "--shard shardId-000000000000 --after {} --last {}",
        range.0, range.1
    );
    assert!(table.contains("GAP") && table.contains(&replay), "{table}");
    let (code, json, progress) = command(&world, &[&day[..], &["--json", "--progress"]].concat()).await;
    assert_eq!(code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&json).expect("one JSON object");
    assert_eq!(json["whole"], false);
    assert_eq!(json["shards"][0]["broken"][0]["kind"], "gap");
    assert_eq!(json["shards"][0]["broken"][0]["after"], range.0.as_str());
    assert!(progress.contains(" objects, "), "{progress}");

    let (code, table, _) = command(&world, &[&verify[..], &["--day", "2020-01-01"]].concat()).await;
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("NOTHING FOUND"), "{table}");
    for wrong in [
        &["--day", "tomorrow"][..],
        &[],
        &["--from", "2026-03-10"],
        &["--from", "2026-03-10", "--to", "2026-03-09"],
    ] {
        let (code, _, error) = command(&world, &[&verify[..], wrong].concat()).await;
        assert_eq!(code, Some(64), "{wrong:?}: {error}");
        assert!(
            error.contains("--day") || error.contains("--to"),
            "{wrong:?}: {error}"
        );
    }
    let elsewhere = [
        "verify",
        "--stream",
        STREAM,
        "--bucket",
        "elsewhere",
        "--day",
        "2026-03-10",
    ];
    let (code, _, error) = command(&world, &elsewhere).await;
    assert_eq!(code, Some(69), "{error}");
    assert!(
        error.contains("elsewhere") && error.contains("NoSuchBucket"),
        "{error}"
    );
}
