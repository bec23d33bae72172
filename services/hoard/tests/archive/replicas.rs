//! Several replicas share a stream: they find their shares, hand over, take over, and clear up.

use std::time::{Duration, Instant};

use hoard::start::StartPosition;

use crate::world::{BUCKET, Hoard, World};

/// What a hand-over may take: from a join or a drain until another replica archives the shard.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);

async fn until_running(world: &World, hoard: &Hoard, shards: f64) {
    world
        .until(&format!("{shards} shards are archived there"), async || {
            hoard.metric("hoard_shards{state=\"running\"}") == shards
        })
        .await;
}

/// Waits until so many shards have come there or gone from there for this cause.
async fn until_changed(world: &World, hoard: &Hoard, cause: &str, shards: f64) {
    let name = format!("hoard_owner_changes_total{{cause=\"{cause}\"}}");
    world
        .until(&format!("{shards} changes for the cause {cause}"), async || {
            hoard.metric(&name) == shards
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_joins_is_handed_its_share() {
    let world = World::with_shards(4).await;
    let mut config = world.config();
    // What is handed over is cut for that reason alone.
    config.limits.age = Duration::from_secs(3600);
    let first = world.start(config.clone());
    world.send(0..400).await;
    world
        .until("all is held", async || {
            first.metric("hoard_records_read_total") == 400.0
        })
        .await;
    let joined = Instant::now();
    let second = world.start(config);
    until_changed(&world, &second, "free", 2.0).await;
    let took = joined.elapsed();
    assert!(took < HAND_OVER_MAX, "{took:?}");
    until_running(&world, &first, 2.0).await;
    assert_eq!(
        first.metric("hoard_owner_changes_total{cause=\"handed_over\"}"),
        2.0
    );
    assert_eq!(first.metric("hoard_cuts_total{cause=\"hand-over\"}"), 2.0);
    assert_eq!(first.metric("hoard_conflicts_total{meaning=\"lost\"}"), 0.0);
    assert_eq!(first.metric("hoard_replicas{standing=\"alive\"}"), 2.0);
    first.stop().await;
    second.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_drains_hands_over_and_leaves_nothing_behind() {
    let world = World::with_shards(4).await;
    let mut config = world.config();
    config.limits.age = Duration::from_secs(3600);
    let first = world.start(config.clone());
    until_running(&world, &first, 4.0).await;
    let second = world.start(config);
    until_running(&world, &second, 2.0).await;
    world.send(0..400).await;
    let read = |hoard: &Hoard| hoard.metric("hoard_records_read_total");
    world
        .until("all is held", async || read(&first) + read(&second) == 400.0)
        .await;
    let asked = Instant::now();
    first.stop().await;
    assert!(
        asked.elapsed() < HAND_OVER_MAX,
        "cut, committed and released in {:?}",
        asked.elapsed()
    );
    until_running(&world, &second, 4.0).await;
    assert!(
        asked.elapsed() < HAND_OVER_MAX,
        "handed over in {:?}",
        asked.elapsed()
    );
    assert_eq!(second.metric("hoard_owner_changes_total{cause=\"dead\"}"), 0.0);
    assert_eq!(world.keys("_hoard/events/replicas/").await.len(), 1);
    second.stop().await;
    assert!(world.keys("_hoard/events/replicas/").await.is_empty());
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_replica_is_taken_over_within_what_it_announced_and_cleared_away() {
    let world = World::with_shards(2).await;
    let mut config = world.config();
    config.pulse.interval = Duration::from_millis(400);
    let announced = config.pulse.announced();
    let first = world.start(config.clone());
    until_changed(&world, &first, "free", 2.0).await;
    let second = world.start(config);
    until_changed(&world, &second, "free", 1.0).await;
    first.kill().await;
    let killed = Instant::now();
    until_running(&world, &second, 2.0).await;
    // Calls take time too, on a busy machine more of it.
    let took = killed.elapsed();
    assert!(
        took < announced + Duration::from_secs(1),
        "{took:?} of {announced:?}"
    );
    assert!(
        took > announced / 4,
        "{took:?}: a live replica would be taken for dead too"
    );
    until_changed(&world, &second, "dead", 1.0).await;
    world.send(0..100).await;
    world.until_archived(100).await;
    world
        .until("its heartbeat is cleared away", async || {
            world.keys("_hoard/events/replicas/").await.len() == 1
        })
        .await;
    second.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_a_name_goes_on_at_once_after_a_crash() {
    let world = World::with_shards(2).await;
    let mut config = world.config();
    config.replica_name = Some("hoard-0".to_owned());
    // Whoever waits for the former one's death waits longer than any test.
    config.pulse.misses = 100_000;
    let first = world.start(config.clone());
    until_changed(&world, &first, "free", 2.0).await;
    first.kill().await;
    world.send(0..100).await;
    let second = world.start(config);
    world.until_archived(100).await;
    until_changed(&world, &second, "dead", 2.0).await;
    second.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_a_shard_is_ready_and_takes_over_all_the_same() {
    let world = World::with_shards(1).await;
    let first = world.start(world.config());
    until_running(&world, &first, 1.0).await;
    let mut all = vec![first];
    for _ in 0..2 {
        let next = world.start(world.config());
        world
            .until("ready", async || next.runtime.readiness.is_ready())
            .await;
        all.push(next);
    }
    let shares = || {
        all.iter()
            .map(|hoard| hoard.metric("hoard_shards{state=\"running\"}"))
    };
    world
        .until("one archives, two stand by", async || {
            shares().sum::<f64>() == 1.0
        })
        .await;
    while let Some(hoard) = all.pop() {
        world.send(0..10).await;
        if all.is_empty() {
            world.until_archived(30).await;
        }
        hoard.stop().await;
    }
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_come_and_go_lose_and_double_nothing() {
    let world = World::with_shards(3).await;
    let mut config = world.config();
    config.limits.age = Duration::from_millis(20);
    let mut all = Vec::new();
    for round in 0..8 {
        world.send(round * 100..(round + 1) * 100).await;
        let hoard = world.start(config.clone());
        world
            .until("ready", async || hoard.runtime.readiness.is_ready())
            .await;
        all.push(hoard);
        if round % 3 == 2 {
            all.remove(0).kill().await;
        }
    }
    world.until_archived(800).await;
    for hoard in all {
        hoard.stop().await;
    }
    world.assert_exact().await;
}

/// "Latest" is where the first replica began, for all of them and for good.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_begin_at_the_same_place() {
    let world = World::with_shards(4).await;
    world.send(0..50).await;
    world.clock.advance(Duration::from_secs(1));
    let mut config = world.config();
    config.start = StartPosition::Latest;
    let all: Vec<Hoard> = (0..4).map(|_| world.start(config.clone())).collect();
    for hoard in &all {
        until_running(&world, hoard, 1.0).await;
    }
    world.send(50..150).await;
    world.until_archived(100).await;
    for hoard in all {
        hoard.stop().await;
    }
    assert_eq!(world.lines_count("raw/").await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn states_of_shards_that_the_stream_has_forgotten_are_cleared_away() {
    let world = World::with_shards(1).await;
    world.send(0..50).await;
    let hoard = world.start(world.config());
    world.split("shardId-000000000000", crate::world::MIDDLE).await;
    world.until_archived(50).await;
    let parent = "_hoard/events/shardId-000000000000.json";
    world
        .until("the parent has ended", async || {
            hoard.metric("hoard_shards{state=\"ended\"}") == 1.0
        })
        .await;
    world.clock.advance(Duration::from_secs(25 * 3600));
    world
        .until("the stream has forgotten it", async || {
            world.shard_ids().await.len() == 2
        })
        .await;
    assert_eq!(world.keys(parent).await.len(), 1, "its children have nothing yet");
    world.send(50..100).await;
    world
        .until("its state is gone", async || world.keys(parent).await.is_empty())
        .await;
    world.until_archived(100).await;
    hoard.stop().await;
    assert_eq!(world.lines_count("raw/").await, 100);
}

/// Nothing is doubled when the right to delete is missing; what lies about is named in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_may_not_delete_archives_all_the_same() {
    let world = World::with_shards(2).await;
    let denied = local_cloud::Rule::on("s3:DeleteObject").fail(403, "AccessDenied");
    world.faults().inject(denied);
    for round in 0..3 {
        let hoard = world.start(world.config());
        world.send(round * 50..(round + 1) * 50).await;
        world.until_archived((round + 1) * 50).await;
        hoard.stop().await;
    }
    world.assert_exact().await;
    let left = world
        .s3
        .list_objects_v2()
        .bucket(BUCKET)
        .prefix("_hoard/events/replicas/");
    assert!(left.send().await.expect("listed").key_count.unwrap_or_default() > 0);
}
