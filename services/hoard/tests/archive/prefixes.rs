//! Where objects lie: expressions in prefixes, many objects in one cut, time zones, and how S3 keeps
//! them.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use hoard::Config;
use hoard::encode::Compression;
use hoard::layout::Layout;
use hoard::store::ObjectOptions;
use local_cloud::{Clock, Rule};

use crate::world::{BUCKET, Object, World, layout};

const SHARD: &str = "shardId-000000000000";
/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Events of eight partners, and now and then one that no partner may have sent.
async fn send(world: &World, numbers: std::ops::Range<usize>) {
    let records: Vec<Vec<u8>> = numbers
        .map(|n| match n % 10 {
            8 => format!("{{\"n\":{n},\"p\":\"../p-0/{n}\"}}"),
            9 => format!("{{\"n\":{n}}}"),
            partner => format!("{{\"n\":{n},\"p\":\"p-{partner}\"}}"),
        })
        .map(String::into_bytes)
        .collect();
    world.send_raw(&records).await;
}

/// How many of the events in `0..numbers` have a partner.
fn good(numbers: usize) -> usize {
    (0..numbers).filter(|n| n % 10 < 8).count()
}

fn by_partner(world: &World) -> Config {
    Config {
        layout: layout("raw/!{partitionKey:p}/", "errors/"),
        ..world.config()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partner_has_a_folder_that_no_other_reaches() {
    let world = World::with_shards(2).await;
    send(&world, 0..400).await;
    let hoard = world.start(by_partner(&world));
    world.until_archived(good(400)).await;
    assert_eq!(
        hoard.metric("hoard_records_bad_total{reason=\"bad-partition\"}"),
        40.0
    );
    assert_eq!(
        hoard.metric("hoard_records_bad_total{reason=\"no-partition\"}"),
        40.0
    );
    hoard.stop().await;
    for partner in 0..8 {
        for object in world.objects(&format!("raw/p-{partner}/")).await {
            let own = format!("\"p\":\"p-{partner}\"");
            assert!(
                object.lines.iter().all(|line| line.contains(&own)),
                "{}",
                object.key
            );
        }
    }
    world.assert_exact_by("p").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_many_objects_that_is_half_stored_is_finished_as_it_was_announced() {
    let world = World::with_shards(1).await;
    send(&world, 0..100).await;
    let objects = Rule::on("s3:PutObject").resource_containing("/raw/");
    world.faults().inject(objects.skip(3).delay(FOR_EVER));
    let first = world.start(by_partner(&world));
    world
        .until("a part is stored", async || world.keys("raw/").await.len() == 3)
        .await;
    first.kill().await;
    world.faults().clear();
    let announced = world
        .state(SHARD)
        .await
        .expect("claimed")
        .pending
        .expect("prepared");
    assert_eq!(announced.objects.len(), 9, "eight partners and the errors");

    let mut config = world.config();
    config.layout = Arc::new(Layout {
        zone: "Asia/Shanghai".parse().expect("known"),
        ..layout("raw/elsewhere/!{partitionKey:n}/", "elsewhere/")
            .as_ref()
            .clone()
    });
    config.compression = Compression::Zstd { level: 1 };
    let second = world.start(config);
    world
        .until("the cut is finished", async || {
            second.metric("hoard_recovered_cuts_total{how=\"redone\"}") == 1.0
        })
        .await;
    second.stop().await;
    let mut keys: Vec<_> = announced
        .objects
        .iter()
        .map(|object| object.key.clone())
        .collect();
    keys.sort();
    assert_eq!(
        [world.keys("errors/").await, world.keys("raw/").await].concat(),
        keys
    );
    world.assert_exact_by("p").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_between_the_objects_of_a_cut_lose_and_double_nothing() {
    let world = World::with_shards(2).await;
    for on in [
        "s3:PutObject",
        "s3:HeadObject",
        "s3:GetObject",
        "kinesis:GetRecords",
    ] {
        world
            .faults()
            .inject(Rule::on(on).probability(0.05).lose_answer());
        world.faults().inject(Rule::on(on).probability(0.05).throttle());
    }
    let mut config = by_partner(&world);
    config.limits.bytes = 1_500;
    config.limits.partitions = 5;
    for round in 0..8 {
        let hoard = world.start(config.clone());
        send(&world, round * 50..(round + 1) * 50).await;
        world
            .until_injected("*", world.faults().injected("*") + 5 + round as u64)
            .await;
        hoard.kill().await;
    }
    world.faults().clear();
    let hoard = world.start(config);
    world.until_archived(good(400)).await;
    assert!(hoard.runtime.readiness.is_ready());
    hoard.stop().await;
    world.assert_exact_by("p").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_those_of_the_zone() {
    // 2026-03-29T00:00:00+01:00, the day on which Berlin's clocks go forward, so it has 23 hours.
    let midnight = UNIX_EPOCH + Duration::from_secs(1_774_738_800);
    let clock = Clock::stopped_at(midnight - Duration::from_millis(1));
    let world = World::with_clock(1, clock).await;
    world.send(0..10).await;
    world.clock.advance(Duration::from_millis(1));
    world.send(10..30).await;
    world
        .clock
        .advance(Duration::from_secs(23 * 3600) - Duration::from_millis(1));
    world.send(30..60).await;
    world.clock.advance(Duration::from_millis(1));
    world.send(60..100).await;
    let mut config = world.config();
    config.limits.age = FOR_EVER;
    config.layout = Arc::new(Layout {
        zone: "Europe/Berlin".parse().expect("known"),
        ..layout("raw/dt=!{timestamp:yyyy-MM-dd}/", "errors/")
            .as_ref()
            .clone()
    });
    let hoard = world.start(config);
    world
        .until("all is read", async || {
            hoard.metric("hoard_records_read_total") == 100.0
        })
        .await;
    hoard.stop().await;
    for (day, lines) in [("28", 10), ("29", 50), ("30", 40)] {
        assert_eq!(
            world.lines_count(&format!("raw/dt=2026-03-{day}/")).await,
            lines,
            "{day}"
        );
    }
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_with_hours_cuts_at_each_hour() {
    let clock = Clock::stopped_at(UNIX_EPOCH + Duration::from_secs(1_767_225_599));
    let world = World::with_clock(1, clock).await;
    world.send(0..10).await;
    world.clock.advance(Duration::from_secs(1));
    world.send(10..30).await;
    let mut config = world.config();
    config.limits.age = FOR_EVER;
    config.layout = layout(
        "raw/!{timestamp:yyyy/MM/dd/HH}/",
        "errors/!{firehose:error-output-type}/",
    );
    let hoard = world.start(config);
    world.send_raw(&[b"bad".to_vec()]).await;
    world
        .until("all is read", async || {
            hoard.metric("hoard_records_read_total") == 31.0
        })
        .await;
    hoard.stop().await;
    assert_eq!(world.lines_count("raw/2025/12/31/23/").await, 10);
    assert_eq!(world.lines_count("raw/2026/01/01/00/").await, 20);
    assert_eq!(world.lines_count("errors/processing-failed/2026/01/01/").await, 1);
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zstd_objects_are_read_back() {
    let world = World::with_shards(1).await;
    world.send(0..100).await;
    let mut config = world.config();
    config.compression = Compression::Zstd { level: 3 };
    let hoard = world.start(config);
    world.until_archived(100).await;
    hoard.stop().await;
    assert!(
        world
            .keys("raw/")
            .await
            .iter()
            .all(|key| key.ends_with(".jsonl.zst"))
    );
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_kept_as_the_settings_say() {
    let world = World::with_shards(1).await;
    world.send(0..10).await;
    let mut config = world.config();
    config.object_options = ObjectOptions {
        kms_key_id: Some("alias/archive".to_owned()),
        storage_class: Some(StorageClass::StandardIa),
    };
    let hoard = world.start(config);
    world.until_archived(10).await;
    hoard.stop().await;
    let head = async |key: &str| {
        let request = world.s3.head_object().bucket(BUCKET).key(key);
        request.send().await.expect("there")
    };
    for Object { key, .. } in world.objects("raw/").await {
        let head = head(&key).await;
        assert_eq!(head.server_side_encryption(), Some(&ServerSideEncryption::AwsKms));
        assert_eq!(head.ssekms_key_id(), Some("alias/archive"));
        assert_eq!(head.bucket_key_enabled(), Some(true));
        assert_eq!(head.storage_class(), Some(&StorageClass::StandardIa));
        assert_eq!(head.content_type(), Some("application/x-ndjson"));
    }
    let state = head(&format!("_hoard/events/{SHARD}.json")).await;
    assert_eq!(state.ssekms_key_id(), Some("alias/archive"));
    assert_eq!(state.storage_class(), None);
    world.assert_exact().await;
}
