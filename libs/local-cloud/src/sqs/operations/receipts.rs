//! What the holder of a receipt does: delete the message, or change for how long it is hidden.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::batch::{BatchResult, check_ids};
use super::empty_answer;
use crate::sqs::Sqs;
use crate::sqs::attributes::VISIBILITY_SECONDS_MAX;
use crate::sqs::error::{invalid_parameter, invalid_receipt_handle, missing_parameter, not_in_flight};
use crate::sqs::queue::{Queue, VisibilityError};
use crate::sqs::receipt::Receipt;
use crate::wire::json::{ApiError, Call};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteMessage {
    queue_url: String,
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeMessageVisibility {
    queue_url: String,
    receipt_handle: String,
    visibility_timeout: u64,
}

/// DeleteMessageBatch and ChangeMessageVisibilityBatch; only the second has time-outs.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    queue_url: String,
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: String,
    receipt_handle: String,
    visibility_timeout: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DoneEntry {
    id: String,
}

impl Sqs {
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html>
    pub(crate) fn delete_message(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let DeleteMessage {
            queue_url,
            receipt_handle,
        } = call.input()?;
        let mut queues = self.lock();
        let queue = queues.get_mut(self.name_in_url(&queue_url)?)?;
        self.delete(queue, &receipt_handle)?;
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessageBatch.html>
    pub(crate) fn delete_message_batch(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        self.each(call, "DeleteMessageBatchRequestEntry", |queue, entry, _| {
            self.delete(queue, &entry.receipt_handle)
        })
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>
    pub(crate) fn change_message_visibility(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let ChangeMessageVisibility {
            queue_url,
            receipt_handle,
            visibility_timeout,
        } = call.input()?;
        let now_ms = self.clock.now_ms();
        let mut queues = self.lock();
        let queue = self.enter(&mut queues, self.name_in_url(&queue_url)?, now_ms)?;
        change_visibility(queue, &receipt_handle, visibility_timeout, now_ms)?;
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibilityBatch.html>
    pub(crate) fn change_message_visibility_batch(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        self.each(
            call,
            "ChangeMessageVisibilityBatchRequestEntry",
            |queue, entry, now_ms| {
                let seconds = entry
                    .visibility_timeout
                    .ok_or_else(|| missing_parameter("VisibilityTimeout"))?;
                change_visibility(queue, &entry.receipt_handle, seconds, now_ms)
            },
        )
    }

    /// Applies an action to each entry of a batch, and reports on each.
    fn each(
        &self,
        call: &Call<'_>,
        kind: &str,
        action: impl Fn(&mut Queue, &Entry, u64) -> Result<(), ApiError>,
    ) -> Result<Bytes, ApiError> {
        let Batch { queue_url, entries } = call.input()?;
        let now_ms = self.clock.now_ms();
        let mut queues = self.lock();
        let queue = self.enter(&mut queues, self.name_in_url(&queue_url)?, now_ms)?;
        check_ids(kind, entries.iter().map(|entry| entry.id.as_str()))?;
        let mut result = BatchResult::new();
        for entry in entries {
            match action(queue, &entry, now_ms) {
                Ok(()) => result.succeed(DoneEntry { id: entry.id }),
                Err(error) => result.fail(entry.id, error),
            }
        }
        result.answer()
    }

    fn delete(&self, queue: &mut Queue, handle: &str) -> Result<(), ApiError> {
        let receipt = read_handle(queue, handle)?;
        if queue.deletes(&receipt) {
            self.remove(queue, &[receipt.message])?;
        }
        Ok(())
    }
}

fn read_handle(queue: &Queue, handle: &str) -> Result<Receipt, ApiError> {
    let receipt = Receipt::decode(handle).ok_or_else(invalid_receipt_handle)?;
    if receipt.queue == queue.id {
        Ok(receipt)
    } else {
        Err(invalid_receipt_handle())
    }
}

fn change_visibility(queue: &mut Queue, handle: &str, seconds: u64, now_ms: u64) -> Result<(), ApiError> {
    if seconds > VISIBILITY_SECONDS_MAX {
        return Err(invalid_parameter(
            "VisibilityTimeout",
            "Must be between 0 and 43200",
        ));
    }
    let receipt = read_handle(queue, handle)?;
    queue
        .change_visibility(&receipt, seconds * 1_000, now_ms)
        .map_err(|error| match error {
            VisibilityError::NoSuchReceipt => invalid_parameter(
                "ReceiptHandle",
                "Message does not exist or is not available for visibility timeout change",
            ),
            VisibilityError::NotInFlight => not_in_flight(),
            VisibilityError::BeyondLimit => invalid_parameter(
                "VisibilityTimeout",
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]",
            ),
        })
}
