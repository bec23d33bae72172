//! ReceiveMessage: wait, hand out, and move what was handed out too often.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{answer, empty_answer};
use crate::sqs::attributes::{VISIBILITY_SECONDS_MAX, WAIT_SECONDS_MAX};
use crate::sqs::error::{invalid_attribute_name, invalid_parameter, over_limit};
use crate::sqs::message::{MessageAttributes, md5_of_attributes, md5_of_body};
use crate::sqs::queue::Message;
use crate::sqs::receipt::Receipt;
use crate::sqs::{Queues, Sqs, store};
use crate::wire::json::{ApiError, Call};

const SYSTEM_ATTRIBUTES: [&str; 9] = [
    "AWSTraceHeader",
    "ApproximateFirstReceiveTimestamp",
    "ApproximateReceiveCount",
    "DeadLetterQueueSourceArn",
    // Only messages of FIFO queues have these three; asking for them is no mistake.
    "MessageDeduplicationId",
    "MessageGroupId",
    "SequenceNumber",
    "SenderId",
    "SentTimestamp",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiveMessage {
    queue_url: String,
    max_number_of_messages: Option<usize>,
    visibility_timeout: Option<u64>,
    wait_time_seconds: Option<u64>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    /// The older name of the same.
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WireMessage<'a> {
    message_id: &'a str,
    receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    md5_of_body: String,
    body: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'static str, String>,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_attributes: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: MessageAttributes,
}

/// What one look at the queue found: messages that are handed out now, and when to look again.
struct Look {
    messages: Vec<(Receipt, Message)>,
    next_visible_ms: Option<u64>,
}

impl Sqs {
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
    pub(crate) async fn receive_message(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: ReceiveMessage = call.input()?;
        check(&input)?;
        let name = self.name_in_url(&input.queue_url)?;
        let (arrived, wait_seconds) = {
            let mut queues = self.lock();
            let queue = queues.get_mut(name)?;
            let wait_seconds = input.wait_time_seconds.unwrap_or(queue.attributes.wait_seconds);
            (queue.arrived.clone(), wait_seconds)
        };
        let deadline = Instant::now() + Duration::from_secs(wait_seconds);
        loop {
            // Listen before looking: a message that arrives in between wakes this call too.
            let woken = arrived.notified();
            let Look {
                messages,
                next_visible_ms,
            } = self.receive(name, &input, wait_seconds > 0)?;
            if !messages.is_empty() {
                return self.received_answer(&input, &messages);
            }
            if Instant::now() >= deadline {
                return Ok(empty_answer());
            }
            let becomes_visible = async {
                match next_visible_ms {
                    Some(visible_ms) => self.clock.wait_until(visible_ms).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = woken => {}
                () = becomes_visible => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// One look: what can be received now, else when something may be.
    fn receive(&self, name: &str, input: &ReceiveMessage, is_long_poll: bool) -> Result<Look, ApiError> {
        let now_ms = self.clock.now_ms();
        let mut queues = self.lock();
        let dead_letter_queue = self.dead_letter_queue(&mut queues, name)?;
        let mut serial = queues.last_serial;
        let queue = self.enter(&mut queues, name, now_ms)?;
        if queue.is_over_limit(now_ms) {
            // A long poll waits for messages to be deleted instead.
            return if is_long_poll {
                Ok(Look {
                    messages: Vec::new(),
                    next_visible_ms: queue.next_visible_ms(now_ms),
                })
            } else {
                Err(over_limit())
            };
        }
        let visibility_ms = input
            .visibility_timeout
            .unwrap_or(queue.attributes.visibility_seconds)
            * 1_000;
        let max = input.max_number_of_messages.unwrap_or(1);
        let max_receives = dead_letter_queue.as_ref().map(|(_, max_receives)| *max_receives);
        let received = queue.receive(max, max_receives, visibility_ms, now_ms, &mut serial);
        let next_visible_ms = queue.next_visible_ms(now_ms);
        queues.last_serial = serial;
        if let Some((target, _)) = dead_letter_queue {
            for number in received.dead_letters {
                self.move_to(&mut queues, name, &target, number, now_ms)?;
            }
        }
        Ok(Look {
            messages: received.messages,
            next_visible_ms,
        })
    }

    /// Where messages of the queue go after how many receipts; None when that queue does not exist,
    /// in which case they stay.
    fn dead_letter_queue(&self, queues: &mut Queues, name: &str) -> Result<Option<(String, u32)>, ApiError> {
        let Some(redrive) = queues.get_mut(name)?.attributes.redrive.clone() else {
            return Ok(None);
        };
        let target = self
            .name_in_arn(&redrive.dead_letter_target_arn)
            .unwrap_or_default();
        let exists = target != name && queues.by_name.contains_key(target);
        Ok(exists.then(|| (target.to_owned(), redrive.max_receive_count)))
    }

    /// Moves a message: in the durable state in one step, then in memory under the same lock.
    fn move_to(
        &self,
        queues: &mut Queues,
        source: &str,
        target: &str,
        number: u64,
        now_ms: u64,
    ) -> Result<(), ApiError> {
        let source_arn = self.queue_arn(source);
        let (target_id, target_number) = {
            let target = queues.get_mut(target)?;
            (target.id, target.next_number())
        };
        let queue = queues.get_mut(source)?;
        let Some(message) = queue.remove(number) else {
            return Ok(());
        };
        let dead_letter = message.clone().into_dead_letter(source_arn, now_ms);
        if self.state.is_durable() {
            let mut batch = self.state.batch();
            store::remove_message(&mut batch, queue.id, number);
            store::put_message(&mut batch, target_id, target_number, &dead_letter)?;
            if let Err(error) = batch.commit() {
                queue.restore(number, message);
                return Err(error.into());
            }
        }
        queues.get_mut(target)?.add(dead_letter);
        Ok(())
    }

    fn received_answer(
        &self,
        input: &ReceiveMessage,
        messages: &[(Receipt, Message)],
    ) -> Result<Bytes, ApiError> {
        let messages: Vec<_> = messages
            .iter()
            .map(|(receipt, message)| {
                let message_attributes = selected_attributes(message, &input.message_attribute_names);
                WireMessage {
                    message_id: &message.id,
                    receipt_handle: receipt.encode(),
                    md5_of_body: md5_of_body(&message.content.body),
                    body: &message.content.body,
                    attributes: self.system_attributes(message, input),
                    md5_of_attributes: md5_of_attributes(&message_attributes),
                    message_attributes,
                }
            })
            .collect();
        answer(&serde_json::json!({ "Messages": messages }))
    }

    fn system_attributes(&self, message: &Message, input: &ReceiveMessage) -> BTreeMap<&'static str, String> {
        let value = |name| match name {
            "AWSTraceHeader" => message.content.trace_header().map(str::to_owned),
            "ApproximateFirstReceiveTimestamp" => message.first_received_ms.map(|ms| ms.to_string()),
            "ApproximateReceiveCount" => Some(message.receive_count.to_string()),
            "DeadLetterQueueSourceArn" => message.dead_letter_source.clone(),
            "SenderId" => Some(self.account.id.clone()),
            "SentTimestamp" => Some(message.sent_ms.to_string()),
            _ => None,
        };
        let asked = || {
            input
                .message_system_attribute_names
                .iter()
                .chain(&input.attribute_names)
        };
        SYSTEM_ATTRIBUTES
            .into_iter()
            .filter(|name| asked().any(|asked| asked == "All" || asked == name))
            .filter_map(|name| Some((name, value(name)?)))
            .collect()
    }
}

/// The attributes that were asked for by name, by `prefix.*`, by `All` or by `.*`.
fn selected_attributes(message: &Message, asked: &[String]) -> MessageAttributes {
    let is_asked = |name: &str| {
        asked.iter().any(|asked| match asked.strip_suffix(".*") {
            Some(prefix) => name.starts_with(prefix),
            None => asked == "All" || asked == name,
        })
    };
    let attributes = message.content.attributes.iter();
    attributes
        .filter(|(name, _)| is_asked(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn check(input: &ReceiveMessage) -> Result<(), ApiError> {
    if input
        .max_number_of_messages
        .is_some_and(|max| !(1..=10).contains(&max))
    {
        return Err(invalid_parameter(
            "MaxNumberOfMessages",
            "Must be between 1 and 10, if provided",
        ));
    }
    if input
        .wait_time_seconds
        .is_some_and(|seconds| seconds > WAIT_SECONDS_MAX)
    {
        return Err(invalid_parameter(
            "WaitTimeSeconds",
            "Must be >= 0 and <= 20, if provided",
        ));
    }
    if input
        .visibility_timeout
        .is_some_and(|seconds| seconds > VISIBILITY_SECONDS_MAX)
    {
        return Err(invalid_parameter(
            "VisibilityTimeout",
            "Must be >= 0 and <= 43200, if provided",
        ));
    }
    let mut asked = input
        .message_system_attribute_names
        .iter()
        .chain(&input.attribute_names);
    match asked.find(|name| *name != "All" && !SYSTEM_ATTRIBUTES.contains(&name.as_str())) {
        Some(unknown) => Err(invalid_attribute_name(unknown)),
        None => Ok(()),
    }
}
