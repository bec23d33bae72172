//! Each fault as a real SDK client sees it.

#![allow(missing_docs)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{Blob, ByteStream};
use aws_sdk_s3::types::{BucketLocationConstraint, ChecksumAlgorithm, CreateBucketConfiguration};
use local_cloud::{CloudSettings, LocalCloud, Rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::Clients;

const REGION: &str = "cn-north-1";
const BUCKET: &str = "faults";

struct Client {
    cloud: LocalCloud,
    s3: aws_sdk_s3::Client,
    kinesis: aws_sdk_kinesis::Client,
    sqs: aws_sdk_sqs::Client,
}

async fn start() -> Client {
    let cloud = LocalCloud::start(CloudSettings::in_memory(REGION))
        .await
        .expect("a cloud");
    let Clients { s3, sqs, kinesis, .. } = Clients::of(&cloud.endpoint_url(), cloud.account());
    let location =
        CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::CnNorth1);
    let create = s3
        .create_bucket()
        .bucket(BUCKET)
        .create_bucket_configuration(location.build());
    create.send().await.expect("a bucket");
    Client {
        cloud,
        s3,
        kinesis,
        sqs,
    }
}

impl Client {
    fn put(&self, key: &str) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
        self.s3
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .body(ByteStream::from_static(b"0123456789"))
    }

    async fn exists(&self, key: &str) -> bool {
        self.s3.head_object().bucket(BUCKET).key(key).send().await.is_ok()
    }
}

/// Status and code of an answer that is an error; `None` when no answer came.
fn answer<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E, aws_sdk_s3::config::http::HttpResponse>>,
) -> Option<(u16, String)> {
    let error = result.expect_err("the call fails");
    let status = error.raw_response()?.status().as_u16();
    let code = error
        .as_service_error()
        .and_then(|error| error.meta().code())
        .unwrap_or_default();
    Some((status, code.to_owned()))
}

#[tokio::test]
async fn fail_answers_with_the_status_and_code_and_executes_nothing() {
    let client = start().await;
    let faults = client.cloud.faults();
    faults.inject(
        Rule::on("s3:PutObject")
            .skip(1)
            .times(2)
            .fail(503, "ServiceUnavailable"),
    );
    faults.inject(Rule::on("kinesis:*").fail(500, "InternalFailure"));
    faults.inject(Rule::on("sqs:ListQueues").fail(400, "Custom"));
    client.put("first").send().await.expect("the first call passes");
    for key in ["second", "third"] {
        assert_eq!(
            answer(client.put(key).send().await),
            Some((503, "ServiceUnavailable".into()))
        );
        assert!(!client.exists(key).await);
    }
    client
        .put("fourth")
        .send()
        .await
        .expect("the rule has fired twice");
    assert_eq!(
        answer(client.kinesis.list_streams().send().await),
        Some((500, "InternalFailure".into()))
    );
    assert_eq!(
        answer(client.sqs.list_queues().send().await),
        Some((400, "Custom".into()))
    );
    assert_eq!(faults.injected("s3:PutObject"), 2);
    assert_eq!(faults.injected("*"), 4);
}

/// A client that sends its whole body before it reads meets the refusal, and no reset connection.
#[tokio::test]
async fn a_refused_upload_gets_its_answer() {
    const BYTES: usize = 16 * 1024 * 1024;
    let client = start().await;
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=UNKNOWN/20260101/{REGION}/s3/aws4_request, SignedHeaders=host, Signature=00"
    );
    let date = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let authorization = authorization.replace("20260101", &date[..8]);
    let address = address(&client.cloud);
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "PUT /{BUCKET}/key HTTP/1.1\r\nhost: {address}\r\nauthorization: {authorization}\r\nx-amz-date: {date}\r\n\
         x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nconnection: close\r\ncontent-length: {BYTES}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream
        .write_all(&vec![0; BYTES])
        .await
        .expect("sent, though it is refused");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("received");
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("InvalidAccessKeyId"),
        "{answer}"
    );
}

#[tokio::test]
async fn throttle_is_each_services_own_error() {
    let client = start().await;
    client.cloud.faults().inject(Rule::on("*").throttle());
    assert_eq!(
        answer(client.put("key").send().await),
        Some((503, "SlowDown".into()))
    );
    let kinesis = answer(client.kinesis.list_streams().send().await).expect("an answer");
    assert!(
        matches!(
            kinesis.1.as_str(),
            "LimitExceededException" | "ProvisionedThroughputExceededException"
        ),
        "{kinesis:?}"
    );
    assert_eq!(kinesis.0, 400);
    let sqs = answer(client.sqs.list_queues().send().await).expect("an answer");
    assert!(sqs.1.contains("Throttl"), "{sqs:?}");
    client.cloud.faults().clear();
    client.put("key").send().await.expect("the rules are gone");
}

#[tokio::test]
async fn delay_waits_and_carries_on() {
    let client = start().await;
    let delay = Duration::from_millis(300);
    client
        .cloud
        .faults()
        .inject(Rule::on("s3:PutObject").times(1).delay(delay));
    let begun = Instant::now();
    client.put("key").send().await.expect("late, and stored");
    assert!(begun.elapsed() >= delay);
    assert!(client.exists("key").await);
}

#[tokio::test]
async fn cut_off_executes_nothing() {
    let client = start().await;
    client.cloud.faults().inject(Rule::on("*").times(3).cut_off());
    assert_eq!(answer(client.put("key").send().await), None, "no answer came");
    assert_eq!(answer(client.kinesis.list_streams().send().await), None);
    assert_eq!(answer(client.sqs.list_queues().send().await), None);
    assert!(!client.exists("key").await);
}

#[tokio::test]
async fn lose_answer_executes_the_call() {
    let client = start().await;
    client
        .cloud
        .faults()
        .inject(Rule::on("s3:PutObject").times(1).lose_answer());
    client
        .cloud
        .faults()
        .inject(Rule::on("kinesis:CreateStream").times(1).lose_answer());
    let create = || client.put("key").if_none_match("*");
    assert_eq!(answer(create().send().await), None, "no answer came");
    assert!(client.exists("key").await);
    let again = answer(create().send().await);
    assert_eq!(
        again,
        Some((412, "PreconditionFailed".into())),
        "the retry meets its own object"
    );

    let create = || {
        client
            .kinesis
            .create_stream()
            .stream_name("lost")
            .shard_count(1)
            .send()
    };
    assert_eq!(answer(create().await), None);
    assert_eq!(
        answer(create().await).map(|answer| answer.1),
        Some("ResourceInUseException".to_owned())
    );
}

#[tokio::test]
async fn falsify_answer_changes_one_bit_of_one_byte() {
    let client = start().await;
    client.put("whole").send().await.expect("stored");
    let faults = client.cloud.faults();
    faults.inject(Rule::on("s3:GetObject").times(1).falsify_answer(3));
    let get = client
        .s3
        .get_object()
        .bucket(BUCKET)
        .key("whole")
        .range("bytes=0-8");
    let mut answers = Vec::new();
    for _ in 0..2 {
        // A range has no checksum of its own, by which the SDK would refuse it.
        let answer = get.clone().send().await.expect("an answer");
        let body = answer.body.collect().await.expect("a body");
        answers.push(body.to_vec());
    }
    assert_eq!(answers, [b"012245678".to_vec(), b"012345678".to_vec()]);
}

#[tokio::test]
async fn falsify_request_changes_what_s3_receives() {
    let client = start().await;
    let faults = client.cloud.faults();
    faults.inject(Rule::on("s3:PutObject").times(2).falsify_request(3));
    let put = client
        .put("checked")
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme);
    let refused = put.customize().disable_payload_signing().send().await;
    let refused = refused.expect_err("other bytes than were announced");
    assert_eq!(refused.code(), Some("BadDigest"));
    let get = |key: &str| client.s3.get_object().bucket(BUCKET).key(key).send();
    get("checked").await.expect_err("nothing was stored");

    // Without a checksum nobody notices.
    let unchecked = client.s3.config().to_builder();
    let unchecked = unchecked.request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    let unchecked = aws_sdk_s3::Client::from_conf(unchecked.build());
    let put = unchecked.put_object().bucket(BUCKET).key("unchecked");
    let put = put.body(b"0123456789".to_vec().into());
    put.customize()
        .disable_payload_signing()
        .send()
        .await
        .expect("stored");
    let stored = get("unchecked").await.expect("there").body.collect().await;
    assert_eq!(stored.expect("a body").to_vec(), b"0122456789");
}

#[tokio::test]
async fn stall_answer_after_sends_so_many_bytes_and_no_end() {
    let client = start().await;
    client.put("whole").send().await.expect("stored");
    let faults = client.cloud.faults();
    faults.inject(Rule::on("s3:GetObject").times(1).stall_answer_after(4));
    let get = client.s3.get_object().bucket(BUCKET).key("whole").send().await;
    let mut body = get.expect("an answer").body;
    assert_eq!(
        body.next().await.expect("bytes").expect("no error").as_ref(),
        b"0123"
    );
    let more = tokio::time::timeout(Duration::from_millis(300), body.next()).await;
    more.expect_err("nothing comes any more");
}

#[tokio::test]
async fn cut_off_answer_after_sends_so_many_bytes() {
    let client = start().await;
    client.put("key").send().await.expect("stored");
    client
        .cloud
        .faults()
        .inject(Rule::on("s3:GetObject").times(1).cut_off_answer_after(4));
    let got = client
        .s3
        .get_object()
        .bucket(BUCKET)
        .key("key")
        .send()
        .await
        .expect("the head of the answer");
    assert_eq!(got.content_length(), Some(10), "the whole length was announced");
    let mut body = got.body;
    let mut bytes = Vec::new();
    let error = loop {
        match body.next().await {
            Some(Ok(chunk)) => bytes.extend_from_slice(&chunk),
            Some(Err(error)) => break error,
            None => panic!("the body ended as if it were whole"),
        }
    };
    assert_eq!(bytes, b"0123", "{error}");
}

#[tokio::test]
async fn a_resource_selects_calls() {
    let client = start().await;
    client.cloud.faults().inject(
        Rule::on("s3:PutObject")
            .resource_containing("faults/2026/")
            .throttle(),
    );
    client
        .cloud
        .faults()
        .inject(Rule::on("sqs:*").resource_containing("unlucky").throttle());
    client.put("2025/key").send().await.expect("another key");
    assert!(answer(client.put("2026/key").send().await).is_some());
    client
        .sqs
        .create_queue()
        .queue_name("lucky")
        .send()
        .await
        .expect("another queue");
    assert!(answer(client.sqs.create_queue().queue_name("unlucky").send().await).is_some());
}

#[tokio::test]
async fn a_share_of_the_records_is_throttled() {
    let client = start().await;
    client
        .kinesis
        .create_stream()
        .stream_name("s")
        .shard_count(1)
        .send()
        .await
        .expect("a stream");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let summary = client
            .kinesis
            .describe_stream_summary()
            .stream_name("s")
            .send()
            .await
            .expect("a summary");
        let status = summary
            .stream_description_summary()
            .expect("a summary")
            .stream_status()
            .as_str()
            .to_owned();
        if status == "ACTIVE" {
            break;
        }
        assert!(Instant::now() < deadline, "the stream is {status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client
        .cloud
        .faults()
        .inject(Rule::on("kinesis:PutRecords").times(1).throttle_records(0.3));
    let entry = |number: usize| {
        let entry =
            aws_sdk_kinesis::types::PutRecordsRequestEntry::builder().partition_key(number.to_string());
        entry
            .data(Blob::new(number.to_string()))
            .build()
            .expect("an entry")
    };
    let put = || {
        client
            .kinesis
            .put_records()
            .stream_name("s")
            .set_records(Some((0..100).map(entry).collect()))
    };
    let put_once = put().send().await.expect("an answer");
    assert_eq!(put_once.failed_record_count(), Some(30));
    let refused: Vec<_> = put_once
        .records()
        .iter()
        .filter_map(|record| record.error_code())
        .collect();
    assert_eq!(refused, ["ProvisionedThroughputExceededException"; 30]);
    assert_eq!(
        put().send().await.expect("an answer").failed_record_count(),
        Some(0)
    );
}

/// Rules and their counts over HTTP, as scripts use them.
#[tokio::test]
async fn rules_can_be_set_over_http() {
    let client = start().await;
    let rule = r#"{"on":"s3:PutObject","times":1,"actions":["throttle"]}"#;
    assert_eq!(admin(&client.cloud, "POST", "faults", rule).await.0, 201);
    assert!(
        admin(&client.cloud, "GET", "faults", "")
            .await
            .1
            .contains("s3:PutObject")
    );
    assert!(answer(client.put("key").send().await).is_some());
    assert_eq!(admin(&client.cloud, "DELETE", "faults", "").await.0, 200);
    let (status, body) = admin(
        &client.cloud,
        "POST",
        "faults",
        r#"{"on":"s3:PutObject","actions":["explode"]}"#,
    )
    .await;
    assert_eq!(status, 400);
    assert!(body.contains("explode"), "{body}");
    let (status, state) = admin(&client.cloud, "GET", "state", "").await;
    assert_eq!(status, 200);
    assert!(
        state.contains("\"buckets\":1") && state.contains("\"faultsInjected\":1"),
        "{state}"
    );
    assert_eq!(admin(&client.cloud, "GET", "health", "").await.0, 200);
}

async fn admin(cloud: &LocalCloud, method: &str, path: &str, body: &str) -> (u16, String) {
    let address = address(cloud);
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let length = body.len();
    let request = format!(
        "{method} /_local-cloud/{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("received");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    (status, body)
}

fn address(cloud: &LocalCloud) -> SocketAddr {
    cloud
        .endpoint_url()
        .trim_start_matches("http://")
        .parse()
        .expect("an address")
}

#[tokio::test]
async fn who_watches_is_told_of_each_answer_that_its_caller_does_not_get() {
    let client = start().await;
    let create = client
        .kinesis
        .create_stream()
        .stream_name("events")
        .shard_count(1);
    create.send().await.expect("a stream");
    let faults = client.cloud.faults();
    let mut lost = faults.watch_lost_answers();
    let put = || {
        let put = client
            .kinesis
            .put_record()
            .stream_name("events")
            .partition_key("k");
        put.data(Blob::new("x")).send()
    };
    faults.inject(Rule::on("kinesis:PutRecord").times(1).cut_off());
    faults.inject(Rule::on("kinesis:PutRecord").times(1).lose_answer());
    put().await.expect_err("not executed, so nothing is lost");
    put().await.expect_err("executed");
    put().await.expect("answered");
    let told = lost.try_recv().expect("one answer");
    assert_eq!(told.operation, "kinesis:PutRecord");
    let told: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(told["ShardId"], "shardId-000000000000");
    lost.try_recv().expect_err("no other");
    let taken = |kind| faults.actions_taken()[&("kinesis:PutRecord".to_owned(), kind)];
    assert_eq!((taken("cut_off"), taken("lose_answer")), (1, 1));
}
