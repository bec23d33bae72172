//! A page for people, on `local`'s admin port: what happens in the pipeline as it happens, a look into
//! the objects, and a form to send an event of one's own.
//!
//! | file | is for |
//! |---|---|
//! | [`assets`] | HTML, CSS and JavaScript, as files of this folder |
//! | [`guard`] | who may use it, and what browsers must not do with it |
//! | [`sampler`], [`exposition`], [`history`] | the services' metrics, once a second, as bounded history |
//! | [`object`] | a look inside an object |
//! | [`trial`] | the API's types, and sending |
//!
//! The page asks for everything itself, once a second, and nothing is kept for it between two requests:
//! a hundred open pages cost what they ask for and no memory.

mod assets;
mod exposition;
mod guard;
mod history;
mod object;
mod sampler;
mod trial;

use std::net::SocketAddr;
use std::sync::Arc;

use aws_sdk_s3::Client;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus::Registry;
use serde::Serialize;
use service_runtime::Shutdown;

use crate::aws::{ARCHIVE_SUFFIX, Aws, DESTINATION_BUCKET, SOURCE_BUCKET};
use crate::demo::DemoClients;
use crate::landed::{Landed, Snapshot};
use crate::services::Addresses;
use guard::Guard;
use history::{Counts, Point};
use object::Closed;
use sampler::{INTERVAL, Sampler, Service};
use trial::{Trial, TrialError, Verdict, Wish};

/// An event has 32 KiB at most; escaped in JSON it may be twice as long.
const WISH_BYTES_MAX: usize = 128 << 10;

/// The page's server side. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Page(Arc<Sources>);

#[derive(Debug)]
struct Sources {
    started_ms: i64,
    sampler: Sampler,
    landed: Landed,
    china: Client,
    europe: Client,
    trial: Trial,
}

/// What the page asks for once a second.
#[derive(Debug, Serialize)]
struct Live {
    /// Tells one run of the program from the next.
    started_ms: i64,
    now_ms: i64,
    interval_ms: u128,
    api: String,
    services: Vec<Service>,
    counts: Counts,
    points: Vec<Point>,
    objects: Snapshot,
}

impl Page {
    /// Looks at these services and buckets.
    pub(crate) fn new(at: &Addresses, aws: &Aws, clients: DemoClients, landed: Landed) -> Self {
        let http = reqwest::Client::new();
        Self(Arc::new(Sources {
            started_ms: sampler::unix_ms(),
            sampler: Sampler::new(http.clone(), at),
            landed,
            china: aws_clients::s3(&aws.source.config),
            europe: aws_clients::s3(&aws.destination.config),
            trial: Trial::new(http, at.events, clients),
        }))
    }

    /// Every route, behind the guard of a port that is bound there.
    pub(crate) fn router(
        &self,
        bound: Option<SocketAddr>,
        registry: &Registry,
    ) -> prometheus::Result<Router> {
        let guard = Guard::new(bound, registry)?;
        Ok(assets::router()
            .route("/page/live", get(live))
            .route("/page/choices", get(choices))
            .route("/page/object", get(object))
            .route("/page/send", post(send))
            .fallback(async || problem(StatusCode::NOT_FOUND, "there is nothing at this path"))
            .method_not_allowed_fallback(async || {
                problem(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "this path does not take this method",
                )
            })
            .layer(middleware::from_fn_with_state(guard, guard::guard))
            .with_state(self.clone()))
    }

    /// Looks at the services until `stop` is requested.
    pub(crate) async fn look(&self, stop: Shutdown) {
        self.0.sampler.run(stop).await;
    }
}

impl Sources {
    /// Sends what is wished, and follows what is accepted unless it was only checked.
    async fn send(&self, wish: Wish) -> Result<Verdict, TrialError> {
        let dry_run = wish.dry_run();
        let verdict = self.trial.send(wish).await?;
        if !dry_run {
            for id in verdict.accepted_ids()? {
                self.landed.follow(id);
            }
        }
        Ok(verdict)
    }
}

/// `GET /page/live?from=N`: how things are, and the points from number N on.
async fn live(State(Page(page)): State<Page>, RawQuery(query): RawQuery) -> Response {
    let from = match parameter(query.as_deref(), "from").map(|from| from.parse()) {
        None => 0,
        Some(Ok(from)) => from,
        Some(Err(_)) => return problem(StatusCode::BAD_REQUEST, "from is not the number of a point"),
    };
    let (services, counts, points) = page.sampler.known(from);
    json(
        StatusCode::OK,
        &Live {
            started_ms: page.started_ms,
            now_ms: sampler::unix_ms(),
            interval_ms: INTERVAL.as_millis(),
            api: page.trial.api(),
            services,
            counts,
            points,
            objects: page.landed.snapshot(),
        },
    )
}

/// `GET /page/choices`: event types with examples, and demo clients.
async fn choices(State(Page(page)): State<Page>) -> Response {
    match page.trial.choices().await {
        Ok(choices) => json(StatusCode::OK, &choices),
        Err(error) => untried(&error),
    }
}

/// `GET /page/object?side=china&key=…`: a look inside an archived object.
async fn object(State(Page(page)): State<Page>, RawQuery(query): RawQuery) -> Response {
    let side = parameter(query.as_deref(), "side");
    let (client, bucket) = match side.as_deref() {
        Some("china") => (&page.china, SOURCE_BUCKET),
        Some("europe") => (&page.europe, DESTINATION_BUCKET),
        _ => return problem(StatusCode::BAD_REQUEST, "side is neither china nor europe"),
    };
    let key = parameter(query.as_deref(), "key").unwrap_or_default();
    if !key.ends_with(ARCHIVE_SUFFIX) {
        return problem(StatusCode::BAD_REQUEST, "key is not that of an archived object");
    }
    match object::look(client, bucket, &key).await {
        Ok(inside) => json(StatusCode::OK, &inside),
        Err(error @ Closed::Missing) => problem(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error @ (Closed::Unavailable(_) | Closed::NotGzip(_))) => {
            problem(StatusCode::BAD_GATEWAY, &error.to_string())
        }
    }
}

/// `POST /page/send`: sends an event, or asks for its verdict; accepted ones are followed.
async fn send(State(Page(page)): State<Page>, body: Body) -> Response {
    let Ok(body) = to_bytes(body, WISH_BYTES_MAX).await else {
        return problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "that is longer than any event may be",
        );
    };
    let wish: Wish = match serde_json::from_slice(&body) {
        Ok(wish) => wish,
        Err(error) => {
            return problem(
                StatusCode::BAD_REQUEST,
                &format!("not what the page sends: {error}"),
            );
        }
    };
    match page.send(wish).await {
        Ok(verdict) => json(StatusCode::OK, &verdict),
        Err(error) => untried(&error),
    }
}

fn untried(error: &TrialError) -> Response {
    let status = match error {
        TrialError::UnknownClient => StatusCode::BAD_REQUEST,
        TrialError::Unanswered(_) | TrialError::TooLong | TrialError::Unexpected(_) => {
            StatusCode::BAD_GATEWAY
        }
    };
    problem(status, &error.to_string())
}

/// The first value of a query's parameter.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query?.as_bytes());
    pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode an answer of the page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A sentence that the page shows.
fn problem(status: StatusCode, because: &str) -> Response {
    json(status, &serde_json::json!({ "error": because }))
}
