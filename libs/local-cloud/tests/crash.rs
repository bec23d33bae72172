//! The program is killed in the middle of its work; what it acknowledged is there afterwards.

#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, Event, NotificationConfiguration, QueueConfiguration,
};
use aws_sdk_sqs::types::QueueAttributeName;
use tokio::task::JoinSet;

use support::Program;

const REGION: &str = "cn-north-1";
const BUCKET: &str = "crash";
const QUEUE: &str = "crash";
const WRITERS: usize = 4;

/// Where the program's notifications go.
async fn queue_url(program: &Program) -> String {
    let url = program.clients.sqs.get_queue_url().queue_name(QUEUE).send().await;
    url.expect("the queue").queue_url.expect("its URL")
}

async fn prepare(program: &Program) {
    let location =
        CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::CnNorth1);
    let create = program
        .clients
        .s3
        .create_bucket()
        .bucket(BUCKET)
        .create_bucket_configuration(location.build());
    create.send().await.expect("a bucket");
    program
        .clients
        .sqs
        .create_queue()
        .queue_name(QUEUE)
        .send()
        .await
        .expect("a queue");
    let arn = QueueAttributeName::QueueArn;
    let attributes = program
        .clients
        .sqs
        .get_queue_attributes()
        .queue_url(queue_url(program).await);
    let attributes = attributes
        .attribute_names(arn.clone())
        .send()
        .await
        .expect("attributes")
        .attributes;
    let queue = QueueConfiguration::builder().queue_arn(&attributes.expect("attributes")[&arn]);
    let queue = queue
        .events(Event::from("s3:ObjectCreated:*"))
        .build()
        .expect("complete");
    let configuration = NotificationConfiguration::builder()
        .queue_configurations(queue)
        .build();
    let put = program
        .clients
        .s3
        .put_bucket_notification_configuration()
        .bucket(BUCKET);
    put.notification_configuration(configuration)
        .send()
        .await
        .expect("configured");
}

/// The body of an object: its key many times, so that a body is recognised and has some length.
fn body(key: &str) -> Vec<u8> {
    key.as_bytes().repeat(2000)
}

/// Puts new objects, and one object again and again, until the program is gone. Returns the keys
/// that were acknowledged.
async fn write(s3: aws_sdk_s3::Client, round: usize, writer: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let key = format!("{round}/{writer}/{number}");
        let put = s3
            .put_object()
            .bucket(BUCKET)
            .key(&key)
            .body(body(&key).into())
            .if_none_match("*");
        if put.send().await.is_err() {
            break;
        }
        acknowledged.push(key.clone());
        let put = s3
            .put_object()
            .bucket(BUCKET)
            .key(format!("again/{writer}"))
            .body(body(&key).into());
        if put.send().await.is_err() {
            break;
        }
    }
    acknowledged
}

async fn told_keys(program: &Program) -> BTreeSet<String> {
    let url = queue_url(program).await;
    let mut told = BTreeSet::new();
    loop {
        let receive = program
            .clients
            .sqs
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(10);
        let received = receive.visibility_timeout(600).send().await.expect("an answer");
        if received.messages().is_empty() {
            return told;
        }
        for message in received.messages() {
            let event: serde_json::Value =
                serde_json::from_str(message.body().expect("a body")).expect("JSON");
            told.extend(
                event["Records"][0]["s3"]["object"]["key"]
                    .as_str()
                    .map(str::to_owned),
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut program = Program::start(REGION, folder.path()).await;
    prepare(&program).await;
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write(program.clients.s3.clone(), round, writer));
        }
        let enough = (round + 1) * 40;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let listed = program
                .clients
                .s3
                .list_objects_v2()
                .bucket(BUCKET)
                .send()
                .await
                .expect("a list");
            if listed.contents().len() >= enough {
                break;
            }
            assert!(Instant::now() < deadline, "the writers are slow");
        }
        program.kill().await;
        while let Some(keys) = writers.join_next().await {
            acknowledged.extend(keys.expect("no panic"));
        }
        program = Program::start(REGION, folder.path()).await;
    }
    assert!(acknowledged.len() >= 100, "{} objects", acknowledged.len());
    for key in &acknowledged {
        let got = program
            .clients
            .s3
            .get_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .expect(key);
        assert!(
            got.body.collect().await.expect("bytes").to_vec() == body(key),
            "{key} is whole"
        );
    }
    // What was overwritten when the program was killed is one version, and its bytes fit its ETag.
    for writer in 0..WRITERS {
        let got = program
            .clients
            .s3
            .get_object()
            .bucket(BUCKET)
            .key(format!("again/{writer}"))
            .send()
            .await
            .expect("kept");
        let etag = got.e_tag().expect("an ETag").to_owned();
        let bytes = got
            .body
            .collect()
            .await
            .expect("the SDK checks the checksum")
            .to_vec();
        let again = program
            .clients
            .s3
            .put_object()
            .bucket(BUCKET)
            .key("compare")
            .body(bytes.into())
            .send()
            .await;
        assert_eq!(again.expect("stored").e_tag(), Some(etag.as_str()));
    }
    let told = told_keys(&program).await;
    let untold: Vec<_> = acknowledged.iter().filter(|key| !told.contains(*key)).collect();
    assert!(untold.is_empty(), "no notification came of {untold:?}");
    program.kill().await;
}
