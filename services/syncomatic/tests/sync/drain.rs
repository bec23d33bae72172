//! What a drain finishes, what it gives back, and how long a message stays hidden.

use std::time::{Duration, Instant};

use local_cloud::{LocalCloud, Rule};
use service_runtime::Runtime;

use crate::harness::{Calls, World, bytes, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_in_hand() {
    let world = World::new().await;
    let service = world.run(world.config());
    service.until_ready().await;
    world
        .china
        .faults()
        .inject(Rule::on("s3:GetObject").delay(Duration::from_secs(1)));
    world.put_source("a", bytes(1_000)).await;
    until("it is being read", async || {
        world.china.faults().injected("s3:GetObject") == 1
    })
    .await;
    service.stop().await.expect("drained");
    assert_eq!(world.destination_bytes("a").await, Some(bytes(1_000)));
    assert_eq!(world.queue_depth(&world.queue_url).await, (0, 0), "acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_gives_back_what_it_cannot_finish() {
    let world = World::new().await;
    let runtime = Runtime::with_drain_deadline("syncomatic", Duration::from_secs(1));
    let service = world.run_with(world.config(), runtime);
    service.until_ready().await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").delay(Duration::from_secs(60)));
    world.put_source("a", bytes(1_000)).await;
    until("it is being written", async || {
        world.europe.faults().injected("s3:PutObject") == 1
    })
    .await;
    let started = Instant::now();
    service.stop().await.expect("giving back is a clean end");
    assert!(started.elapsed() < Duration::from_secs(2), "the deadline is 1 s");
    assert_eq!(
        world.queue_depth(&world.queue_url).await,
        (1, 0),
        "visible again, 30 s early"
    );
    assert!(world.destination_bytes("a").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_service_drains_at_once() {
    let world = World::new().await;
    let service = world.run(world.config());
    service.until_ready().await;
    let started = Instant::now();
    service.stop().await.expect("drained");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "a long poll of 20 s is not waited for"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_hangs_does_not_hold_up_a_drain() {
    let world = World::new().await;
    let hang = Rule::on("s3:ListObjectsV2").delay(Duration::from_secs(60));
    drained_while_it_hangs(&world, &world.europe, hang).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_the_queue_that_hangs_does_not_hold_up_a_drain() {
    let world = World::new().await;
    // The first establishes at start whose queue it is.
    let hang = Rule::on("sqs:GetQueueAttributes").skip(1);
    let hang = hang.delay(Duration::from_secs(60));
    drained_while_it_hangs(&world, &world.china, hang).await;
}

async fn drained_while_it_hangs(world: &World, side: &LocalCloud, hang: Rule) {
    let mut config = world.config();
    config.limits.sweep_interval = Duration::from_millis(100);
    side.faults().inject(hang.clone());
    let service = world.run(config);
    service.until_ready().await;
    until("a look hangs", async || side.faults().fired(&hang) > 0).await;
    let started = Instant::now();
    service.stop().await.expect("drained");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_hand_stays_hidden_beyond_its_time_out() {
    let world = World::new().await;
    let mut config = world.config();
    config.limits.visibility_timeout = Duration::from_secs(2);
    let service = world.run(config);
    world.until_queue_is_empty().await;
    let extensions = Calls::count(&world.china, &["sqs:ChangeMessageVisibility"]);
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").times(1).delay(Duration::from_secs(5)));
    world.put_source("a", bytes(1_000)).await;
    until("it is copied", async || service.records("copied") == 1).await;
    world.until_queue_is_empty().await;
    assert_eq!(
        service.metric("syncomatic_messages_received_total", None),
        2,
        "the test event and one"
    );
    assert!(extensions.since()[0] >= 4, "extended at a third of the time-out");
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_can_start_is_received() {
    let world = World::new().await;
    let slow = Rule::on("s3:PutObject").times(3).delay(Duration::from_secs(2));
    world.europe.faults().inject(slow);
    for number in 0..10 {
        world.put_source(&format!("{number}"), "x").await;
    }
    let mut config = world.config();
    config.limits.concurrency = 3;
    let service = world.run(config);
    until("three are in hand and seven left to others", async || {
        world.queue_depth(&world.queue_url).await == (7, 3)
    })
    .await;
    assert_eq!(service.metric("syncomatic_in_flight_messages", None), 3);
    world.until_queue_is_empty().await;
    service.stop().await.expect("drained");
}
