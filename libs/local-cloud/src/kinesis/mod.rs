//! Kinesis Data Streams.

use bytes::Bytes;

use crate::account::Account;
use crate::fault::Faults;
use crate::state::{State, StateError};
use crate::wire::json::{ApiError, Call, JsonService};

/// The streams of one account.
pub(crate) struct Kinesis {}

impl Kinesis {
    /// Reads back what the state holds.
    pub(crate) fn open(_account: &Account, _state: &State, _faults: &Faults) -> Result<Self, StateError> {
        Ok(Self {})
    }

    /// How many streams there are.
    pub(crate) fn stream_count(&self) -> usize {
        0
    }
}

impl JsonService for Kinesis {
    const NAME: &'static str = "kinesis";
    const TARGET_PREFIX: &'static str = "Kinesis_20131202";
    const CONTENT_TYPE: &'static str = "application/x-amz-json-1.1";
    const ERROR_NAMESPACE: Option<&'static str> = None;

    fn throttled(_operation: &str) -> ApiError {
        ApiError::new(400, "ProvisionedThroughputExceededException", "Rate exceeded")
    }

    fn unknown_access_key() -> ApiError {
        ApiError::new(
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
    }

    async fn call(&self, call: Call<'_>) -> Result<Bytes, ApiError> {
        Err(ApiError::unknown_operation(Self::NAME, call.operation))
    }
}
