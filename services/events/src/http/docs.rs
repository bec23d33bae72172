//! A page to read the API and to try it. It is one document without anything from elsewhere; its
//! policy lets it run its own script and talk to this service, and nothing else.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("docs/page.css");
const SCRIPT: &str = include_str!("docs/page.js");

/// `GET /docs`.
pub(super) async fn docs() -> Response {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Events</title>\n\
         <style>{STYLE}</style>\n\
         <h1>Events</h1>\n<p id=\"description\"></p>\n<p><a href=\"openapi.json\">openapi.json</a></p>\n\
         <h2>Credential</h2>\n<div id=\"credential\"></div>\n\
         <h2>Operations</h2>\n<div id=\"operations\"></div>\n\
         <h2>Schemas</h2>\n<div id=\"schemas\"></div>\n\
         <script>{SCRIPT}</script>\n</html>\n"
    );
    let mut response = Response::new(Body::from(page));
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, html);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy());
    let no_sniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, no_sniff);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Style and script are allowed by their digests (<https://www.w3.org/TR/CSP3/#grammardef-hash-source>).
fn policy() -> HeaderValue {
    let digest = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; connect-src 'self'; script-src 'sha256-{}'; style-src 'sha256-{}'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(SCRIPT),
        digest(STYLE)
    );
    HeaderValue::from_str(&policy).expect("base64 and our own text")
}
