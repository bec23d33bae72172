//! What ends a cut, seen from the bucket.

use std::time::{Duration, UNIX_EPOCH};

use hoard::budget::READ_ALLOWANCE;
use hoard::encode::Compression;
use local_cloud::Clock;

use crate::world::{World, layout};

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: Duration = Duration::from_secs(1_767_225_600);

#[tokio::test(flavor = "multi_thread")]
async fn midnight_divides_objects_even_inside_one_read() {
    let clock = Clock::stopped_at(UNIX_EPOCH + NEW_YEAR - Duration::from_millis(10));
    let world = World::with_clock(1, clock).await;
    world.send(0..30).await;
    world.clock.advance(Duration::from_millis(10));
    world.send(30..70).await;
    let mut config = world.config();
    config.limits.age = Duration::from_secs(3600);
    let hoard = world.start(config);
    world
        .until("all is read", async || {
            hoard.metric("hoard_records_read_total") == 70.0
        })
        .await;
    hoard.stop().await;
    assert_eq!(world.lines_count("raw/2025/12/31/").await, 30);
    assert_eq!(world.lines_count("raw/2026/01/01/").await, 40);
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn size_ends_a_cut_and_bounds_its_objects() {
    let world = World::with_shards(1).await;
    world.send(0..1000).await;
    let mut config = world.config();
    config.limits.bytes = 4_096;
    config.limits.age = Duration::from_secs(3600);
    let hoard = world.start(config);
    world
        .until("cut by size", async || {
            hoard.metric("hoard_cuts_total{cause=\"size\"}") >= 5.0
        })
        .await;
    hoard.stop().await;
    for object in world.objects("raw/").await {
        let bytes: u64 = object.metadata["uncompressed-bytes"].parse().expect("a number");
        assert!(bytes < 4_096 + 100, "{}: {bytes} bytes", object.key);
    }
    world.assert_exact().await;
}

/// Partitions multiply what is open: 200 shards of 4 folders each are 800 objects.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_shards_with_partitions_stay_within_the_budget() {
    const MIB: u64 = 1024 * 1024;
    let world = World::with_shards(200).await;
    let text = "x".repeat(1_500);
    let records: Vec<Vec<u8>> = (0..8_000)
        .map(|n| format!("{{\"n\":{n},\"p\":\"p-{}\",\"text\":\"{text}\"}}", n % 4).into_bytes())
        .collect();
    world.send_raw(&records).await;
    let mut config = world.config();
    config.layout = layout("raw/!{partitionKey:p}/", "errors/");
    config.memory_budget = READ_ALLOWANCE + 4 * MIB;
    config.limits.bytes = 64 * MIB;
    config.limits.age = Duration::from_secs(3600);
    config.pace.idle = Duration::from_secs(1);
    let limit = config.memory_budget as f64;
    let hoard = world.start(config);
    let mut most = 0.0_f64;
    world
        .until("all is read", async || {
            most = most.max(hoard.metric("hoard_buffer_bytes"));
            hoard.metric("hoard_records_read_total") == 8_000.0
        })
        .await;
    assert!(most <= limit, "{most} bytes of {limit}");
    assert!(
        hoard.metric("hoard_cuts_total{cause=\"memory\"}") >= 1.0,
        "12 MB do not fit"
    );
    hoard.stop().await;
    world.assert_exact_by("p").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_shards_share_one_memory_budget() {
    const MIB: u64 = 1024 * 1024;
    let world = World::with_shards(8).await;
    let line = format!("{{\"text\":\"{}\"}}", "x".repeat(30_000)).into_bytes();
    let records: Vec<Vec<u8>> = (0..20 * 32)
        .map(|n| [&line[..line.len() - 1], format!(",\"n\":{n}}}").as_bytes()].concat())
        .collect();
    for chunk in records.chunks(100) {
        world.send_raw(chunk).await;
    }
    let mut config = world.config();
    config.compression = Compression::None;
    config.memory_budget = READ_ALLOWANCE + 4 * MIB;
    config.limits.bytes = 1024 * MIB;
    config.limits.age = Duration::from_secs(3600);
    let hoard = world.start(config);
    let (mut most, limit) = (0.0_f64, (READ_ALLOWANCE + 4 * MIB) as f64);
    world
        .until("all is read", async || {
            most = most.max(hoard.metric("hoard_buffer_bytes"));
            hoard.metric("hoard_records_read_total") == 640.0
        })
        .await;
    assert!(most <= limit, "{most} bytes of {limit}");
    assert!(
        hoard.metric("hoard_cuts_total{cause=\"memory\"}") >= 3.0,
        "20 MB do not fit"
    );
    hoard.stop().await;
    world.assert_exact().await;
}
