//! What left the stream before it was read is reported; what did not is not.

use std::time::{Duration, SystemTime};

use local_cloud::Clock;

use crate::world::World;

const HOUR: Duration = Duration::from_secs(3600);
const SHARD: &str = "shardId-000000000000";

/// A stream that keeps its records for 24 hours, and hours that pass when they are told to.
async fn world() -> World {
    World::with_clock(1, Clock::stopped_at(SystemTime::now() - 200 * HOUR)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_behind_the_checkpoint_is_reported_and_reading_goes_on() {
    let world = world().await;
    world.send(0..30).await;
    let first = world.start(world.config());
    world.until_archived(30).await;
    first.stop().await;
    world.clock.advance(HOUR);
    world.send(30..40).await;
    world.clock.advance(30 * HOUR);
    world.send(40..50).await;

    let second = world.start(world.config());
    world.until_archived(40).await;
    assert_eq!(second.metric("hoard_possible_losses_total"), 1.0);
    // From the last record that was archived to 24 hours ago, an hour of which had records.
    let seconds = second.metric("hoard_possible_loss_seconds_total");
    assert!((6.9..7.1).contains(&(seconds / 3600.0)), "{seconds} s");
    second.stop().await;
    assert_eq!(world.lines_count("raw/").await, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_an_outage_within_the_retention_nor_an_idle_shard_is_a_loss() {
    let world = world().await;
    world.send(0..30).await;
    let first = world.start(world.config());
    world.until_archived(30).await;
    first.stop().await;
    world.clock.advance(23 * HOUR);
    let second = world.start(world.config());
    // An idle shard that is read all the time says so in its state.
    for hours in [0, 20, 20, 20, 20] {
        world.clock.advance(hours * HOUR);
        let now = i64::try_from(world.clock.now_ms()).expect("fits");
        world
            .until("the state says how far was read", async || {
                let passed = world.state(SHARD).await.and_then(|state| state.passed);
                passed.is_some_and(|passed| now - passed.as_millis() < 6 * 3_600_000)
            })
            .await;
    }
    assert_eq!(second.metric("hoard_possible_losses_total"), 0.0);
    second.stop().await;

    world.clock.advance(10 * HOUR);
    world.send(30..40).await;
    let third = world.start(world.config());
    world.until_archived(40).await;
    assert_eq!(third.metric("hoard_possible_losses_total"), 0.0);
    third.stop().await;
}
