//! What is answered, and with which status code. Every code of an answer about events is decided in
//! this file, by [`refusal_status`] and [`outcomes_status`].
//!
//! Errors are problems as in RFC 9457. A problem about single events carries their results too.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use event_model::{EventId, SchemaVersion};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    ingest::Outcome,
    metrics::Metrics,
    refusal::{Refusal, Rejected, Rejection},
    submission::Durability,
    trace::TraceContext,
};

/// After how many seconds a client should come back: a few group commits later.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Carries `requestid` for logs of proxies and for clients that read no body.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"events\", charset=\"UTF-8\"");

/// The status of a request that is refused as a whole.
fn refusal_status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NotJson { .. }
        | Refusal::WrongShape(_)
        | Refusal::BodyCutOff
        | Refusal::BadEncoding { .. } => StatusCode::BAD_REQUEST,
        Refusal::Unauthenticated => StatusCode::UNAUTHORIZED,
        Refusal::TooManyFailures { .. } | Refusal::OverQuota { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Forbidden => StatusCode::FORBIDDEN,
        Refusal::UnknownType => StatusCode::NOT_FOUND,
        Refusal::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
        Refusal::TooManyEvents { .. } | Refusal::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::MediaType | Refusal::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::Overloaded | Refusal::TooMuchInFlight => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The status of a request whose events were looked at one by one.
fn outcomes_status(outcomes: &[Outcome]) -> StatusCode {
    let rejected = |outcome: &Outcome| matches!(outcome, Outcome::Rejected(_));
    let published = |outcome: &Outcome| {
        use Outcome::{Duplicate, Published, Valid};
        matches!(
            outcome,
            Published(_) | Valid(_) | Duplicate(_, Durability::Published)
        )
    };
    let accepted = |outcome: &Outcome| {
        use Outcome::{Duplicate, Spooled};
        published(outcome) || matches!(outcome, Spooled(_) | Duplicate(_, Durability::Spooled))
    };
    let because = |test: fn(&Rejection) -> bool| {
        outcomes.iter().all(|outcome| match outcome {
            Outcome::Rejected(rejected) => test(&rejected.reason),
            Outcome::Published(_)
            | Outcome::Spooled(_)
            | Outcome::Duplicate(..)
            | Outcome::Valid(_)
            | Outcome::Retry(_) => false,
        })
    };
    if outcomes.iter().all(published) {
        StatusCode::OK
    } else if outcomes.iter().all(accepted) {
        StatusCode::ACCEPTED
    } else if outcomes
        .iter()
        .all(|outcome| matches!(outcome, Outcome::Retry(_)))
    {
        StatusCode::SERVICE_UNAVAILABLE
    } else if because(|reason| matches!(reason, Rejection::TooLarge { .. })) {
        StatusCode::PAYLOAD_TOO_LARGE
    } else if because(|reason| matches!(reason, Rejection::Forbidden)) {
        StatusCode::FORBIDDEN
    } else if outcomes.iter().all(rejected) {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::MULTI_STATUS
    }
}

/// An answer about events, as JSON.
#[derive(Serialize)]
pub(crate) struct Answer<'a> {
    #[serde(skip)]
    status: StatusCode,
    #[serde(skip)]
    refusal: Option<&'a Refusal>,
    #[serde(flatten)]
    problem: Option<Problem>,
    requestid: Uuid,
    #[serde(flatten)]
    results: Option<Results<'a>>,
}

/// The members of RFC 9457, with a code for programs.
#[derive(Serialize)]
struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct Results<'a> {
    accepted: usize,
    duplicate: usize,
    rejected: usize,
    retry: usize,
    results: Vec<EventResult<'a>>,
}

/// What became of one event.
#[derive(Default, Serialize)]
#[serde(default)]
struct EventResult<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    eventid: Option<EventId>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    durability: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schemaversion: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<EventError<'a>>,
}

/// What is wrong with one event, and where.
#[derive(Serialize)]
struct EventError<'a> {
    pointer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keyword: Option<&'a str>,
    message: String,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(result: &'a Result<Vec<Outcome>, Refusal>) -> Self {
        let (status, problem, results) = match result {
            Err(refusal) => {
                let status = refusal_status(refusal);
                let problem = Problem::new(status, refusal.to_string(), Some(refusal.code()));
                (status, Some(problem), None)
            }
            Ok(outcomes) => {
                let status = outcomes_status(outcomes);
                let detail = "no event was accepted: see the results".to_owned();
                let problem = (!status.is_success()).then(|| Problem::new(status, detail, None));
                (status, problem, Some(Results::new(outcomes)))
            }
        };
        let refusal = result.as_ref().err();
        Self {
            status,
            refusal,
            problem,
            requestid: Uuid::now_v7(),
            results,
        }
    }

    /// One line about the request: to be seen where its caller records the trace it belongs to, and
    /// proved who it is, so that nobody else can fill the log.
    pub(crate) fn log(&self, route: &'static str, trace: Option<TraceContext<'_>>, took: Duration) {
        let proved = !matches!(
            self.refusal,
            Some(Refusal::Unauthenticated | Refusal::TooManyFailures { .. })
        );
        let (status, refusal) = (self.status.as_u16(), self.refusal.map(Refusal::code));
        let count = |count: fn(&Results<'_>) -> usize| self.results.as_ref().map(count);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    requestid = %self.requestid,
                    traceid = trace.map(|trace| trace.trace_id),
                    parentid = trace.map(|trace| trace.parent_id),
                    route,
                    status,
                    refusal,
                    accepted = count(|results| results.accepted),
                    duplicate = count(|results| results.duplicate),
                    rejected = count(|results| results.rejected),
                    retry = count(|results| results.retry),
                    seconds = took.as_secs_f64(),
                    "answered"
                )
            };
        }
        if proved && trace.is_some_and(|trace| trace.sampled) {
            line!(info);
        } else {
            line!(debug);
        }
    }

    /// Counts the answer and turns it into a response.
    pub(crate) fn respond(self, metrics: &Metrics, route: &'static str) -> Response {
        metrics.answered(
            route,
            self.status.as_u16(),
            self.refusal.map_or("", Refusal::code),
        );
        let media_type = if self.problem.is_some() { PROBLEM } else { JSON };
        let mut response = named(self.requestid, json(self.status, media_type, &self));
        let retry = self.results.as_ref().is_some_and(|results| results.retry > 0);
        if retry || self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if let Some(Refusal::TooManyFailures { wait } | Refusal::OverQuota { wait, .. }) = self.refusal {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        response
    }
}

/// A problem that is not about events.
pub(crate) fn plain_problem(status: StatusCode, detail: &str) -> Response {
    let answer = Answer {
        status,
        refusal: None,
        problem: Some(Problem::new(status, detail.to_owned(), None)),
        requestid: Uuid::now_v7(),
        results: None,
    };
    named(answer.requestid, json(status, PROBLEM, &answer))
}

/// The response, with the id of its request as a header.
fn named(request_id: Uuid, mut response: Response) -> Response {
    let value = HeaderValue::from_str(&request_id.to_string()).expect("a UUID is text");
    response.headers_mut().insert(REQUEST_ID, value);
    response
}

pub(crate) fn json(status: StatusCode, media_type: HeaderValue, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("our own types are JSON");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

impl Problem {
    /// Without a page of its own for each kind, the type is `about:blank` and the title that of the
    /// status (RFC 9457, section 4.2.1).
    fn new(status: StatusCode, detail: String, code: Option<&'static str>) -> Self {
        let title = status.canonical_reason().unwrap_or_default();
        Self {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail,
            code,
        }
    }
}

impl<'a> Results<'a> {
    fn new(outcomes: &'a [Outcome]) -> Self {
        let results: Vec<_> = outcomes.iter().enumerate().map(EventResult::new).collect();
        let count = |status| results.iter().filter(|result| result.status == status).count();
        Self {
            accepted: count("accepted"),
            duplicate: count("duplicate"),
            rejected: count("rejected"),
            retry: count("retry"),
            results,
        }
    }
}

impl<'a> EventResult<'a> {
    fn new((index, outcome): (usize, &'a Outcome)) -> Self {
        let blank = Self {
            index,
            ..Self::default()
        };
        match outcome {
            Outcome::Published(id) => Self {
                eventid: Some(*id),
                status: "accepted",
                durability: Some(Durability::Published.as_str()),
                ..blank
            },
            Outcome::Spooled(id) => Self {
                eventid: Some(*id),
                status: "accepted",
                durability: Some(Durability::Spooled.as_str()),
                ..blank
            },
            Outcome::Duplicate(id, durability) => Self {
                eventid: Some(*id),
                status: "duplicate",
                durability: Some(durability.as_str()),
                ..blank
            },
            Outcome::Valid(id) => Self {
                eventid: *id,
                status: "accepted",
                ..blank
            },
            Outcome::Retry(id) => Self {
                eventid: Some(*id),
                status: "retry",
                ..blank
            },
            Outcome::Rejected(Rejected {
                event_id,
                schema_version,
                reason,
                event_type: _,
            }) => Self {
                eventid: *event_id,
                status: "rejected",
                code: Some(reason.code()),
                schemaversion: schema_version.as_ref().map(SchemaVersion::to_string),
                errors: errors(reason),
                ..blank
            },
        }
    }
}

fn errors(reason: &Rejection) -> Vec<EventError<'_>> {
    let one = |pointer: &str, message: String| {
        vec![EventError {
            pointer: pointer.to_owned(),
            keyword: None,
            message,
        }]
    };
    match reason {
        Rejection::TooLarge { limit } => one("", format!("an event may have {limit} bytes")),
        Rejection::Malformed(fault) => one(
            &fault.pointer,
            format!("{} (at byte {})", fault.reason, fault.offset),
        ),
        Rejection::Envelope(fault) => one(&format!("/{}", fault.field()), fault.to_string()),
        Rejection::MissingType => one("", "must have the field eventtype".to_owned()),
        Rejection::TypeMismatch => one("/eventtype", "must be the type in the path".to_owned()),
        Rejection::UnknownType => one("/eventtype", "there is no such event type".to_owned()),
        Rejection::UnknownVersion => one("/schemaversion", "this event type has no such version".to_owned()),
        Rejection::Forbidden => one(
            "/eventtype",
            "this credential may not send events of this type".to_owned(),
        ),
        Rejection::Invalid(errors) => errors
            .iter()
            .map(|error| EventError {
                pointer: error.pointer.clone(),
                keyword: Some(&error.keyword),
                message: error.message.clone(),
            })
            .collect(),
    }
}

#[cfg(test)]
#[path = "answer/tests.rs"]
mod tests;
