//! `events` is killed again and again while the stream comes and goes. Every event that was answered
//! `published` or `spooled` is in the stream in the end.
//!
//! `SPOOL_ROUNDS=20` makes it the long mode.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use local_cloud::Rule;
use pipeline_tests::{Client, Pipeline, eventually};
use serde_json::json;

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");
const PATIENCE: Duration = Duration::from_secs(60);

/// What was acknowledged, id by id, and how.
#[derive(Default)]
struct Acknowledged {
    published: BTreeSet<String>,
    spooled: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "the count is what this test is run for")]
async fn what_was_acknowledged_survives_kills_and_outages() {
    let rounds = std::env::var("SPOOL_ROUNDS").map_or(4, |rounds| rounds.parse().expect("a number"));
    let pipeline = Pipeline::start(PIPELINE).await;
    let mut events = pipeline.events_with_spool().await;
    let client = pipeline.client(&events, "northwind-speaker").await;
    let faults = pipeline.aws.source.cloud.faults();
    let mut acknowledged = Acknowledged::default();
    for round in 0..rounds {
        until_published(&client, &mut acknowledged).await;
        send(&client, 5, &mut acknowledged).await;
        faults.inject(Rule::on("kinesis:PutRecords").cut_off());
        send(&client, 5, &mut acknowledged).await;
        if round % 2 == 0 {
            // Killed while the spool drains; in the other rounds with the stream away.
            faults.clear();
        }
        let (_, ()) = tokio::join!(send(&client, 3, &mut acknowledged), async {
            tokio::time::sleep(Duration::from_millis(20 * (round % 5))).await;
            events.kill().await;
        });
        faults.clear();
        events = pipeline.events_with_spool().await;
        client.follow(&events).await;
    }
    send(&client, 5, &mut acknowledged).await;
    let all: BTreeSet<_> = acknowledged
        .published
        .union(&acknowledged.spooled)
        .cloned()
        .collect();
    let mut missing = BTreeSet::new();
    let found = eventually("every acknowledged event", PATIENCE, async || {
        let stored: BTreeSet<_> = stored(&pipeline).await.into_iter().collect();
        missing = all.difference(&stored).cloned().collect();
        missing.is_empty().then_some(stored.len())
    });
    let found = found.await.unwrap_or_else(|late| panic!("{late}: {missing:#?}"));
    let (published, spooled) = (acknowledged.published.len(), acknowledged.spooled.len());
    assert!(
        published > 0 && spooled > 0,
        "{published} published, {spooled} spooled"
    );
    eprintln!(
        "{rounds} kills: {published} published, {spooled} spooled, {} missing, {found} events in the stream",
        missing.len()
    );
    per_device_in_order(&stored(&pipeline).await, &all);
}

/// Sends batches of 20 one after the other and notes what was answered; an answer that does not come
/// acknowledges nothing.
async fn send(client: &Client, batches: u64, acknowledged: &mut Acknowledged) {
    for _ in 0..batches {
        let Ok((_, answer)) = client.post(json!(client.events(20)).to_string()).await else {
            continue;
        };
        for result in answer["results"].as_array().into_iter().flatten() {
            let id = result["eventid"].as_str().expect("an id").to_owned();
            match result["durability"].as_str() {
                Some("published") => acknowledged.published.insert(id),
                Some("spooled") => acknowledged.spooled.insert(id),
                _ => false,
            };
        }
    }
}

/// Sends until a batch goes straight to the stream again: the spool has drained.
async fn until_published(client: &Client, acknowledged: &mut Acknowledged) {
    eventually("a batch to be published", PATIENCE, async || {
        let before = acknowledged.published.len();
        send(client, 1, acknowledged).await;
        (acknowledged.published.len() == before + 20).then_some(())
    })
    .await
    .unwrap_or_else(|late| panic!("{late}"));
}

/// The ids in the stream, shard by shard, in order.
async fn stored(pipeline: &Pipeline) -> Vec<String> {
    let events = pipeline.stream().await.into_iter();
    events
        .map(|event| event["eventid"].as_str().expect("an id").to_owned())
        .collect()
}

/// Ids count up as they are sent, one device a remainder by 7. What was acknowledged came in for the
/// first time in that order.
fn per_device_in_order(stored: &[String], acknowledged: &BTreeSet<String>) {
    let mut seen = BTreeSet::new();
    let mut devices: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for id in stored.iter().filter(|id| acknowledged.contains(*id)) {
        let number: u64 = id[id.len() - 12..].parse().expect("a number");
        if seen.insert(number) {
            devices.entry(number % 7).or_default().push(number);
        }
    }
    for (device, numbers) in devices {
        assert!(numbers.is_sorted(), "device {device}: {numbers:?}");
    }
}
