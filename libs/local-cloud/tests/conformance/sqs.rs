//! SQS standard queues, held against
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/>.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
    QueueAttributeName, SendMessageBatchRequestEntry,
};

use crate::{Target, unique};

/// How long a message may take to be received; well below a long poll of 20 s.
const SOON: Duration = Duration::from_secs(15);

/// A queue of a test's own.
struct Queue {
    client: Client,
    name: String,
    url: String,
    /// Keeps an embedded cloud running.
    _target: Arc<Target>,
}

impl Queue {
    async fn create(attributes: &[(QueueAttributeName, &str)]) -> Self {
        Self::create_at(Arc::new(Target::start().await), attributes).await
    }

    async fn create_at(target: Arc<Target>, attributes: &[(QueueAttributeName, &str)]) -> Self {
        let (client, name) = (target.sqs.clone(), unique("queue"));
        let mut request = client.create_queue().queue_name(&name);
        for (attribute, value) in attributes {
            request = request.attributes(attribute.clone(), *value);
        }
        let url = request
            .send()
            .await
            .expect("a new queue")
            .queue_url
            .expect("a URL");
        Self {
            client,
            name,
            url,
            _target: target,
        }
    }

    async fn send(&self, body: &str) {
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .send()
            .await
            .expect("sent");
    }

    async fn receive(&self, wait_seconds: i32) -> Vec<Message> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10);
        let request = request.wait_time_seconds(wait_seconds);
        let request = request.message_system_attribute_names(MessageSystemAttributeName::All);
        let answer = request
            .message_attribute_names("All")
            .send()
            .await
            .expect("received");
        answer.messages.unwrap_or_default()
    }

    /// Receives the one message that must come.
    async fn receive_one(&self) -> Message {
        let mut messages = tokio::time::timeout(SOON, self.receive(20))
            .await
            .expect("a message comes");
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    async fn delete(&self, message: &Message) {
        let request = self.client.delete_message().queue_url(&self.url);
        request
            .set_receipt_handle(message.receipt_handle.clone())
            .send()
            .await
            .expect("a valid handle");
    }

    async fn show(&self, message: &Message, after_seconds: i32) {
        let request = self.client.change_message_visibility().queue_url(&self.url);
        let request = request.set_receipt_handle(message.receipt_handle.clone());
        request
            .visibility_timeout(after_seconds)
            .send()
            .await
            .expect("it is in flight");
    }

    async fn attribute(&self, name: QueueAttributeName) -> String {
        let request = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(name.clone());
        let answer = request.send().await.expect("the queue exists");
        answer
            .attributes
            .expect("attributes")
            .remove(&name)
            .expect("the one that was asked for")
    }
}

fn count(message: &Message) -> &str {
    let attributes = message.attributes().expect("all were asked for");
    &attributes[&MessageSystemAttributeName::ApproximateReceiveCount]
}

/// API_CreateQueue: the same name with equal attributes answers the same URL, with others it fails.
#[tokio::test]
async fn creating_a_queue_again_is_idempotent() {
    let queue = Queue::create(&[(QueueAttributeName::VisibilityTimeout, "60")]).await;
    let again = queue.client.create_queue().queue_name(&queue.name);
    let again = again
        .attributes(QueueAttributeName::VisibilityTimeout, "60")
        .send()
        .await
        .expect("equal");
    assert_eq!(again.queue_url(), Some(queue.url.as_str()));
    let found = queue
        .client
        .get_queue_url()
        .queue_name(&queue.name)
        .send()
        .await
        .expect("it exists");
    assert_eq!(found.queue_url(), Some(queue.url.as_str()));
    let other = queue.client.create_queue().queue_name(&queue.name);
    let other = other
        .attributes(QueueAttributeName::VisibilityTimeout, "61")
        .send()
        .await;
    let error = other.expect_err("another time-out").into_service_error();
    assert!(error.is_queue_name_exists(), "{error:?}");
    let missing = queue
        .client
        .get_queue_url()
        .queue_name("there-is-no-such-queue")
        .send()
        .await;
    let error = missing.expect_err("there is none").into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
}

/// API_Message: digests, times and counts. The SDK itself checks MD5OfBody.
#[tokio::test]
async fn a_message_arrives_with_its_attributes() {
    let queue = Queue::create(&[]).await;
    let value = MessageAttributeValue::builder()
        .data_type("String")
        .string_value("b")
        .build()
        .expect("a type");
    let request = queue
        .client
        .send_message()
        .queue_url(&queue.url)
        .message_body("body");
    let sent = request.message_attributes("a", value).send().await.expect("sent");
    let message = queue.receive_one().await;
    assert_eq!(
        (message.body(), message.message_id()),
        (Some("body"), sent.message_id())
    );
    assert_eq!(message.md5_of_body(), sent.md5_of_message_body());
    assert_eq!(
        message.md5_of_message_attributes(),
        sent.md5_of_message_attributes()
    );
    assert_eq!(
        message.message_attributes().expect("all were asked for")["a"].string_value(),
        Some("b")
    );
    assert_eq!(count(&message), "1");
    let attributes = message.attributes().expect("all were asked for");
    let time = |name| attributes[&name].parse::<u64>().expect("milliseconds");
    let sent_ms = time(MessageSystemAttributeName::SentTimestamp);
    assert!(sent_ms > 1_600_000_000_000);
    assert!(time(MessageSystemAttributeName::ApproximateFirstReceiveTimestamp) >= sent_ms);
}

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>
#[tokio::test]
async fn a_received_message_is_hidden_until_its_time_out_ends() {
    let queue = Queue::create(&[(QueueAttributeName::VisibilityTimeout, "43200")]).await;
    queue.send("b").await;
    let first = queue.receive_one().await;
    assert!(queue.receive(0).await.is_empty(), "in flight");
    assert_eq!(
        queue
            .attribute(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .await,
        "1"
    );
    queue.show(&first, 0).await;
    let second = queue.receive_one().await;
    assert_eq!((second.message_id(), count(&second)), (first.message_id(), "2"));
    assert_ne!(second.receipt_handle(), first.receipt_handle());
    queue.show(&second, 1).await;
    let third = queue.receive_one().await;
    assert_eq!(count(&third), "3", "the long poll woke when the time-out ended");
    queue.delete(&third).await;
    assert_eq!(
        queue
            .attribute(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .await,
        "0"
    );
}

/// API_ChangeMessageVisibility: 0 to 43,200 seconds, and only in flight.
#[tokio::test]
async fn visibility_is_changed_in_flight_only() {
    let queue = Queue::create(&[]).await;
    queue.send("b").await;
    let message = queue.receive_one().await;
    let change = |handle: Option<String>, seconds| {
        let request = queue.client.change_message_visibility().queue_url(&queue.url);
        request
            .set_receipt_handle(handle)
            .visibility_timeout(seconds)
            .send()
    };
    let handle = || message.receipt_handle.clone();
    let error = change(handle(), 43_201)
        .await
        .expect_err("more than twelve hours");
    assert_eq!(error.code(), Some("InvalidParameterValue"));
    change(handle(), 0).await.expect("it is in flight");
    let error = change(handle(), 5)
        .await
        .expect_err("it is visible")
        .into_service_error();
    assert!(error.is_message_not_inflight(), "{error:?}");
    let error = change(Some("nonsense".to_owned()), 5)
        .await
        .expect_err("no handle")
        .into_service_error();
    assert!(error.is_receipt_handle_is_invalid(), "{error:?}");
}

/// API_DeleteMessage: "you must provide the most recently received ReceiptHandle for the message
/// (otherwise, the request succeeds, but the message will not be deleted)".
#[tokio::test]
async fn a_stale_handle_deletes_nothing() {
    let queue = Queue::create(&[]).await;
    queue.send("b").await;
    let first = queue.receive_one().await;
    queue.show(&first, 0).await;
    let second = queue.receive_one().await;
    queue.delete(&first).await;
    queue.show(&second, 0).await;
    let third = queue.receive_one().await;
    queue.delete(&third).await;
    queue.delete(&third).await;
    assert!(queue.receive(0).await.is_empty());
    let nonsense = queue
        .client
        .delete_message()
        .queue_url(&queue.url)
        .receipt_handle("nonsense")
        .send()
        .await;
    let error = nonsense.expect_err("no handle").into_service_error();
    assert!(error.is_receipt_handle_is_invalid(), "{error:?}");
}

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>
#[tokio::test]
async fn a_long_poll_returns_when_a_message_arrives() {
    let queue = Queue::create(&[]).await;
    let begun = Instant::now();
    let sender = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        queue.send("b").await;
    };
    let (message, ()) = tokio::join!(queue.receive_one(), sender);
    assert_eq!(message.body(), Some("b"));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let begun = Instant::now();
    assert!(queue.receive(1).await.is_empty());
    assert!(
        begun.elapsed() >= Duration::from_millis(900),
        "an empty long poll waits"
    );
}

/// DelaySeconds hides a new message; the queue counts it as delayed.
#[tokio::test]
async fn a_delayed_message_comes_later() {
    let queue = Queue::create(&[]).await;
    let request = queue
        .client
        .send_message()
        .queue_url(&queue.url)
        .message_body("late")
        .delay_seconds(2);
    request.send().await.expect("sent");
    assert!(queue.receive(0).await.is_empty());
    assert_eq!(
        queue
            .attribute(QueueAttributeName::ApproximateNumberOfMessagesDelayed)
            .await,
        "1"
    );
    assert_eq!(queue.receive_one().await.body(), Some("late"));
}

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html>
#[tokio::test]
async fn a_message_received_too_often_becomes_a_dead_letter() {
    let target = Arc::new(Target::start().await);
    let dead = Queue::create_at(Arc::clone(&target), &[]).await;
    let arn = dead.attribute(QueueAttributeName::QueueArn).await;
    let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"2"}}"#);
    let queue = Queue::create_at(target, &[(QueueAttributeName::RedrivePolicy, &policy)]).await;
    queue.send("poison").await;
    for receipt in ["1", "2"] {
        let message = queue.receive_one().await;
        assert_eq!(count(&message), receipt);
        queue.show(&message, 0).await;
    }
    assert!(queue.receive(1).await.is_empty());
    let letter = dead.receive_one().await;
    assert_eq!(letter.body(), Some("poison"));
    assert_eq!(
        queue
            .attribute(QueueAttributeName::ApproximateNumberOfMessages)
            .await,
        "0"
    );
}

/// API_SendMessageBatch and API_DeleteMessageBatch: one to ten entries with distinct ids.
#[tokio::test]
async fn batches_have_one_to_ten_distinct_entries() {
    let queue = Queue::create(&[]).await;
    let entry = |id: &str| {
        let entry = SendMessageBatchRequestEntry::builder().id(id).message_body(id);
        entry.build().expect("id and body are set")
    };
    let send = |ids: Vec<String>| {
        let entries = ids.iter().map(|id| entry(id)).collect();
        queue
            .client
            .send_message_batch()
            .queue_url(&queue.url)
            .set_entries(Some(entries))
            .send()
    };
    let numbered = |count: u32| (0..count).map(|id| id.to_string()).collect::<Vec<_>>();
    let error = send(numbered(0)).await.expect_err("none").into_service_error();
    assert!(error.is_empty_batch_request(), "{error:?}");
    let error = send(numbered(11)).await.expect_err("eleven").into_service_error();
    assert!(error.is_too_many_entries_in_batch_request(), "{error:?}");
    let error = send(vec!["a".to_owned(), "a".to_owned()])
        .await
        .expect_err("twice")
        .into_service_error();
    assert!(error.is_batch_entry_ids_not_distinct(), "{error:?}");
    let answer = send(numbered(10)).await.expect("ten");
    assert_eq!((answer.successful().len(), answer.failed().len()), (10, 0));

    let mut received = Vec::new();
    while received.len() < 10 {
        received.extend(
            tokio::time::timeout(SOON, queue.receive(20))
                .await
                .expect("ten messages come"),
        );
    }
    let bodies: BTreeSet<_> = received.iter().filter_map(|message| message.body()).collect();
    assert_eq!(bodies.len(), 10);
    let entries = received.iter().enumerate().map(|(id, message)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
        let handle = if id == 0 {
            Some("nonsense".to_owned())
        } else {
            message.receipt_handle.clone()
        };
        entry
            .set_receipt_handle(handle)
            .build()
            .expect("id and handle are set")
    });
    let request = queue.client.delete_message_batch().queue_url(&queue.url);
    let answer = request
        .set_entries(Some(entries.collect()))
        .send()
        .await
        .expect("partial success");
    assert_eq!(answer.successful().len(), 9);
    let failed = &answer.failed()[0];
    assert_eq!(
        (failed.id(), failed.code(), failed.sender_fault()),
        ("0", "ReceiptHandleIsInvalid", true)
    );
}

/// API_ReceiveMessage: 1 to 10 messages, 0 to 20 seconds.
#[tokio::test]
async fn parameters_outside_their_ranges_are_refused() {
    let queue = Queue::create(&[]).await;
    let receive = || queue.client.receive_message().queue_url(&queue.url);
    let error = receive()
        .max_number_of_messages(11)
        .send()
        .await
        .expect_err("eleven");
    assert_eq!(error.code(), Some("InvalidParameterValue"));
    let error = receive()
        .wait_time_seconds(21)
        .send()
        .await
        .expect_err("21 seconds");
    assert_eq!(error.code(), Some("InvalidParameterValue"));
    let set = queue.client.set_queue_attributes().queue_url(&queue.url);
    let error = set
        .attributes(QueueAttributeName::VisibilityTimeout, "43201")
        .send()
        .await;
    let error = error.expect_err("more than twelve hours").into_service_error();
    assert!(error.is_invalid_attribute_value(), "{error:?}");
    let control = queue
        .client
        .send_message()
        .queue_url(&queue.url)
        .message_body("\u{1}")
        .send()
        .await;
    let error = control.expect_err("no XML character").into_service_error();
    assert!(error.is_invalid_message_contents(), "{error:?}");
}

/// API_PurgeQueue and API_DeleteQueue.
#[tokio::test]
async fn a_purged_queue_is_empty_and_a_deleted_one_is_gone() {
    let queue = Queue::create(&[]).await;
    queue.send("b").await;
    queue
        .client
        .purge_queue()
        .queue_url(&queue.url)
        .send()
        .await
        .expect("purged");
    let again = queue.client.purge_queue().queue_url(&queue.url).send().await;
    let error = again.expect_err("once a minute").into_service_error();
    assert!(error.is_purge_queue_in_progress(), "{error:?}");
    let listed = queue
        .client
        .list_queues()
        .queue_name_prefix(&queue.name)
        .send()
        .await
        .expect("listed");
    assert_eq!(listed.queue_urls(), std::slice::from_ref(&queue.url));
    queue
        .client
        .delete_queue()
        .queue_url(&queue.url)
        .send()
        .await
        .expect("deleted");
}
