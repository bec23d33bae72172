//! S3 event notifications to SQS.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>

use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, Event, FilterRule, FilterRuleName, NotificationConfiguration,
    NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter, VersioningConfiguration,
};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;

use crate::s3_keys::AWKWARD_KEYS;
use crate::{Target, refusal, unique};

pub(crate) struct Queue {
    pub(crate) url: String,
    pub(crate) arn: String,
}

/// A queue that S3 may send to.
pub(crate) async fn queue(target: &Target) -> Queue {
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},
        "Action":"sqs:SendMessage","Resource":"*"}]}"#;
    let create = target.sqs.create_queue().queue_name(unique("conformance"));
    let create = create.attributes(QueueAttributeName::Policy, policy);
    let url = create.send().await.expect("a queue").queue_url.expect("its URL");
    let arn = QueueAttributeName::QueueArn;
    let attributes = target
        .sqs
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names(arn.clone())
        .send()
        .await;
    let arn = attributes.expect("attributes").attributes.expect("attributes")[&arn].clone();
    Queue { url, arn }
}

fn filter(prefix: &str, suffix: &str) -> NotificationConfigurationFilter {
    let rule = |name, value: &str| FilterRule::builder().name(name).value(value).build();
    let rules = vec![
        rule(FilterRuleName::Prefix, prefix),
        rule(FilterRuleName::Suffix, suffix),
    ];
    NotificationConfigurationFilter::builder()
        .key(S3KeyFilter::builder().set_filter_rules(Some(rules)).build())
        .build()
}

pub(crate) async fn configure(target: &Target, bucket: &str, queues: Vec<QueueConfiguration>) {
    let configuration = NotificationConfiguration::builder()
        .set_queue_configurations(Some(queues))
        .build();
    let put = target.s3.put_bucket_notification_configuration().bucket(bucket);
    put.notification_configuration(configuration)
        .send()
        .await
        .expect("configured");
}

pub(crate) fn created(queue: &Queue) -> QueueConfiguration {
    let configuration = QueueConfiguration::builder().id("all").queue_arn(&queue.arn);
    configuration
        .events(Event::from("s3:ObjectCreated:*"))
        .build()
        .expect("complete")
}

/// Receives and deletes `count` messages, and shows that there are no more.
pub(crate) async fn receive(target: &Target, queue: &Queue, count: usize) -> Vec<Value> {
    let mut bodies = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while bodies.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} messages came",
            bodies.len()
        );
        bodies.extend(receive_once(target, queue, 1).await);
    }
    bodies.extend(receive_once(target, queue, 0).await);
    assert_eq!(bodies.len(), count);
    bodies
}

async fn receive_once(target: &Target, queue: &Queue, wait_seconds: i32) -> Vec<Value> {
    let receive = target
        .sqs
        .receive_message()
        .queue_url(&queue.url)
        .max_number_of_messages(10);
    let received = receive
        .wait_time_seconds(wait_seconds)
        .send()
        .await
        .expect("an answer");
    let mut bodies = Vec::new();
    for message in received.messages() {
        let handle = message.receipt_handle().expect("a receipt handle");
        target
            .sqs
            .delete_message()
            .queue_url(&queue.url)
            .receipt_handle(handle)
            .send()
            .await
            .expect("deleted");
        bodies.push(serde_json::from_str(message.body().expect("a body")).expect("JSON"));
    }
    bodies
}

#[tokio::test]
async fn a_test_event_then_a_record_for_each_object() {
    let target = Target::start().await;
    let (bucket, queue) = (target.bucket().await, queue(&target).await);
    configure(&target, &bucket, vec![created(&queue)]).await;
    let test = receive(&target, &queue, 1).await.remove(0);
    assert_eq!(
        (&test["Event"], &test["Service"]),
        (&"s3:TestEvent".into(), &"Amazon S3".into())
    );
    assert_eq!(test["Bucket"], bucket.as_str());
    assert!(test.get("Records").is_none());

    target.put(&bucket, "in/a b+c", b"12345").await;
    let event = receive(&target, &queue, 1).await.remove(0);
    let records = event["Records"].as_array().expect("records");
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert!(
        record["eventVersion"]
            .as_str()
            .is_some_and(|version| version.starts_with("2."))
    );
    assert_eq!(record["eventSource"], "aws:s3");
    assert_eq!(record["awsRegion"], target.region.as_str());
    assert_eq!(record["eventName"], "ObjectCreated:Put");
    let time: jiff::Timestamp = record["eventTime"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("RFC 3339");
    assert!(time.as_second() > 1_700_000_000);
    assert!(record["userIdentity"]["principalId"].is_string());
    assert!(record["requestParameters"]["sourceIPAddress"].is_string());
    assert!(record["responseElements"]["x-amz-request-id"].is_string());
    let s3 = &record["s3"];
    assert_eq!(
        (&s3["s3SchemaVersion"], &s3["configurationId"]),
        (&"1.0".into(), &"all".into())
    );
    assert_eq!(s3["bucket"]["name"], bucket.as_str());
    let partition = if target.region.starts_with("cn-") {
        "aws-cn"
    } else {
        "aws"
    };
    assert_eq!(s3["bucket"]["arn"], format!("arn:{partition}:s3:::{bucket}"));
    let object = &s3["object"];
    assert_eq!(
        object["key"], "in/a+b%2Bc",
        "form-encoded, with slashes as they are"
    );
    assert_eq!(object["size"], 5);
    assert_eq!(
        object["eTag"], "827ccb0eea8a706c4c34a16891f84e7b",
        "without quotes"
    );
    assert!(object.get("versionId").is_none());
    let sequencer = object["sequencer"].as_str().expect("a sequencer");
    assert!(
        !sequencer.is_empty() && sequencer.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{sequencer}"
    );
}

#[tokio::test]
async fn filters_and_kinds_select() {
    let target = Target::start().await;
    let (bucket, all, copies) = (target.bucket().await, queue(&target).await, queue(&target).await);
    let mut wanted = created(&all);
    wanted.filter = Some(filter("in/", ".gz"));
    let copied = QueueConfiguration::builder()
        .queue_arn(&copies.arn)
        .filter(filter("copy/", ""));
    let copied = copied
        .events(Event::from("s3:ObjectCreated:Copy"))
        .build()
        .expect("complete");
    configure(&target, &bucket, vec![wanted, copied]).await;
    receive(&target, &all, 1).await;
    receive(&target, &copies, 1).await;
    for key in ["in/a.gz", "in/a.txt", "out/a.gz", "copy/put"] {
        target.put(&bucket, key, b"x").await;
    }
    let copy = target
        .s3
        .copy_object()
        .bucket(&bucket)
        .key("copy/copied")
        .copy_source(format!("{bucket}/in/a.gz"));
    copy.send().await.expect("copied");
    target
        .s3
        .delete_object()
        .bucket(&bucket)
        .key("in/a.gz")
        .send()
        .await
        .expect("deleted");

    let keys = |events: Vec<Value>| -> Vec<String> {
        events
            .iter()
            .filter_map(|event| event["Records"][0]["s3"]["object"]["key"].as_str())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(keys(receive(&target, &all, 1).await), ["in/a.gz"]);
    let copied = receive(&target, &copies, 1).await;
    assert_eq!(copied[0]["Records"][0]["eventName"], "ObjectCreated:Copy");
    assert_eq!(keys(copied), ["copy/copied"]);

    let got = target
        .s3
        .get_bucket_notification_configuration()
        .bucket(&bucket)
        .send()
        .await
        .expect("configured");
    assert_eq!(got.queue_configurations().len(), 2);
    assert_eq!(got.queue_configurations()[0].id(), Some("all"));
    assert!(
        got.queue_configurations()[1]
            .id()
            .is_some_and(|id| !id.is_empty()),
        "an id was given"
    );
}

#[tokio::test]
async fn versions_and_deletions_are_told_and_sequencers_grow() {
    let target = Target::start().await;
    let (bucket, queue) = (target.bucket().await, queue(&target).await);
    let versioning = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .build();
    let put = target
        .s3
        .put_bucket_versioning()
        .bucket(&bucket)
        .versioning_configuration(versioning);
    put.send().await.expect("set");
    let mut both = created(&queue);
    both.events.push(Event::from("s3:ObjectRemoved:*"));
    configure(&target, &bucket, vec![both]).await;
    receive(&target, &queue, 1).await;

    let mut versions = Vec::new();
    for body in [b"1", b"2", b"3"] {
        let put = target
            .s3
            .put_object()
            .bucket(&bucket)
            .key("key")
            .body(ByteStream::from_static(body))
            .send();
        versions.push((
            "ObjectCreated:Put".to_owned(),
            put.await.expect("stored").version_id.expect("a version"),
        ));
    }
    let marker = target
        .s3
        .delete_object()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("deleted")
        .version_id;
    versions.push((
        "ObjectRemoved:DeleteMarkerCreated".to_owned(),
        marker.expect("a version"),
    ));
    let mut told: Vec<_> = receive(&target, &queue, 4)
        .await
        .iter()
        .map(|event| {
            let record = &event["Records"][0];
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let object = &record["s3"]["object"];
            (
                text(&object["sequencer"]),
                (text(&record["eventName"]), text(&object["versionId"])),
            )
        })
        .collect();
    // Standard queues do not keep the order; the sequencer restores it.
    told.sort();
    let told: Vec<_> = told.into_iter().map(|(_, version)| version).collect();
    assert_eq!(told, versions);
}

#[tokio::test]
async fn awkward_keys_are_told_so_that_they_decode() {
    let target = Target::start().await;
    let (bucket, queue) = (target.bucket().await, queue(&target).await);
    configure(&target, &bucket, vec![created(&queue)]).await;
    receive(&target, &queue, 1).await;
    crate::s3_keys::put_all(&target, &bucket).await;
    let mut keys: Vec<_> = receive(&target, &queue, AWKWARD_KEYS.len())
        .await
        .iter()
        .map(|event| {
            form_decode(
                event["Records"][0]["s3"]["object"]["key"]
                    .as_str()
                    .expect("a key"),
            )
        })
        .collect();
    keys.sort_unstable();
    let mut expected = AWKWARD_KEYS;
    expected.sort_unstable();
    assert_eq!(keys, expected);
}

/// As AWS tells consumers to: `+` is a space, then percent-decoding.
fn form_decode(encoded: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = encoded.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at(2);
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).expect("ASCII"), 16).expect("hexadecimal")
            }
            byte => *byte,
        });
    }
    String::from_utf8(decoded).expect("UTF-8")
}

#[tokio::test]
async fn a_multipart_upload_is_told_once_when_it_is_complete() {
    use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
    let target = Target::start().await;
    let (bucket, queue) = (target.bucket().await, queue(&target).await);
    configure(&target, &bucket, vec![created(&queue)]).await;
    receive(&target, &queue, 1).await;
    let create = target
        .s3
        .create_multipart_upload()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("an upload");
    let id = create.upload_id().expect("an id");
    let part = target
        .s3
        .upload_part()
        .bucket(&bucket)
        .key("key")
        .upload_id(id)
        .part_number(1);
    let part = part
        .body(ByteStream::from_static(b"part"))
        .send()
        .await
        .expect("a part");
    let part = CompletedPart::builder()
        .part_number(1)
        .set_e_tag(part.e_tag)
        .set_checksum_crc32(part.checksum_crc32);
    let parts = CompletedMultipartUpload::builder().parts(part.build()).build();
    let complete = target
        .s3
        .complete_multipart_upload()
        .bucket(&bucket)
        .key("key")
        .upload_id(id);
    complete.multipart_upload(parts).send().await.expect("completed");
    let event = receive(&target, &queue, 1).await.remove(0);
    assert_eq!(
        event["Records"][0]["eventName"],
        "ObjectCreated:CompleteMultipartUpload"
    );
    assert_eq!(event["Records"][0]["s3"]["object"]["size"], 4);
}

#[tokio::test]
async fn a_write_that_is_refused_is_not_told() {
    let target = Target::start().await;
    let (bucket, queue) = (target.bucket().await, queue(&target).await);
    configure(&target, &bucket, vec![created(&queue)]).await;
    receive(&target, &queue, 1).await;
    target.put(&bucket, "key", b"1").await;
    let put = target
        .s3
        .put_object()
        .bucket(&bucket)
        .key("key")
        .if_none_match("*");
    assert_eq!(
        refusal(put.body(ByteStream::from_static(b"2")).send().await).0,
        412
    );
    assert_eq!(
        receive(&target, &queue, 1).await[0]["Records"][0]["s3"]["object"]["size"],
        1
    );
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_refused() {
    let target = Target::start().await;
    let (bucket, queue) = (target.bucket().await, queue(&target).await);
    let missing = Queue {
        url: queue.url.clone(),
        arn: format!("{}-missing", queue.arn),
    };
    let configuration = NotificationConfiguration::builder()
        .queue_configurations(created(&missing))
        .build();
    let put = target.s3.put_bucket_notification_configuration().bucket(&bucket);
    let put = put.notification_configuration(configuration).send().await;
    assert_eq!(refusal(put), (400, "InvalidArgument".into()));
    let got = target
        .s3
        .get_bucket_notification_configuration()
        .bucket(&bucket)
        .send()
        .await
        .expect("an answer");
    assert!(got.queue_configurations().is_empty());
}
