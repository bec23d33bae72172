//! `_SUCCESS`: never before the day is complete, and then at last.

use std::time::{Duration, UNIX_EPOCH};

use hoard::Config;
use hoard::day_marker::DayMarker;
use local_cloud::{Clock, Rule};

use crate::world::{STREAM, World};

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: Duration = Duration::from_secs(1_767_225_600);
const DELAY: Duration = Duration::from_secs(60);
const SHARDS: [&str; 2] = ["shardId-000000000000", "shardId-000000000001"];

/// Two shards, ten minutes before New Year.
async fn world() -> World {
    let clock = Clock::stopped_at(UNIX_EPOCH + NEW_YEAR - 10 * DELAY);
    World::with_clock(2, clock).await
}

fn config(world: &World) -> Config {
    let mut config = world.config();
    config.day_marker = Some(DayMarker {
        prefix: "raw/".parse().expect("valid"),
        delay: DELAY,
        interval: Duration::from_millis(20),
    });
    config
}

/// The markers, each of which must be right at every moment: what is complete stays as it is.
async fn marked(world: &World) -> Vec<String> {
    let keys = world.keys("raw/").await;
    keys.into_iter().filter(|key| key.ends_with("_SUCCESS")).collect()
}

async fn until_passed(world: &World, shard: &str, at_least: Duration) {
    world
        .until("the shard passed", async || {
            let state = world.state(shard).await;
            let passed = state.and_then(|state| state.passed);
            passed.is_some_and(|passed| passed.as_millis() as u128 >= at_least.as_millis())
        })
        .await;
}

async fn until_first_day_is_known(world: &World) {
    world
        .until("the first day is written down", async || {
            !world.keys("_hoard/events/marked-days").await.is_empty()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_marked_when_every_shard_is_past_them_idle_ones_too() {
    let world = world().await;
    world.send(0..100).await;
    let first = world.start(config(&world));
    let second = world.start(config(&world));
    world.until_archived(100).await;
    until_first_day_is_known(&world).await;

    // Midnight has passed, the delay has not: an idle shard has nothing to write down yet.
    world.clock.advance(10 * DELAY + DELAY / 2);
    world.send(100..110).await;
    world.until_archived(110).await;
    assert_eq!(marked(&world).await, Vec::<String>::new());

    world.clock.advance(DELAY);
    world
        .until("the day is marked", async || !marked(&world).await.is_empty())
        .await;
    assert_eq!(marked(&world).await, ["raw/2025/12/31/_SUCCESS"]);

    // Two days without a record are marked all the same.
    world.clock.advance(Duration::from_secs(48 * 3600));
    world
        .until("the days are marked", async || marked(&world).await.len() == 3)
        .await;
    assert_eq!(
        marked(&world).await,
        [
            "raw/2025/12/31/_SUCCESS",
            "raw/2026/01/01/_SUCCESS",
            "raw/2026/01/02/_SUCCESS"
        ]
    );
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_waits_for_a_cut_that_is_not_committed() {
    let world = world().await;
    let hoard = world.start(config(&world));
    until_first_day_is_known(&world).await;
    // The first shard cannot store its objects.
    let held_up = Rule::on("s3:PutObject").resource_containing("shardId-000000000000-");
    world.faults().inject(held_up.fail(503, "SlowDown"));
    world.send(0..100).await;
    world
        .until("a cut is held up", async || {
            let state = world.state(SHARDS[0]).await;
            state.is_some_and(|state| state.pending.is_some())
        })
        .await;
    world.clock.advance(12 * DELAY);
    until_passed(&world, SHARDS[1], NEW_YEAR + DELAY).await;
    let look = Rule::on("s3:GetObject").resource_containing("marked-days");
    world.faults().inject(look.delay(Duration::from_millis(1)));
    world.until_injected("s3:GetObject", 5).await;
    assert_eq!(marked(&world).await, Vec::<String>::new());

    world.faults().clear();
    world
        .until("the day is marked", async || !marked(&world).await.is_empty())
        .await;
    assert!(world.state(SHARDS[0]).await.expect("a state").pending.is_none());
    assert_eq!(
        world.lines_count("raw/2025/12/31/events").await,
        100,
        "before the marker"
    );
    hoard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_waits_for_the_children_of_a_split() {
    let world = world().await;
    let hoard = world.start(config(&world));
    until_first_day_is_known(&world).await;
    hoard.stop().await;

    let split = world
        .kinesis
        .split_shard()
        .stream_name(STREAM)
        .shard_to_split(SHARDS[0]);
    split
        .new_starting_hash_key("10000000000000000")
        .send()
        .await
        .expect("split");
    world.until_active().await;
    world.send(0..200).await;
    world.clock.advance(12 * DELAY);
    // Everything is read and committed anew, children after their parent.
    let hoard = world.start(config(&world));
    world
        .until("the day is marked", async || !marked(&world).await.is_empty())
        .await;
    assert_eq!(
        world.lines_count("raw/2025/12/31/events").await,
        200,
        "before the marker"
    );
    hoard.stop().await;
}
