//! `events` as its operators meet it: it is honest about a stream that is not there, and a SIGTERM in
//! the middle of everything loses nothing and turns nothing round.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use local::aws::STREAM;
use local_cloud::Rule;
use pipeline_tests::{Client, Pipeline, eventually};
use serde_json::{Value, json};

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");
const PATIENCE: Duration = Duration::from_secs(60);
const DEVICES: usize = 6;
/// Events a request, all of one device.
const BATCH: usize = 10;

/// What one device knows of the events that it sent.
#[derive(Default)]
struct Sent {
    /// Numbers below this were answered `published` or `spooled`.
    accepted: usize,
    /// Those of them that were sent again because no answer came.
    answer_lost: BTreeSet<usize>,
    spooled: usize,
}

fn id(device: usize, number: usize) -> String {
    format!("{device:08x}-0000-4000-8000-{number:012}")
}

/// A device that sends batch after batch, each until all of it is accepted, until it is told to stop.
async fn device(client: &Client, device: usize, stop: &AtomicBool) -> Sent {
    let mut sent = Sent::default();
    while !stop.load(Ordering::Relaxed) {
        let numbers = sent.accepted..sent.accepted + BATCH;
        let event = |number: usize| {
            json!({
                "eventtype": "play", "action": "stop", "musicsource": "tidal", "secondslistened": number,
                "deviceid": format!("speaker-{device}"), "eventid": id(device, number),
            })
        };
        let body = Value::from_iter(numbers.clone().map(event)).to_string();
        eventually("a batch to be accepted", PATIENCE, async || {
            match client.post(body.clone()).await {
                Ok((200 | 202, answer)) => {
                    let results = answer["results"].as_array().expect("results").iter();
                    sent.spooled += results.filter(|result| result["durability"] == "spooled").count();
                    return Some(());
                }
                // Draining, or some of it to be sent again: the whole batch, so that it keeps its order.
                Ok((207 | 503, _)) => {}
                Ok((status, answer)) => panic!("{status}: {answer}"),
                Err(error) if error.is_connect() => {}
                Err(_) => sent.answer_lost.extend(numbers.clone()),
            }
            None
        })
        .await
        .unwrap_or_else(|late| panic!("{late}"));
        sent.accepted = numbers.end;
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_loses_nothing_and_keeps_the_order() {
    let pipeline = Pipeline::start(PIPELINE).await;
    let mut events = pipeline.events_with_spool().await;
    let client = pipeline.client(&events, "northwind-speaker").await;
    let faults = pipeline.aws.source.cloud.faults();
    let stop = AtomicBool::new(false);
    let operate = async {
        for round in 0..2 {
            let put = || Rule::on("kinesis:PutRecords");
            if round % 2 == 0 {
                faults.inject(put().delay(Duration::from_millis(50)).throttle_records(0.3));
            } else {
                // What is in hand when the signal comes can only be spooled.
                faults.inject(put().cut_off());
            }
            let before = faults.injected("kinesis:PutRecords");
            eventually("calls to be out", PATIENCE, async || {
                (faults.injected("kinesis:PutRecords") > before + 10).then_some(())
            })
            .await
            .unwrap_or_else(|late| panic!("{late}"));
            let (client, pipeline) = (&client, &pipeline);
            let ended = events.terminate().await;
            assert!(ended.status.success(), "{ended:#?}");
            faults.clear();
            events = pipeline.events_with_spool().await;
            client.follow(&events).await;
        }
        stop.store(true, Ordering::Relaxed);
        events
    };
    let devices = (0..DEVICES).map(|number| device(&client, number, &stop));
    let (sent, _events) = tokio::join!(futures::future::join_all(devices), operate);

    let total: usize = sent.iter().map(|sent| sent.accepted).sum();
    let spooled: usize = sent.iter().map(|sent| sent.spooled).sum();
    assert!(total > 100 && spooled > 0, "{total} accepted, {spooled} spooled");
    let mut missing = Vec::new();
    let stored = eventually("every accepted event", PATIENCE, async || {
        let stored = pipeline.stream().await;
        let ids: BTreeSet<_> = stored
            .iter()
            .filter_map(|event| event["eventid"].as_str())
            .collect();
        let accepted = |device: usize| (0..sent[device].accepted).map(move |number| id(device, number));
        missing = (0..DEVICES)
            .flat_map(accepted)
            .filter(|id| !ids.contains(id.as_str()))
            .collect();
        missing.is_empty().then_some(stored)
    });
    let stored = stored.await.unwrap_or_else(|late| panic!("{late}: {missing:#?}"));

    let mut numbers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for event in &stored {
        let device = event["deviceid"].as_str().expect("a device").to_owned();
        let number = event["secondslistened"].as_u64().expect("a number");
        numbers
            .entry(device)
            .or_default()
            .push(usize::try_from(number).expect("small"));
    }
    for (device, sent) in sent.iter().enumerate() {
        let (mut seen, mut again) = (BTreeSet::new(), BTreeSet::new());
        let numbers = &numbers[&format!("speaker-{device}")];
        let mut first = numbers.clone();
        first.retain(|number| {
            let is_first = seen.insert(*number);
            if !is_first {
                again.insert(*number);
            }
            is_first
        });
        assert!(first.is_sorted(), "speaker-{device}: {numbers:?}");
        assert!(
            again.is_subset(&sent.answer_lost),
            "twice, though answered: {:?}",
            again.difference(&sent.answer_lost)
        );
    }
}

async fn get(admin: &str, path: &str) -> Option<(u16, String)> {
    let answer = reqwest::get(format!("http://{admin}{path}")).await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

/// Waits until readiness is this, for this reason.
async fn told(admin: &str, wanted: u16, reason: &str) {
    eventually("readiness to say so", PATIENCE, async || {
        let (status, text) = get(admin, "/readyz").await?;
        (status == wanted && text.contains(reason)).then_some(())
    })
    .await
    .unwrap_or_else(|late| panic!("{late}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_stream_is_told_on_the_admin_port_until_it_is_there() {
    let pipeline = Pipeline::start(PIPELINE).await;
    let kinesis = aws_clients::kinesis(&pipeline.aws.source.config);
    let delete = async || {
        let call = kinesis.delete_stream().stream_name(STREAM);
        call.send().await.expect("deleted");
    };
    delete().await;
    let events = pipeline.events_before_ready(&[("--stream-check-interval", "200ms")]);
    let admin = events.logged("starting", "admin").await;
    let missing = "stream: the stream does not exist";
    let client = pipeline.client(&events, "northwind-speaker").await;
    let event = json!({"eventtype": "play", "action": "play", "musicsource": "tidal"}).to_string();

    told(&admin, 503, missing).await;
    assert_eq!(
        get(&admin, "/livez").await.map(|(status, _)| status),
        Some(200),
        "alive all the same"
    );
    let (status, answer) = client.post(event.clone()).await.expect("an answer");
    assert_eq!((status, &answer["retry"]), (503, &json!(1)));

    let create = kinesis.create_stream().stream_name(STREAM).shard_count(1);
    create.send().await.expect("a stream");
    told(&admin, 200, "").await;
    assert_eq!(client.post(event).await.expect("an answer").0, 200);

    delete().await;
    told(&admin, 503, missing).await;
    let ended = events.terminate().await;
    assert!(ended.status.success(), "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_comes_as_soon_as_a_program_says_anything_drains_it() {
    let pipeline = Pipeline::start(PIPELINE).await;
    for _ in 0..6 {
        let events = pipeline.events_before_ready(&[]);
        events.logged("starting", "admin").await;
        let ended = events.terminate().await;
        assert!(ended.status.success(), "{ended:#?}");
    }
}
