//! The errors of Kinesis, by the names that clients match on.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/CommonErrors.html> and the "Errors"
//! section of each operation.

use crate::wire::json::ApiError;

pub(crate) fn invalid_argument(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "InvalidArgumentException", message)
}

pub(crate) fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "ResourceNotFoundException", message)
}

pub(crate) fn in_use(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "ResourceInUseException", message)
}

pub(crate) fn limit_exceeded(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "LimitExceededException", message)
}

pub(crate) fn throughput_exceeded(message: impl Into<String>) -> ApiError {
    ApiError::new(400, THROUGHPUT_EXCEEDED, message)
}

/// Also the `ErrorCode` of an entry of PutRecords.
pub(crate) const THROUGHPUT_EXCEEDED: &str = "ProvisionedThroughputExceededException";

/// A member that breaks a constraint of the API's model. The value is left out: it may be data.
pub(crate) fn validation(member: &str, constraint: &str) -> ApiError {
    let message = format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must {constraint}"
    );
    ApiError::new(400, "ValidationException", message)
}
