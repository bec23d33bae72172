//! SQS standard queues, as exact as a consumer can tell.
//!
//! The model, from the inside out: `message` (content and digests), `receipt` (handles), `queue`
//! (visibility), `attributes`, `store` (what survives the process). `operations` are the calls.
//!
//! FIFO queues are refused. All queues share one lock: a call takes microseconds, and moving a
//! message to a dead letter queue is then one step.

mod attributes;
mod error;
mod message;
mod operations;
mod queue;
mod receipt;
mod store;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::account::Account;
use crate::clock::Clock;
use crate::state::{State, StateError};
use crate::wire::json::{ApiError, Call, JsonService};
use message::Content;
use queue::Queue;

/// The queues of one account.
pub(crate) struct Sqs {
    account: Account,
    state: State,
    clock: Clock,
    /// What queue URLs begin with: the listener's own address.
    endpoint_url: String,
    queues: Mutex<Queues>,
}

struct Queues {
    by_name: BTreeMap<String, Queue>,
    /// When a queue of this name was deleted.
    deleted_ms: HashMap<String, u64>,
    /// Of the latest receipt in any queue. Begins at the time, so that receipts of an earlier
    /// process are older than those of this one.
    last_serial: u64,
}

impl Sqs {
    /// Reads back what the state holds. `endpoint_url` is what queue URLs begin with.
    pub(crate) fn open(
        account: &Account,
        state: &State,
        clock: &Clock,
        endpoint_url: &str,
    ) -> Result<Self, StateError> {
        let queues = store::load(state)?;
        let queues = Queues {
            by_name: queues
                .into_iter()
                .map(|queue| (queue.name.clone(), queue))
                .collect(),
            deleted_ms: HashMap::new(),
            last_serial: clock.now_ms() << 20,
        };
        Ok(Self {
            account: account.clone(),
            state: state.clone(),
            clock: clock.clone(),
            endpoint_url: endpoint_url.to_owned(),
            queues: Mutex::new(queues),
        })
    }

    /// How many queues there are.
    pub(crate) fn queue_count(&self) -> usize {
        self.lock().by_name.len()
    }

    /// Whether the ARN names a queue of this account.
    pub(crate) fn queue_exists(&self, queue_arn: &str) -> bool {
        self.name_in_arn(queue_arn)
            .is_some_and(|name| self.lock().by_name.contains_key(name))
    }

    /// Puts a message into a queue on behalf of another service. Kept when this returns.
    ///
    /// # Errors
    /// The queue is gone (`QueueDoesNotExist`), or the message could not be kept.
    pub(crate) fn send_notification(&self, queue_arn: &str, body: String) -> Result<(), ApiError> {
        let name = self.name_in_arn(queue_arn).ok_or_else(error::no_queue)?;
        self.send(name, vec![(Content::of_body(body), None)]).map(|_| ())
    }

    fn name_in_arn<'a>(&self, arn: &'a str) -> Option<&'a str> {
        arn.strip_prefix(&self.account.arn("sqs", ""))
    }

    fn queue_arn(&self, name: &str) -> String {
        self.account.arn("sqs", name)
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing panics half way through a change.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn get_mut(&mut self, name: &str) -> Result<&mut Queue, ApiError> {
        self.by_name.get_mut(name).ok_or_else(error::no_queue)
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
        match call.operation {
            "ChangeMessageVisibility" => self.change_message_visibility(&call),
            "ChangeMessageVisibilityBatch" => self.change_message_visibility_batch(&call),
            "CreateQueue" => self.create_queue(&call),
            "DeleteMessage" => self.delete_message(&call),
            "DeleteMessageBatch" => self.delete_message_batch(&call),
            "DeleteQueue" => self.delete_queue(&call),
            "GetQueueAttributes" => self.get_queue_attributes(&call),
            "GetQueueUrl" => self.get_queue_url(&call),
            "ListQueues" => self.list_queues(&call),
            "PurgeQueue" => self.purge_queue(&call),
            "ReceiveMessage" => self.receive_message(&call).await,
            "SendMessage" => self.send_message(&call),
            "SendMessageBatch" => self.send_message_batch(&call),
            "SetQueueAttributes" => self.set_queue_attributes(&call),
            unknown => Err(ApiError::unknown_operation(Self::NAME, unknown)),
        }
    }
}
