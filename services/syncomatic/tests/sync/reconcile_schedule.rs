//! Reconciles inside the service: at intervals, beside the queue's work, and out of its way.

use std::time::Duration;

use local_cloud::Rule;
use service_runtime::Runtime;
use syncomatic::ReconcileLimits;
use syncomatic::config::Config;

use crate::harness::{SOURCE_BUCKET, Service, World, message, record, until};

const COMPLETED: &str = "syncomatic_reconcile_last_completed_timestamp_seconds";

fn config(world: &World, routes: &[&str], repairs: bool) -> Config {
    let mut config = world.config_with_routes(routes);
    config.reconcile = ReconcileLimits {
        interval: Some(Duration::from_millis(50)),
        repairs,
        grace: Duration::ZERO,
        page_objects: 2,
        ..ReconcileLimits::default()
    };
    config
}

/// A source bucket that notifies nobody.
async fn silent() -> World {
    let world = World::without_queue().await;
    world.create_queue().await;
    world
}

/// What the last complete reconcile found of one kind, over all routes.
fn differences(service: &Service, kind: &str) -> u64 {
    let families = service.runtime.registry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == "syncomatic_reconcile_differences");
    let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
    let of_kind = metrics
        .iter()
        .filter(|metric| metric.get_label().iter().any(|label| label.value() == kind));
    of_kind.map(|metric| metric.get_gauge().get_value() as u64).sum()
}

/// Pages of two objects: every boundary between pages of either side lies somewhere among the differences.
#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_say_what_differs_by_route_across_pages() {
    let world = silent().await;
    for number in 0..9 {
        world.put_source(&format!("a/{number}"), "x").await;
        world.put_source(&format!("b/{number}"), "x").await;
    }
    let filled = world.run(config(&world, &["a/=>x/:verbatim"], true));
    until("the first route is filled", async || {
        world.destination_bytes("x/8").await.is_some()
    })
    .await;
    filled.stop().await.expect("drained");
    for key in ["x/0", "x/3", "x/4", "x/8"] {
        let delete = world.destination.s3.delete_object();
        let delete = delete.bucket(crate::harness::DESTINATION_BUCKET).key(key);
        delete.send().await.expect("deleted");
    }
    let service = world.run(config(&world, &["a/=>x/:verbatim", "b/=>y/:verbatim"], false));
    until("a reconcile is complete", async || {
        service.metric(COMPLETED, None) > 0
    })
    .await;
    assert_eq!(differences(&service, "missing"), 4 + 9);
    assert_eq!(
        (differences(&service, "different"), differences(&service, "extra")),
        (0, 0)
    );
    assert!(service.metric("syncomatic_reconcile_objects_total", None) >= 18);
    assert!(service.metric("syncomatic_reconcile_list_calls_total", Some("source")) >= 10);
    assert_eq!(
        service.metric("syncomatic_reconcile_runs_total", Some("equal")),
        0
    );
    assert!(world.destination_bytes("y/0").await.is_none(), "it only looks");
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_notification_told_of_is_repaired() {
    let world = silent().await;
    for number in 0..5 {
        world.put_source(&format!("{number}"), "untold").await;
    }
    let service = world.run(config(&world, &["=>:verbatim"], true));
    until("all is equal", async || {
        service.metric("syncomatic_reconcile_runs_total", Some("equal")) > 1
    })
    .await;
    for number in 0..5 {
        let stored = world.destination_bytes(&format!("{number}")).await;
        assert_eq!(stored.as_deref(), Some(&b"untold"[..]));
    }
    assert_eq!(service.metric("syncomatic_objects_total", Some("repaired")), 5);
    assert_eq!(differences(&service, "unrepaired"), 0);
    assert_eq!(
        service.metric("syncomatic_reconcile_oldest_uncopied_seconds", None),
        0
    );
    service.stop().await.expect("drained");
}

/// A repair that gets nowhere takes nothing from the queue's copies: places, memory, retries are its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_served_while_repairs_are_stuck() {
    let world = silent().await;
    for number in 0..40 {
        world.put_source(&format!("stuck/{number}"), "x").await;
    }
    let stuck = Rule::on("s3:PutObject").resource_containing("stuck/");
    world.europe.faults().inject(stuck.delay(Duration::from_secs(60)));
    let mut config = config(&world, &["=>:verbatim"], true);
    config.reconcile.concurrency = 8;
    config.limits.transfers = 1;
    config.limits.concurrency = 1;
    let runtime = Runtime::with_drain_deadline("syncomatic", Duration::from_secs(1));
    let service = world.run_with(config, runtime);
    until("the lane is full", async || {
        world.europe.faults().injected("s3:PutObject") == 8
    })
    .await;
    world.put_source("told", "x").await;
    world.send(&message(&[record(SOURCE_BUCKET, "told")])).await;
    until("the queue's is copied", async || service.records("copied") == 1).await;
    assert!(world.destination_bytes("told").await.is_some());
    assert_eq!(
        service.metric("syncomatic_reconcile_running", None),
        1,
        "one at a time"
    );
    assert_eq!(
        world.europe.faults().injected("s3:PutObject"),
        8,
        "no more than its places"
    );
    // A drain does not wait for what is stuck.
    service.stop().await.expect("drained within the deadline");
    assert!(world.destination_bytes("stuck/0").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_interval_nothing_is_listed() {
    let world = silent().await;
    let lists = crate::harness::Calls::count(&world.china, &["s3:ListObjectsV2"]);
    let service = world.run(world.config());
    service.until_ready().await;
    world.put_source("a", "x").await;
    world.send(&message(&[record(SOURCE_BUCKET, "a")])).await;
    until("it is copied", async || service.records("copied") == 1).await;
    assert_eq!((lists.since(), service.metric(COMPLETED, None)), (vec![0], 0));
    service.stop().await.expect("drained");
}
