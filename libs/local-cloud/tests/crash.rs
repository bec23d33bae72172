//! The program is killed in the middle of its work; what it acknowledged is there afterwards.

#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, Event, NotificationConfiguration, QueueConfiguration,
};
use aws_sdk_sqs::types::QueueAttributeName;
use local_cloud::Account;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

const REGION: &str = "cn-north-1";
const BUCKET: &str = "crash";
const QUEUE: &str = "crash";
const WRITERS: usize = 4;

struct Program {
    child: Child,
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
}

impl Program {
    /// Starts the program on the folder and waits until it answers.
    async fn start(folder: &Path) -> Self {
        // A port that was free a moment ago: the program has no way to tell which one it took.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let child = Command::new(env!("CARGO_BIN_EXE_local-cloud"))
            .arg(format!("--side=region={REGION},listen={address}"))
            .arg("--data-folder")
            .arg(folder)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the program");
        let account = Account::development(REGION);
        let credentials = Credentials::new(
            account.access_key_id,
            account.secret_access_key,
            None,
            None,
            "test",
        );
        macro_rules! client {
            ($sdk:ident, $($extra:tt)*) => {
                $sdk::Client::from_conf(
                    $sdk::Config::builder()
                        .behavior_version(BehaviorVersion::latest())
                        .http_client(http_client())
                        .endpoint_url(format!("http://{address}"))
                        .region(Region::new(REGION))
                        .credentials_provider(credentials.clone())
                        .retry_config(RetryConfig::disabled())
                        $($extra)*
                        .build(),
                )
            };
        }
        let (s3, sqs) = (
            client!(aws_sdk_s3, .force_path_style(true)),
            client!(aws_sdk_sqs,),
        );
        let deadline = Instant::now() + Duration::from_secs(20);
        while s3.list_buckets().send().await.is_err() {
            assert!(Instant::now() < deadline, "the program does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { child, s3, sqs }
    }

    async fn queue_url(&self) -> String {
        self.sqs
            .get_queue_url()
            .queue_name(QUEUE)
            .send()
            .await
            .expect("the queue")
            .queue_url
            .expect("its URL")
    }
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

async fn prepare(program: &Program) {
    let location =
        CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::CnNorth1);
    let create = program
        .s3
        .create_bucket()
        .bucket(BUCKET)
        .create_bucket_configuration(location.build());
    create.send().await.expect("a bucket");
    program
        .sqs
        .create_queue()
        .queue_name(QUEUE)
        .send()
        .await
        .expect("a queue");
    let arn = QueueAttributeName::QueueArn;
    let attributes = program
        .sqs
        .get_queue_attributes()
        .queue_url(program.queue_url().await);
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
    let put = program.s3.put_bucket_notification_configuration().bucket(BUCKET);
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
    let url = program.queue_url().await;
    let mut told = BTreeSet::new();
    loop {
        let receive = program
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
    let mut program = Program::start(folder.path()).await;
    prepare(&program).await;
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write(program.s3.clone(), round, writer));
        }
        let enough = (round + 1) * 40;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let listed = program
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
        program.child.kill().await.expect("killed");
        while let Some(keys) = writers.join_next().await {
            acknowledged.extend(keys.expect("no panic"));
        }
        program = Program::start(folder.path()).await;
    }
    assert!(acknowledged.len() >= 100, "{} objects", acknowledged.len());
    for key in &acknowledged {
        let got = program
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
    program.child.kill().await.expect("killed");
}
