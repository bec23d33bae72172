//! Too much at a time: who is let in, who is shed first, and who is not waited for.

use event_model::Producer;
use local_cloud::Rule;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::collector::{Collector, PATIENCE, answer};

fn play(device: &str) -> Value {
    json!({"eventtype": "play", "action": "play", "musicsource": "tidal", "deviceid": device})
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_a_time_out() {
    let collector = Collector::start(&["--body-timeout", "200ms"]).await;
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let (status, answer) = collector.send(reqwest::Body::wrap_stream(never)).await;
    assert_eq!((status, &answer["code"]), (408, &json!("body_too_slow")));
    assert_eq!(collector.metric("events_in_flight_bytes"), 0.0);
}

#[tokio::test]
async fn a_connection_that_sends_no_head_is_closed() {
    let collector = Collector::start(&["--idle-timeout", "200ms"]).await;
    for beginning in ["", "POST /v1/ev"] {
        let mut stream = TcpStream::connect(collector.address).await.expect("a connection");
        stream.write_all(beginning.as_bytes()).await.expect("sent");
        let mut rest = Vec::new();
        let closed = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        closed.expect("closed in time").expect("closed in order");
    }
}

#[tokio::test]
async fn a_client_that_never_reads_its_answers_is_not_waited_for() {
    let collector = Collector::start(&["--answer-timeout", "500ms"]).await;
    let mut stream = TcpStream::connect(collector.address).await.expect("a connection");
    collector
        .until("it is served", || collector.metric("events_connections") >= 1.0)
        .await;
    // More answers than any socket buffer holds, and not one of them is read.
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    let asking = async { while stream.write_all(request).await.is_ok() {} };
    let closed = async {
        collector
            .until("it is closed", || collector.metric("events_connections") == 0.0)
            .await;
    };
    tokio::select! {
        () = closed => {}
        ((), ()) = async { tokio::join!(asking, std::future::pending()) } => {}
    }
}

/// A budget that one body fills by half.
const SMALL_BUDGET: [&str; 14] = [
    "--max-event-bytes",
    "16KiB",
    "--max-decompressed-bytes",
    "16KiB",
    "--max-body-bytes",
    "32KiB",
    "--max-events",
    "10",
    "--in-flight-bytes",
    "60KiB",
    "--shed-devices-percent",
    "90",
    "--client-share-percent",
    "100",
];

/// A request whose body never comes: it holds what it may bring, 32 KiB, until it is dropped.
async fn hold_a_body(collector: &Collector) -> JoinSet<()> {
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let held = collector
        .post("/v1/events", reqwest::Body::wrap_stream(never))
        .send();
    let mut holding = JoinSet::new();
    holding.spawn(async move { drop(held.await) });
    let in_flight = || collector.metric("events_in_flight_bytes");
    collector
        .until("a body is waited for", || in_flight() >= f64::from(32 << 10))
        .await;
    holding
}

#[tokio::test]
async fn beyond_the_budget_of_bytes_requests_are_shed_until_there_is_room() {
    let collector = Collector::start(&SMALL_BUDGET).await;
    let mut holding = hold_a_body(&collector).await;
    let body = format!("{}{}", play("a"), " ".repeat(31 << 10));
    let shed = collector
        .post("/v1/events", body.clone())
        .send()
        .await
        .expect("an answer");
    assert_eq!(shed.headers()["retry-after"], "1");
    let (status, answer) = answer(shed).await;
    assert_eq!((status, &answer["code"]), (503, &json!("overloaded")));

    holding.shutdown().await;
    let in_flight = || collector.metric("events_in_flight_bytes");
    collector
        .until("the budget is free again", || in_flight() == 0.0)
        .await;
    assert_eq!(collector.send(body).await.0, 200);
}

#[tokio::test]
async fn events_that_outgrow_the_budget_once_enriched_are_to_be_sent_again() {
    let collector = Collector::start(&SMALL_BUDGET).await;
    let _holding = hold_a_body(&collector).await;
    let event = play("a").to_string();
    let wide = format!("{{{}{}", " ".repeat(2400), &event[1..]);
    let (status, answer) = collector.send(format!("[{}]", vec![wide; 10].join(","))).await;
    assert_eq!((status, &answer["retry"]), (503, &json!(10)));
    assert_eq!(collector.metric("events_retry_total"), 10.0);
    assert!(collector.stored().await.is_empty());
}

/// A budget of 140 KiB: 70 for devices, 98 for apps, 84 for one client; a body may have 30.
const SHEDDING: [&str; 16] = [
    "--max-event-bytes",
    "16KiB",
    "--max-decompressed-bytes",
    "16KiB",
    "--max-body-bytes",
    "30KiB",
    "--max-events",
    "10",
    "--in-flight-bytes",
    "140KiB",
    "--shed-devices-percent",
    "50",
    "--shed-apps-percent",
    "70",
    "--client-share-percent",
    "60",
];

/// Requests of a client whose bodies never come: each holds 30 KiB.
async fn hold(collector: &Collector, kind: Producer, count: usize) -> JoinSet<()> {
    let before = collector.metric("events_in_flight_bytes");
    let mut holding = JoinSet::new();
    for _ in 0..count {
        let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let held = collector.post_as(kind, "/v1/events", reqwest::Body::wrap_stream(never));
        let held = held.send();
        holding.spawn(async move { drop(held.await) });
    }
    let expected = before + (count * (30 << 10)) as f64;
    collector
        .until("the bodies are waited for", || {
            collector.metric("events_in_flight_bytes") >= expected
        })
        .await;
    holding
}

async fn status_as(collector: &Collector, kind: Producer) -> (u16, Value) {
    let request = collector.post_as(kind, "/v1/events", play("a").to_string());
    let response = request.send().await.expect("an answer");
    assert_eq!(
        response.headers().contains_key("retry-after"),
        response.status() == 503
    );
    answer(response).await
}

#[tokio::test]
async fn under_pressure_devices_are_shed_first_and_the_platform_gets_through() {
    let collector = Collector::start(&SHEDDING).await;
    let kinds = [Producer::Device, Producer::App, Producer::Platform];
    let statuses = async || {
        let mut statuses = Vec::new();
        for kind in kinds {
            let (status, body) = status_as(&collector, kind).await;
            assert!(status == 200 || body["code"] == "overloaded", "{body}");
            statuses.push(status);
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 200, 200]);
    let mut devices = hold(&collector, Producer::Device, 2).await;
    assert_eq!(
        statuses().await,
        [200, 200, 200],
        "60 of 140 KiB, 70 are the devices'"
    );
    let mut platform = hold(&collector, Producer::Platform, 1).await;
    assert_eq!(
        statuses().await,
        [503, 200, 200],
        "90 of 140 KiB, 98 are the apps'"
    );
    let mut more = hold(&collector, Producer::Platform, 1).await;
    assert_eq!(statuses().await, [503, 503, 200], "120 of 140 KiB");
    for holding in [&mut devices, &mut platform, &mut more] {
        holding.shutdown().await;
    }
    collector
        .until("all is given back", || {
            collector.metric("events_in_flight_bytes") == 0.0
        })
        .await;
    assert_eq!(statuses().await, [200, 200, 200]);
}

#[tokio::test]
async fn one_client_cannot_take_all() {
    let collector = Collector::start(&SHEDDING).await;
    let _holding = hold(&collector, Producer::Platform, 2).await;
    let body = format!("{}{}", play("a"), " ".repeat(28 << 10));
    let request = collector.post_as(Producer::Platform, "/v1/events", body);
    let (status, refused) = answer(request.send().await.expect("an answer")).await;
    assert_eq!((status, &refused["code"]), (503, &json!("too_much_in_flight")));
    assert_eq!(
        status_as(&collector, Producer::App).await.0,
        200,
        "others have room"
    );
}

#[tokio::test]
async fn a_full_budget_does_not_keep_the_spool_from_draining() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = folder.path().to_str().expect("UTF-8");
    let flags = ["--spool-folder", spool, "--record-time-to-live", "300ms"];
    let collector = Collector::start(&[&SHEDDING[..], &flags].concat()).await;
    let faults = collector.cloud.faults();
    faults.inject(Rule::on("kinesis:PutRecords").throttle());
    let spooled = json!([play("a"), play("b")]).to_string();
    assert_eq!(collector.send(spooled).await.0, 202);
    let _devices = hold(&collector, Producer::Device, 2).await;
    let _apps = hold(&collector, Producer::App, 1).await;
    let _platform = hold(&collector, Producer::Platform, 1).await;
    assert_eq!(status_as(&collector, Producer::App).await.0, 503);
    faults.clear();
    collector
        .until("the spool is empty", || {
            collector.metric("events_spool_records") == 0.0
        })
        .await;
    assert_eq!(collector.stored().await.len(), 2);
}
