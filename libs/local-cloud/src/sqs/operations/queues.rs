//! Queues as a whole: create, find, attributes, purge, delete.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use super::{answer, empty_answer};
use crate::sqs::attributes::{Attributes, COMPUTED};
use crate::sqs::error::{
    invalid_attribute_name, invalid_parameter, missing_parameter, no_queue, purge_in_progress,
    queue_deleted_recently, queue_exists, unsupported,
};
use crate::sqs::queue::Queue;
use crate::sqs::{Sqs, store};
use crate::state::Table;
use crate::wire::json::{ApiError, Call};

/// How long a name cannot be used again, and how often a queue can be purged.
const PAUSE_MS: u64 = 60_000;
/// Queue URLs of one answer.
const PAGE_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateQueue {
    #[serde(default)]
    queue_name: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetQueueUrl {
    queue_name: String,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    owner: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneQueue {
    queue_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetQueueAttributes {
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SetQueueAttributes {
    queue_url: String,
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListQueues {
    #[serde(default)]
    queue_name_prefix: String,
    max_results: Option<usize>,
    #[serde(default)]
    next_token: String,
}

impl Sqs {
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html>
    pub(crate) fn create_queue(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let CreateQueue {
            queue_name: name,
            attributes: given,
        } = call.input()?;
        check_name(&name)?;
        let mut attributes = Attributes::default();
        for (attribute, value) in &given {
            attributes.set(attribute, value)?;
        }
        let now_ms = self.clock.now_ms();
        let mut queues = self.lock();
        let url = self.queue_url(&name);
        if let Some(queue) = queues.by_name.get(&name) {
            let differs = |attribute: &&String| queue.attributes.get(attribute) != attributes.get(attribute);
            return match given.keys().find(differs) {
                Some(attribute) => Err(queue_exists(attribute)),
                None => answer(&serde_json::json!({ "QueueUrl": url })),
            };
        }
        queues
            .deleted_ms
            .retain(|_, deleted_ms| now_ms.saturating_sub(*deleted_ms) < PAUSE_MS);
        if queues.deleted_ms.contains_key(&name) {
            return Err(queue_deleted_recently());
        }
        let queue = Queue::new(name, uuid::Uuid::new_v4().as_u128(), now_ms, attributes);
        self.save(&queue)?;
        queues.by_name.insert(queue.name.clone(), queue);
        answer(&serde_json::json!({ "QueueUrl": url }))
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueUrl.html>
    pub(crate) fn get_queue_url(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let GetQueueUrl {
            queue_name: name,
            owner,
        } = call.input()?;
        let is_ours = owner.is_none_or(|owner| owner == self.account.id);
        if !is_ours || !self.lock().by_name.contains_key(&name) {
            return Err(no_queue());
        }
        answer(&serde_json::json!({ "QueueUrl": self.queue_url(&name) }))
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>
    pub(crate) fn get_queue_attributes(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let GetQueueAttributes {
            queue_url,
            attribute_names,
        } = call.input()?;
        let known: Vec<_> = Attributes::names().chain(COMPUTED).collect();
        if let Some(unknown) = attribute_names
            .iter()
            .find(|name| *name != "All" && !known.contains(&name.as_str()))
        {
            return Err(invalid_attribute_name(unknown));
        }
        let wanted = |name: &str| {
            attribute_names
                .iter()
                .any(|wanted| wanted == "All" || wanted == name)
        };
        let now_ms = self.clock.now_ms();
        let mut queues = self.lock();
        let queue = self.enter(&mut queues, self.name_in_url(&queue_url)?, now_ms)?;
        let counts = queue.counts(now_ms);
        let computed = |name: &str| match name {
            "ApproximateNumberOfMessages" => Some(counts.visible.to_string()),
            "ApproximateNumberOfMessagesDelayed" => Some(counts.delayed.to_string()),
            "ApproximateNumberOfMessagesNotVisible" => Some(counts.in_flight.to_string()),
            "CreatedTimestamp" => Some((queue.created_ms / 1_000).to_string()),
            "LastModifiedTimestamp" => Some((queue.modified_ms / 1_000).to_string()),
            "QueueArn" => Some(self.queue_arn(&queue.name)),
            _ => None,
        };
        let mut attributes = BTreeMap::new();
        for name in known.into_iter().filter(|name| wanted(name)) {
            if let Some(value) = computed(name).or_else(|| queue.attributes.get(name)) {
                attributes.insert(name, value);
            }
        }
        answer(&serde_json::json!({ "Attributes": attributes }))
    }

    /// All of the attributes are set, or none.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html>
    pub(crate) fn set_queue_attributes(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let SetQueueAttributes {
            queue_url,
            attributes: given,
        } = call.input()?;
        let mut queues = self.lock();
        let queue = queues.get_mut(self.name_in_url(&queue_url)?)?;
        let mut attributes = queue.attributes.clone();
        for (attribute, value) in &given {
            attributes.set(attribute, value)?;
        }
        let before = std::mem::replace(&mut queue.attributes, attributes);
        queue.modified_ms = self.clock.now_ms();
        self.save(queue).inspect_err(|_| queue.attributes = before)?;
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ListQueues.html>
    pub(crate) fn list_queues(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let ListQueues {
            queue_name_prefix: prefix,
            max_results,
            next_token,
        } = call.input()?;
        let limit = max_results.unwrap_or(PAGE_MAX);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(invalid_parameter("MaxResults", "Must be between 1 and 1000"));
        }
        // The token is the last name of the page before: all that is needed to go on.
        let queues = self.lock();
        let mut behind = queues
            .by_name
            .keys()
            .filter(|name| name.starts_with(&prefix) && name.as_str() > next_token.as_str());
        let page: Vec<_> = behind.by_ref().take(limit).collect();
        let urls: Vec<_> = page.iter().map(|name| self.queue_url(name)).collect();
        // AWS gives a token only to those who asked for pages.
        let more = max_results.is_some() && behind.next().is_some();
        match page.last().filter(|_| more) {
            Some(last) => answer(&serde_json::json!({ "QueueUrls": urls, "NextToken": last })),
            None => answer(&serde_json::json!({ "QueueUrls": urls })),
        }
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html>
    pub(crate) fn purge_queue(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let OneQueue { queue_url } = call.input()?;
        let now_ms = self.clock.now_ms();
        let mut queues = self.lock();
        let queue = queues.get_mut(self.name_in_url(&queue_url)?)?;
        if queue
            .purged_ms
            .is_some_and(|purged_ms| now_ms.saturating_sub(purged_ms) < PAUSE_MS)
        {
            return Err(purge_in_progress(&queue.name));
        }
        let numbers = queue.numbers();
        self.remove(queue, &numbers)?;
        queue.purged_ms = Some(now_ms);
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html>
    pub(crate) fn delete_queue(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let OneQueue { queue_url } = call.input()?;
        let name = self.name_in_url(&queue_url)?;
        let mut queues = self.lock();
        let queue = queues.get_mut(name)?;
        let mut batch = self.state.batch();
        batch.remove(Table::Queues, name.as_bytes());
        for number in queue.numbers() {
            store::remove_message(&mut batch, queue.id, number);
        }
        batch.commit()?;
        // Those who wait for a message of it learn that it is gone.
        queue.arrived.notify_waiters();
        queues.by_name.remove(name);
        queues.deleted_ms.insert(name.to_owned(), self.clock.now_ms());
        Ok(empty_answer())
    }

    fn save(&self, queue: &Queue) -> Result<(), ApiError> {
        if self.state.is_durable() {
            let mut batch = self.state.batch();
            store::put_queue(&mut batch, queue)?;
            batch.commit()?;
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(missing_parameter("QueueName"));
    }
    if name.ends_with(".fifo") {
        return Err(unsupported("a FIFO queue"));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.len() > 80 || !name.bytes().all(allowed) {
        let reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";
        return Err(invalid_parameter("QueueName", reason));
    }
    Ok(())
}
