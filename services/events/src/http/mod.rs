//! The public port: routes, and what goes over the wire.
//!
//! | file | is for |
//! |---|---|
//! | [`server`] | connections: limits, time-outs, drain |
//! | [`body`] | reading a body within its bounds |
//! | [`encoding`] | undoing its content encoding within its bounds |
//! | [`answer`] | answers, problems and **every status code** |
//! | [`schemas`] | the catalogue |
//! | [`openapi`], [`docs`] | the description, and a page to read and try it |
//! | [`cors`] | which web pages may use the service |

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod cors;
mod docs;
pub(crate) mod encoding;
mod openapi;
mod schemas;
mod server;

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{get, post},
};

pub(crate) use self::server::Server;
use crate::{
    attempts::Peer,
    http::{
        answer::{Answer, plain_problem},
        cors::CorsOrigins,
    },
    ingest::{Ingest, Purpose},
};

/// Every route.
pub(crate) fn router(ingest: Arc<Ingest>, origins: &CorsOrigins) -> Router {
    let router = Router::new()
        .route("/v1/events", post(events))
        .route("/v1/events/{eventtype}", post(events_of_type))
        .route("/v1/validate", post(validate))
        .route("/v1/schemas", get(schemas::types))
        .route("/v1/schemas/{eventtype}", get(schemas::versions))
        .route("/v1/schemas/{eventtype}/{version}", get(schemas::document))
        .route("/openapi.json", get(openapi::openapi))
        .route("/docs", get(docs::docs))
        .fallback(async || plain_problem(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            plain_problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method",
            )
        })
        .with_state(ingest);
    match cors::layer(origins) {
        Some(layer) => router.layer(layer),
        None => router,
    }
}

async fn events(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let result = ingest.ingest(Purpose::Publish, None, peer, &headers, body).await;
    Answer::new(&result).respond(&ingest.metrics, "/v1/events")
}

async fn events_of_type(
    State(ingest): State<Arc<Ingest>>,
    Path(event_type): Path<String>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let result = ingest
        .ingest(Purpose::Publish, Some(&event_type), peer, &headers, body)
        .await;
    Answer::new(&result).respond(&ingest.metrics, "/v1/events/{eventtype}")
}

async fn validate(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let result = ingest.ingest(Purpose::Validate, None, peer, &headers, body).await;
    Answer::new(&result).respond(&ingest.metrics, "/v1/validate")
}
