//! The public port: routes, and what goes over the wire.
//!
//! | file | is for |
//! |---|---|
//! | [`server`], [`patience`] | connections: limits, time-outs, drain |
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
mod patience;
mod schemas;
mod server;

use std::{sync::Arc, time::Instant};

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
    edge::Peer,
    http::{
        answer::{Answer, plain_problem},
        cors::CorsOrigins,
    },
    ingest::{Ingest, Purpose},
    trace::TraceContext,
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
    ingest: State<Arc<Ingest>>,
    peer: Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    take("/v1/events", Purpose::Publish, None, ingest, peer, &headers, body).await
}

async fn events_of_type(
    ingest: State<Arc<Ingest>>,
    Path(event_type): Path<String>,
    peer: Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let route = "/v1/events/{eventtype}";
    take(
        route,
        Purpose::Publish,
        Some(&event_type),
        ingest,
        peer,
        &headers,
        body,
    )
    .await
}

async fn validate(
    ingest: State<Arc<Ingest>>,
    peer: Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    take(
        "/v1/validate",
        Purpose::Validate,
        None,
        ingest,
        peer,
        &headers,
        body,
    )
    .await
}

/// One request about events, from its head to its answer.
async fn take(
    route: &'static str,
    purpose: Purpose,
    path_type: Option<&str>,
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Peer>,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let started = Instant::now();
    let result = ingest.ingest(purpose, path_type, peer, headers, body).await;
    let answer = Answer::new(&result);
    answer.log(route, TraceContext::of(headers), started.elapsed());
    answer.respond(&ingest.metrics, route)
}
