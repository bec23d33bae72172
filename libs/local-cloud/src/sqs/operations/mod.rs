//! The calls: `queues`, `send`, `receive`, `receipts` (delete, change visibility), and the rules that
//! all batches share.

mod batch;
mod queues;
mod receipts;
mod receive;
mod send;

use bytes::Bytes;
use serde::Serialize;

use super::error::no_queue;
use super::queue::Queue;
use super::{Queues, Sqs, store};
use crate::wire::json::ApiError;

impl Sqs {
    fn queue_url(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.endpoint_url, self.account.id)
    }

    /// The name at the end of a queue URL. The host does not matter: clients reach a listener by
    /// different names.
    fn name_in_url<'a>(&self, queue_url: &'a str) -> Result<&'a str, ApiError> {
        let (rest, name) = queue_url.rsplit_once('/').ok_or_else(no_queue)?;
        let (_, account) = rest.rsplit_once('/').ok_or_else(no_queue)?;
        if account == self.account.id {
            Ok(name)
        } else {
            Err(no_queue())
        }
    }

    /// Finds a queue and removes what its retention no longer covers: no call sees an older message.
    fn enter<'a>(&self, queues: &'a mut Queues, name: &str, now_ms: u64) -> Result<&'a mut Queue, ApiError> {
        let queue = queues.get_mut(name)?;
        let expired = queue.expired(now_ms);
        self.remove(queue, &expired)?;
        Ok(queue)
    }

    /// Removes messages, from the durable state first.
    fn remove(&self, queue: &mut Queue, numbers: &[u64]) -> Result<(), ApiError> {
        if numbers.is_empty() {
            return Ok(());
        }
        let mut batch = self.state.batch();
        for number in numbers {
            store::remove_message(&mut batch, queue.id, *number);
        }
        batch.commit()?;
        for number in numbers {
            queue.remove(*number);
        }
        Ok(())
    }
}

/// An answer's body.
fn answer(value: &impl Serialize) -> Result<Bytes, ApiError> {
    let json = serde_json::to_vec(value)
        .map_err(|error| ApiError::new(500, "InternalFailure", error.to_string()))?;
    Ok(Bytes::from(json))
}

/// The answer of a call that has nothing to say.
fn empty_answer() -> Bytes {
    Bytes::from_static(b"{}")
}

#[cfg(test)]
mod tests;
