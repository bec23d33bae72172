//! SendMessage and SendMessageBatch.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::answer;
use super::batch::{BatchResult, check_ids};
use crate::sqs::attributes::{DELAY_SECONDS_MAX, MESSAGE_BYTES_MAX};
use crate::sqs::error::{batch_too_long, invalid_parameter, unsupported};
use crate::sqs::message::{Content, MessageAttributes, md5_of_attributes, md5_of_body};
use crate::sqs::queue::Message;
use crate::sqs::{Sqs, store};
use crate::wire::json::{ApiError, Call};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessage {
    queue_url: String,
    #[serde(default)]
    message_body: String,
    delay_seconds: Option<u64>,
    #[serde(default)]
    message_attributes: MessageAttributes,
    #[serde(default)]
    message_system_attributes: MessageAttributes,
    message_group_id: Option<String>,
    message_deduplication_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessageBatch {
    queue_url: String,
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: String,
    #[serde(default)]
    message_body: String,
    delay_seconds: Option<u64>,
    #[serde(default)]
    message_attributes: MessageAttributes,
    #[serde(default)]
    message_system_attributes: MessageAttributes,
    message_group_id: Option<String>,
    message_deduplication_id: Option<String>,
}

/// What the sender is told about a message: enough to see that it arrived undamaged.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Sent {
    message_id: String,
    #[serde(rename = "MD5OfMessageBody")]
    md5_of_body: String,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_attributes: Option<String>,
    #[serde(
        rename = "MD5OfMessageSystemAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    md5_of_system_attributes: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SentEntry {
    id: String,
    #[serde(flatten)]
    sent: Sent,
}

/// A message to send, and its delay in seconds if it has one of its own.
type Outgoing = (Content, Option<u64>);

impl Sqs {
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
    pub(crate) fn send_message(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: SendMessage = call.input()?;
        let name = self.name_in_url(&input.queue_url)?;
        refuse_fifo(
            input.message_group_id.as_ref(),
            input.message_deduplication_id.as_ref(),
        )?;
        let content = Content {
            body: input.message_body,
            attributes: input.message_attributes,
            system_attributes: input.message_system_attributes,
        };
        let max = self.lock().get_mut(name)?.attributes.message_bytes_max;
        check(&content, input.delay_seconds, max)?;
        let sent = self.send(name, vec![(content, input.delay_seconds)])?;
        answer(&sent[0])
    }

    /// Entries that are valid are sent, the others are reported.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
    pub(crate) fn send_message_batch(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let SendMessageBatch { queue_url, entries } = call.input()?;
        let name = self.name_in_url(&queue_url)?;
        let max = self.lock().get_mut(name)?.attributes.message_bytes_max;
        check_ids(
            "SendMessageBatchRequestEntry",
            entries.iter().map(|entry| entry.id.as_str()),
        )?;
        let (mut result, mut ids, mut outgoing, mut total) = (BatchResult::new(), Vec::new(), Vec::new(), 0);
        for entry in entries {
            let content = Content {
                body: entry.message_body,
                attributes: entry.message_attributes,
                system_attributes: entry.message_system_attributes,
            };
            total += content.bytes();
            let checked = refuse_fifo(
                entry.message_group_id.as_ref(),
                entry.message_deduplication_id.as_ref(),
            )
            .and_then(|()| check(&content, entry.delay_seconds, max));
            match checked {
                Ok(()) => {
                    ids.push(entry.id);
                    outgoing.push((content, entry.delay_seconds));
                }
                Err(error) => result.fail(entry.id, error),
            }
        }
        if total as u64 > MESSAGE_BYTES_MAX {
            return Err(batch_too_long(total, MESSAGE_BYTES_MAX as usize));
        }
        for (id, sent) in ids.into_iter().zip(self.send(name, outgoing)?) {
            result.succeed(SentEntry { id, sent });
        }
        result.answer()
    }

    /// Keeps the messages, then lets them be received.
    pub(crate) fn send(&self, name: &str, outgoing: Vec<Outgoing>) -> Result<Vec<Sent>, ApiError> {
        let sent: Vec<_> = outgoing.iter().map(|(content, _)| Sent::of(content)).collect();
        let now_ms = self.clock.now_ms();
        let mut queues = self.lock();
        let queue = queues.get_mut(name)?;
        let delay_of = |own: Option<u64>| own.unwrap_or(queue.attributes.delay_seconds) * 1_000;
        let messages: Vec<_> = outgoing
            .into_iter()
            .zip(&sent)
            .map(|((content, delay), sent)| {
                Message::new(sent.message_id.clone(), content, now_ms, now_ms + delay_of(delay))
            })
            .collect();
        if self.state.is_durable() {
            let mut batch = self.state.batch();
            for (number, message) in (queue.next_number()..).zip(&messages) {
                store::put_message(&mut batch, queue.id, number, message)?;
            }
            batch.commit()?;
        }
        for message in messages {
            queue.add(message);
        }
        Ok(sent)
    }
}

impl Sent {
    fn of(content: &Content) -> Self {
        Self {
            message_id: uuid::Uuid::new_v4().to_string(),
            md5_of_body: md5_of_body(&content.body),
            md5_of_attributes: md5_of_attributes(&content.attributes),
            md5_of_system_attributes: md5_of_attributes(&content.system_attributes),
        }
    }
}

fn check(content: &Content, delay_seconds: Option<u64>, bytes_max: u64) -> Result<(), ApiError> {
    content.check()?;
    if content.bytes() as u64 > bytes_max {
        return Err(invalid_parameter(
            "MessageBody",
            &format!("Message must be shorter than {bytes_max} bytes"),
        ));
    }
    if delay_seconds.is_some_and(|seconds| seconds > DELAY_SECONDS_MAX) {
        return Err(invalid_parameter(
            "DelaySeconds",
            "DelaySeconds must be >= 0 and <= 900",
        ));
    }
    Ok(())
}

fn refuse_fifo(group: Option<&String>, deduplication: Option<&String>) -> Result<(), ApiError> {
    match (group, deduplication) {
        (_, Some(_)) => {
            let reason = "The request includes a parameter that is not valid for this queue type";
            Err(invalid_parameter("MessageDeduplicationId", reason))
        }
        (Some(_), None) => Err(unsupported("MessageGroupId on a standard queue")),
        (None, None) => Ok(()),
    }
}
