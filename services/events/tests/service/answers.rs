//! What is answered, in which shape and with which code.

use event_model::Producer;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::collector::{Collector, PATIENCE, answer, with_header};

fn play(device: &str) -> Value {
    json!({"eventtype": "play", "action": "play", "musicsource": "tidal", "deviceid": device})
}

#[tokio::test]
async fn every_shape_of_a_body_is_taken() {
    let collector = Collector::start(&[]).await;
    let event = play("spk-1").to_string();
    let untyped = json!({"action": "play", "musicsource": "tidal"}).to_string();
    let several = json!({"sentat": "2026-03-02T08:14:09Z", "events": [play("a"), play("b")]});
    for (path, media_type, body, expected) in [
        ("/v1/events", "application/json", event.clone(), 1),
        ("/v1/events", "application/json", format!("[{event},{event}]"), 2),
        ("/v1/events", "application/json", several.to_string(), 2),
        (
            "/v1/events",
            "application/x-ndjson",
            format!("{event}\n\n{event}\n{event}"),
            3,
        ),
        ("/v1/events/play", "application/json", untyped, 1),
        ("/v1/events/play", "application/json", event, 1),
    ] {
        let request = with_header(collector.post(path, body), "content-type", media_type);
        let (status, answer) = answer(request.send().await.expect("an answer")).await;
        assert_eq!(
            (status, &answer["accepted"]),
            (200, &json!(expected)),
            "{path}: {answer}"
        );
        for (index, result) in answer["results"].as_array().expect("results").iter().enumerate() {
            assert_eq!(result["index"], index);
            assert_eq!(result["durability"], "published");
        }
    }
    assert_eq!(collector.stored().await.len(), 10);
    assert!(
        collector
            .stored()
            .await
            .iter()
            .all(|stored| stored.field("eventtype") == "play")
    );
}

#[tokio::test]
async fn mixed_verdicts_are_told_in_order_and_only_valid_events_are_stored() {
    let collector = Collector::start(&[]).await;
    let id = "0192f0c1-7a3e-7c54-9f0e-3b6d5a2c0001";
    let body = json!([
        play("spk-1"),
        {"eventtype": "play", "eventid": id, "action": "jump", "musicsource": "tidal"},
        play("spk-2"),
        {"eventtype": "nosuchtype"},
    ]);
    let (status, answer) = collector.send(body.to_string()).await;
    assert_eq!(status, 207);
    let counts = ["accepted", "rejected", "retry"].map(|name| answer[name].clone());
    assert_eq!(counts, [json!(2), json!(2), json!(0)]);
    let statuses: Vec<_> = (0..4).map(|at| answer["results"][at]["status"].clone()).collect();
    assert_eq!(statuses, ["accepted", "rejected", "accepted", "rejected"]);
    assert_eq!(
        answer["results"][1],
        json!({
            "index": 1, "eventid": id, "status": "rejected", "code": "invalid",
            "schemaversion": "1-0-0",
            "errors": [{
                "pointer": "/action", "keyword": "enum",
                "message": "must be one of [\"play\",\"stop\",\"skip\"]",
            }],
        })
    );
    let stored = collector.stored().await;
    let mut keys: Vec<_> = stored
        .iter()
        .map(|stored| stored.partition_key.as_str())
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, ["spk-1", "spk-2"]);
}

#[tokio::test]
async fn clients_send_what_their_kind_and_credential_allow() {
    let collector = Collector::start(&[]).await;
    let navigation = json!({"eventtype": "navigation", "screen": "home"});
    let token = json!({"eventtype": "tokenrequest", "grant": "password", "outcome": "granted"});
    for (kind, event, expected) in [
        (Producer::Device, play("a"), 200),
        (Producer::Device, navigation.clone(), 403),
        (Producer::Device, token.clone(), 403),
        (Producer::App, navigation, 200),
        (Producer::App, token.clone(), 403),
        (Producer::Platform, token, 200),
    ] {
        let path = format!("/v1/events/{}", event["eventtype"].as_str().expect("a type"));
        for path in ["/v1/events", &path] {
            let request = collector.post_as(kind, path, event.to_string());
            let (status, answer) = answer(request.send().await.expect("an answer")).await;
            assert_eq!(status, expected, "{kind:?} {path} {answer}");
        }
    }
    let mixed = json!([play("a"), {"eventtype": "navigation", "screen": "home"}]);
    let request = collector.post_as(Producer::Device, "/v1/events", mixed.to_string());
    assert_eq!(request.send().await.expect("an answer").status(), 207);
}

#[tokio::test]
async fn requests_without_valid_credentials_are_refused_alike() {
    let collector = Collector::start(&[]).await;
    let (key, secret) = collector.credential(Producer::App);
    let request = || {
        collector
            .http
            .post(collector.url("/v1/events"))
            .body(play("a").to_string())
    };
    let mut bodies = Vec::new();
    for request in [
        request(),
        request().basic_auth(key, Some("wrong")),
        request().basic_auth("nobody", Some(secret)),
        request().bearer_auth(secret),
    ] {
        let response = request.send().await.expect("an answer");
        assert_eq!(
            response.headers()["www-authenticate"],
            "Basic realm=\"events\", charset=\"UTF-8\""
        );
        let (status, mut body) = answer(response).await;
        assert_eq!(status, 401);
        body.as_object_mut().expect("an object").remove("requestid");
        bodies.push(body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "what is wrong is not told: {bodies:?}");
    assert!(collector.stored().await.is_empty());
}

/// Sends raw bytes and returns what is answered before the connection closes or falls silent.
async fn raw(collector: &Collector, request: &str) -> String {
    let mut stream = TcpStream::connect(collector.address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4096];
    let read = timeout(PATIENCE, stream.read(&mut answer))
        .await
        .expect("an answer in time");
    answer.truncate(read.expect("readable"));
    String::from_utf8(answer).expect("UTF-8")
}

#[tokio::test]
async fn credentials_types_and_announced_sizes_are_judged_before_the_body_is_read() {
    let collector = Collector::start(&[]).await;
    let (key, secret) = collector.credential(Producer::Device);
    let basic = collector
        .http
        .get("http://x")
        .basic_auth(key, Some(secret))
        .build()
        .expect("a request");
    let basic = basic.headers()["authorization"]
        .to_str()
        .expect("text")
        .to_owned();
    for (path, authorization, length, expected) in [
        ("/v1/events", "Basic eDp5", 1000, "401"),
        ("/v1/events/tokenrequest", basic.as_str(), 1000, "403"),
        ("/v1/events/nosuchtype", &basic, 1000, "404"),
        ("/v1/events", &basic, (1 << 20) + 1, "413"),
    ] {
        let answer = raw(
            &collector,
            &format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n\
                 content-length: {length}\r\n\r\n"
            ),
        )
        .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn bodies_too_large_are_refused_whatever_they_announce() {
    let collector = Collector::start(&["--max-body-bytes", "64KiB"]).await;
    let body = format!("[{}]", vec![play("a").to_string(); 900].join(","));
    assert!(body.len() > 64 << 10);
    let (status, answer) = collector.send(body.clone()).await;
    assert_eq!((status, &answer["code"]), (413, &json!("body_too_large")));

    let chunks = body.into_bytes();
    let chunks = chunks
        .chunks(8 << 10)
        .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()));
    let stream = reqwest::Body::wrap_stream(futures_stream(chunks.collect()));
    let (status, answer) = collector.send(stream).await;
    assert_eq!((status, &answer["code"]), (413, &json!("body_too_large")));

    let (status, answer) = collector.send(format!("[{}]", vec!["{}"; 501].join(","))).await;
    assert_eq!((status, &answer["code"]), (413, &json!("too_many_events")));

    let mut large = play("a");
    large["track"] = json!("x".repeat(33 << 10));
    let (status, answer) = collector.send(large.to_string()).await;
    assert_eq!(
        (status, &answer["results"][0]["code"]),
        (413, &json!("too_large"))
    );
    let (status, answer) = collector.send(json!([large, play("a")]).to_string()).await;
    assert_eq!((status, &answer["accepted"]), (207, &json!(1)));
}

/// A body whose length is not announced.
fn futures_stream(
    chunks: Vec<Result<Vec<u8>, std::io::Error>>,
) -> impl futures::Stream<Item = Result<Vec<u8>, std::io::Error>> + Send + 'static {
    futures::stream::iter(chunks)
}

#[tokio::test]
async fn media_types_encodings_paths_and_methods_that_are_not_known_are_refused() {
    let collector = Collector::start(&[]).await;
    let event = play("a").to_string();
    for (request, expected) in [
        (
            with_header(
                collector.post("/v1/events", event.clone()),
                "content-type",
                "text/plain",
            ),
            415,
        ),
        (
            collector
                .post("/v1/events", event.clone())
                .header("content-encoding", "br"),
            415,
        ),
        (collector.post("/v1/event", event.clone()), 404),
        (collector.http.get(collector.url("/v1/events")), 405),
        (collector.http.delete(collector.url("/v1/schemas")), 405),
    ] {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), expected);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers().contains_key("allow"), expected == 405);
    }
}

#[tokio::test]
async fn a_dry_run_gives_the_same_verdicts_and_publishes_nothing() {
    let collector = Collector::start(&[]).await;
    let body = json!([play("a"), {"eventtype": "play"}]).to_string();
    let request = collector.post("/v1/validate", body.clone());
    let (dry_status, dry) = answer(request.send().await.expect("an answer")).await;
    assert!(collector.stored().await.is_empty());
    assert_eq!(collector.metric("events_received_total"), 0.0);
    assert_eq!(dry["results"][0], json!({"index": 0, "status": "accepted"}));

    let (status, wet) = collector.send(body).await;
    assert_eq!((dry_status, &dry["results"][1]), (status, &wet["results"][1]));
}

#[tokio::test]
async fn the_catalogue_is_served_as_it_is_in_the_repository() {
    let collector = Collector::start(&[]).await;
    let get = |path: &str| collector.http.get(collector.url(path)).send();
    let (status, types) = answer(get("/v1/schemas").await.expect("an answer")).await;
    assert_eq!(
        (status, types["eventtypes"].as_array().map(Vec::len)),
        (200, Some(7))
    );
    let (_, play) = answer(get("/v1/schemas/play").await.expect("an answer")).await;
    assert_eq!(
        (&play["latest"], &play["versions"]),
        (&json!("1-0-0"), &json!(["1-0-0"]))
    );

    let path = "/v1/schemas/play/1-0-0";
    let response = get(path).await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "application/schema+json");
    let tag = response.headers()["etag"].clone();
    let bundled = event_model::bundled_documents().find(|(path, _)| *path == "play/1-0-0.json");
    assert_eq!(
        response.bytes().await.expect("a body"),
        bundled.expect("bundled").1
    );
    let again = collector
        .http
        .get(collector.url(path))
        .header("if-none-match", tag);
    assert_eq!(again.send().await.expect("an answer").status(), 304);

    for path in [
        "/v1/schemas/nosuchtype",
        "/v1/schemas/play/9-9-9",
        "/v1/schemas/play/latest",
    ] {
        assert_eq!(get(path).await.expect("an answer").status(), 404, "{path}");
    }
}
