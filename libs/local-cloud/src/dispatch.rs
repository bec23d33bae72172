//! From a request to its answer: who asks, which service, which faults, then the operation.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::request::Parts;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, BodyStream, LengthLimitError, Limited, StreamBody};
use hyper::body::Incoming;

use crate::account::Account;
use crate::admin;
use crate::clock::Clock;
use crate::fault::{Faults, Outcome, OutcomeSlot, RecordThrottle};
use crate::firehose::Firehose;
use crate::kinesis::Kinesis;
use crate::s3::S3;
use crate::sqs::Sqs;
use crate::wire::answer::{Body, full};
use crate::wire::credential::CredentialScope;
use crate::wire::json::{self, ApiError, Call, JsonService};

/// The largest body of a Kinesis, Firehose or SQS call. `PutRecords` takes 10 MiB of data, which base64 and
/// JSON make at most 14 MiB.
pub(crate) const JSON_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long the bytes of an answer that is cut off may take to leave the socket's buffer.
const CUT_OFF_FLUSH: std::time::Duration = std::time::Duration::from_millis(20);

/// Everything behind one listener.
pub(crate) struct Services {
    pub(crate) account: Account,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) kinesis: Kinesis,
    pub(crate) firehose: Firehose,
    pub(crate) sqs: Arc<Sqs>,
    pub(crate) s3: S3,
}

/// The connection is to be dropped instead of answered.
#[derive(Debug, thiserror::Error)]
#[error("cut off by a fault rule")]
pub(crate) struct CutOff;

/// Answers one request.
pub(crate) async fn answer(
    services: &Services,
    request: Request<Incoming>,
) -> Result<Response<Body>, CutOff> {
    let (parts, body) = request.into_parts();
    if parts.uri.path().starts_with(admin::PATH) {
        return Ok(admin::answer(services, &parts, body).await);
    }
    let Some(scope) = CredentialScope::of(&parts) else {
        return Ok(unsigned(&parts));
    };
    match scope.service.as_str() {
        Kinesis::NAME => {
            let answered = json_call(services, &services.kinesis, &scope, &parts, body).await;
            answered.map(|response| dated(services, response))
        }
        Firehose::NAME => json_call(services, &services.firehose, &scope, &parts, body).await,
        Sqs::NAME => json_call(services, services.sqs.as_ref(), &scope, &parts, body).await,
        S3::NAME if scope.region != services.account.region => {
            Ok(crate::s3::wrong_region(&services.account, &scope.region))
        }
        S3::NAME => {
            let answered = s3_call(services, Request::from_parts(parts, body)).await;
            answered.map(|response| dated(services, response))
        }
        other => {
            tracing::warn!(service = other, "a service that is not emulated was called");
            let message = format!("the service {other} is not emulated by local-cloud");
            Ok(plain_error(
                StatusCode::BAD_REQUEST,
                "UnknownOperationException",
                &message,
            ))
        }
    }
}

async fn json_call<S: JsonService>(
    services: &Services,
    service: &S,
    scope: &CredentialScope,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, CutOff> {
    let prepared = async {
        admit::<S>(&services.account, scope)?;
        json::refuse_cbor(&parts.headers)?;
        let operation = json::operation_of::<S>(&parts.headers)?;
        Ok((operation, whole_body(body).await?))
    };
    let (operation, body) = match prepared.await {
        Ok(prepared) => prepared,
        Err(error) => return Ok(json::response::<S>(Err(error))),
    };

    let name = format!("{}:{operation}", S::NAME);
    let decision = services
        .faults
        .decide(&name, || service.resource(&operation, &body));
    decision.wait().await;
    match decision.outcome {
        Some(Outcome::Fail { status, code }) => {
            return Ok(json::response::<S>(Err(ApiError::new(
                status,
                code,
                "injected by a fault rule",
            ))));
        }
        Some(Outcome::Throttle) => return Ok(json::response::<S>(Err(S::throttled(&operation)))),
        Some(Outcome::CutOff) => return Err(CutOff),
        _ => {}
    }
    let throttle = RecordThrottle::new(&services.faults, decision.outcome.as_ref());
    let result = service
        .call(Call {
            operation: &operation,
            body,
            throttle,
        })
        .await;
    if let Ok(body) = &result
        && decision.outcome.as_ref().is_some_and(Outcome::keeps_the_answer)
    {
        services.faults.answer_is_lost(&name, body);
    }
    after(json::response::<S>(result), decision.outcome.as_ref())
}

/// Refuses a client of another account or region: the two sides must not be mixed up.
fn admit<S: JsonService>(account: &Account, scope: &CredentialScope) -> Result<(), ApiError> {
    if scope.access_key_id != account.access_key_id {
        return Err(S::unknown_access_key());
    }
    if scope.region != account.region {
        let message = format!(
            "Credential should be scoped to a valid region: {}.",
            account.region
        );
        return Err(ApiError::new(400, "InvalidSignatureException", message));
    }
    Ok(())
}

async fn whole_body(body: Incoming) -> Result<Bytes, ApiError> {
    match Limited::new(body, JSON_BODY_BYTES_MAX).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("the body is larger than {JSON_BODY_BYTES_MAX} bytes");
            Err(ApiError::new(413, "RequestEntityTooLargeException", message))
        }
        Err(error) => Err(ApiError::new(
            400,
            "IncompleteBody",
            format!("the body ended early: {error}"),
        )),
    }
}

/// S3 finds its own operation and checks signatures itself; the access check in `s3` asks the
/// rules, and leaves here what is to be done to the connection.
async fn s3_call(services: &Services, mut request: Request<Incoming>) -> Result<Response<Body>, CutOff> {
    let slot = OutcomeSlot::default();
    request.extensions_mut().insert(slot.clone());
    let response = services.s3.answer(request, slot.clone()).await;
    match slot.take() {
        Some(Outcome::CutOff) => Err(CutOff),
        outcome => after(response, outcome.as_ref()),
    }
}

/// The time of the emulated clock on an answer: with it Kinesis tells how far an answer without records
/// reaches, and S3 how old an object is.
fn dated(services: &Services, mut response: Response<Body>) -> Response<Body> {
    if let Some(date) = services.clock.http_date() {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// What a rule does to an answer after the call was executed.
fn after(response: Response<Body>, outcome: Option<&Outcome>) -> Result<Response<Body>, CutOff> {
    match outcome {
        Some(Outcome::LoseAnswer) => Err(CutOff),
        Some(Outcome::CutOffAnswerAfter { bytes }) => {
            Ok(response.map(|body| end_after(body, *bytes, End::CutOff)))
        }
        Some(Outcome::StallAnswerAfter { bytes }) => {
            Ok(response.map(|body| end_after(body, *bytes, End::Stall)))
        }
        Some(Outcome::FalsifyAnswer { byte }) => Ok(response.map(|body| falsify(body, *byte))),
        _ => Ok(response),
    }
}

/// How an answer ends before its time.
#[derive(Clone, Copy)]
enum End {
    CutOff,
    Stall,
}

/// The first `bytes` of a body, then an error, which makes the connection end, or nothing any more.
fn end_after(body: Body, bytes: u64, end: End) -> Body {
    let left = usize::try_from(bytes).unwrap_or(usize::MAX);
    let frames = futures::stream::unfold(
        (BodyStream::new(body), left),
        move |(mut frames, left)| async move {
            if left == 0 {
                match end {
                    End::CutOff => tokio::time::sleep(CUT_OFF_FLUSH).await,
                    End::Stall => std::future::pending().await,
                }
                return Some((Err(Box::from(CutOff)), (frames, 0)));
            }
            let frame = match frames.next().await? {
                Ok(frame) => frame,
                Err(error) => return Some((Err(error), (frames, left))),
            };
            let frame = frame.map_data(|mut data: Bytes| data.split_to(data.len().min(left)));
            let sent = frame.data_ref().map_or(0, Bytes::len);
            Some((Ok(frame), (frames, left - sent)))
        },
    );
    StreamBody::new(frames).boxed_unsync()
}

/// The body with one bit of one byte changed.
fn falsify(body: Body, byte: u64) -> Body {
    let mut before = 0;
    let falsified =
        body.map_frame(move |frame| frame.map_data(|data: Bytes| falsified(data, byte, &mut before)));
    falsified.boxed_unsync()
}

/// The next bytes of a body, with one bit of `byte` changed if it is among them; `before` counts those
/// that have passed.
pub(crate) fn falsified(data: Bytes, byte: u64, before: &mut u64) -> Bytes {
    let at = byte.checked_sub(*before).and_then(|at| usize::try_from(at).ok());
    *before += data.len() as u64;
    match at {
        Some(at) if at < data.len() => {
            let mut changed = data.to_vec();
            changed[at] ^= 1;
            changed.into()
        }
        _ => data,
    }
}

fn unsigned(parts: &Parts) -> Response<Body> {
    if parts.headers.contains_key("x-amz-target") {
        let message = "Request is missing Authentication Token";
        return plain_error(
            StatusCode::FORBIDDEN,
            "MissingAuthenticationTokenException",
            message,
        );
    }
    crate::s3::access_denied()
}

fn plain_error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({ "__type": code, "message": message }).to_string();
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
}
