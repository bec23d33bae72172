//! AWS JSON 1.0 and 1.1: the framing that Kinesis, Firehose and SQS share.
//!
//! A request is a POST with `x-amz-target: <prefix>.<Operation>` and a JSON body; an answer is JSON
//! with a request id; an error is `{"__type": …, "message": …}`.
//!
//! <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>

use std::borrow::Cow;
use std::future::Future;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::Deserialize;

use super::answer::Body;
use crate::fault::RecordThrottle;
use crate::state::StateError;

/// A service that speaks AWS JSON. The frame finds the operation, checks the credential, applies
/// the faults and writes the answer; the service only executes operations.
pub(crate) trait JsonService: Send + Sync + 'static {
    /// The service name in credential scopes and fault rules, for example `kinesis`.
    const NAME: &'static str;
    /// What stands before the dot in `x-amz-target`, for example `Kinesis_20131202`.
    const TARGET_PREFIX: &'static str;
    /// The content type of answers, for example `application/x-amz-json-1.1`.
    const CONTENT_TYPE: &'static str;
    /// Stands before `#` in the `__type` of an error, when the service qualifies it.
    const ERROR_NAMESPACE: Option<&'static str>;
    /// What the service says when it throttles a call.
    fn throttled(operation: &str) -> ApiError;
    /// What the service says to an access key id that it does not know.
    fn unknown_access_key() -> ApiError;

    /// The stream or queue name that a call is about, for fault rules; empty when there is none.
    /// Asked for only when a rule selects by resource.
    fn resource(&self, operation: &str, body: &[u8]) -> String {
        let _ = operation;
        named_resource(body)
    }

    /// Executes one operation and returns the answer's JSON body (`{}` where AWS sends none).
    ///
    /// An operation that is not emulated is answered by [`ApiError::unknown_operation`].
    fn call(&self, call: Call<'_>) -> impl Future<Output = Result<Bytes, ApiError>> + Send;
}

/// One call, its body complete.
pub(crate) struct Call<'a> {
    /// What stands behind the dot in `x-amz-target`.
    pub(crate) operation: &'a str,
    /// The request's JSON. At most [`crate::dispatch::JSON_BODY_BYTES_MAX`] bytes.
    pub(crate) body: Bytes,
    /// Which entries of a `PutRecords` or `PutRecordBatch` a fault rule refuses.
    pub(crate) throttle: RecordThrottle,
}

impl Call<'_> {
    /// The body as the operation's input.
    ///
    /// # Errors
    /// `SerializationException`, with the place and without the value.
    pub(crate) fn input<'de, T: Deserialize<'de>>(&'de self) -> Result<T, ApiError> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            ApiError::new(
                400,
                "SerializationException",
                format!("the body does not fit the operation at {place}"),
            )
        })
    }
}

/// An error as the wire carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub(crate) status: u16,
    /// For example `ResourceNotFoundException`, without a namespace.
    pub(crate) code: Cow<'static, str>,
    /// For people.
    pub(crate) message: String,
    /// SQS only: the code of the older query protocol, which the SDKs prefer
    /// (`x-amzn-query-error: <code>;Sender`).
    pub(crate) query_code: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            query_code: None,
        }
    }

    /// Adds the code of the query protocol.
    pub(crate) fn with_query_code(mut self, code: &'static str) -> Self {
        self.query_code = Some(code);
        self
    }

    /// The loud answer to what is not emulated: it must never look like an empty result.
    pub(crate) fn unknown_operation(service: &str, operation: &str) -> Self {
        tracing::warn!(service, operation, "an operation that is not emulated was called");
        Self::new(
            400,
            "UnknownOperationException",
            format!("{service}:{operation} is not emulated by local-cloud"),
        )
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> Self {
        tracing::error!(%error, "a change could not be kept");
        Self::new(500, "InternalFailure", error.to_string())
    }
}

/// The operation that `x-amz-target` names for the service.
pub(crate) fn operation_of<S: JsonService>(headers: &HeaderMap) -> Result<String, ApiError> {
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match target.split_once('.') {
        Some((prefix, operation)) if prefix == S::TARGET_PREFIX => Ok(operation.to_owned()),
        _ => Err(ApiError::unknown_operation(
            S::NAME,
            &format!("(target {target:?})"),
        )),
    }
}

/// CBOR is what Java clients of Kinesis send unless told otherwise; answering it with JSON would be
/// misunderstood, so it is refused by name.
pub(crate) fn refuse_cbor(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) {
        Some(content_type) if content_type.starts_with(b"application/x-amz-cbor") => {
            tracing::warn!("a CBOR request was refused");
            let message = "local-cloud speaks JSON only: switch CBOR off in the client";
            Err(ApiError::new(415, "UnsupportedMediaTypeException", message))
        }
        _ => Ok(()),
    }
}

/// The answer to a call.
pub(crate) fn response<S: JsonService>(result: Result<Bytes, ApiError>) -> Response<Body> {
    let (status, query_error, body) = match result {
        Ok(body) => (StatusCode::OK, None, body),
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let fault = if error.status < 500 { "Sender" } else { "Receiver" };
            let query_error = error.query_code.map(|code| format!("{code};{fault}"));
            (status, query_error, error_body::<S>(&error))
        }
    };
    let mut response = Response::new(
        Full::new(body.clone())
            .map_err(|never| match never {})
            .boxed_unsync(),
    );
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(S::CONTENT_TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let request_id = uuid::Uuid::new_v4().to_string();
    if let Ok(value) = HeaderValue::try_from(request_id) {
        headers.insert("x-amzn-requestid", value);
    }
    if let Some(Ok(value)) = query_error.map(HeaderValue::try_from) {
        headers.insert("x-amzn-query-error", value);
    }
    response
}

fn error_body<S: JsonService>(error: &ApiError) -> Bytes {
    let kind = match S::ERROR_NAMESPACE {
        Some(namespace) => format!("{namespace}#{}", error.code),
        None => error.code.to_string(),
    };
    Bytes::from(serde_json::json!({ "__type": kind, "message": error.message }).to_string())
}

/// The name in the fields with which the operations of Kinesis, Firehose and SQS name their resource.
fn named_resource(body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Names {
        stream_name: Option<String>,
        #[serde(rename = "StreamARN")]
        stream_arn: Option<String>,
        delivery_stream_name: Option<String>,
        queue_name: Option<String>,
        queue_url: Option<String>,
    }
    let names: Names = serde_json::from_slice(body).unwrap_or_default();
    let whole = names
        .stream_name
        .or(names.stream_arn)
        .or(names.delivery_stream_name)
        .or(names.queue_name)
        .or(names.queue_url)
        .unwrap_or_default();
    whole.rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_is_the_last_part_of_whatever_names_it() {
        for (body, expected) in [
            (r#"{"StreamName":"s"}"#, "s"),
            (r#"{"StreamARN":"arn:aws:kinesis:r:1:stream/s"}"#, "s"),
            (r#"{"QueueUrl":"http://127.0.0.1:1/1/q"}"#, "q"),
            (r#"{"QueueName":"q"}"#, "q"),
            (r#"{"DeliveryStreamName":"d"}"#, "d"),
            ("{}", ""),
            ("not json", ""),
        ] {
            assert_eq!(named_resource(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn a_body_that_does_not_fit_is_refused_without_its_content() {
        let faults = crate::fault::Faults::seeded(1);
        let call = Call {
            operation: "PutRecord",
            body: Bytes::from_static(b"{\"Data\": secret}"),
            throttle: RecordThrottle::new(&faults, None),
        };
        let error = call.input::<serde_json::Value>().expect_err("not JSON");
        assert_eq!(error.code, "SerializationException");
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
}
