//! The errors of SQS: the name in the body and the code of the older query protocol, which the SDKs
//! read from a header and prefer.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html> and the
//! "Errors" section of each operation.

use crate::wire::json::ApiError;

fn error(code: &'static str, query_code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(400, code, message).with_query_code(query_code)
}

pub(crate) fn no_queue() -> ApiError {
    let message = "The specified queue does not exist.";
    error(
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
        message,
    )
}

pub(crate) fn queue_exists(attribute: &str) -> ApiError {
    let message =
        format!("A queue already exists with the same name and a different value for attribute {attribute}");
    error("QueueNameExists", "QueueAlreadyExists", message)
}

pub(crate) fn queue_deleted_recently() -> ApiError {
    let message =
        "You must wait 60 seconds after deleting a queue before you can create another with the same name.";
    error(
        "QueueDeletedRecently",
        "AWS.SimpleQueueService.QueueDeletedRecently",
        message,
    )
}

pub(crate) fn purge_in_progress(queue: &str) -> ApiError {
    let message = format!("Only one PurgeQueue operation on {queue} is allowed every 60 seconds.");
    error(
        "PurgeQueueInProgress",
        "AWS.SimpleQueueService.PurgeQueueInProgress",
        message,
    )
}

pub(crate) fn missing_parameter(name: &str) -> ApiError {
    let message = format!("The request must contain the parameter {name}.");
    error("MissingParameter", "MissingParameter", message)
}

/// The value is left out of the message: it may be data.
pub(crate) fn invalid_parameter(name: &str, reason: &str) -> ApiError {
    let message = format!("Value for parameter {name} is invalid. Reason: {reason}.");
    error("InvalidParameterValue", "InvalidParameterValue", message)
}

pub(crate) fn invalid_attribute_name(name: &str) -> ApiError {
    error(
        "InvalidAttributeName",
        "InvalidAttributeName",
        format!("Unknown Attribute {name}."),
    )
}

pub(crate) fn invalid_attribute_value(name: &str) -> ApiError {
    error(
        "InvalidAttributeValue",
        "InvalidAttributeValue",
        format!("Invalid value for the parameter {name}."),
    )
}

pub(crate) fn invalid_contents() -> ApiError {
    let message = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | \
                   #xE000 to #xFFFD | #x10000 to #x10FFFF";
    error("InvalidMessageContents", "InvalidMessageContents", message)
}

pub(crate) fn unsupported(what: &str) -> ApiError {
    tracing::warn!(what, "something of SQS that is not emulated was asked for");
    let message = format!("{what} is not emulated by local-cloud");
    error(
        "UnsupportedOperation",
        "AWS.SimpleQueueService.UnsupportedOperation",
        message,
    )
}

pub(crate) fn invalid_receipt_handle() -> ApiError {
    let message = "The input receipt handle is not a valid receipt handle.";
    error("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", message)
}

pub(crate) fn not_in_flight() -> ApiError {
    let message = "The message referred to is not in flight.";
    error(
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
        message,
    )
}

pub(crate) fn over_limit() -> ApiError {
    error("OverLimit", "OverLimit", "Too many messages in flight.")
}

pub(crate) fn empty_batch(entry: &str) -> ApiError {
    let message = format!("There should be at least one {entry} in the request.");
    error(
        "EmptyBatchRequest",
        "AWS.SimpleQueueService.EmptyBatchRequest",
        message,
    )
}

pub(crate) fn too_many_entries(count: usize) -> ApiError {
    let message = format!("Maximum number of entries per request are 10. You have sent {count}.");
    error(
        "TooManyEntriesInBatchRequest",
        "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        message,
    )
}

pub(crate) fn ids_not_distinct(id: &str) -> ApiError {
    let message = format!("Id {id} repeated.");
    error(
        "BatchEntryIdsNotDistinct",
        "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        message,
    )
}

pub(crate) fn invalid_batch_id() -> ApiError {
    let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. \
                   It can be at most 80 letters long.";
    error(
        "InvalidBatchEntryId",
        "AWS.SimpleQueueService.InvalidBatchEntryId",
        message,
    )
}

pub(crate) fn batch_too_long(bytes: usize, max: usize) -> ApiError {
    let message = format!("Batch requests cannot be longer than {max} bytes. You have sent {bytes} bytes.");
    error(
        "BatchRequestTooLong",
        "AWS.SimpleQueueService.BatchRequestTooLong",
        message,
    )
}
