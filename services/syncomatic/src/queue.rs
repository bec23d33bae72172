//! The source side's queues: what is received, hidden, released and deleted.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName};
use tokio::time::Instant;

use crate::config::{Queue, VISIBILITY_MAX};
use crate::failure::{At, CallFailure};
use crate::metrics::Metrics;

/// The longest that SQS lets a receive wait. Shorter waits find messages no sooner and cost more calls.
pub(crate) const LONG_POLL: Duration = Duration::from_secs(20);
/// The name of the message attribute that says why a message is a dead letter.
pub(crate) const REASON_ATTRIBUTE: &str = "reason";

/// A message in hand.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) receive_count: u32,
    pub(crate) sent_at: SystemTime,
    receipt_handle: String,
}

/// The notification queue and the dead letter queue, which have been found to exist.
pub(crate) struct SourceQueue {
    pub(crate) sqs: Client,
    pub(crate) url: String,
    pub(crate) dead_letter_url: Option<String>,
    pub(crate) visibility_timeout: Duration,
}

/// A queue's URL and its ARN.
pub(crate) async fn find(sqs: &Client, queue: &Queue) -> Result<(String, String), CallFailure> {
    let url = match queue {
        Queue::Url(url) => url.clone(),
        Queue::Name(name) => {
            let answer = sqs.get_queue_url().queue_name(name).send().await;
            let answer = answer.map_err(|error| failure("GetQueueUrl", &error))?;
            answer
                .queue_url
                .ok_or_else(|| CallFailure::incomplete(At::Source, "GetQueueUrl", "QueueUrl"))?
        }
    };
    let request = sqs
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names(QueueAttributeName::QueueArn);
    let answer = request
        .send()
        .await
        .map_err(|error| failure("GetQueueAttributes", &error))?;
    let arn = answer
        .attributes
        .and_then(|mut attributes| attributes.remove(&QueueAttributeName::QueueArn));
    let arn = arn.ok_or_else(|| CallFailure::incomplete(At::Source, "GetQueueAttributes", "QueueArn"))?;
    Ok((url, arn))
}

/// Messages in the queue, as far as SQS knows at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    /// To be received.
    pub(crate) visible: i64,
    /// In somebody's hands.
    pub(crate) hidden: i64,
    /// Not to be received yet.
    pub(crate) delayed: i64,
}

impl SourceQueue {
    /// How many messages there are.
    pub(crate) async fn depth(&self) -> Result<Depth, CallFailure> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages as Visible, ApproximateNumberOfMessagesDelayed as Delayed,
            ApproximateNumberOfMessagesNotVisible as Hidden,
        };
        const OPERATION: &str = "GetQueueAttributes";
        let request = self.sqs.get_queue_attributes().queue_url(&self.url);
        let names = vec![Visible, Hidden, Delayed];
        let answer = request.set_attribute_names(Some(names)).send().await;
        let answer = answer.map_err(|error| failure(OPERATION, &error))?;
        let attributes = answer.attributes.unwrap_or_default();
        let number = |name| {
            let number = attributes.get(&name).and_then(|text| text.parse().ok());
            number.ok_or_else(|| CallFailure::incomplete(At::Source, OPERATION, "numbers of messages"))
        };
        Ok(Depth {
            visible: number(Visible)?,
            hidden: number(Hidden)?,
            delayed: number(Delayed)?,
        })
    }

    /// Takes up to `at_most` messages (at most 10), which are hidden from now on. Waits for the first.
    pub(crate) async fn receive(&self, at_most: usize, wait: Duration) -> Result<Vec<Message>, CallFailure> {
        let answer = self
            .sqs
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(at_most).unwrap_or(1).clamp(1, 10))
            .wait_time_seconds(seconds(wait))
            .visibility_timeout(seconds(self.visibility_timeout))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .map_err(|error| failure("ReceiveMessage", &error))?;
        Ok(answer
            .messages
            .unwrap_or_default()
            .into_iter()
            .map(Message::from)
            .collect())
    }

    /// Keeps a message hidden for as long as it is polled. It ends only with the 12 hours that SQS
    /// allows: then the message may be delivered to another receiver beside this one, which the
    /// conditional writes allow for.
    pub(crate) async fn keep_hidden(&self, message: &Message, metrics: &Metrics) -> Infallible {
        let since = Instant::now();
        while since.elapsed() + self.visibility_timeout < VISIBILITY_MAX {
            tokio::time::sleep(self.visibility_timeout / 3).await;
            if let Err(error) = self.hide(message, self.visibility_timeout).await {
                metrics.queue_operation_failed("extend");
                tracing::warn!(message = message.id, %error, "cannot extend the visibility time-out");
            }
        }
        tracing::warn!(
            message = message.id,
            "in hand for 12 hours: it can no longer be kept hidden"
        );
        std::future::pending().await
    }

    /// Hides a message for this long from now on; zero makes it visible.
    pub(crate) async fn hide(&self, message: &Message, period: Duration) -> Result<(), CallFailure> {
        let request = self.sqs.change_message_visibility().queue_url(&self.url);
        let request = request
            .receipt_handle(&message.receipt_handle)
            .visibility_timeout(seconds(period));
        let answer = request.send().await;
        answer
            .map(drop)
            .map_err(|error| failure("ChangeMessageVisibility", &error))
    }

    pub(crate) async fn delete(&self, message: &Message) -> Result<(), CallFailure> {
        let request = self
            .sqs
            .delete_message()
            .queue_url(&self.url)
            .receipt_handle(&message.receipt_handle);
        request
            .send()
            .await
            .map(drop)
            .map_err(|error| failure("DeleteMessage", &error))
    }

    /// Sends a copy of the message to the dead letter queue at `url`, with the reason beside it.
    pub(crate) async fn bury(&self, url: &str, message: &Message, reason: &str) -> Result<(), CallFailure> {
        let reason = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(reason)
            .build();
        let reason = reason.map_err(|_| CallFailure::incomplete(At::Source, "SendMessage", "reason"))?;
        let request = self.sqs.send_message().queue_url(url).message_body(&message.body);
        let answer = request.message_attributes(REASON_ATTRIBUTE, reason).send().await;
        answer.map(drop).map_err(|error| failure("SendMessage", &error))
    }
}

impl From<aws_sdk_sqs::types::Message> for Message {
    fn from(message: aws_sdk_sqs::types::Message) -> Self {
        let attributes = message.attributes.unwrap_or_default();
        let number = |name| {
            attributes
                .get(&name)
                .and_then(|text: &String| text.parse::<u64>().ok())
        };
        let sent_at = number(MessageSystemAttributeName::SentTimestamp)
            .map_or_else(SystemTime::now, |millis| {
                SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
            });
        let receive_count = number(MessageSystemAttributeName::ApproximateReceiveCount).unwrap_or(1);
        Self {
            id: message.message_id.unwrap_or_default(),
            body: message.body.unwrap_or_default(),
            receive_count: u32::try_from(receive_count).unwrap_or(u32::MAX),
            sent_at,
            receipt_handle: message.receipt_handle.unwrap_or_default(),
        }
    }
}

fn failure<E>(
    operation: &'static str,
    error: &aws_sdk_sqs::error::SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>,
) -> CallFailure
where
    E: aws_sdk_sqs::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    CallFailure::new(At::Source, operation, error)
}

fn seconds(period: Duration) -> i32 {
    i32::try_from(period.as_secs()).unwrap_or(i32::MAX)
}
