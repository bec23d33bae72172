//! The catalogue over HTTP: what may be sent, for people and for code generators. Open to all, as
//! documentation is.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use event_model::{Catalogue, Producer, Schema};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    http::answer::{json, plain_problem},
    ingest::Ingest,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SCHEMA: HeaderValue = HeaderValue::from_static("application/schema+json");

#[derive(Serialize)]
struct Type<'c> {
    eventtype: &'c str,
    title: &'c str,
    producers: Vec<&'static str>,
    latest: String,
    versions: Vec<String>,
}

/// `GET /v1/schemas`: every type.
pub(super) async fn types(State(ingest): State<Arc<Ingest>>) -> Response {
    let catalogue = ingest.schemas.current();
    let types: Vec<_> = catalogue
        .event_types()
        .filter_map(|name| describe(&catalogue, name.as_str()))
        .collect();
    json(StatusCode::OK, JSON, &serde_json::json!({ "eventtypes": types }))
}

/// `GET /v1/schemas/{eventtype}`: its versions.
pub(super) async fn versions(State(ingest): State<Arc<Ingest>>, Path(event_type): Path<String>) -> Response {
    let catalogue = ingest.schemas.current();
    describe(&catalogue, &event_type).map_or_else(unknown, |described| json(StatusCode::OK, JSON, &described))
}

/// `GET /v1/schemas/{eventtype}/{version}`: the document as it was written.
pub(super) async fn document(
    State(ingest): State<Arc<Ingest>>,
    Path((event_type, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let version = version.parse().ok();
    let catalogue = ingest.schemas.current();
    let schema = version.and_then(|version| catalogue.get(&event_type, version));
    schema.map_or_else(unknown, |schema| serve(schema, &headers))
}

fn describe<'c>(catalogue: &'c Catalogue, event_type: &str) -> Option<Type<'c>> {
    let latest = catalogue.latest(event_type)?;
    let versions = catalogue.versions(event_type)?;
    Some(Type {
        eventtype: latest.event_type().as_str(),
        title: latest.title(),
        producers: latest.producers().iter().copied().map(Producer::as_str).collect(),
        latest: latest.version().to_string(),
        versions: versions.map(|schema| schema.version().to_string()).collect(),
    })
}

fn serve(schema: &Schema, headers: &HeaderMap) -> Response {
    let digest = Sha256::digest(schema.document());
    let tag: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let asked = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let known = asked
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == tag || value == "*");
    let mut response = if known {
        Response::builder()
            .status(StatusCode::NOT_MODIFIED)
            .body(Body::empty())
    } else {
        let body = Body::from(schema.document().to_vec());
        Response::builder()
            .header(header::CONTENT_TYPE, SCHEMA)
            .body(body)
    }
    .expect("a status, a constant header and a body make a response");
    let tag = HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes");
    response.headers_mut().insert(header::ETAG, tag);
    response
}

fn unknown() -> Response {
    plain_problem(StatusCode::NOT_FOUND, "there is no such schema: see /v1/schemas")
}
