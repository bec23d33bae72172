//! A running service with a stream of its own, and the ways in which tests look at both.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use aws_sdk_kinesis::{Client as Kinesis, types::ShardIteratorType};
use event_model::Producer;
use events::{
    Error, Settings,
    credentials::{CredentialsFile, HashKey, NewCredential, issue},
};
use local_cloud::{CloudSettings, LocalCloud};
use reqwest::{
    RequestBuilder, Response,
    header::{HeaderName, HeaderValue},
};
use serde_json::Value;
use service_runtime::{Runtime, settings::config_from};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet, time::Instant};

use crate::{contract, gate::Gate};

pub(crate) const STREAM: &str = "events";

/// Long enough for a busy machine; nothing waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Collector {
    pub(crate) cloud: LocalCloud,
    pub(crate) runtime: Runtime,
    pub(crate) address: SocketAddr,
    pub(crate) http: reqwest::Client,
    pub(crate) kinesis: Kinesis,
    service: JoinSet<Result<(), Error>>,
    credentials: BTreeMap<Producer, NewCredential>,
    pub(crate) hash_key: HashKey,
    folder: TempDir,
}

/// An event that was found in the stream, in a record of its own or packed with others.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) partition_key: String,
    pub(crate) line: String,
    /// The shard, as a number.
    pub(crate) shard: usize,
    /// Its own hash key, if it was packed.
    pub(crate) hash_key: Option<String>,
}

impl Stored {
    pub(crate) fn field(&self, name: &str) -> Value {
        let mut line: Value = serde_json::from_str(&self.line).expect("a stored line is JSON");
        line[name].take()
    }
}

impl Collector {
    /// A ready service with these flags in addition to what it needs.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let collector = Self::start_without_stream(flags).await;
        collector.create_stream().await;
        collector.becomes_ready().await;
        collector
    }

    /// A ready service that reaches Kinesis through a gate.
    pub(crate) async fn start_behind_gate(flags: &[&str]) -> (Self, Gate) {
        let cloud = LocalCloud::start(CloudSettings::in_memory("eu-west-1"))
            .await
            .expect("a cloud");
        let gate = Gate::in_front_of(&cloud).await;
        let through = connect(&cloud, gate.url()).await;
        let collector = Self::launch(cloud, through, flags).await;
        collector.create_stream().await;
        collector.becomes_ready().await;
        (collector, gate)
    }

    pub(crate) async fn start_without_stream(flags: &[&str]) -> Self {
        let cloud = LocalCloud::start(CloudSettings::in_memory("eu-west-1"))
            .await
            .expect("a cloud");
        let kinesis = connect(&cloud, cloud.endpoint_url()).await;
        Self::launch(cloud, kinesis, flags).await
    }

    /// The service with its own way to Kinesis; tests look at the cloud directly.
    async fn launch(cloud: LocalCloud, of_service: Kinesis, flags: &[&str]) -> Self {
        let kinesis = connect(&cloud, cloud.endpoint_url()).await;
        let folder = tempfile::tempdir().expect("a folder");
        let (hash_key, hash_key_text) = HashKey::generate();
        let credentials: BTreeMap<_, _> = [
            (Producer::Device, "northwind-speaker"),
            (Producer::App, "northwind-app"),
            (Producer::Platform, "platform"),
        ]
        .map(|(kind, name)| (kind, issue(&hash_key, name, "northwind", kind, &["*"])))
        .into();
        let clients = credentials
            .values()
            .map(|credential| credential.entry.clone())
            .collect();
        let file = serde_json::to_vec(&CredentialsFile {
            clients,
            ..CredentialsFile::default()
        })
        .expect("JSON");
        let file_path = folder.path().join("credentials.json");
        let key_path = folder.path().join("hash-key");
        std::fs::write(&file_path, file).expect("written");
        std::fs::write(&key_path, hash_key_text).expect("written");

        let mut arguments = vec![
            "--stream",
            STREAM,
            "--credentials-file",
            file_path.to_str().expect("UTF-8"),
            "--credentials-hash-key-file",
            key_path.to_str().expect("UTF-8"),
        ];
        if !flags.contains(&"--stream-check-interval") {
            arguments.extend(["--stream-check-interval", "100ms"]);
        }
        arguments.extend(flags);
        let config = config_from::<Settings>(arguments).expect("valid flags");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let runtime = Runtime::new("events");
        let mut service = JoinSet::new();
        service.spawn(events::run(config, of_service, listener, runtime.clone()));
        let http = reqwest::Client::new();
        let collector = Self {
            cloud,
            runtime,
            address,
            http,
            kinesis,
            service,
            credentials,
            hash_key,
            folder,
        };
        contract::learn(&collector).await;
        collector
    }

    pub(crate) async fn create_stream(&self) {
        let call = self.kinesis.create_stream().stream_name(STREAM).shard_count(3);
        call.send().await.expect("a stream");
    }

    pub(crate) async fn becomes_ready(&self) {
        self.until("the service is ready", || self.runtime.readiness.is_ready())
            .await;
    }

    /// Waits for a condition, and says which one it was that never came.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits for a condition that takes requests to find out.
    pub(crate) async fn eventually(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition().await {
            assert!(Instant::now() < deadline, "never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The file that the service reads its clients from.
    pub(crate) fn credentials_file(&self) -> PathBuf {
        self.folder.path().join("credentials.json")
    }

    /// The key and secret of the client of this kind.
    pub(crate) fn credential(&self, kind: Producer) -> (&str, &str) {
        let credential = &self.credentials[&kind];
        (&credential.entry.key, &credential.secret)
    }

    /// A POST of JSON by the platform's client.
    pub(crate) fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.post_as(Producer::Platform, path, body)
    }

    pub(crate) fn post_as(
        &self,
        kind: Producer,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> RequestBuilder {
        let (key, secret) = self.credential(kind);
        let request = self.http.post(self.url(path)).basic_auth(key, Some(secret));
        with_header(request.body(body), "content-type", "application/json")
    }

    /// Sends events and returns status and answer.
    pub(crate) async fn send(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        answer(self.post("/v1/events", body).send().await.expect("an answer")).await
    }

    /// Everything in the stream, shard by shard, in order.
    pub(crate) async fn stored(&self) -> Vec<Stored> {
        read_stream(&self.kinesis).await
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let families = self.runtime.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family
            .unwrap_or_else(|| panic!("there is no metric {name}"))
            .get_metric();
        metrics
            .iter()
            .map(|metric| {
                let counter = metric.get_counter().get_value() + metric.get_gauge().get_value();
                counter + metric.get_histogram().get_sample_count() as f64
            })
            .sum()
    }

    /// Asks the service to drain and returns what it ended with.
    pub(crate) async fn stop(&mut self) -> Result<(), Error> {
        self.runtime.shutdown.request();
        let ended = tokio::time::timeout(PATIENCE, self.service.join_next()).await;
        ended.expect("it drains").expect("one service").expect("no panic")
    }
}

/// Sets a header in place of any that is there.
pub(crate) fn with_header(
    request: RequestBuilder,
    name: &'static str,
    value: &'static str,
) -> RequestBuilder {
    request.headers(
        [(HeaderName::from_static(name), HeaderValue::from_static(value))]
            .into_iter()
            .collect(),
    )
}

/// Status and body of an answer that is as the service describes itself.
pub(crate) async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let path = response.url().path().to_owned();
    let media_type = response.headers()["content-type"]
        .to_str()
        .expect("text")
        .to_owned();
    let body = response.json().await.expect("a JSON answer");
    contract::holds(&path, status, &media_type, &body);
    (status, body)
}

async fn connect(cloud: &LocalCloud, url: String) -> Kinesis {
    let account = cloud.account();
    let endpoint = aws_clients::Endpoint {
        region: Some(account.region.clone()),
        profile: None,
        endpoint_url: Some(url),
        credentials: Some(aws_clients::Credentials::new(
            &account.access_key_id,
            &account.secret_access_key,
            None,
            None,
            "tests",
        )),
    };
    aws_clients::kinesis(&aws_clients::load(&endpoint).await)
}

async fn read_stream(kinesis: &Kinesis) -> Vec<Stored> {
    let mut stored = Vec::new();
    let shards = kinesis
        .list_shards()
        .stream_name(STREAM)
        .send()
        .await
        .expect("shards");
    for shard in shards.shards() {
        let call = kinesis
            .get_shard_iterator()
            .stream_name(STREAM)
            .shard_id(shard.shard_id());
        let call = call.shard_iterator_type(ShardIteratorType::TrimHorizon);
        let mut iterator = call.send().await.expect("an iterator").shard_iterator;
        while let Some(from) = iterator {
            let answer = kinesis
                .get_records()
                .shard_iterator(from)
                .send()
                .await
                .expect("records");
            let at_end = answer.millis_behind_latest() == Some(0) && answer.records().is_empty();
            for record in answer.records() {
                let (data, key) = (record.data().as_ref(), record.partition_key());
                let key = key.unwrap_or_default();
                stored.extend(events_of(shard.shard_id(), data, key));
            }
            iterator = answer.next_shard_iterator.filter(|_| !at_end);
        }
    }
    stored
}

/// The events of a record.
fn events_of(shard_id: &str, data: &[u8], partition_key: &str) -> Vec<Stored> {
    let shard = shard_id.trim_start_matches("shardId-").parse().expect("a number");
    let stored = |partition_key: &str, data: &[u8], hash_key: Option<&str>| Stored {
        partition_key: partition_key.to_owned(),
        line: String::from_utf8(data.to_vec()).expect("UTF-8"),
        shard,
        hash_key: hash_key.map(str::to_owned),
    };
    if !kpl::is_aggregate(data) {
        return vec![stored(partition_key, data, None)];
    }
    let users = kpl::open(data).expect("an aggregate").into_iter();
    users
        .map(|user| stored(user.partition_key, user.data, user.explicit_hash_key))
        .collect()
}
