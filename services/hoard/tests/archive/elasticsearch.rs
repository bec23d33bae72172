//! The second delivery, against a stub of a cluster: what it holds, and that the archive does not notice
//! what happens to it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use hoard::Config;
use hoard::budget::READ_ALLOWANCE;
use hoard::elasticsearch::Elasticsearch;
use hoard::elasticsearch::client::{Credential, Trust};
use hoard::elasticsearch::index::IndexPattern;
use hoard::pace::Pace;
use local_cloud::Clock;

use crate::search::SearchStub;
use crate::world::{Hoard, World};

/// Settings in a hurry.
pub(crate) fn config(world: &World, search: &SearchStub) -> Config {
    let mut config = world.config();
    config.elasticsearch = Some(Elasticsearch {
        url: search.url.parse().expect("a URL"),
        index: IndexPattern::parse("events-%Y.%m.%d").expect("valid"),
        credential: Credential::from_file(None).expect("none"),
        trust: Trust::new(None).expect("the system's"),
        batch_bytes: 2_000,
        concurrency: 2,
        memory_budget: READ_ALLOWANCE,
        timeout: Duration::from_millis(500),
        max_lag: None,
        pace: Pace {
            behind: Duration::from_millis(10),
            idle: Duration::from_millis(20),
            bytes_per_second: u64::MAX,
        },
    });
    config
}

pub(crate) async fn until_found(world: &World, search: &SearchStub, documents: usize) {
    let what = format!("{documents} documents are found");
    world
        .until(&what, async || search.documents().len() >= documents)
        .await;
}

pub(crate) fn numbers(search: &SearchStub) -> BTreeSet<u64> {
    let documents = search.documents().into_values();
    documents
        .map(|document| document["n"].as_u64().expect("a number"))
        .collect()
}

fn outcome(hoard: &Hoard, outcome: &str) -> f64 {
    hoard.metric(&format!(
        "hoard_elasticsearch_documents_total{{outcome=\"{outcome}\"}}"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_found_under_its_day_and_its_place_in_the_stream() {
    // 2026-03-10, 23:59:59
    let clock = Clock::stopped_at(std::time::UNIX_EPOCH + Duration::from_secs(1_773_187_199));
    let world = World::with_clock(2, clock.clone()).await;
    let search = SearchStub::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let auth = folder.path().join("auth");
    std::fs::write(&auth, "hoard:secret").expect("written");
    search.cluster().credential = Some("Basic aG9hcmQ6c2VjcmV0".to_owned());
    let mut config = config(&world, &search);
    if let Some(elasticsearch) = &mut config.elasticsearch {
        elasticsearch.credential = Credential::from_file(Some(auth)).expect("valid");
    }
    let hoard = world.start(config);
    world.send(0..60).await;
    until_found(&world, &search, 60).await;
    clock.advance(Duration::from_secs(1));
    world.send(60..100).await;
    let mut aggregate = kpl::Aggregate::new();
    for n in 100..103 {
        aggregate.push("device", None, format!("{{\"n\":{n}}}").as_bytes());
    }
    world.send_raw(&[aggregate.finish(), b"not json".to_vec()]).await;
    // A document is found before the answer that counts it has come.
    world
        .until("all are counted as created, and one as no JSON", async || {
            outcome(&hoard, "created") == 103.0 && outcome(&hoard, "not_json") == 1.0
        })
        .await;
    hoard.stop().await;

    assert_eq!(numbers(&search), (0..103).collect());
    let indices: Vec<_> = search
        .cluster()
        .indices
        .iter()
        .map(|(name, documents)| (name.clone(), documents.len()))
        .collect();
    assert_eq!(
        indices,
        [
            ("events-2026.03.10".to_owned(), 60),
            ("events-2026.03.11".to_owned(), 43)
        ]
    );
    let mut ids: Vec<_> = search.documents().into_keys().collect();
    ids.retain(|id| id.split(':').count() == 3);
    assert_eq!(ids.len(), 3, "parts of an aggregate have a place inside it");
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_are_throttled_are_sent_again_and_refused_ones_are_counted() {
    let world = World::with_shards(1).await;
    let search = SearchStub::start().await;
    search.cluster().throttles_each = 2;
    let hoard = world.start(config(&world, &search));
    world.send(0..40).await;
    world
        .send_raw(&[br#"{"n":40,"text":{"not":"text"}}"#.to_vec()])
        .await;
    world.send(41..50).await;
    until_found(&world, &search, 49).await;
    world
        .until("the refused one is counted", async || {
            outcome(&hoard, "refused") == 1.0
        })
        .await;
    world
        .until("the others are counted", async || {
            outcome(&hoard, "created") == 49.0
        })
        .await;
    assert_eq!(hoard.metric("hoard_elasticsearch_retried_documents_total"), 100.0);
    hoard.stop().await;
    assert!(!numbers(&search).contains(&40));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_it_was_and_what_is_sent_again_is_there_once() {
    let world = World::with_shards(1).await;
    let search = SearchStub::start().await;
    let first = world.start(config(&world, &search));
    world.send(0..50).await;
    // A drain abandons requests whose answer has not come: what is found is not yet known to be.
    world
        .until("the first has its answers", async || {
            outcome(&first, "created") == 50.0
        })
        .await;
    first.stop().await;
    let second = world.start(config(&world, &search));
    world.send(50..80).await;
    world
        .until("the second has its answers", async || {
            outcome(&second, "created") == 30.0
        })
        .await;
    assert_eq!(search.cluster().documents_seen, 80, "nothing was sent twice");
    second.stop().await;

    // As after a crash before the position was written.
    let keys = world.keys("_hoard/events/elasticsearch/").await;
    assert_eq!(keys.len(), 1);
    let request = world
        .s3
        .delete_object()
        .bucket(crate::world::BUCKET)
        .key(&keys[0]);
    request.send().await.expect("deleted");
    let third = world.start(config(&world, &search));
    world
        .until("all were there already", async || {
            outcome(&third, "exists") == 80.0
        })
        .await;
    third.stop().await;
    assert_eq!(search.documents().len(), 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_shards_are_delivered_to_their_end_also_by_the_next_instance() {
    let world = World::with_shards(1).await;
    let search = SearchStub::start().await;
    search.cluster().fails = Some(StatusCode::SERVICE_UNAVAILABLE);
    let first = world.start(config(&world, &search));
    world.send(0..20).await;
    let request = world.kinesis.split_shard().stream_name(crate::world::STREAM);
    let request = request
        .shard_to_split("shardId-000000000000")
        .new_starting_hash_key("170141183460469231731687303715884105728");
    request.send().await.expect("split");
    world.until_active().await;
    world.send(20..60).await;
    world.until_archived(60).await;
    first.stop().await;
    assert!(search.documents().is_empty());
    search.cluster().fails = None;
    let second = world.start(config(&world, &search));
    until_found(&world, &search, 60).await;
    second.stop().await;
    assert_eq!(numbers(&search), (0..60).collect());
}

/// The heart of it: a cluster that never answers, and one that always fails.
#[tokio::test(flavor = "multi_thread")]
async fn the_archive_does_not_notice_a_cluster_that_hangs_or_fails() {
    for fails in [
        None,
        Some(StatusCode::INTERNAL_SERVER_ERROR),
        Some(StatusCode::UNAUTHORIZED),
    ] {
        let world = World::with_shards(3).await;
        let search = SearchStub::start().await;
        search.cluster().hangs = fails.is_none();
        search.cluster().fails = fails;
        let mut config = config(&world, &search);
        if let Some(elasticsearch) = &mut config.elasticsearch {
            elasticsearch.timeout = Duration::from_secs(3600);
        }
        let hoard = world.start(config);
        for round in 0..10 {
            world.send(round * 50..(round + 1) * 50).await;
            world.until_archived((round + 1) * 50).await;
        }
        world
            .until("the cluster was asked", async || search.cluster().requests > 0)
            .await;
        // Measured by the service itself, from arrival to commit: cuts are due after 100 ms.
        let count = hoard.metric("hoard_freshness_seconds_count");
        let mean = hoard.metric("hoard_freshness_seconds_sum") / count;
        assert!(
            count >= 10.0 && mean < 5.0,
            "{fails:?}: {mean} s over {count} cuts"
        );
        let asked = std::time::Instant::now();
        hoard.stop().await;
        assert!(
            asked.elapsed() < Duration::from_secs(20),
            "{fails:?}: a drain does not wait for it"
        );
        assert!(search.documents().is_empty());
        world.assert_exact().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_comes_back_gets_everything() {
    let world = World::with_shards(1).await;
    let search = SearchStub::start().await;
    search.cluster().hangs = true;
    let hoard = world.start(config(&world, &search));
    world.send(0..50).await;
    world
        .until("requests time out", async || {
            hoard.metric("hoard_elasticsearch_request_failures_total{failure=\"timeout\"}") >= 1.0
        })
        .await;
    search.cluster().hangs = false;
    search.cluster().body_bytes_max = 300;
    until_found(&world, &search, 50).await;
    assert!(hoard.metric("hoard_elasticsearch_request_failures_total{failure=\"too_large\"}") >= 1.0);
    hoard.stop().await;
    assert_eq!(numbers(&search), (0..50).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_allowed_is_skipped_and_counted() {
    let hour = Duration::from_secs(3600);
    let clock = Clock::stopped_at(SystemTime::now() - hour);
    let world = World::with_clock(1, clock.clone()).await;
    let search = SearchStub::start().await;
    world.send(0..30).await;
    clock.advance(hour);
    world.send(30..40).await;
    let mut config = config(&world, &search);
    if let Some(elasticsearch) = &mut config.elasticsearch {
        elasticsearch.max_lag = Some(hour / 2);
    }
    let hoard = world.start(config);
    until_found(&world, &search, 10).await;
    let skipped = hoard.metric("hoard_elasticsearch_skipped_seconds_total");
    assert!((2600.0..2900.0).contains(&skipped), "{skipped}");
    assert_eq!(hoard.metric("hoard_elasticsearch_skipped_records_total"), 30.0);
    world.until_archived(40).await;
    hoard.stop().await;
    assert_eq!(numbers(&search), (30..40).collect());
}
