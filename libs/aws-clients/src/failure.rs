//! What a failed call means, by cause and not by service: whether to try again, wait, give up or
//! look at what is there.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// Why a call failed. Whether it had an effect is unknown after [`Failure::Transient`] and
/// [`Failure::Timeout`]: the answer may have been lost after the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Too fast; the same call succeeds later.
    Throttled,
    /// The service or the network failed; the same call may succeed.
    Transient,
    /// No answer in time; the same call may succeed.
    Timeout,
    /// Credentials or permissions; the same call fails until somebody changes them.
    Denied,
    /// The stream, queue, bucket or object is not there.
    NotFound,
    /// 412: a condition of the request does not hold.
    PreconditionFailed,
    /// 409: another request is changing the same thing.
    Conflict,
    /// The request itself is wrong; the same call always fails.
    Invalid,
}

impl Failure {
    /// Whether the same call, sent again after a pause, may succeed.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Throttled | Self::Transient | Self::Timeout | Self::Conflict => true,
            Self::Denied | Self::NotFound | Self::PreconditionFailed | Self::Invalid => false,
        }
    }

    /// A stable name, for a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Transient => "transient",
            Self::Timeout => "timeout",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::PreconditionFailed => "precondition_failed",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
        }
    }
}

/// What a failed call means.
pub fn classify<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Failure {
    match error {
        SdkError::ServiceError(context) => {
            classify_answer(context.err().code(), context.raw().status().as_u16())
        }
        SdkError::TimeoutError(_) => Failure::Timeout,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Failure::Timeout,
        SdkError::DispatchFailure(failure) if failure.is_user() => Failure::Invalid,
        SdkError::DispatchFailure(_) => Failure::Transient,
        SdkError::ResponseError(context) => classify_answer(None, context.raw().status().as_u16()),
        _ => Failure::Invalid,
    }
}

/// The code says more than the status: Kinesis and SQS answer 400 for nearly everything.
fn classify_answer(code: Option<&str>, status: u16) -> Failure {
    match code.unwrap_or_default() {
        kms if kms
            .get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case("kms")) =>
        {
            classify_kms(kms)
        }
        "LimitExceededException"
        | "OverLimit"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException" => Failure::Throttled,
        "InternalFailure" | "InternalFailureException" | "RequestTimeout" | "ServiceUnavailable" => {
            Failure::Transient
        }
        "AccessDenied"
        | "AccessDeniedException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Failure::Denied,
        "AWS.SimpleQueueService.NonExistentQueue"
        | "NoSuchBucket"
        | "NoSuchKey"
        | "NotFound"
        | "QueueDoesNotExist"
        | "ResourceNotFoundException" => Failure::NotFound,
        _ => classify_status(status),
    }
}

/// What the service was told by KMS. Each has its own spelling (`KMSDisabledException` of Kinesis,
/// `KMS.DisabledException` of S3, `KmsDisabled` of SQS), and most answer 400.
fn classify_kms(code: &str) -> Failure {
    let says = |part| code.contains(part);
    if says("Throttl") {
        Failure::Throttled
    } else if says("Internal") || says("Timeout") || says("Unavailable") {
        Failure::Transient
    } else {
        Failure::Denied
    }
}

fn classify_status(status: u16) -> Failure {
    match status {
        429 => Failure::Throttled,
        401 | 403 => Failure::Denied,
        404 => Failure::NotFound,
        408 => Failure::Timeout,
        409 => Failure::Conflict,
        412 => Failure::PreconditionFailed,
        // An answer of 2xx or 3xx that still failed was cut off or garbled on its way.
        200..=399 | 500.. => Failure::Transient,
        _ => Failure::Invalid,
    }
}

/// One line for a log: code, message, status and request id. The message of a request that was found
/// invalid is left out: AWS quotes what it refuses there, a partition key for one.
pub fn describe<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let SdkError::ServiceError(context) = error else {
        return with_causes(error);
    };
    let metadata = context.err().meta();
    let status = context.raw().status().as_u16();
    let code = metadata.code().unwrap_or("no code");
    let message = match classify_answer(metadata.code(), status) {
        Failure::Invalid => "message withheld",
        _ => metadata.message().unwrap_or("no message"),
    };
    let request = metadata.extra("aws_request_id").unwrap_or("unknown");
    format!("{code}: {message} (HTTP {status}, request {request})")
}

/// The error and what caused it, in one line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_decides_before_the_status() {
        let cases = [
            (
                Some("ProvisionedThroughputExceededException"),
                400,
                Failure::Throttled,
            ),
            (Some("SlowDown"), 503, Failure::Throttled),
            (Some("ResourceNotFoundException"), 400, Failure::NotFound),
            (Some("AccessDeniedException"), 400, Failure::Denied),
            (Some("RequestTimeout"), 400, Failure::Transient),
            (Some("KMSThrottlingException"), 400, Failure::Throttled),
            (Some("KMSAccessDeniedException"), 400, Failure::Denied),
            (Some("KMS.DisabledException"), 400, Failure::Denied),
            (Some("KMS.KMSInvalidStateException"), 400, Failure::Denied),
            (Some("KMS.DependencyTimeoutException"), 503, Failure::Transient),
            (Some("KmsNotFound"), 400, Failure::Denied),
            (Some("PreconditionFailed"), 412, Failure::PreconditionFailed),
            (Some("ConditionalRequestConflict"), 409, Failure::Conflict),
            (Some("ExpiredIteratorException"), 400, Failure::Invalid),
            (None, 500, Failure::Transient),
            (None, 200, Failure::Transient),
            (None, 404, Failure::NotFound),
        ];
        for (code, status, expected) in cases {
            assert_eq!(classify_answer(code, status), expected, "{code:?} {status}");
        }
    }

    #[test]
    fn only_what_may_succeed_unchanged_is_retryable() {
        let retryable = [
            Failure::Throttled,
            Failure::Transient,
            Failure::Timeout,
            Failure::Conflict,
        ];
        let permanent = [
            Failure::Denied,
            Failure::NotFound,
            Failure::PreconditionFailed,
            Failure::Invalid,
        ];
        assert!(retryable.iter().all(|failure| failure.is_retryable()));
        assert!(!permanent.iter().any(|failure| failure.is_retryable()));
    }
}
