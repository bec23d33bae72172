//! Amazon Data Firehose, for what puts records into it: delivery streams of type `DirectPut` into a
//! bucket of the same cloud.
//!
//! What a call brings is one object, in the bucket when the call is answered: a test finds it at once,
//! and nothing that was acknowledged can be lost. Buffering hints are kept and shown, and not waited for;
//! names of objects are Firehose's. Transformations, formats, compression, expressions in prefixes and
//! other destinations are refused by name.

mod put;
mod stream;
mod streams;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::account::Account;
use crate::clock::Clock;
use crate::s3::Depositor;
use crate::state::{State, StateError};
use crate::wire::json::{ApiError, Call, JsonService};
use stream::DeliveryStream;

/// The delivery streams of one account.
pub(crate) struct Firehose {
    account: Account,
    state: State,
    clock: Clock,
    bucket: Depositor,
    streams: RwLock<BTreeMap<String, Arc<DeliveryStream>>>,
}

impl Firehose {
    /// Reads back what the state holds.
    pub(crate) fn open(
        account: &Account,
        state: &State,
        clock: &Clock,
        bucket: Depositor,
    ) -> Result<Self, StateError> {
        let streams = stream::load(state)?;
        Ok(Self {
            account: account.clone(),
            state: state.clone(),
            clock: clock.clone(),
            bucket,
            streams: RwLock::new(streams),
        })
    }

    /// How many delivery streams there are.
    pub(crate) fn stream_count(&self) -> usize {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn find(&self, name: &str) -> Result<Arc<DeliveryStream>, ApiError> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.get(name).cloned().ok_or_else(|| self.no_stream(name))
    }

    fn no_stream(&self, name: &str) -> ApiError {
        let message = format!("Firehose {name} under account {} not found.", self.account.id);
        ApiError::new(400, "ResourceNotFoundException", message)
    }
}

impl JsonService for Firehose {
    const NAME: &'static str = "firehose";
    const TARGET_PREFIX: &'static str = "Firehose_20150804";
    const CONTENT_TYPE: &'static str = "application/x-amz-json-1.1";
    const ERROR_NAMESPACE: Option<&'static str> = None;

    fn throttled(operation: &str) -> ApiError {
        match operation {
            "PutRecord" | "PutRecordBatch" => put::slow_down(),
            _ => ApiError::new(400, "LimitExceededException", "Rate exceeded"),
        }
    }

    fn unknown_access_key() -> ApiError {
        ApiError::new(
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
    }

    async fn call(&self, call: Call<'_>) -> Result<Bytes, ApiError> {
        match call.operation {
            "CreateDeliveryStream" => self.create_delivery_stream(&call),
            "DeleteDeliveryStream" => self.delete_delivery_stream(&call),
            "DescribeDeliveryStream" => self.describe_delivery_stream(&call),
            "ListDeliveryStreams" => self.list_delivery_streams(&call),
            "PutRecord" => self.put_record(&call).await,
            "PutRecordBatch" => self.put_record_batch(&call).await,
            unknown => Err(ApiError::unknown_operation(Self::NAME, unknown)),
        }
    }
}

fn invalid_argument(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "InvalidArgumentException", message)
}

/// A member that breaks a constraint of the API's model. The value is left out: it may be data.
fn validation(member: &str, constraint: &str) -> ApiError {
    let message = format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must {constraint}"
    );
    ApiError::new(400, "ValidationException", message)
}
