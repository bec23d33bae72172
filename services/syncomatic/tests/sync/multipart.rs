//! Objects that are copied in parts: equal, resumed after a crash, never mixed, nothing left behind.

use std::time::{Duration, Instant};

use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use local_cloud::Rule;
use syncomatic::config::Config;

use crate::harness::{Calls, JOURNAL_PREFIX, SOURCE_BUCKET, World, bytes, message, record, until};

const MIB: usize = 1 << 20;
const PART: usize = 5 * MIB;
/// Three parts, the last of one MiB.
const LARGE: usize = 11 * MIB;

/// Small parts, one at a time unless a test wants more.
fn config(world: &World) -> Config {
    let mut config = world.config();
    config.limits.multipart_threshold_bytes = PART as u64;
    config.limits.part_bytes = PART as u64;
    config.limits.parts_at_once = 1;
    config
}

/// The same for a world in which a program was killed: what it held comes back soon.
fn impatient(world: &World) -> Config {
    let mut config = config(world);
    config.limits.visibility_timeout = Duration::from_secs(2);
    config
}

/// Looks for abandoned uploads so often that one under way would seem abandoned: for when there is none.
fn sweeping(world: &World) -> Config {
    let mut config = impatient(world);
    config.limits.sweep_interval = Duration::from_millis(100);
    config
}

/// What a program that looks for abandoned uploads leaves is nothing.
async fn nothing_is_left_behind(world: &World) {
    let service = world.run(sweeping(world));
    until("nothing is left behind", async || world.uploads().await == (0, 0)).await;
    service.stop().await.expect("drained");
}

/// Waits until a call is held up by a rule, which is the moment to kill.
async fn until_called(world: &World, operation: &str) {
    until(operation, async || {
        world.europe.faults().injected(operation) + world.china.faults().injected(operation) > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_every_length_arrive_as_one_object() {
    let world = World::new().await;
    let mut config = config(&world);
    config.limits.parts_at_once = 4;
    let service = world.run(config);
    let sizes = [
        PART - 1,
        PART,
        PART + 1,
        2 * PART - 1,
        2 * PART,
        2 * PART + 1,
        LARGE,
    ];
    let calls = Calls::count(&world.europe, &["s3:UploadPart", "s3:CompleteMultipartUpload"]);
    for size in sizes {
        world.put_source(&format!("size/{size}"), bytes(size)).await;
    }
    world.until_queue_is_empty().await;
    for size in sizes {
        let arrived = world.destination_bytes(&format!("size/{size}")).await;
        assert!(arrived == Some(bytes(size)), "{size} bytes arrived differently");
    }
    assert_eq!(calls.since(), [2 + 2 + 2 + 3 + 3, 5], "no part is sent twice");
    assert_eq!(world.uploads().await, (0, 0));
    assert_eq!(service.metric("syncomatic_parts_total", None), 12);
    assert_eq!(service.metric("syncomatic_in_flight_bytes", None), 0);
    assert_eq!(service.metric("syncomatic_unattested_objects_total", None), 0);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_object_has_beside_its_bytes_arrives_with_its_parts() {
    let world = World::new().await;
    let mut config = config(&world);
    config.storage.classes = vec![("*".into(), "STANDARD_IA".into())];
    config.storage.kms_key_id = Some("arn:aws:kms:eu-west-1:111122223333:key/copies".into());
    let service = world.run(config);
    for (key, size) in [("small", 100), ("large", LARGE)] {
        let put = world
            .put(key, bytes(size))
            .content_type("application/x-ndjson")
            .content_encoding("gzip")
            .cache_control("max-age=60")
            .metadata("stream", "events")
            .tagging("owner=data%20platform");
        put.send().await.expect("stored");
    }
    world.until_queue_is_empty().await;
    for key in ["small", "large"] {
        let arrived = world.get_destination(key).await.expect("it arrived");
        assert_eq!(
            arrived.content_type.as_deref(),
            Some("application/x-ndjson"),
            "{key}"
        );
        assert_eq!(arrived.content_encoding.as_deref(), Some("gzip"), "{key}");
        assert_eq!(arrived.cache_control.as_deref(), Some("max-age=60"), "{key}");
        assert_eq!(arrived.metadata.as_ref().expect("metadata")["stream"], "events");
        assert_eq!(arrived.tag_count, Some(1), "{key}");
        assert_eq!(arrived.storage_class, Some(StorageClass::StandardIa), "{key}");
        assert_eq!(arrived.server_side_encryption, Some(ServerSideEncryption::AwsKms));
        let kms_key = arrived.ssekms_key_id.expect("a key");
        assert!(kms_key.ends_with("key/copies"), "{kms_key}");
    }
    service.stop().await.expect("drained");
}

/// Every step of a copy in parts, by the call that the program is waiting for when it is killed.
const STEPS: [(&str, &str, u64); 9] = [
    ("nothing but a look", "s3:GetObject", 0),
    ("nothing announced", "s3:PutObject", 0),
    ("announced, not begun", "s3:CreateMultipartUpload", 0),
    ("begun, not named in the journal", "s3:PutObject", 1),
    ("named, no part", "s3:UploadPart", 0),
    ("two parts", "s3:UploadPart", 2),
    ("every part", "s3:CompleteMultipartUpload", 0),
    ("complete, still in the journal", "s3:DeleteObject", 0),
    ("complete, not acknowledged", "sqs:DeleteMessage", 0),
];

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_it_ends_with_an_equal_object_and_nothing_left_behind() {
    for (done, operation, skip) in STEPS {
        let world = World::new().await;
        let service = world.run(impatient(&world));
        service.until_ready().await;
        let reads = matches!(operation, "s3:GetObject" | "sqs:DeleteMessage");
        let cloud = if reads { &world.china } else { &world.europe };
        let hold = Rule::on(operation).skip(skip).delay(Duration::from_secs(600));
        cloud.faults().inject(hold);
        world.put_source("a", bytes(LARGE)).await;
        until_called(&world, operation).await;
        service.kill().await;
        cloud.faults().clear();

        let service = world.run(impatient(&world));
        world.until_queue_is_empty().await;
        let arrived = world.destination_bytes("a").await;
        assert!(
            arrived == Some(bytes(LARGE)),
            "killed with {done}: it arrived differently"
        );
        service.stop().await.expect("drained");
        nothing_is_left_behind(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_a_crash_is_not_sent_again() {
    let world = World::new().await;
    let service = world.run(impatient(&world));
    service.until_ready().await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:UploadPart").skip(2).delay(Duration::from_secs(600)));
    world.put_source("a", bytes(LARGE)).await;
    until_called(&world, "s3:UploadPart").await;
    service.kill().await;

    let calls = Calls::count(&world.europe, &["s3:UploadPart", "s3:CreateMultipartUpload"]);
    let service = world.run(config(&world));
    world.until_queue_is_empty().await;
    assert_eq!(calls.since(), [1, 0], "only the third part is missing");
    assert!(world.destination_bytes("a").await == Some(bytes(LARGE)));
    let resumed = service.metric("syncomatic_multipart_uploads_total", Some("resumed"));
    assert_eq!(resumed, 1);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_two_versions_never_meet() {
    let world = World::new().await;
    let service = world.run(impatient(&world));
    service.until_ready().await;
    // Killed with two parts of the first version at the destination, which the second overwrites.
    world
        .europe
        .faults()
        .inject(Rule::on("s3:UploadPart").skip(2).delay(Duration::from_secs(600)));
    world.put_source("a", bytes(LARGE)).await;
    until_called(&world, "s3:UploadPart").await;
    service.kill().await;
    let second: Vec<u8> = bytes(LARGE).into_iter().map(|byte| !byte).collect();
    world.put_source("a", second.clone()).await;

    let calls = Calls::count(&world.europe, &["s3:UploadPart"]);
    let mut one_by_one = impatient(&world);
    one_by_one.limits.concurrency = 1;
    let service = world.run(one_by_one);
    world.until_queue_is_empty().await;
    assert_eq!(calls.since(), [3], "none of the first version's parts is used");
    assert!(world.destination_bytes("a").await == Some(second));
    service.stop().await.expect("drained");
    nothing_is_left_behind(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_overwritten_on_its_way_arrives_as_what_it_became() {
    let world = World::new().await;
    let service = world.run(config(&world));
    service.until_ready().await;
    let slow = Rule::on("s3:UploadPart").skip(1).times(1);
    world
        .europe
        .faults()
        .inject(slow.delay(Duration::from_millis(500)));
    world.put_source("a", bytes(LARGE)).await;
    until_called(&world, "s3:UploadPart").await;
    let second: Vec<u8> = bytes(LARGE + 7).into_iter().map(|byte| !byte).collect();
    world.put_source("a", second.clone()).await;
    world.until_queue_is_empty().await;
    assert!(world.destination_bytes("a").await == Some(second));
    assert_eq!(world.uploads().await, (0, 0));
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copiers_of_one_object_do_not_disturb_each_other() {
    let world = World::new().await;
    // Two messages for one object, and two programs that have one each.
    let notice = message(&[record(SOURCE_BUCKET, "a")]);
    world.put_source("a", bytes(LARGE)).await;
    world.send(&notice).await;
    world.send(&notice).await;
    let (one, two) = (world.run(impatient(&world)), world.run(impatient(&world)));
    world.until_queue_is_empty().await;
    assert!(world.destination_bytes("a").await == Some(bytes(LARGE)));
    one.stop().await.expect("drained");
    two.stop().await.expect("drained");
    nothing_is_left_behind(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_falsified_range_is_caught_before_it_is_visible() {
    falsified_range(64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_that_memory_has_no_room_to_gather() {
    falsified_range(8 * MIB).await;
}

async fn falsified_range(memory: usize) {
    let world = World::new().await;
    let mut config = config(&world);
    config.limits.memory_bytes = memory as u64;
    let service = world.run(config);
    service.until_ready().await;
    // The first read is of one byte, for the headers.
    let falsify = Rule::on("s3:GetObject").skip(2).times(1);
    world.china.faults().inject(falsify.falsify_answer(1_000_000));
    world
        .europe
        .faults()
        .inject(Rule::on("s3:CompleteMultipartUpload"));
    world.put_source("a", bytes(LARGE)).await;
    world.until_queue_is_empty().await;
    assert_eq!(world.china.faults().injected("s3:GetObject"), 1);
    let completed = world.europe.faults().injected("s3:CompleteMultipartUpload");
    assert_eq!(completed, 1, "wrong bytes were never made visible");
    assert!(world.destination_bytes("a").await == Some(bytes(LARGE)));
    assert_eq!(service.metric("syncomatic_checksum_mismatches_total", None), 1);
    assert_eq!(world.uploads().await, (0, 0));
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_stalls_is_brought_again_over_a_new_connection() {
    let world = World::new().await;
    let mut config = config(&world);
    config.limits.progress_deadline = Duration::from_millis(500);
    let service = world.run(config);
    service.until_ready().await;
    let stall = Rule::on("s3:GetObject").skip(1).times(1);
    world.china.faults().inject(stall.stall_answer_after(1_000_000));
    world.put_source("a", bytes(LARGE)).await;
    world.until_queue_is_empty().await;
    assert!(world.destination_bytes("a").await == Some(bytes(LARGE)));
    let stalled = service.metric("syncomatic_retries_total", Some("stalled"));
    assert_eq!(stalled, 1, "one part, and not the whole object");
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_throttles_is_asked_less_and_everything_arrives() {
    let world = World::new().await;
    let mut config = config(&world);
    config.limits.parts_at_once = 4;
    config.limits.transfers = 16;
    let service = world.run(config);
    service.until_ready().await;
    let throttle = Rule::on("s3:UploadPart").times(6).probability(0.7).throttle();
    world.europe.faults().inject(throttle);
    for key in ["a", "b", "c", "d"] {
        world.put_source(key, bytes(LARGE)).await;
    }
    world.until_queue_is_empty().await;
    for key in ["a", "b", "c", "d"] {
        assert!(world.destination_bytes(key).await == Some(bytes(LARGE)), "{key}");
    }
    let allowed = |side| service.metric("syncomatic_transfers_allowed", Some(side));
    assert!(allowed("destination") < 16, "it is asked less");
    assert_eq!(allowed("source"), 16, "the other side is not");
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_copies_together_keep_to_the_bandwidth() {
    let world = World::new().await;
    let mut config = config(&world);
    config.limits.bandwidth = Some(8 * MIB as u64);
    let service = world.run(config);
    service.until_ready().await;
    let started = Instant::now();
    for key in ["a", "b"] {
        world.put_source(key, bytes(4 * MIB)).await;
    }
    world.put_source("c", bytes(LARGE - 3 * MIB)).await;
    world.until_queue_is_empty().await;
    let least = Duration::from_millis(1_900);
    assert!(started.elapsed() >= least, "16 MiB in {:?}", started.elapsed());
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_nobody_goes_on_with_is_ended() {
    let world = World::new().await;
    let service = world.run(impatient(&world));
    service.until_ready().await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:UploadPart").skip(1).delay(Duration::from_secs(600)));
    world.put_source("a", bytes(LARGE)).await;
    until_called(&world, "s3:UploadPart").await;
    service.kill().await;
    world.europe.faults().clear();
    let delete = world.source.s3.delete_object().bucket(SOURCE_BUCKET).key("a");
    delete.send().await.expect("deleted");
    assert_eq!(world.uploads().await, (1, 1));

    let service = world.run(sweeping(&world));
    until("it is ended", async || world.uploads().await == (0, 0)).await;
    world.until_queue_is_empty().await;
    assert_eq!(service.metric("syncomatic_swept_uploads_total", None), 1);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_under_way_is_not_taken_for_an_abandoned_one() {
    let world = World::new().await;
    let mut config = impatient(&world);
    // Rounds much shorter than a part takes, and a part that takes many of them.
    config.limits.sweep_interval = Duration::from_secs(2);
    let service = world.run(config);
    service.until_ready().await;
    let slow = Rule::on("s3:UploadPart").delay(Duration::from_millis(800));
    world.europe.faults().inject(slow);
    world.put_source("a", bytes(LARGE)).await;
    world.until_queue_is_empty().await;
    assert!(world.destination_bytes("a").await == Some(bytes(LARGE)));
    assert_eq!(service.metric("syncomatic_swept_uploads_total", None), 0);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_copied_into_the_journal() {
    let world = World::new().await;
    let dead_letters = world.create_dead_letter_queue().await;
    let mut config = config(&world);
    config.dead_letter_queue = Some(syncomatic::config::Queue::Url(dead_letters));
    let service = world.run(config);
    world.put_source(&format!("{JOURNAL_PREFIX}a"), bytes(10)).await;
    world.until_queue_is_empty().await;
    assert_eq!(service.records("denied_unusable_key"), 1);
    assert_eq!(world.uploads().await, (0, 0));
    service.stop().await.expect("drained");
}
