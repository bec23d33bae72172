//! Why an object is not in place, and what that means for its message.

use std::error::Error;
use std::fmt::{Display, Formatter};

use aws_clients::{Failure, classify, describe};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;

use crate::redact::Fault;
use crate::stream::StreamFailure;
use crate::verify::Difference;

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Source,
    Destination,
}

impl Display for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// A call to AWS that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} at the {at}: {detail}")]
pub(crate) struct CallFailure {
    pub(crate) at: At,
    pub(crate) operation: &'static str,
    pub(crate) failure: Failure,
    pub(crate) code: String,
    detail: String,
}

impl CallFailure {
    pub(crate) fn new<E>(at: At, operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let failure = classify(error);
        // S3's own message is left out: a refusal quotes the object's ARN, and with it the key.
        let (code, detail) = match error.as_service_error() {
            Some(service) => {
                let code = service.code().unwrap_or_default();
                let request = service.meta().extra("aws_request_id").unwrap_or("unknown");
                let shown = if code.is_empty() { failure.as_str() } else { code };
                (code.to_owned(), format!("{shown} (request {request})"))
            }
            None => (String::new(), describe(error)),
        };
        Self {
            at,
            operation,
            failure,
            code,
            detail,
        }
    }

    /// A failure of this kind, without an answer.
    #[cfg(test)]
    pub(crate) fn of(at: At, operation: &'static str, failure: Failure) -> Self {
        Self {
            at,
            operation,
            failure,
            code: String::new(),
            detail: failure.as_str().to_owned(),
        }
    }

    /// An answer that lacks what AWS documents it to have.
    pub(crate) fn incomplete(at: At, operation: &'static str, missing: &str) -> Self {
        Self {
            at,
            operation,
            failure: Failure::Transient,
            code: String::new(),
            detail: format!("the answer has no {missing}"),
        }
    }
}

/// Why a copy did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyFailure {
    #[error(transparent)]
    Call(#[from] CallFailure),
    #[error("reading the source: {0}")]
    Stream(#[from] StreamFailure),
    #[error("the destination received other bytes than were sent: {0}")]
    Digest(CallFailure),
    #[error("no progress within the deadline")]
    Stalled,
    #[error("written, but not proved to be in place: {0}")]
    Unproven(Difference),
    #[error("source or destination changed during every one of {0} tries")]
    StillChanging(u32),
    #[error("{0} bytes are more than 10,000 parts of 5 GiB")]
    TooLarge(u64),
    #[error("user metadata and the marker together are {0} bytes; S3 takes 2,048")]
    MetadataTooLarge(usize),
    #[error("the source object is archived and has to be restored first")]
    Archived,
    #[error("it cannot be redacted: {fault}")]
    Unredactable {
        #[source]
        fault: Fault,
        /// The bytes were those that the source stores, not falsified on their way.
        proved: bool,
    },
    #[error("the quarantine holds another object where this one's lines belong")]
    QuarantineTaken,
    #[error("it needs more memory than a redacted copy has as a rule")]
    NeedsRoom,
}

/// What a failure means for what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Try again after a pause, while the message is hidden.
    Retry,
    /// The message is left for redelivery.
    Leave,
    /// It is not about this object: receive nothing until it is mended.
    Pause,
    /// It never succeeds: a dead letter.
    Reject,
}

impl CopyFailure {
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Stream(_)
            | Self::Digest(_)
            | Self::Stalled
            | Self::Unproven(_)
            | Self::StillChanging(_)
            | Self::NeedsRoom => Remedy::Retry,
            Self::TooLarge(_)
            | Self::MetadataTooLarge(_)
            | Self::Archived
            | Self::Unredactable { proved: true, .. }
            | Self::QuarantineTaken => Remedy::Reject,
            Self::Unredactable { proved: false, .. } => Remedy::Leave,
            Self::Call(call) => match call.failure {
                // NotFound is the bucket: of an object, `converge` makes a decision and no failure.
                Failure::Denied | Failure::NotFound => Remedy::Pause,
                // What S3 finds wrong with a request can also be wrong with the configuration, so it
                // is no reason to set the message aside at once.
                Failure::Invalid | Failure::PreconditionFailed => Remedy::Leave,
                Failure::Throttled | Failure::Transient | Failure::Timeout | Failure::Conflict => {
                    Remedy::Retry
                }
            },
        }
    }

    /// Whether bytes were found to differ from what they should be.
    pub(crate) fn is_mismatch(&self) -> bool {
        let differs = matches!(self, Self::Unproven(Difference::Checksum | Difference::Size));
        differs || matches!(self, Self::Digest(_) | Self::Stream(StreamFailure::Checksum))
    }

    /// A metric label.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Call(call) => call.failure.as_str(),
            Self::Stream(failure) => failure.cause(),
            Self::Digest(_) => "checksum",
            Self::Stalled => "stalled",
            Self::Unproven(_) => "unproven",
            Self::StillChanging(_) => "still_changing",
            Self::TooLarge(_) => "too_large",
            Self::MetadataTooLarge(_) => "metadata_too_large",
            Self::Archived => "archived",
            Self::Unredactable { .. } => "unredactable",
            Self::QuarantineTaken => "quarantine_taken",
            Self::NeedsRoom => "needs_room",
        }
    }
}
