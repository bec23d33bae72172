//! What browsers are told about pages of other origins.

use reqwest::{Method, Response};
use serde_json::json;

use crate::collector::Collector;

const PAGE: &str = "https://app.example.com";

async fn preflight(collector: &Collector, origin: &str) -> Response {
    let request = collector
        .http
        .request(Method::OPTIONS, collector.url("/v1/events"))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    request.send().await.expect("an answer")
}

fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(value.to_str().expect("text").to_ascii_lowercase())
}

#[tokio::test]
async fn without_the_setting_no_page_is_allowed() {
    let collector = Collector::start(&[]).await;
    let response = preflight(&collector, PAGE).await;
    assert_eq!(response.status(), 405);
    assert_eq!(header(&response, "allow").as_deref(), Some("post"));
    let event = json!({"eventtype": "play", "action": "play", "musicsource": "tidal"});
    let request = collector
        .post("/v1/events", event.to_string())
        .header("origin", PAGE);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert!(header(&response, "access-control-allow-origin").is_none());
}

#[tokio::test]
async fn named_origins_are_allowed_and_others_are_not() {
    let flags = [
        "--cors-origin",
        "https://other.example.com,https://app.example.com",
    ];
    let collector = Collector::start(&flags).await;
    let allowed = preflight(&collector, PAGE).await;
    assert_eq!(allowed.status(), 200);
    assert_eq!(
        header(&allowed, "access-control-allow-origin").as_deref(),
        Some(PAGE)
    );
    assert_eq!(
        header(&allowed, "access-control-max-age").as_deref(),
        Some("7200")
    );
    let methods = header(&allowed, "access-control-allow-methods").expect("methods");
    assert!(methods.split(',').any(|method| method == "post"), "{methods}");
    let headers = header(&allowed, "access-control-allow-headers").expect("headers");
    for name in ["authorization", "content-type", "content-encoding"] {
        assert!(headers.split(',').any(|allowed| allowed == name), "{headers}");
    }
    assert!(header(&allowed, "vary").expect("vary").contains("origin"));

    let refused = preflight(&collector, "https://evil.example.com").await;
    assert!(header(&refused, "access-control-allow-origin").is_none());
}

#[tokio::test]
async fn error_answers_can_be_read_by_the_page_too() {
    for (flag, expected) in [(PAGE, PAGE), ("*", "*")] {
        let collector = Collector::start(&["--cors-origin", flag]).await;
        let unauthenticated = collector.http.post(collector.url("/v1/events"));
        let nothing_there = collector.http.get(collector.url("/nothing"));
        let invalid = collector.post("/v1/events", "{");
        for (request, status) in [(unauthenticated, 401), (nothing_there, 404), (invalid, 400)] {
            let response = request.header("origin", PAGE).send().await.expect("an answer");
            assert_eq!(response.status(), status);
            let origin = header(&response, "access-control-allow-origin");
            assert_eq!(origin.as_deref(), Some(expected), "{status}");
            let exposed = header(&response, "access-control-expose-headers").expect("headers");
            for name in ["retry-after", "x-request-id"] {
                assert!(exposed.split(',').any(|exposed| exposed == name), "{exposed}");
            }
            assert!(header(&response, "access-control-allow-credentials").is_none());
        }
    }
}
