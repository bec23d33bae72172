//! A cloud in a folder is killed like a process that crashes, and goes on where it stopped: nothing
//! that it acknowledged is lost, and no sequence number is given twice.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use local_cloud::Account;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const REGION: &str = "eu-west-1";
const UP_WITHIN: Duration = Duration::from_secs(30);

/// The program, on a free port, with its state in the folder.
struct Program {
    process: Child,
    config: SdkConfig,
}

impl Program {
    async fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_local-cloud"))
            .args([
                "--side",
                &format!("region={REGION},listen=127.0.0.1:0"),
                "--data-folder",
            ])
            .arg(folder)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program was built with this test");
        let log = process.stderr.take().expect("stderr is piped");
        let mut lines = BufReader::new(log).lines();
        let address = tokio::time::timeout(UP_WITHIN, async {
            while let Some(line) = lines.next_line().await.expect("the log is text") {
                if let Some(port) = port_in(&line) {
                    return format!("http://127.0.0.1:{port}");
                }
            }
            panic!("the program ended without listening");
        })
        .await
        .expect("it listens soon");
        let Account {
            access_key_id,
            secret_access_key,
            ..
        } = Account::development(REGION);
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .region(Region::new(REGION))
            .endpoint_url(address)
            .credentials_provider(Credentials::new(
                access_key_id,
                secret_access_key,
                None,
                None,
                "test",
            ))
            .load()
            .await;
        Self { process, config }
    }

    fn kinesis(&self) -> aws_sdk_kinesis::Client {
        aws_sdk_kinesis::Client::new(&self.config)
    }

    fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// SIGKILL: it cannot finish anything.
    async fn kill(mut self) {
        self.process.kill().await.expect("it was running");
    }
}

/// The port in `address=127.0.0.1:<port>`, which the log may colour.
fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

async fn put(kinesis: &aws_sdk_kinesis::Client, keys: std::ops::Range<u32>) -> Vec<String> {
    let records = keys.map(|key| {
        let record = PutRecordsRequestEntry::builder().partition_key(key.to_string());
        record
            .data(Blob::new(key.to_string()))
            .build()
            .expect("data and key are set")
    });
    let answer = kinesis
        .put_records()
        .stream_name("s")
        .set_records(Some(records.collect()))
        .send()
        .await;
    let answer = answer.expect("the stream exists");
    assert_eq!(answer.failed_record_count(), Some(0));
    answer
        .records()
        .iter()
        .map(|entry| entry.sequence_number().expect("it was stored").to_owned())
        .collect()
}

/// Everything in the stream's shards, shard by shard.
async fn read_all(kinesis: &aws_sdk_kinesis::Client, shards: u32) -> Vec<String> {
    let mut numbers = Vec::new();
    for shard in 0..shards {
        let request = kinesis
            .get_shard_iterator()
            .stream_name("s")
            .shard_id(format!("shardId-{shard:012}"));
        let request = request.shard_iterator_type(ShardIteratorType::TrimHorizon);
        let iterator = request.send().await.expect("the shard exists").shard_iterator;
        let page = kinesis
            .get_records()
            .set_shard_iterator(iterator)
            .send()
            .await
            .expect("readable");
        numbers.extend(
            page.records()
                .iter()
                .map(|record| record.sequence_number().to_owned()),
        );
    }
    numbers
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = Program::start(folder.path()).await;
    let (kinesis, sqs) = (program.kinesis(), program.sqs());
    kinesis
        .create_stream()
        .stream_name("s")
        .shard_count(1)
        .send()
        .await
        .expect("a new stream");
    let mut numbers = put(&kinesis, 0..100).await;
    let middle = (u128::MAX / 2).to_string();
    let split = kinesis
        .split_shard()
        .stream_name("s")
        .shard_to_split("shardId-000000000000");
    split
        .new_starting_hash_key(middle)
        .send()
        .await
        .expect("it is open");
    let queue = sqs
        .create_queue()
        .queue_name("q")
        .send()
        .await
        .expect("a new queue")
        .queue_url;
    for body in ["deleted", "kept"] {
        sqs.send_message()
            .set_queue_url(queue.clone())
            .message_body(body)
            .send()
            .await
            .expect("a queue");
    }
    let received = sqs
        .receive_message()
        .set_queue_url(queue)
        .max_number_of_messages(10)
        .send()
        .await;
    for message in received.expect("a queue").messages() {
        if message.body() == Some("deleted") {
            let handle = message.receipt_handle.clone();
            let url = sqs
                .get_queue_url()
                .queue_name("q")
                .send()
                .await
                .expect("a queue")
                .queue_url;
            sqs.delete_message()
                .set_queue_url(url)
                .set_receipt_handle(handle)
                .send()
                .await
                .expect("deleted");
        }
    }
    program.kill().await;

    let program = Program::start(folder.path()).await;
    let (kinesis, sqs) = (program.kinesis(), program.sqs());
    assert_eq!(
        read_all(&kinesis, 3).await,
        numbers,
        "records and shards are there"
    );
    let later = put(&kinesis, 100..200).await;
    let last = numbers.last().expect("a hundred");
    assert!(
        later.iter().all(|number| number > last),
        "numbers go on behind those of the parent"
    );
    numbers.extend(later);
    let url = sqs
        .get_queue_url()
        .queue_name("q")
        .send()
        .await
        .expect("the queue is there")
        .queue_url;
    let received = sqs
        .receive_message()
        .set_queue_url(url)
        .max_number_of_messages(10)
        .send()
        .await;
    let received = received.expect("a queue");
    let bodies: Vec<_> = received
        .messages()
        .iter()
        .filter_map(|message| message.body())
        .collect();
    assert_eq!(bodies, ["kept"]);
    program.kill().await;

    let program = Program::start(folder.path()).await;
    let mut read = read_all(&program.kinesis(), 3).await;
    read.sort();
    numbers.sort();
    assert_eq!(read, numbers);
    program.kill().await;
}

/// Writers that are cut off in the middle: an acknowledged record is there, whatever else is.
#[tokio::test]
async fn a_kill_under_load_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = Program::start(folder.path()).await;
    program
        .kinesis()
        .create_stream()
        .stream_name("s")
        .shard_count(2)
        .send()
        .await
        .expect("a new stream");
    let (acknowledge, mut acknowledged) = tokio::sync::mpsc::unbounded_channel();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..3 {
        let (kinesis, acknowledge) = (program.kinesis(), acknowledge.clone());
        writers.spawn(async move {
            for call in 0.. {
                let entry = PutRecordsRequestEntry::builder().partition_key(format!("{writer}-{call}"));
                let entry = entry
                    .data(Blob::new("event"))
                    .build()
                    .expect("data and key are set");
                let request = kinesis.put_records().stream_name("s").records(entry);
                let Ok(answer) = request.send().await else { return };
                let number = answer.records()[0].sequence_number().expect("it was stored");
                acknowledge.send(number.to_owned()).expect("the test listens");
            }
        });
    }
    drop(acknowledge);
    let mut numbers = Vec::new();
    while numbers.len() < 100 {
        numbers.push(acknowledged.recv().await.expect("the writers are at work"));
    }
    program.kill().await;
    writers.join_all().await;
    while let Some(number) = acknowledged.recv().await {
        numbers.push(number);
    }

    let program = Program::start(folder.path()).await;
    let read = read_all(&program.kinesis(), 2).await;
    let distinct: BTreeSet<_> = read.iter().collect();
    assert_eq!(distinct.len(), read.len(), "no number twice");
    let lost: Vec<_> = numbers
        .iter()
        .filter(|number| !distinct.contains(number))
        .collect();
    assert!(lost.is_empty(), "{} of {} are lost", lost.len(), numbers.len());
    program.kill().await;
}
