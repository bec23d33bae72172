//! Holds the running service against its own OpenAPI description.

use std::sync::OnceLock;

use jsonschema::{Draft, Validator};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::collector::Collector;

/// The description of the first service that was asked; they are all the same.
static DOCUMENT: OnceLock<Value> = OnceLock::new();

/// Makes the description known to [`holds`].
pub(crate) async fn learn(collector: &Collector) {
    if DOCUMENT.get().is_none() {
        let response = collector.http.get(collector.url("/openapi.json")).send();
        let document = response.await.expect("an answer").json().await.expect("JSON");
        DOCUMENT.get_or_init(|| document);
    }
}

/// Fails unless this answer is one that the description promises for its path: the status, the media
/// type and every member of the body.
pub(crate) fn holds(path: &str, status: u16, media_type: &str, body: &Value) {
    let document = DOCUMENT.get().expect("learnt when the service started");
    // What is at no path, or at a path by another method, is not an operation.
    let Some(operation) = operation(document, path).filter(|_| status != 405) else {
        assert!(
            matches!(status, 404 | 405),
            "{path} is not described and answers {status}"
        );
        return;
    };
    let response = &operation["responses"][status.to_string()];
    assert!(
        response.is_object(),
        "{path} answers {status}, which is not described: {body}"
    );
    let schema = &response["content"][media_type]["schema"];
    assert!(
        schema.is_object(),
        "{path} {status} answers {media_type}, which is not described"
    );
    let validator = validator(document, schema);
    let errors: Vec<_> = validator
        .iter_errors(body)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{path} {status}: {errors:?}: {body}");
}

fn operation<'d>(document: &'d Value, path: &str) -> Option<&'d Value> {
    let paths = document["paths"].as_object().expect("paths");
    let (_, methods) = paths.iter().find(|(template, _)| fits(template, path))?;
    methods.as_object().expect("methods").values().next()
}

fn fits(template: &str, path: &str) -> bool {
    let same = |(template, segment): (&str, &str)| template.starts_with('{') || template == segment;
    template.split('/').count() == path.split('/').count()
        && template.split('/').zip(path.split('/')).all(same)
}

fn validator(document: &Value, schema: &Value) -> Validator {
    let mut root = schema.clone();
    root["components"] = document["components"].clone();
    let options = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true);
    options.build(&root).expect("the description holds valid schemas")
}

fn request(collector: &Collector, method: &str, path: &str) -> reqwest::RequestBuilder {
    let path = path.replace("{eventtype}", "play").replace("{version}", "1-0-0");
    if method == "post" {
        let event = json!({"eventtype": "play", "action": "play", "musicsource": "tidal"});
        return collector.post(&path, event.to_string());
    }
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
    collector.http.request(method, collector.url(&path))
}

fn media_type(response: &Response) -> String {
    let value = response.headers()["content-type"].to_str().expect("text");
    value.split(';').next().expect("a media type").to_owned()
}

#[tokio::test]
async fn every_operation_that_is_described_is_there() {
    let collector = Collector::start(&[]).await;
    let document = DOCUMENT.get().expect("learnt when the service started");
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 8);
    for (path, methods) in paths {
        for method in methods.as_object().expect("methods").keys() {
            let response = request(&collector, method, path).send().await.expect("an answer");
            assert_eq!(response.status(), 200, "{method} {path}");
            let media_type = media_type(&response);
            let content = &methods[method]["responses"]["200"]["content"];
            assert!(
                content[&media_type].is_object(),
                "{method} {path} answers {media_type}"
            );
        }
        // The other methods are refused, and the answer says which are not.
        let response = request(&collector, "delete", path)
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 405, "{path}");
        let allowed = response.headers()["allow"]
            .to_str()
            .expect("text")
            .to_ascii_lowercase();
        for method in methods.as_object().expect("methods").keys() {
            assert!(allowed.contains(method), "{path} allows {allowed}");
        }
    }
}

#[tokio::test]
async fn the_head_of_what_can_be_got_is_answered() {
    let collector = Collector::start(&[]).await;
    for path in ["/v1/schemas", "/v1/schemas/play/1-0-0", "/openapi.json", "/docs"] {
        let response = request(&collector, "head", path).send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        assert_ne!(response.headers()["content-length"], "0", "{path}");
    }
}

#[tokio::test]
async fn events_of_the_catalogue_are_told_apart_by_their_type() {
    let _collector = Collector::start(&[]).await;
    let document = DOCUMENT.get().expect("learnt when the service started");
    let event = validator(document, &json!({"$ref": "#/components/schemas/Event"}));
    let mut types = 0;
    for (_, bundled) in event_model::bundled_documents() {
        let schema: Value = serde_json::from_slice(bundled).expect("JSON");
        for example in schema["examples"].as_array().expect("examples") {
            let errors: Vec<_> = event
                .iter_errors(example)
                .map(|error| error.to_string())
                .collect();
            assert!(errors.is_empty(), "{errors:?}");
            let mut other = example.clone();
            other["eventtype"] = json!("nosuchtype");
            assert!(!event.is_valid(&other));
        }
        types += 1;
    }
    assert_eq!(
        document["components"]["schemas"]["Event"]["oneOf"]
            .as_array()
            .map(Vec::len),
        Some(types)
    );
}

#[tokio::test]
async fn the_page_brings_nothing_from_elsewhere_and_may_do_nothing_else() {
    let collector = Collector::start(&[]).await;
    let response = request(&collector, "get", "/docs")
        .send()
        .await
        .expect("an answer");
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(
        policy.starts_with("default-src 'none'; connect-src 'self'; "),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = response.text().await.expect("text");
    for elsewhere in ["//cdn", "http://", "https://", " src=", "@import", "localStorage"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[tokio::test]
async fn every_answer_names_its_request_in_a_header_too() {
    let collector = Collector::start(&[]).await;
    let event = json!({"eventtype": "play", "action": "play", "musicsource": "tidal"}).to_string();
    for request in [
        collector.post("/v1/events", event.clone()),
        collector.post("/v1/events", "{"),
        collector.post("/v1/events/nosuchtype", event),
        collector.http.post(collector.url("/v1/validate")),
        collector.http.get(collector.url("/nothing")),
        collector.http.get(collector.url("/v1/events")),
    ] {
        let response = request.send().await.expect("an answer");
        let id = response.headers()["x-request-id"]
            .to_str()
            .expect("text")
            .to_owned();
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["requestid"], id);
    }
}
