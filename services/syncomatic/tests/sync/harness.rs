//! Two clouds, the service between them, and questions to ask of either.

use std::path::Path;
use std::time::Duration;

use aws_clients::{Credentials, Endpoint};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::{
    BucketLocationConstraint, ChecksumAlgorithm, CreateBucketConfiguration, Event, NotificationConfiguration,
    QueueConfiguration,
};
use aws_sdk_sqs::types::QueueAttributeName;
use local_cloud::{Clock, CloudSettings, LocalCloud, Rule};
use serde_json::{Value, json};
use service_runtime::Runtime;
use syncomatic::attributes::Storage;
use syncomatic::config::{Config, Limits, Queue, ReconcileLimits, Side};
use syncomatic::policy::{Route, Routes};
use syncomatic::{Destination, Error, Source};
use tokio::task::JoinSet;

pub(crate) const SOURCE_BUCKET: &str = "events-cn";
pub(crate) const DESTINATION_BUCKET: &str = "events-eu";
pub(crate) const QUEUE: &str = "new-objects";
pub(crate) const DEAD_LETTERS: &str = "dead-letters";
pub(crate) const JOURNAL_PREFIX: &str = "_syncomatic/uploads/";

const RECEIVED: &str = "syncomatic_messages_received_total";

/// How long anything that has to happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two clouds and clients for them.
pub(crate) struct World {
    pub(crate) china: LocalCloud,
    pub(crate) europe: LocalCloud,
    pub(crate) source: Source,
    pub(crate) destination: Destination,
    pub(crate) queue_url: String,
    /// The time that both clouds see.
    pub(crate) clock: Clock,
}

/// The service, running.
pub(crate) struct Service {
    pub(crate) runtime: Runtime,
    running: JoinSet<Result<(), Error>>,
}

fn endpoint(cloud: &LocalCloud) -> Endpoint {
    let account = cloud.account();
    let (id, secret) = (&account.access_key_id, &account.secret_access_key);
    Endpoint {
        region: Some(account.region.clone()),
        profile: None,
        endpoint_url: Some(cloud.endpoint_url()),
        credentials: Some(Credentials::new(id, secret, None, None, "test")),
    }
}

async fn create_bucket(s3: &aws_sdk_s3::Client, bucket: &str, region: &str) {
    let location =
        CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(region));
    let request = s3
        .create_bucket()
        .bucket(bucket)
        .create_bucket_configuration(location.build());
    request.send().await.expect("a bucket");
}

impl World {
    /// Both buckets, the queue, and the notification from one to the other.
    pub(crate) async fn new() -> Self {
        Self::without_queue().await.notified().await
    }

    /// The same, with this seed of what fault rules choose.
    pub(crate) async fn seeded(seed: u64) -> Self {
        let cloud = |region| CloudSettings {
            seed,
            ..CloudSettings::in_memory(region)
        };
        Self::of(cloud("cn-north-1"), cloud("eu-west-1"))
            .await
            .notified()
            .await
    }

    /// The same, with objects on the disk.
    pub(crate) async fn in_folder(folder: &Path) -> Self {
        let cloud = |region| CloudSettings::in_folder(region, folder.join(region));
        Self::of(cloud("cn-north-1"), cloud("eu-west-1"))
            .await
            .notified()
            .await
    }

    async fn notified(self) -> Self {
        let world = self;
        world.create_queue().await;
        let queue = QueueConfiguration::builder()
            .queue_arn(world.china.account().arn("sqs", QUEUE))
            .events(Event::from("s3:ObjectCreated:*"))
            .build()
            .expect("complete");
        let notification = NotificationConfiguration::builder()
            .queue_configurations(queue)
            .build();
        let request = world
            .source
            .s3
            .put_bucket_notification_configuration()
            .bucket(SOURCE_BUCKET);
        request
            .notification_configuration(notification)
            .send()
            .await
            .expect("a notification");
        world
    }

    /// Both buckets.
    pub(crate) async fn without_queue() -> Self {
        let clock = Clock::system();
        let cloud = |region| CloudSettings {
            clock: clock.clone(),
            ..CloudSettings::in_memory(region)
        };
        Self::of(cloud("cn-north-1"), cloud("eu-west-1")).await
    }

    async fn of(china: CloudSettings, europe: CloudSettings) -> Self {
        let clock = china.clock.clone();
        let china = LocalCloud::start(china).await.expect("a cloud");
        let europe = LocalCloud::start(europe).await.expect("a cloud");
        let source = aws_clients::load(&endpoint(&china)).await;
        let source = Source {
            s3: aws_clients::s3(&source),
            sqs: aws_clients::sqs(&source),
        };
        let destination = aws_clients::load(&endpoint(&europe)).await;
        let destination = Destination {
            s3: aws_clients::s3(&destination),
        };
        create_bucket(&source.s3, SOURCE_BUCKET, "cn-north-1").await;
        create_bucket(&destination.s3, DESTINATION_BUCKET, "eu-west-1").await;
        Self {
            china,
            europe,
            source,
            destination,
            queue_url: String::new(),
            clock,
        }
        .with_queue_url()
    }

    fn with_queue_url(mut self) -> Self {
        self.queue_url = format!(
            "{}/{}/{QUEUE}",
            self.china.endpoint_url(),
            self.china.account().id
        );
        self
    }

    /// Creates the notification queue and returns its URL.
    pub(crate) async fn create_queue(&self) {
        let answer = self
            .source
            .sqs
            .create_queue()
            .queue_name(QUEUE)
            .send()
            .await
            .expect("a queue");
        assert_eq!(answer.queue_url.as_deref(), Some(self.queue_url.as_str()));
    }

    /// Creates the dead letter queue and returns its URL.
    pub(crate) async fn create_dead_letter_queue(&self) -> String {
        let answer = self
            .source
            .sqs
            .create_queue()
            .queue_name(DEAD_LETTERS)
            .send()
            .await
            .expect("a queue");
        answer.queue_url.expect("its URL")
    }

    /// One verbatim route for everything, and short pauses.
    pub(crate) fn config(&self) -> Config {
        self.config_with_routes(&["=>:verbatim"])
    }

    pub(crate) fn config_with_routes(&self, routes: &[&str]) -> Config {
        let source = Side::new(SOURCE_BUCKET, endpoint(&self.china)).expect("a region of China");
        let destination = Side::new(DESTINATION_BUCKET, endpoint(&self.europe)).expect("a region of Europe");
        let routes = routes
            .iter()
            .map(|route| route.parse::<Route>().expect("a route"))
            .collect();
        let routes = Routes::new(routes, source.partition, destination.partition).expect("allowed routes");
        Config {
            source,
            destination,
            queue: Queue::Name(QUEUE.to_owned()),
            dead_letter_queue: None,
            routes,
            redacted: None,
            ledger: None,
            storage: Storage::default(),
            journal_prefix: JOURNAL_PREFIX.to_owned(),
            limits: Limits {
                visibility_timeout: Duration::from_secs(30),
                progress_deadline: Duration::from_secs(20),
                backoff_base: Duration::from_millis(10),
                backoff_cap: Duration::from_millis(100),
                circuit_pause: Duration::from_millis(200),
                ..Limits::default()
            },
            reconcile: ReconcileLimits::default(),
        }
    }

    pub(crate) fn run(&self, config: Config) -> Service {
        self.run_with(config, Runtime::new("syncomatic"))
    }

    pub(crate) fn run_with(&self, config: Config, runtime: Runtime) -> Service {
        let mut running = JoinSet::new();
        running.spawn(syncomatic::run(
            config,
            self.source.clone(),
            self.destination.clone(),
            runtime.clone(),
        ));
        Service { runtime, running }
    }

    /// A PutObject to the source that stores a CRC64NVME.
    pub(crate) fn put(&self, key: &str, body: impl Into<Vec<u8>>) -> PutObjectFluentBuilder {
        let request = self.source.s3.put_object().bucket(SOURCE_BUCKET).key(key);
        request
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(body.into().into())
    }

    pub(crate) async fn put_source(&self, key: &str, body: impl Into<Vec<u8>>) {
        self.put(key, body).send().await.expect("stored at the source");
    }

    /// An object of the source that says, and is seen to say, that it is encoded so.
    pub(crate) async fn put_encoded(&self, key: &str, body: Vec<u8>, encoding: &str) {
        let put = self.put(key, body).content_encoding(encoding);
        put.send().await.expect("stored");
        let head = self.source.s3.head_object().bucket(SOURCE_BUCKET).key(key);
        let head = head.send().await.expect("there");
        assert_eq!(head.content_encoding.as_deref(), Some(encoding));
    }

    pub(crate) async fn get_destination(&self, key: &str) -> Option<GetObjectOutput> {
        let answer = self
            .destination
            .s3
            .get_object()
            .bucket(DESTINATION_BUCKET)
            .key(key)
            .send()
            .await;
        match answer {
            Ok(object) => Some(object),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_no_such_key()) =>
            {
                None
            }
            Err(error) => panic!("reading the destination: {error:?}"),
        }
    }

    /// The bytes at the destination.
    pub(crate) async fn destination_bytes(&self, key: &str) -> Option<Vec<u8>> {
        let object = self.get_destination(key).await?;
        Some(object.body.collect().await.expect("a whole body").to_vec())
    }

    /// Journals and open uploads at the destination.
    pub(crate) async fn uploads(&self) -> (usize, usize) {
        let s3 = &self.destination.s3;
        let journals = s3
            .list_objects_v2()
            .bucket(DESTINATION_BUCKET)
            .prefix(JOURNAL_PREFIX);
        let journals = journals
            .send()
            .await
            .expect("a list")
            .contents
            .unwrap_or_default();
        let uploads = s3.list_multipart_uploads().bucket(DESTINATION_BUCKET).send();
        let uploads = uploads.await.expect("a list").uploads.unwrap_or_default();
        (journals.len(), uploads.len())
    }

    /// Sends a message to the notification queue as it is.
    pub(crate) async fn send(&self, body: &str) {
        let request = self.source.sqs.send_message().queue_url(&self.queue_url);
        request.message_body(body).send().await.expect("sent");
    }

    /// Messages in a queue: visible and in hand.
    pub(crate) async fn queue_depth(&self, url: &str) -> (u32, u32) {
        let visible = QueueAttributeName::ApproximateNumberOfMessages;
        let hidden = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        let request = self.source.sqs.get_queue_attributes().queue_url(url);
        let request = request
            .attribute_names(visible.clone())
            .attribute_names(hidden.clone());
        let attributes = request
            .send()
            .await
            .expect("attributes")
            .attributes
            .expect("attributes");
        let number = |name| {
            attributes
                .get(&name)
                .and_then(|text| text.parse().ok())
                .expect("a number")
        };
        (number(visible), number(hidden))
    }

    /// Waits until every message was deleted.
    pub(crate) async fn until_queue_is_empty(&self) {
        until("the queue is empty", async || {
            self.queue_depth(&self.queue_url).await == (0, 0)
        })
        .await;
    }
}

impl Service {
    /// Asks for a drain and waits for it.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        self.runtime.shutdown.request();
        self.ended().await
    }

    /// What the service returns by itself.
    pub(crate) async fn ended(&mut self) -> Result<(), Error> {
        let ended = tokio::time::timeout(PATIENCE, self.running.join_next()).await;
        ended.expect("in time").expect("one task").expect("no panic")
    }

    /// Ends the service as a crash would: nothing is finished, nothing is given back.
    pub(crate) async fn kill(mut self) {
        self.running.shutdown().await;
    }

    /// Waits until the service has taken its latches, which it does before it registers its metrics,
    /// and opened them.
    pub(crate) async fn until_ready(&self) {
        let begun = || {
            self.runtime
                .registry
                .gather()
                .iter()
                .any(|family| family.name() == RECEIVED)
        };
        until("the service is ready", async || {
            begun() && self.runtime.readiness.is_ready()
        })
        .await;
    }

    /// Waits until `/readyz` gives a reason that contains `part`.
    pub(crate) async fn until_not_ready(&self, part: &str) {
        let reasons = || self.runtime.readiness.reasons();
        let waiting = async {
            while !reasons().iter().any(|reason| reason.contains(part)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(
            waited.is_ok(),
            "not among the reasons: {part}; they are {:?}",
            reasons()
        );
    }

    /// The value of a counter or gauge, 0 while it has not appeared; `label` is its only label's value.
    pub(crate) fn metric(&self, name: &str, label: Option<&str>) -> u64 {
        let families = self.runtime.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        let metric = metrics.iter().find(|metric| match label {
            Some(value) => metric.get_label().iter().any(|label| label.value() == value),
            None => true,
        });
        // One of the two is there, the other is 0.
        metric.map_or(0, |metric| {
            (metric.get_counter().get_value() + metric.get_gauge().get_value()) as u64
        })
    }

    /// Records with this outcome.
    pub(crate) fn records(&self, outcome: &str) -> u64 {
        self.metric("syncomatic_records_total", Some(outcome))
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    until_within(PATIENCE, what, condition).await;
}

/// Waits so long for a condition.
pub(crate) async fn until_within(patience: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(patience, waiting).await;
    assert!(waited.is_ok(), "not in {patience:?}: {what}");
}

/// Counts the calls of these operations from now on.
pub(crate) struct Calls<'a> {
    cloud: &'a LocalCloud,
    before: Vec<(&'static str, u64)>,
}

impl<'a> Calls<'a> {
    /// Replaces all fault rules of the cloud by ones that only count.
    pub(crate) fn count(cloud: &'a LocalCloud, operations: &[&'static str]) -> Self {
        cloud.faults().clear();
        for operation in operations {
            cloud.faults().inject(Rule::on(*operation));
        }
        let before = operations
            .iter()
            .map(|name| (*name, cloud.faults().injected(name)))
            .collect();
        Self { cloud, before }
    }

    /// How often each was called since, in the order given.
    pub(crate) fn since(&self) -> Vec<u64> {
        self.before
            .iter()
            .map(|(name, before)| self.cloud.faults().injected(name) - before)
            .collect()
    }
}

/// Bytes that repeat late and compress badly.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A record as S3 writes it; the key is expected to be form-encoded.
pub(crate) fn record(bucket: &str, encoded_key: &str) -> Value {
    json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "cn-north-1",
        "eventTime": "2026-03-01T12:00:00.000Z", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": encoded_key, "sequencer": "0055AED6DCD90281E5"}}
    })
}

/// A message with these records.
pub(crate) fn message(records: &[Value]) -> String {
    json!({ "Records": records }).to_string()
}
