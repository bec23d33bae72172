//! The calls as a client sees them, on a clock that the test moves.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures::FutureExt;
use serde_json::{Value, json};

use super::super::Sqs;
use crate::account::Account;
use crate::clock::Clock;
use crate::fault::{Faults, RecordThrottle};
use crate::state::State;
use crate::wire::json::{ApiError, Call, JsonService};

const START: Duration = Duration::from_millis(1_700_000_000_123);
const URL: &str = "http://localhost:1";

struct Client {
    sqs: Sqs,
    clock: Clock,
    queue: &'static str,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "calls read better with their input in place"
)]
impl Client {
    /// With one queue that has these attributes.
    fn new(attributes: Value) -> Self {
        let client = Self::open(&State::in_memory(), Clock::stopped_at(UNIX_EPOCH + START));
        client.call("CreateQueue", json!({"QueueName": "q", "Attributes": attributes}));
        client
    }

    fn open(state: &State, clock: Clock) -> Self {
        let account = Account::development("cn-north-1");
        let sqs = Sqs::open(&account, state, &clock, URL).expect("the state is readable");
        Self {
            sqs,
            clock,
            queue: "q",
        }
    }

    fn of_queue(mut self, queue: &'static str) -> Self {
        self.queue = queue;
        self
    }

    async fn wait_for(&self, operation: &str, mut input: Value) -> Result<Value, ApiError> {
        if input.get("QueueName").is_none() && input.get("QueueUrl").is_none() {
            input["QueueUrl"] = json!(self.sqs.queue_url(self.queue));
        }
        let throttle = RecordThrottle::new(&Faults::seeded(1), None);
        let call = Call {
            operation,
            body: Bytes::from(input.to_string()),
            throttle,
        };
        let body = self.sqs.call(call).await?;
        Ok(serde_json::from_slice(&body).expect("an answer is JSON"))
    }

    fn try_call(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        self.wait_for(operation, input)
            .now_or_never()
            .expect("only a long poll waits")
    }

    fn call(&self, operation: &str, input: Value) -> Value {
        self.try_call(operation, input).expect("the call is valid")
    }

    fn code(&self, operation: &str, input: Value) -> String {
        self.try_call(operation, input)
            .expect_err("the call is not valid")
            .code
            .into_owned()
    }

    fn send(&self, body: &str) {
        self.call("SendMessage", json!({"MessageBody": body}));
    }

    fn receive(&self) -> Vec<Value> {
        messages(&self.call(
            "ReceiveMessage",
            json!({"MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"]}),
        ))
    }

    fn bodies(&self) -> Vec<String> {
        let mut bodies: Vec<_> = self
            .receive()
            .iter()
            .map(|message| text(&message["Body"]))
            .collect();
        bodies.sort();
        bodies
    }

    fn attribute(&self, name: &str) -> String {
        text(&self.call("GetQueueAttributes", json!({"AttributeNames": [name]}))["Attributes"][name])
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn messages(answer: &Value) -> Vec<Value> {
    answer
        .get("Messages")
        .map(|messages| messages.as_array().expect("messages").clone())
        .unwrap_or_default()
}

#[test]
fn creating_again_is_idempotent_with_equal_attributes_only() {
    let client = Client::new(json!({"VisibilityTimeout": "60"}));
    let url = text(&client.call("GetQueueUrl", json!({"QueueName": "q"}))["QueueUrl"]);
    assert_eq!(url, format!("{URL}/{}/q", client.sqs.account.id));
    for attributes in [json!({}), json!({"VisibilityTimeout": "60"})] {
        let again = client.call("CreateQueue", json!({"QueueName": "q", "Attributes": attributes}));
        assert_eq!(again["QueueUrl"], url);
    }
    for (input, code) in [
        (
            json!({"QueueName": "q", "Attributes": {"VisibilityTimeout": "61"}}),
            "QueueNameExists",
        ),
        (
            json!({"QueueName": "q", "Attributes": {"DelaySeconds": "1"}}),
            "QueueNameExists",
        ),
        (
            json!({"QueueName": "q.fifo", "Attributes": {"FifoQueue": "true"}}),
            "UnsupportedOperation",
        ),
        (json!({"QueueName": "a b"}), "InvalidParameterValue"),
        (json!({"QueueName": ""}), "MissingParameter"),
    ] {
        assert_eq!(client.code("CreateQueue", input.clone()), code, "{input}");
    }
    let error = client
        .try_call("GetQueueUrl", json!({"QueueName": "none"}))
        .expect_err("there is no such queue");
    assert_eq!(error.query_code, Some("AWS.SimpleQueueService.NonExistentQueue"));
    let other_host = format!("http://elsewhere:9/{}/q", client.sqs.account.id);
    client.call("SendMessage", json!({"QueueUrl": other_host, "MessageBody": "b"}));
    assert_eq!(
        client.code(
            "SendMessage",
            json!({"QueueUrl": "http://elsewhere:9/1/q", "MessageBody": "b"})
        ),
        "QueueDoesNotExist"
    );
}

#[test]
fn queues_are_listed_in_pages() {
    let client = Client::new(json!({}));
    for name in ["a1", "a2", "a3"] {
        client.call("CreateQueue", json!({"QueueName": name}));
    }
    let page = client.call("ListQueues", json!({"QueueNamePrefix": "a", "MaxResults": 2}));
    assert_eq!(
        page["QueueUrls"],
        json!([client.sqs.queue_url("a1"), client.sqs.queue_url("a2")])
    );
    let page = client.call(
        "ListQueues",
        json!({"QueueNamePrefix": "a", "MaxResults": 2, "NextToken": page["NextToken"]}),
    );
    assert_eq!(
        (&page["QueueUrls"], page.get("NextToken")),
        (&json!([client.sqs.queue_url("a3")]), None)
    );
}

#[test]
fn attributes_tell_the_states_of_messages() {
    let client = Client::new(json!({}));
    client.send("visible");
    client.send("in flight");
    client.call("ReceiveMessage", json!({}));
    client.call(
        "SendMessage",
        json!({"MessageBody": "delayed", "DelaySeconds": 900}),
    );
    for (name, value) in [
        ("ApproximateNumberOfMessages", "1"),
        ("ApproximateNumberOfMessagesNotVisible", "1"),
        ("ApproximateNumberOfMessagesDelayed", "1"),
        ("VisibilityTimeout", "30"),
        ("CreatedTimestamp", "1700000000"),
    ] {
        assert_eq!(client.attribute(name), value, "{name}");
    }
    assert_eq!(client.attribute("QueueArn"), client.sqs.account.arn("sqs", "q"));
    assert_eq!(
        client.code("GetQueueAttributes", json!({"AttributeNames": ["Colour"]})),
        "InvalidAttributeName"
    );
    let set = json!({"Attributes": {"VisibilityTimeout": "7", "DelaySeconds": "901"}});
    assert_eq!(client.code("SetQueueAttributes", set), "InvalidAttributeValue");
    assert_eq!(client.attribute("VisibilityTimeout"), "30", "all or none");
    client.call(
        "SetQueueAttributes",
        json!({"Attributes": {"VisibilityTimeout": "7"}}),
    );
    assert_eq!(client.attribute("VisibilityTimeout"), "7");
}

#[test]
fn a_message_tells_its_history() {
    let client = Client::new(json!({"VisibilityTimeout": "1"}));
    let attributes = json!({"a.x": {"DataType": "String", "StringValue": "v"}, "b": {"DataType": "Binary", "BinaryValue": "AAA="}});
    let sent = client.call(
        "SendMessage",
        json!({"MessageBody": "body", "MessageAttributes": attributes}),
    );
    client.clock.advance(Duration::from_millis(10));
    client.receive();
    client.clock.advance(Duration::from_secs(1));
    let input = json!({"AttributeNames": ["All"], "MessageAttributeNames": ["a.*"]});
    let message = messages(&client.call("ReceiveMessage", input))[0].clone();
    assert_eq!(message["MessageId"], sent["MessageId"]);
    assert_eq!(
        (&message["Body"], &message["MD5OfBody"]),
        (&json!("body"), &sent["MD5OfMessageBody"])
    );
    assert_eq!(message["Attributes"]["ApproximateReceiveCount"], "2");
    assert_eq!(message["Attributes"]["SentTimestamp"], "1700000000123");
    assert_eq!(
        message["Attributes"]["ApproximateFirstReceiveTimestamp"],
        "1700000000133"
    );
    assert_eq!(message["MessageAttributes"], json!({"a.x": attributes["a.x"]}));
    assert_ne!(
        message["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"],
        "the digest covers what is returned"
    );
    assert_eq!(
        client.code("ReceiveMessage", json!({"AttributeNames": ["Colour"]})),
        "InvalidAttributeName"
    );
    for wrong in [
        json!({"MaxNumberOfMessages": 0}),
        json!({"MaxNumberOfMessages": 11}),
        json!({"WaitTimeSeconds": 21}),
        json!({"VisibilityTimeout": 43_201}),
    ] {
        assert_eq!(client.code("ReceiveMessage", wrong), "InvalidParameterValue");
    }
}

#[test]
fn visibility_hides_until_it_ends_or_is_changed() {
    let client = Client::new(json!({"DelaySeconds": "5"}));
    client.send("b");
    assert!(client.receive().is_empty(), "delayed");
    client.clock.advance(Duration::from_secs(5));
    let handle = client.receive()[0]["ReceiptHandle"].clone();
    client.clock.advance(Duration::from_millis(29_999));
    assert!(client.receive().is_empty(), "in flight");
    client.call(
        "ChangeMessageVisibility",
        json!({"ReceiptHandle": handle, "VisibilityTimeout": 60}),
    );
    client.clock.advance(Duration::from_secs(59));
    assert!(client.receive().is_empty(), "extended");
    client.call(
        "ChangeMessageVisibility",
        json!({"ReceiptHandle": handle, "VisibilityTimeout": 0}),
    );
    assert_eq!(
        client.code(
            "ChangeMessageVisibility",
            json!({"ReceiptHandle": handle, "VisibilityTimeout": 9})
        ),
        "MessageNotInflight"
    );
    let newer = client.receive()[0]["ReceiptHandle"].clone();
    assert_ne!(newer, handle);
    assert_eq!(
        client.code(
            "ChangeMessageVisibility",
            json!({"ReceiptHandle": handle, "VisibilityTimeout": 9})
        ),
        "InvalidParameterValue"
    );
    client.clock.advance(Duration::from_secs(1));
    assert_eq!(
        client.code(
            "ChangeMessageVisibility",
            json!({"ReceiptHandle": newer, "VisibilityTimeout": 43_200})
        ),
        "InvalidParameterValue"
    );
    assert_eq!(
        client.code(
            "ChangeMessageVisibility",
            json!({"ReceiptHandle": "AAAA", "VisibilityTimeout": 1})
        ),
        "ReceiptHandleIsInvalid"
    );
}

#[test]
fn only_the_last_receipt_deletes() {
    let client = Client::new(json!({"VisibilityTimeout": "1"}));
    client.send("b");
    let older = client.receive()[0]["ReceiptHandle"].clone();
    client.clock.advance(Duration::from_secs(1));
    let newer = client.receive()[0]["ReceiptHandle"].clone();
    client.call("DeleteMessage", json!({"ReceiptHandle": older}));
    assert_eq!(
        client.attribute("ApproximateNumberOfMessagesNotVisible"),
        "1",
        "a success that deletes nothing"
    );
    client.clock.advance(Duration::from_secs(1));
    client.call("DeleteMessage", json!({"ReceiptHandle": newer}));
    assert!(client.receive().is_empty(), "deleted although visible again");
    client.call("DeleteMessage", json!({"ReceiptHandle": newer}));
    assert_eq!(
        client.code("DeleteMessage", json!({"ReceiptHandle": "AAAA"})),
        "ReceiptHandleIsInvalid"
    );
    client.call("CreateQueue", json!({"QueueName": "other"}));
    let client = client.of_queue("other");
    assert_eq!(
        client.code("DeleteMessage", json!({"ReceiptHandle": newer})),
        "ReceiptHandleIsInvalid"
    );
}

#[test]
fn a_message_received_too_often_goes_to_the_dead_letter_queue() {
    let client = Client::new(json!({"VisibilityTimeout": "1"}));
    let arn = client.sqs.account.arn("sqs", "dead");
    let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 2}).to_string();
    client.call(
        "SetQueueAttributes",
        json!({"Attributes": {"RedrivePolicy": policy}}),
    );
    client.send("b");
    for _ in 0..3 {
        assert_eq!(client.receive().len(), 1, "there is no dead letter queue yet");
        client.clock.advance(Duration::from_secs(1));
    }
    client.call("CreateQueue", json!({"QueueName": "dead"}));
    assert!(client.receive().is_empty());
    assert_eq!(client.attribute("ApproximateNumberOfMessages"), "0");
    let source = client.attribute("QueueArn");
    let client = client.of_queue("dead");
    let letter = &client.receive()[0];
    assert_eq!(letter["Body"], "b");
    assert_eq!(letter["Attributes"]["DeadLetterQueueSourceArn"], source);
    assert_eq!(
        letter["Attributes"]["ApproximateReceiveCount"], "4",
        "counted across queues"
    );
    assert_eq!(
        letter["Attributes"]["SentTimestamp"], "1700000000123",
        "its age goes on"
    );
}

#[test]
fn batches_are_checked_whole_and_answered_one_by_one() {
    let client = Client::new(json!({"MaximumMessageSize": "1024"}));
    let entry = |id: &str, body: &str| json!({"Id": id, "MessageBody": body});
    let eleven: Vec<_> = (0..11).map(|id| entry(&id.to_string(), "b")).collect();
    for (entries, code) in [
        (json!([]), "EmptyBatchRequest"),
        (json!(eleven), "TooManyEntriesInBatchRequest"),
        (
            json!([entry("a", "b"), entry("a", "b")]),
            "BatchEntryIdsNotDistinct",
        ),
        (json!([entry("a b", "b")]), "InvalidBatchEntryId"),
        (
            json!(
                (0..2)
                    .map(|id| entry(&id.to_string(), &"b".repeat(600_000)))
                    .collect::<Vec<_>>()
            ),
            "BatchRequestTooLong",
        ),
    ] {
        assert_eq!(client.code("SendMessageBatch", json!({"Entries": entries})), code);
    }
    let entries = json!([entry("good", "b"), entry("long", &"b".repeat(1_025)), entry("empty", ""), {"Id": "late", "MessageBody": "b", "DelaySeconds": 901}]);
    let answer = client.call("SendMessageBatch", json!({"Entries": entries}));
    assert_eq!(answer["Successful"].as_array().expect("a list").len(), 1);
    let failed: Vec<_> = answer["Failed"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| (text(&entry["Id"]), text(&entry["Code"])))
        .collect();
    let expected = [
        ("long", "InvalidParameterValue"),
        ("empty", "MissingParameter"),
        ("late", "InvalidParameterValue"),
    ];
    assert_eq!(
        failed,
        expected.map(|(id, code)| (id.to_owned(), code.to_owned()))
    );

    let handle = client.receive()[0]["ReceiptHandle"].clone();
    let entries = json!([{"Id": "a", "ReceiptHandle": handle, "VisibilityTimeout": 5}, {"Id": "b", "ReceiptHandle": "x", "VisibilityTimeout": 5}]);
    for operation in ["ChangeMessageVisibilityBatch", "DeleteMessageBatch"] {
        let answer = client.call(operation, json!({"Entries": entries}));
        assert_eq!(answer["Successful"], json!([{"Id": "a"}]), "{operation}");
        assert_eq!(
            answer["Failed"][0]["Code"], "ReceiptHandleIsInvalid",
            "{operation}"
        );
        assert_eq!(
            client.code(operation, json!({"Entries": []})),
            "EmptyBatchRequest"
        );
    }
    assert_eq!(client.attribute("ApproximateNumberOfMessagesNotVisible"), "0");
    assert_eq!(
        client.code("SendMessage", json!({"MessageBody": "b".repeat(1_025)})),
        "InvalidParameterValue"
    );
    assert_eq!(
        client.code("SendMessage", json!({"MessageBody": "\u{1}"})),
        "InvalidMessageContents"
    );
    assert_eq!(
        client.code("SendMessage", json!({"MessageBody": "b", "MessageGroupId": "g"})),
        "UnsupportedOperation"
    );
}

#[test]
fn messages_expire_and_purges_and_names_rest_a_minute() {
    let client = Client::new(json!({"MessageRetentionPeriod": "60"}));
    client.send("b");
    client.clock.advance(Duration::from_millis(60_001));
    assert!(client.receive().is_empty());
    client.send("c");
    client.call("PurgeQueue", json!({}));
    assert!(client.receive().is_empty());
    assert_eq!(client.code("PurgeQueue", json!({})), "PurgeQueueInProgress");
    client.call("DeleteQueue", json!({}));
    assert_eq!(
        client.code("SendMessage", json!({"MessageBody": "b"})),
        "QueueDoesNotExist"
    );
    assert_eq!(
        client.code("CreateQueue", json!({"QueueName": "q"})),
        "QueueDeletedRecently"
    );
    client.clock.advance(Duration::from_secs(60));
    client.call("CreateQueue", json!({"QueueName": "q"}));
}

/// Well under the wait: the poll was woken, it did not run out.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_long_poll_wakes_when_a_message_arrives() {
    let client = Client::new(json!({"ReceiveMessageWaitTimeSeconds": "20"}));
    let poll = client.wait_for("ReceiveMessage", json!({}));
    tokio::pin!(poll);
    assert!(futures::poll!(&mut poll).is_pending());
    client
        .sqs
        .send_notification(&client.sqs.account.arn("sqs", "q"), "b".to_owned())
        .expect("the queue exists");
    let answer = tokio::time::timeout(SOON, poll)
        .await
        .expect("woken")
        .expect("a message");
    assert_eq!(messages(&answer)[0]["Body"], "b");
    let none = client
        .wait_for("ReceiveMessage", json!({"WaitTimeSeconds": 0}))
        .await
        .expect("an answer");
    assert!(messages(&none).is_empty());
}

#[tokio::test]
async fn a_long_poll_wakes_when_a_message_becomes_visible() {
    let client = Client::new(json!({}));
    client.send("b");
    let handle = client.receive()[0]["ReceiptHandle"].clone();
    for make_visible in [true, false] {
        let poll = client.wait_for("ReceiveMessage", json!({"WaitTimeSeconds": 20}));
        tokio::pin!(poll);
        assert!(futures::poll!(&mut poll).is_pending());
        if make_visible {
            client.call(
                "ChangeMessageVisibility",
                json!({"ReceiptHandle": handle, "VisibilityTimeout": 0}),
            );
        } else {
            client.clock.advance(Duration::from_secs(30));
        }
        let answer = tokio::time::timeout(SOON, poll)
            .await
            .expect("woken")
            .expect("a message");
        assert_eq!(messages(&answer).len(), 1);
    }
}

#[tokio::test]
async fn a_long_poll_ends_with_its_queue() {
    let client = Client::new(json!({}));
    let poll = client.wait_for("ReceiveMessage", json!({"WaitTimeSeconds": 20}));
    tokio::pin!(poll);
    assert!(futures::poll!(&mut poll).is_pending());
    client.call("DeleteQueue", json!({}));
    let error = tokio::time::timeout(SOON, poll)
        .await
        .expect("woken")
        .expect_err("the queue is gone");
    assert_eq!(error.code, "QueueDoesNotExist");
}

#[test]
fn a_folder_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clock = Clock::stopped_at(UNIX_EPOCH + START);
    let open = || {
        Client::open(
            &State::open(folder.path()).expect("the folder is free"),
            clock.clone(),
        )
    };
    let client = open();
    let policy = json!({"deadLetterTargetArn": client.sqs.account.arn("sqs", "dead"), "maxReceiveCount": 1})
        .to_string();
    client.call(
        "CreateQueue",
        json!({"QueueName": "q", "Attributes": {"VisibilityTimeout": "77", "RedrivePolicy": policy}}),
    );
    client.call("CreateQueue", json!({"QueueName": "dead"}));
    for body in ["a", "b", "c"] {
        client.send(body);
    }
    let received = client.receive();
    let handle = |body: &str| {
        received
            .iter()
            .find(|message| message["Body"] == body)
            .expect("received")["ReceiptHandle"]
            .clone()
    };
    client.call("DeleteMessage", json!({"ReceiptHandle": handle("a")}));
    drop(client);

    let client = open();
    assert_eq!(client.attribute("VisibilityTimeout"), "77");
    client.call("DeleteMessage", json!({"ReceiptHandle": handle("b")}));
    client.send("d");
    assert_eq!(
        client.bodies(),
        ["c", "d"],
        "what was deleted stays so, what was in flight is back"
    );
    clock.advance(Duration::from_secs(77));
    assert!(client.receive().is_empty(), "moved to the dead letter queue");
    drop(client);

    let client = open();
    assert!(client.receive().is_empty());
    let client = client.of_queue("dead");
    assert_eq!(client.bodies(), ["c", "d"]);
    client.call("DeleteQueue", json!({}));
    drop(client);
    assert_eq!(open().sqs.queue_count(), 1);
}
