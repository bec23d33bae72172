//! SQS.

use bytes::Bytes;

use crate::account::Account;
use crate::fault::Faults;
use crate::state::{State, StateError};
use crate::wire::json::{ApiError, Call, JsonService};

/// The queues of one account.
pub(crate) struct Sqs {}

impl Sqs {
    /// Reads back what the state holds. `endpoint_url` is what queue URLs begin with.
    pub(crate) fn open(
        _account: &Account,
        _state: &State,
        _faults: &Faults,
        _endpoint_url: &str,
    ) -> Result<Self, StateError> {
        Ok(Self {})
    }

    /// How many queues there are.
    pub(crate) fn queue_count(&self) -> usize {
        0
    }

    /// Whether the ARN names a queue of this account.
    pub(crate) fn queue_exists(&self, _queue_arn: &str) -> bool {
        false
    }

    /// Puts a message into a queue on behalf of another service. Kept when this returns.
    ///
    /// # Errors
    /// The queue is gone (`QueueDoesNotExist`), or the message could not be kept.
    pub(crate) fn send_notification(&self, queue_arn: &str, _body: String) -> Result<(), ApiError> {
        Err(ApiError::new(
            400,
            "QueueDoesNotExist",
            format!("there is no queue {queue_arn}"),
        ))
    }
}

impl JsonService for Sqs {
    const NAME: &'static str = "sqs";
    const TARGET_PREFIX: &'static str = "AmazonSQS";
    const CONTENT_TYPE: &'static str = "application/x-amz-json-1.0";
    const ERROR_NAMESPACE: Option<&'static str> = Some("com.amazonaws.sqs");

    fn throttled(_operation: &str) -> ApiError {
        ApiError::new(403, "RequestThrottled", "Rate exceeded").with_query_code("RequestThrottled")
    }

    fn unknown_access_key() -> ApiError {
        ApiError::new(
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        )
        .with_query_code("InvalidClientTokenId")
    }

    async fn call(&self, call: Call<'_>) -> Result<Bytes, ApiError> {
        Err(ApiError::unknown_operation(Self::NAME, call.operation))
    }
}
