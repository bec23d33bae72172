//! How fast the emulated cloud is, so that nobody mistakes its limits for those of a service.
//!
//! Server and clients share this process and its cores. Rows that say "SDK" include the whole client:
//! building, signing, hashing and encoding each request. Rows that say "raw" send prepared bytes and
//! show what the server alone can do.
//!
//! `cargo run --release -p local-cloud --example throughput`

#![allow(clippy::print_stdout, reason = "its output is for people")]

mod s3;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use local_cloud::{Account, CloudSettings, LocalCloud};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

/// How long each row is measured.
const MEASURED: Duration = Duration::from_secs(3);
/// A typical event of the pipeline.
const RECORD_BYTES: usize = 450;
const RECORDS_PER_CALL: usize = 500;
const SHARDS: i32 = 4;
/// A notification about one object.
const MESSAGE_BYTES: usize = 800;
const REGION: &str = "cn-north-1";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cloud = LocalCloud::start(CloudSettings::in_memory(REGION)).await?;
    let config = sdk_config(&cloud).await;
    println!("{:<44} {:>12} {:>10}", "", "items/s", "MiB/s");
    let kinesis = aws_sdk_kinesis::Client::new(&config);
    for clients in [1, 4] {
        put_records(&kinesis, clients).await?;
    }
    put_records_raw(&cloud, &kinesis).await?;
    get_records(&kinesis).await?;
    let sqs = aws_sdk_sqs::Client::new(&config);
    for clients in [1, 4] {
        messages(&sqs, clients).await?;
    }
    send_messages_raw(&cloud, &sqs).await?;
    cloud.stop().await;
    s3::rows().await
}

async fn sdk_config(cloud: &LocalCloud) -> SdkConfig {
    let Account {
        access_key_id,
        secret_access_key,
        ..
    } = cloud.account().clone();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new(REGION))
        .endpoint_url(cloud.endpoint_url())
        .credentials_provider(Credentials::new(
            access_key_id,
            secret_access_key,
            None,
            None,
            "example",
        ))
        .load()
        .await
}

/// Runs clients side by side until the time is up; each call adds what it did.
async fn measure<F>(
    title: &str,
    clients: usize,
    item_bytes: usize,
    client: impl Fn(Meter) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let meter = Meter {
        done: Arc::default(),
        begun: Instant::now(),
    };
    let mut running = JoinSet::new();
    for _ in 0..clients {
        running.spawn(client(meter.clone()));
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let rate = meter.done.load(Ordering::Relaxed) as f64 / meter.begun.elapsed().as_secs_f64();
    let mebibytes = rate * item_bytes as f64 / f64::from(1 << 20);
    println!("{title:<44} {rate:>12.0} {mebibytes:>10.1}");
    Ok(())
}

#[derive(Clone)]
struct Meter {
    done: Arc<AtomicU64>,
    begun: Instant,
}

impl Meter {
    fn add(&self, items: usize) {
        self.done.fetch_add(items as u64, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        self.begun.elapsed() < MEASURED
    }
}

async fn create_stream(kinesis: &aws_sdk_kinesis::Client, name: &str) -> Result<(), Failure> {
    kinesis
        .create_stream()
        .stream_name(name)
        .shard_count(SHARDS)
        .send()
        .await?;
    Ok(())
}

fn entries() -> Result<Vec<PutRecordsRequestEntry>, Failure> {
    let entry = |number: usize| {
        let entry = PutRecordsRequestEntry::builder().partition_key(format!("device-{number}"));
        Ok(entry.data(Blob::new(vec![b'e'; RECORD_BYTES])).build()?)
    };
    (0..RECORDS_PER_CALL).map(entry).collect()
}

async fn put_records(kinesis: &aws_sdk_kinesis::Client, clients: usize) -> Result<(), Failure> {
    let stream = format!("put-{clients}");
    create_stream(kinesis, &stream).await?;
    let entries = entries()?;
    let title = format!("PutRecords, SDK, {clients} client(s)");
    measure(&title, clients, RECORD_BYTES, |meter| {
        let (kinesis, stream, entries) = (kinesis.clone(), stream.clone(), entries.clone());
        async move {
            while meter.goes_on() {
                let call = kinesis
                    .put_records()
                    .stream_name(&stream)
                    .set_records(Some(entries.clone()));
                call.send().await?;
                meter.add(RECORDS_PER_CALL);
            }
            Ok(())
        }
    })
    .await?;
    kinesis.delete_stream().stream_name(stream).send().await?;
    Ok(())
}

/// The same calls from prepared bytes.
async fn put_records_raw(cloud: &LocalCloud, kinesis: &aws_sdk_kinesis::Client) -> Result<(), Failure> {
    create_stream(kinesis, "raw").await?;
    let data = BASE64_STANDARD.encode(vec![b'e'; RECORD_BYTES]);
    let record = |number| serde_json::json!({ "Data": data, "PartitionKey": format!("device-{number}") });
    let records: Vec<_> = (0..RECORDS_PER_CALL).map(record).collect();
    let body = serde_json::json!({ "StreamName": "raw", "Records": records });
    let request = request(cloud, "kinesis", "Kinesis_20131202.PutRecords", &body);
    raw(
        "PutRecords, raw, 1 connection",
        cloud,
        request,
        RECORDS_PER_CALL,
        RECORD_BYTES,
    )
    .await?;
    kinesis.delete_stream().stream_name("raw").send().await?;
    Ok(())
}

/// SendMessageBatch from prepared bytes.
async fn send_messages_raw(cloud: &LocalCloud, sqs: &aws_sdk_sqs::Client) -> Result<(), Failure> {
    let url = sqs.create_queue().queue_name("raw").send().await?.queue_url;
    let message =
        |id: u32| serde_json::json!({ "Id": id.to_string(), "MessageBody": "n".repeat(MESSAGE_BYTES) });
    let messages: Vec<_> = (0..10).map(message).collect();
    let body = serde_json::json!({ "QueueUrl": url, "Entries": messages });
    let request = request(cloud, "sqs", "AmazonSQS.SendMessageBatch", &body);
    raw("SQS send, raw, 1 connection", cloud, request, 10, MESSAGE_BYTES).await
}

/// Sends the same bytes again and again over one connection.
async fn raw(
    title: &str,
    cloud: &LocalCloud,
    request: Vec<u8>,
    items: usize,
    item_bytes: usize,
) -> Result<(), Failure> {
    let (address, request) = (address(cloud), Arc::new(request));
    measure(title, 1, item_bytes, |meter| {
        let (address, request) = (address.clone(), Arc::clone(&request));
        async move {
            let mut connection = TcpStream::connect(address).await?;
            connection.set_nodelay(true)?;
            while meter.goes_on() {
                exchange(&mut connection, &request).await?;
                meter.add(items);
            }
            Ok(())
        }
    })
    .await
}

fn address(cloud: &LocalCloud) -> String {
    cloud.endpoint_url().trim_start_matches("http://").to_owned()
}

/// A request as it stands on the wire. The emulator looks at who signs, not at the signature.
fn request(cloud: &LocalCloud, service: &str, target: &str, body: &serde_json::Value) -> Vec<u8> {
    let (body, key) = (body.to_string(), &cloud.account().access_key_id);
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-amz-json-1.1\r\n\
         x-amz-target: {target}\r\ncontent-length: {}\r\n\
         authorization: AWS4-HMAC-SHA256 Credential={key}/20260101/{REGION}/{service}/aws4_request\r\n\r\n",
        address(cloud),
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// Sends a request and reads its answer to the end.
async fn exchange(connection: &mut TcpStream, request: &[u8]) -> Result<(), Failure> {
    connection.write_all(request).await?;
    let (mut answer, mut end) = (Vec::with_capacity(1 << 17), None);
    while end.is_none_or(|end| answer.len() < end) {
        if connection.read_buf(&mut answer).await? == 0 {
            return Err("the connection ended".into());
        }
        if end.is_none() {
            end = end_of(&answer)?;
        }
    }
    Ok(())
}

/// Length of head and body, once the head is complete.
fn end_of(answer: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..head])?.to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") {
        return Err(text.into());
    }
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    Ok(Some(
        head + 4
            + length
                .ok_or("the answer has no length")?
                .trim()
                .parse::<usize>()?,
    ))
}

/// One reader a shard, from the oldest record on, again and again.
async fn get_records(kinesis: &aws_sdk_kinesis::Client) -> Result<(), Failure> {
    create_stream(kinesis, "get").await?;
    let entries = entries()?;
    for _ in 0..200 {
        kinesis
            .put_records()
            .stream_name("get")
            .set_records(Some(entries.clone()))
            .send()
            .await?;
    }
    for readers in [1, SHARDS] {
        let next = Arc::new(AtomicU64::new(0));
        let title = format!("GetRecords, SDK, {readers} shard reader(s)");
        measure(&title, readers as usize, RECORD_BYTES, |meter| {
            let (kinesis, shard) = (kinesis.clone(), next.fetch_add(1, Ordering::Relaxed));
            async move {
                while meter.goes_on() {
                    let request = kinesis.get_shard_iterator().stream_name("get");
                    let request = request.shard_id(format!("shardId-{shard:012}"));
                    let request = request.shard_iterator_type(ShardIteratorType::TrimHorizon);
                    let mut iterator = request.send().await?.shard_iterator;
                    while meter.goes_on() {
                        let page = kinesis.get_records().set_shard_iterator(iterator).send().await?;
                        if page.records().is_empty() {
                            break;
                        }
                        meter.add(page.records().len());
                        iterator = page.next_shard_iterator;
                    }
                }
                Ok(())
            }
        })
        .await?;
    }
    kinesis.delete_stream().stream_name("get").send().await?;
    Ok(())
}

/// Each client sends ten, receives ten, deletes ten.
async fn messages(sqs: &aws_sdk_sqs::Client, clients: usize) -> Result<(), Failure> {
    let created = sqs
        .create_queue()
        .queue_name(format!("messages-{clients}"))
        .send()
        .await?;
    let url = created.queue_url.ok_or("the queue has no URL")?;
    let title = format!("SQS send, receive, delete, SDK, {clients} client(s)");
    let body = "n".repeat(MESSAGE_BYTES);
    measure(&title, clients, body.len(), |meter| {
        let (sqs, url, body) = (sqs.clone(), url.clone(), body.clone());
        async move {
            while meter.goes_on() {
                let mut call = sqs.send_message_batch().queue_url(&url);
                for id in 0..10 {
                    let entry = SendMessageBatchRequestEntry::builder()
                        .id(id.to_string())
                        .message_body(&body);
                    call = call.entries(entry.build()?);
                }
                call.send().await?;
                let received = sqs
                    .receive_message()
                    .queue_url(&url)
                    .max_number_of_messages(10)
                    .send()
                    .await?;
                let mut call = sqs.delete_message_batch().queue_url(&url);
                for (id, message) in received.messages().iter().enumerate() {
                    let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
                    call = call.entries(entry.set_receipt_handle(message.receipt_handle.clone()).build()?);
                }
                if !received.messages().is_empty() {
                    call.send().await?;
                }
                meter.add(received.messages().len());
            }
            Ok(())
        }
    })
    .await
}
