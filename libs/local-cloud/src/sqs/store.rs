//! Queues in the cloud's durable state: one entry a queue, one entry a message.
//!
//! Receipts are not kept: after a restart every message that was not deleted is visible again, as it
//! would be after its visibility time-out. Deletions are kept before they are acknowledged.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::attributes::Attributes;
use super::message::Content;
use super::queue::{Message, Queue};
use crate::state::{Batch, State, StateError, Table};

#[derive(Serialize, Deserialize)]
struct StoredQueue {
    /// Hexadecimal: JSON has no 128-bit numbers.
    id: String,
    created_ms: u64,
    modified_ms: u64,
    attributes: Attributes,
}

#[derive(Serialize, Deserialize)]
struct StoredMessage<C> {
    id: String,
    content: C,
    sent_ms: u64,
    visible_ms: u64,
    dead_letter_source: Option<String>,
}

/// Adds a queue, without its messages, to a batch.
pub(crate) fn put_queue(batch: &mut Batch<'_>, queue: &Queue) -> Result<(), StateError> {
    let stored = StoredQueue {
        id: format!("{:032x}", queue.id),
        created_ms: queue.created_ms,
        modified_ms: queue.modified_ms,
        attributes: queue.attributes.clone(),
    };
    let json = serde_json::to_vec(&stored).map_err(|error| corrupt(error.to_string()))?;
    batch.put(Table::Queues, queue.name.as_bytes(), &json);
    Ok(())
}

/// Adds a message of a queue under its number.
pub(crate) fn put_message(
    batch: &mut Batch<'_>,
    queue: u128,
    number: u64,
    message: &Message,
) -> Result<(), StateError> {
    let stored = StoredMessage {
        id: message.id.clone(),
        content: &*message.content,
        sent_ms: message.sent_ms,
        visible_ms: message.visible_ms,
        dead_letter_source: message.dead_letter_source.clone(),
    };
    let json = serde_json::to_vec(&stored).map_err(|error| corrupt(error.to_string()))?;
    batch.put(Table::Messages, &message_key(queue, number), &json);
    Ok(())
}

/// Removes a message.
pub(crate) fn remove_message(batch: &mut Batch<'_>, queue: u128, number: u64) {
    batch.remove(Table::Messages, &message_key(queue, number));
}

/// Orders as queue, number.
fn message_key(queue: u128, number: u64) -> Vec<u8> {
    [&queue.to_be_bytes()[..], &number.to_be_bytes()[..]].concat()
}

fn read_message_key(key: &[u8]) -> Option<(u128, u64)> {
    let (queue, number) = key.split_first_chunk()?;
    Some((
        u128::from_be_bytes(*queue),
        u64::from_be_bytes(number.try_into().ok()?),
    ))
}

/// Reads all queues back. Messages of a queue that is gone are removed: its deletion was cut short.
pub(crate) fn load(state: &State) -> Result<Vec<Queue>, StateError> {
    let mut queues: HashMap<u128, Queue> = HashMap::new();
    for entry in state.scan(Table::Queues) {
        let (name, json) = entry?;
        let name = String::from_utf8(name).map_err(|error| corrupt(error.to_string()))?;
        let stored: StoredQueue =
            serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
        let id = u128::from_str_radix(&stored.id, 16).map_err(|error| corrupt(error.to_string()))?;
        let mut queue = Queue::new(name, id, stored.created_ms, stored.attributes);
        queue.modified_ms = stored.modified_ms;
        queues.insert(id, queue);
    }
    for entry in state.scan(Table::Messages) {
        let (key, json) = entry?;
        let (queue, number) =
            read_message_key(&key).ok_or_else(|| corrupt("a message's key has another length".to_owned()))?;
        let Some(queue) = queues.get_mut(&queue) else {
            state.remove(Table::Messages, &key)?;
            continue;
        };
        let stored: StoredMessage<Content> =
            serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
        let mut message = Message::new(stored.id, stored.content, stored.sent_ms, stored.visible_ms);
        message.dead_letter_source = stored.dead_letter_source;
        queue.restore(number, message);
    }
    Ok(queues.into_values().collect())
}

fn corrupt(reason: String) -> StateError {
    StateError::Corrupt {
        what: "queue",
        reason,
    }
}
