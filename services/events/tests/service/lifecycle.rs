//! Starting without a stream, and ending without losing anything.

use std::{collections::BTreeSet, time::Duration};

use local_cloud::Rule;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::timeout};

use crate::collector::{Collector, PATIENCE, answer};

fn event(device: usize) -> String {
    let device = format!("spk-{device}");
    json!({"eventtype": "play", "action": "play", "musicsource": "tidal", "deviceid": device}).to_string()
}

#[tokio::test]
async fn a_missing_stream_shows_in_readiness_and_is_waited_for() {
    let mut collector = Collector::start_without_stream(&[]).await;
    let reasons = || collector.runtime.readiness.reasons();
    collector
        .until("the reason is known", || {
            reasons() == ["stream: the stream does not exist"]
        })
        .await;
    let (status, answer) = collector.send(event(1)).await;
    assert_eq!(
        (status, &answer["retry"]),
        (503, &json!(1)),
        "honest, and at once"
    );

    collector.create_stream().await;
    collector.becomes_ready().await;
    assert_eq!(collector.send(event(1)).await.0, 200);

    collector
        .kinesis
        .delete_stream()
        .stream_name("events")
        .send()
        .await
        .expect("deleted");
    collector
        .until("it is seen to be gone", || {
            !collector.runtime.readiness.is_ready()
        })
        .await;
    collector.stop().await.expect("drained all the same");
}

#[tokio::test]
async fn a_drain_answers_what_is_in_flight_and_loses_nothing_acknowledged() {
    let mut collector = Collector::start(&["--put-concurrency", "2"]).await;
    let slow = Duration::from_millis(300);
    collector
        .cloud
        .faults()
        .inject(Rule::on("kinesis:PutRecords").delay(slow));
    collector
        .cloud
        .faults()
        .inject(Rule::on("kinesis:PutRecords").throttle_records(0.3));
    let mut requests = JoinSet::new();
    for device in 0..60 {
        let request = collector.post(
            "/v1/events",
            format!("[{},{}]", event(device), event(device + 60)),
        );
        requests.spawn(async move { request.send().await });
    }
    collector
        .until("requests are in flight", || {
            collector.metric("events_in_flight_bytes") > 30_000.0
        })
        .await;
    collector.stop().await.expect("drained");

    let mut accepted = BTreeSet::new();
    let mut answered = 0;
    while let Some(request) = requests.join_next().await {
        // A connection that was not accepted any more is refused, which is an honest answer.
        let Ok(response) = request.expect("no panic") else {
            continue;
        };
        answered += 1;
        let (_, body) = answer(response).await;
        for result in body["results"].as_array().expect("results") {
            if result["status"] == "accepted" {
                accepted.insert(result["eventid"].as_str().expect("an id").to_owned());
            }
        }
    }
    assert!(answered >= 30, "{answered} requests were in flight");
    let stored: BTreeSet<_> = collector
        .stored()
        .await
        .iter()
        .map(|stored| stored.field("eventid").as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(accepted.difference(&stored).count(), 0, "acknowledged and lost");
    assert_eq!(collector.metric("events_in_flight_bytes"), 0.0);
}

#[tokio::test]
async fn a_drain_sends_what_was_taken_in_even_if_its_client_has_gone() {
    let mut collector = Collector::start(&[]).await;
    let faults = collector.cloud.faults();
    let slow = Duration::from_millis(200);
    faults.inject(
        Rule::on("kinesis:PutRecords")
            .times(3)
            .delay(slow)
            .fail(500, "InternalFailure"),
    );
    let request = collector.post("/v1/events", event(1));
    let mut requests = JoinSet::new();
    requests.spawn(async move { request.send().await });
    collector
        .until("the first call is out", || {
            faults.injected("kinesis:PutRecords") >= 1
        })
        .await;
    requests.shutdown().await;
    collector.stop().await.expect("drained");
    assert_eq!(collector.stored().await.len(), 1);
}

#[tokio::test]
async fn a_drain_takes_no_new_connection_and_closes_idle_ones() {
    let mut collector = Collector::start(&[]).await;
    let mut idle = TcpStream::connect(collector.address).await.expect("a connection");
    collector
        .until("it is accepted", || collector.metric("events_connections") >= 1.0)
        .await;
    collector.stop().await.expect("drained");
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, idle.read_to_end(&mut rest))
        .await
        .expect("closed in time");
    assert!(closed.is_err() || rest.is_empty());
    TcpStream::connect(collector.address)
        .await
        .expect_err("nobody listens");
}

#[tokio::test]
async fn a_body_that_is_half_there_when_the_drain_begins_is_taken_in() {
    let mut collector = Collector::start(&[]).await;
    let (key, secret) = collector.credential(event_model::Producer::Device);
    let request = collector
        .http
        .post(collector.url("/v1/events"))
        .basic_auth(key, Some(secret));
    let request = request.build().expect("a request");
    let authorization = request.headers()["authorization"]
        .to_str()
        .expect("text")
        .to_owned();
    let body = event(1);
    let (first, second) = body.split_at(10);
    let mut stream = TcpStream::connect(collector.address).await.expect("a connection");
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n\
         content-length: {}\r\n\r\n{first}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    collector
        .until("the body is being read", || {
            collector.metric("events_in_flight_bytes") > 0.0
        })
        .await;
    collector.runtime.shutdown.request();
    stream.write_all(second.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("answered in time").expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    collector.stop().await.expect("drained");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(collector.stored().await[0].field("deviceid"), body["deviceid"]);
}
