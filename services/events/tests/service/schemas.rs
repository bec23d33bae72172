//! Schemas that change while the service runs.

use std::{fs, path::Path};

use bytes::Bytes;
use futures::{SinkExt, channel::mpsc};
use reqwest::{Body, StatusCode, header};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::collector::{Collector, answer};

const PLAY: &str = r#"{"eventtype": "play", "action": "play", "musicsource": "tidal", "deviceid": "spk-1"}"#;
const MOODY: &str = r#"{"eventtype": "play", "action": "play", "musicsource": "tidal", "mood": "calm"}"#;

/// A service whose schemas are those of the repository, in a folder of its own.
async fn start() -> (Collector, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, document) in event_model::bundled_documents() {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, document).expect("written");
    }
    let flags = [
        "--schemas-folder",
        folder.path().to_str().expect("UTF-8"),
        "--reload-interval",
        "10ms",
    ];
    (Collector::start(&flags).await, folder)
}

/// Replaces a document in one step, as those do who publish while others read.
fn publish(folder: &Path, path: &str, document: impl AsRef<[u8]>) {
    let hidden = folder.join(".new");
    fs::write(&hidden, document).expect("written");
    fs::rename(hidden, folder.join(path)).expect("renamed");
}

/// The play schema with the field `mood`, as version 1-0-1.
fn moody(folder: &Path) -> String {
    let document = fs::read(folder.join("play/1-0-0.json")).expect("there");
    let mut document: Value = serde_json::from_slice(&document).expect("JSON");
    document["properties"]["schemaversion"]["const"] = json!("1-0-1");
    document["properties"]["mood"] = json!({"type": "string", "x-pii": "keep"});
    document.to_string()
}

async fn get(collector: &Collector, path: &str) -> Value {
    let response = collector.http.get(collector.url(path)).send().await;
    response.expect("an answer").json().await.expect("JSON")
}

async fn latest_play(collector: &Collector) -> Value {
    get(collector, "/v1/schemas/play").await["latest"].take()
}

#[tokio::test]
async fn a_version_comes_and_goes_without_a_restart() {
    let (collector, folder) = start().await;
    let (status, refused) = collector.send(MOODY).await;
    assert_eq!((status, &refused["results"][0]["code"]), (422, &json!("invalid")));

    publish(folder.path(), "play/1-0-1.json", moody(folder.path()));
    collector
        .eventually("the new version is there", async || {
            latest_play(&collector).await == "1-0-1"
        })
        .await;
    assert_eq!(collector.send(MOODY).await.0, 200);
    let stored = collector.stored().await;
    assert_eq!(stored[0].field("schemaversion"), "1-0-1");
    let described = get(&collector, "/openapi.json").await;
    let mood = &described["components"]["schemas"]["play"]["properties"]["mood"];
    assert_eq!(mood["type"], "string");

    fs::remove_file(folder.path().join("play/1-0-1.json")).expect("removed");
    collector
        .eventually("it is gone", async || latest_play(&collector).await == "1-0-0")
        .await;
    let named = MOODY.replace('{', "{\"schemaversion\": \"1-0-1\", ");
    let (status, refused) = collector.send(named).await;
    assert_eq!(
        (status, &refused["results"][0]["code"]),
        (422, &json!("unknown_version"))
    );
}

#[tokio::test]
async fn the_tag_of_a_document_follows_its_content() {
    let (collector, folder) = start().await;
    let path = "/v1/schemas/play/1-0-0";
    let first = collector
        .http
        .get(collector.url(path))
        .send()
        .await
        .expect("an answer");
    let tag = first.headers()[header::ETAG].clone();
    let ask = async || {
        let request = collector.http.get(collector.url(path));
        let request = request.header(header::IF_NONE_MATCH, &tag);
        request.send().await.expect("an answer")
    };
    assert_eq!(ask().await.status(), StatusCode::NOT_MODIFIED);
    let document = fs::read_to_string(folder.path().join("play/1-0-0.json")).expect("there");
    let document = document.replace("\"title\": \"Play\"", "\"title\": \"Played\"");
    publish(folder.path(), "play/1-0-0.json", &document);
    collector
        .eventually("the document is another", async || {
            ask().await.status() == StatusCode::OK
        })
        .await;
    let changed = ask().await;
    assert_ne!(changed.headers()[header::ETAG], tag);
    assert_eq!(changed.text().await.expect("text"), document);
}

#[tokio::test]
async fn a_bad_folder_keeps_the_old_schemas_and_alarms_until_it_is_good() {
    let (collector, folder) = start().await;
    let failures = || collector.metric("events_schemas_reload_failures_total");
    assert_eq!(failures(), 0.0);
    assert!(collector.metric("events_schemas_loaded_timestamp_seconds") > 1.7e9);

    publish(folder.path(), "play/1-0-1.json", "{");
    collector.until("it alarms", || failures() > 0.0).await;
    assert_eq!(collector.send(PLAY).await.0, 200);
    assert!(collector.runtime.readiness.is_ready());
    assert_eq!(latest_play(&collector).await, "1-0-0");

    publish(folder.path(), "play/1-0-1.json", moody(folder.path()));
    collector
        .eventually("it is good again", async || collector.send(MOODY).await.0 == 200)
        .await;
}

#[tokio::test]
async fn a_request_in_flight_keeps_the_schemas_it_began_with() {
    let (collector, folder) = start().await;
    let (mut body, rest) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let (first, second) = PLAY.split_at(20);
    body.send(Ok(Bytes::from_static(first.as_bytes())))
        .await
        .expect("open");
    let request = collector.post("/v1/events", Body::wrap_stream(rest)).send();
    let change = async {
        collector
            .until("the body is being read", || {
                collector.metric("events_in_flight_bytes") > 0.0
            })
            .await;
        publish(folder.path(), "play/1-0-1.json", moody(folder.path()));
        collector
            .eventually("there is a new version", async || {
                latest_play(&collector).await == "1-0-1"
            })
            .await;
        body.send(Ok(Bytes::from_static(second.as_bytes())))
            .await
            .expect("open");
        drop(body);
    };
    let (response, ()) = futures::join!(request, change);
    let (status, told) = answer(response.expect("an answer")).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(collector.send(PLAY).await.0, 200);
    let stored = collector.stored().await;
    let versions: Vec<_> = stored
        .iter()
        .map(|stored| stored.field("schemaversion"))
        .collect();
    assert_eq!(versions, ["1-0-0", "1-0-1"]);
}
