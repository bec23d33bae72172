//! `/_local-cloud/…` on the same listener: for people, scripts and health checks.
//!
//! | request | answer |
//! |---|---|
//! | `GET /_local-cloud/health` | 200 while the cloud serves |
//! | `GET /_local-cloud/state` | account, region and how many streams, delivery streams, buckets and queues there are |
//! | `GET /_local-cloud/faults` | the rules in order |
//! | `POST /_local-cloud/faults` | adds a rule, or an array of rules |
//! | `DELETE /_local-cloud/faults` | removes all rules |
//!
//! It asks for no credential: whoever reaches an emulated cloud may break it.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::dispatch::Services;
use crate::fault::Rule;
use crate::wire::answer::{Body, full};

/// No bucket can have this name: bucket names begin with a letter or digit.
pub(crate) const PATH: &str = "/_local-cloud/";

const RULES_BYTES_MAX: usize = 1024 * 1024;

pub(crate) async fn answer(services: &Services, parts: &Parts, body: Incoming) -> Response<Body> {
    let name = parts.uri.path().strip_prefix(PATH).unwrap_or_default();
    match (&parts.method, name) {
        (&Method::GET, "health") => reply(StatusCode::OK, &json!({ "status": "up" })),
        (&Method::GET, "state") => reply(StatusCode::OK, &summary(services)),
        (&Method::GET, "faults") => reply(StatusCode::OK, &json!(services.faults.rules())),
        (&Method::POST, "faults") => match add_rules(services, body).await {
            Ok(added) => reply(StatusCode::CREATED, &json!({ "added": added })),
            Err(reason) => reply(StatusCode::BAD_REQUEST, &json!({ "error": reason })),
        },
        (&Method::DELETE, "faults") => {
            services.faults.clear();
            reply(StatusCode::OK, &json!({}))
        }
        _ => reply(
            StatusCode::NOT_FOUND,
            &json!({ "error": "expected health, state or faults" }),
        ),
    }
}

fn summary(services: &Services) -> Value {
    json!({
        "account": services.account.id,
        "region": services.account.region,
        "streams": services.kinesis.stream_count(),
        "deliveryStreams": services.firehose.stream_count(),
        "buckets": services.s3.bucket_count(),
        "queues": services.sqs.queue_count(),
        "faultsInjected": services.faults.injected("*"),
    })
}

async fn add_rules(services: &Services, body: Incoming) -> Result<usize, String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Rules {
        One(Rule),
        Several(Vec<Rule>),
    }
    let body = Limited::new(body, RULES_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| error.to_string())?
        .to_bytes();
    let rules = match serde_json::from_slice(&body) {
        Ok(Rules::One(rule)) => vec![rule],
        Ok(Rules::Several(rules)) => rules,
        // What is wrong with one rule says more than "did not match any variant".
        Err(_) => vec![serde_json::from_slice::<Rule>(&body).map_err(|error| error.to_string())?],
    };
    let added = rules.len();
    for rule in rules {
        services
            .faults
            .try_inject(rule)
            .map_err(|error| error.to_string())?;
    }
    Ok(added)
}

fn reply(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(full(format!("{body}\n")));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
