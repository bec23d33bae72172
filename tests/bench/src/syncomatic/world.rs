//! The service that is measured, and the two clouds that it copies between: processes of their own.

use std::{path::Path, time::Duration};

use aws_clients::{Endpoint, describe};
use aws_credential_types::Credentials;
use aws_sdk_s3::types::{
    BucketLocationConstraint, ChecksumAlgorithm, CreateBucketConfiguration, Event, NotificationConfiguration,
    QueueConfiguration,
};
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use bytes::Bytes;
use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, interval, sleep};

use crate::{Failure, cores::Cores, program::Program, tls::Tls};

const CHINA: &str = "cn-north-1";
const EUROPE: &str = "eu-west-1";
pub(super) const SOURCE_BUCKET: &str = "events-cn";
pub(super) const DESTINATION_BUCKET: &str = "events-eu";
const QUEUE: &str = "new-objects";
/// The same for what the service is compared with.
pub(super) const FLOOR_QUEUE: &str = "new-objects-for-the-floor";
/// Tells of copies.
const COPIES: &str = "copies";
/// Who we are to the emulated AWS.
const KEY_ID: &str = "bench";
const SECRET: &str = "bench-secret";
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often objects are created whose lag is measured.
const LAG_EVERY: Duration = Duration::from_millis(100);

/// What the service does with objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Verbatim,
    Redacted,
}

/// How the service reaches both clouds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Plain,
    Tls,
}

pub(super) struct World {
    pub(super) service: Program,
    cloud: Program,
    pub(super) tls: Option<Tls>,
    /// As the service and its floor reach it; so is the next.
    pub(super) china: String,
    pub(super) europe: String,
    source: aws_sdk_s3::Client,
    destination: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    copies: aws_sdk_sqs::Client,
    queue_url: String,
    pub(super) floor_queue_url: String,
    copies_url: String,
    pub(super) folder: TempDir,
}

pub(super) fn failed(what: impl std::fmt::Display) -> Failure {
    Failure::NotMeasured(what.to_string())
}

/// A side of the emulated AWS, as a client of this bench.
pub(super) fn side(region: &str, endpoint_url: &str) -> Endpoint {
    Endpoint {
        region: Some(region.to_owned()),
        endpoint_url: Some(endpoint_url.to_owned()),
        credentials: Some(Credentials::new(KEY_ID, SECRET, None, None, "bench")),
        ..Endpoint::default()
    }
}

pub(super) fn china(endpoint_url: &str) -> Endpoint {
    side(CHINA, endpoint_url)
}

pub(super) fn europe(endpoint_url: &str) -> Endpoint {
    side(EUROPE, endpoint_url)
}

impl World {
    /// Starts all of it.
    pub(super) async fn start(
        syncomatic: &Path,
        cloud: &Path,
        cores: &Cores,
        (route, wire): (Route, Wire),
    ) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(Failure::system("no temporary folder"))?;
        let of = |region| format!("--side=region={region},listen=127.0.0.1:0,credentials={KEY_ID}:{SECRET}");
        let sides = [of(CHINA), of(EUROPE)];
        let mut cloud = Program::start("local-cloud", cloud, &sides, &[], folder.path(), None)?;
        let (china, europe) = (
            listening(&mut cloud, CHINA).await?,
            listening(&mut cloud, EUROPE).await?,
        );
        let (of_china, of_europe) = (
            aws_clients::load(&self::china(&china)).await,
            aws_clients::load(&self::europe(&europe)).await,
        );
        let (source, destination) = (aws_clients::s3(&of_china), aws_clients::s3(&of_europe));
        let (sqs, copies) = (aws_clients::sqs(&of_china), aws_clients::sqs(&of_europe));
        bucket(&source, SOURCE_BUCKET, CHINA).await?;
        bucket(&destination, DESTINATION_BUCKET, EUROPE).await?;
        let (queue_url, floor_queue_url) = (queue(&sqs, QUEUE).await?, queue(&sqs, FLOOR_QUEUE).await?);
        let copies_url = queue(&copies, COPIES).await?;
        let tls = match wire {
            Wire::Plain => None,
            Wire::Tls => Some(Tls::start(folder.path(), &[&china, &europe]).await?),
        };
        let secured = tls
            .as_ref()
            .and_then(|tls| <[String; 2]>::try_from(tls.urls.clone()).ok());
        let [china, europe] = secured.unwrap_or([china, europe]);
        let ends = (china.as_str(), europe.as_str(), tls.as_ref());
        let service = service(syncomatic, cores, folder.path(), ends, route).await?;
        Ok(Self {
            service,
            cloud,
            tls,
            china,
            europe,
            source,
            destination,
            sqs,
            copies,
            queue_url,
            floor_queue_url,
            copies_url,
            folder,
        })
    }

    /// Objects at the source, of which the service is told nothing yet.
    pub(super) async fn put(&self, folder: &str, objects: u32, body: &Bytes) -> Result<(), Failure> {
        for number in 0..objects {
            self.put_one(&key(folder, number), body).await?;
        }
        Ok(())
    }

    async fn put_one(&self, key: &str, body: &Bytes) -> Result<(), Failure> {
        let put = self.source.put_object().bucket(SOURCE_BUCKET).key(key);
        let put = put
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(body.clone().into());
        put.send().await.map_err(|error| failed(describe(&error)))?;
        Ok(())
    }

    /// Tells the service of these objects.
    pub(super) async fn announce(&self, folder: &str, objects: u32) -> Result<(), Failure> {
        self.announce_to(&self.queue_url, folder, objects).await
    }

    /// Messages about these objects, as S3 writes them, one each.
    pub(super) async fn announce_to(&self, url: &str, folder: &str, objects: u32) -> Result<(), Failure> {
        let numbers: Vec<u32> = (0..objects).collect();
        for ten in numbers.chunks(10) {
            let mut request = self.sqs.send_message_batch().queue_url(url);
            for number in ten {
                let record = json!({"eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": CHINA,
                    "eventTime": "2026-03-01T12:00:00.000Z", "eventName": "ObjectCreated:Put",
                    "s3": {"bucket": {"name": SOURCE_BUCKET}, "object": {"key": key(folder, *number)}}});
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(number.to_string())
                    .message_body(json!({"Records": [record]}).to_string());
                request = request.entries(entry.build().map_err(failed)?);
            }
            request.send().await.map_err(|error| failed(describe(&error)))?;
        }
        Ok(())
    }

    /// Waits until every message was deleted.
    pub(super) async fn until_settled(&self) -> Result<(), Failure> {
        let patience = Instant::now() + PATIENCE;
        let request = self.sqs.get_queue_attributes().queue_url(&self.queue_url);
        let request = request.attribute_names(QueueAttributeName::All);
        loop {
            let answer = request
                .clone()
                .send()
                .await
                .map_err(|error| failed(describe(&error)))?;
            let attributes = answer.attributes.unwrap_or_default();
            let is_zero =
                |name: QueueAttributeName| attributes.get(&name).is_some_and(|number| number == "0");
            if is_zero(QueueAttributeName::ApproximateNumberOfMessages)
                && is_zero(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            {
                return Ok(());
            }
            if Instant::now() > patience {
                return Err(failed("not all messages were settled in time"));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every object is at the destination.
    pub(super) async fn require_copied(&self, folder: &str, objects: u32) -> Result<(), Failure> {
        let list = self.destination.list_objects_v2().bucket(DESTINATION_BUCKET);
        let mut pages = list.prefix(format!("{folder}/")).into_paginator().send();
        let mut there = 0;
        while let Some(page) = pages.next().await {
            there += page.map_err(|error| failed(describe(&error)))?.contents().len();
        }
        if there == objects as usize {
            return Ok(());
        }
        Err(failed(format!(
            "{there} of {objects} objects below {folder}/ arrived"
        )))
    }

    /// Milliseconds from before an object is sent to the source until S3 says that its copy was created, p50
    /// and p99.
    pub(super) async fn lag(&self, objects: u32, body: &Bytes) -> Result<(f64, f64), Failure> {
        notify(
            &self.source,
            SOURCE_BUCKET,
            &arn("aws-cn", CHINA, &self.queue_url, QUEUE)?,
        )
        .await?;
        let arn = arn("aws", EUROPE, &self.copies_url, COPIES)?;
        notify(&self.destination, DESTINATION_BUCKET, &arn).await?;
        let mut created = Vec::new();
        let mut ticks = interval(LAG_EVERY);
        for number in 0..objects {
            ticks.tick().await;
            created.push(Timestamp::now());
            self.put_one(&key("lag", number), body).await?;
        }
        let mut micros = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).expect("sensible bounds");
        let patience = Instant::now() + PATIENCE;
        while micros.len() < u64::from(objects) {
            if Instant::now() > patience {
                return Err(failed(format!(
                    "{} of {objects} copies were told of",
                    micros.len()
                )));
            }
            for (key, at) in self.told_copies().await? {
                let number = key
                    .strip_prefix("lag/")
                    .and_then(|number| number.parse::<usize>().ok());
                let Some(sent) = number.and_then(|number| created.get(number)) else {
                    continue;
                };
                let lag = at.duration_since(*sent).as_micros();
                micros.saturating_record(u64::try_from(lag).unwrap_or_default().max(1));
            }
        }
        self.until_settled().await?;
        #[expect(clippy::cast_precision_loss, reason = "at most ten minutes")]
        let millis = |quantile| micros.value_at_quantile(quantile) as f64 / 1e3;
        Ok((millis(0.5), millis(0.99)))
    }

    /// Keys and times of copies, from the destination's own notifications.
    async fn told_copies(&self) -> Result<Vec<(String, Timestamp)>, Failure> {
        let receive = self.copies.receive_message().queue_url(&self.copies_url);
        let receive = receive.max_number_of_messages(10).wait_time_seconds(1);
        let answer = receive.send().await.map_err(|error| failed(describe(&error)))?;
        let mut copies = Vec::new();
        for message in answer.messages.unwrap_or_default() {
            let body: Value = serde_json::from_str(message.body().unwrap_or_default()).map_err(failed)?;
            for record in body["Records"].as_array().into_iter().flatten() {
                let key = record["s3"]["object"]["key"].as_str().unwrap_or_default();
                let time: Timestamp = record["eventTime"]
                    .as_str()
                    .unwrap_or_default()
                    .parse()
                    .map_err(failed)?;
                copies.push((key.replace("%2F", "/"), time));
            }
            let delete = self.copies.delete_message().queue_url(&self.copies_url);
            let delete = delete.set_receipt_handle(message.receipt_handle);
            delete.send().await.map_err(|error| failed(describe(&error)))?;
        }
        Ok(copies)
    }

    /// Ends all of it; a service that does not drain is no service whose figures count.
    pub(super) async fn end(self) -> Result<(), Failure> {
        self.service.end().await?;
        self.cloud.end().await
    }
}

pub(super) fn key(folder: &str, number: u32) -> String {
    format!("{folder}/{number}")
}

/// Where one side listens, from the log.
async fn listening(cloud: &mut Program, region: &str) -> Result<String, Failure> {
    let address = cloud.logged(|line| {
        let of_region = line.contains(region);
        let address = line.split("address=").nth(1)?.split_whitespace().next()?;
        of_region.then(|| address.to_owned())
    });
    Ok(format!("http://{}", address.await?))
}

async fn service(
    path: &Path,
    cores: &Cores,
    folder: &Path,
    (china, europe, tls): (&str, &str, Option<&Tls>),
    route: Route,
) -> Result<Program, Failure> {
    let file = |name: &str, content: &str| -> Result<String, Failure> {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(Failure::system("cannot write a file"))?;
        Ok(path.display().to_string())
    };
    let secret = file("secret", SECRET)?;
    let hash_key = file("hash-key", &"0b".repeat(32))?;
    let mut variables = vec![
        ("SYNCOMATIC_SOURCE_REGION", CHINA.to_owned()),
        ("SYNCOMATIC_SOURCE_BUCKET", SOURCE_BUCKET.to_owned()),
        ("SYNCOMATIC_SOURCE_QUEUE", QUEUE.to_owned()),
        ("SYNCOMATIC_SOURCE_ENDPOINT_URL", china.to_owned()),
        ("SYNCOMATIC_SOURCE_ACCESS_KEY_ID", KEY_ID.to_owned()),
        ("SYNCOMATIC_SOURCE_SECRET_ACCESS_KEY_FILE", secret.clone()),
        ("SYNCOMATIC_DESTINATION_REGION", EUROPE.to_owned()),
        ("SYNCOMATIC_DESTINATION_BUCKET", DESTINATION_BUCKET.to_owned()),
        ("SYNCOMATIC_DESTINATION_ENDPOINT_URL", europe.to_owned()),
        ("SYNCOMATIC_DESTINATION_ACCESS_KEY_ID", KEY_ID.to_owned()),
        ("SYNCOMATIC_DESTINATION_SECRET_ACCESS_KEY_FILE", secret),
        ("SYNCOMATIC_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ("SYNCOMATIC_LOG_FORMAT", "json".to_owned()),
    ];
    variables.extend(tls.map(Tls::trust));
    if route == Route::Redacted {
        variables.push(("SYNCOMATIC_ROUTE", "=>:redacted".to_owned()));
        variables.push(("SYNCOMATIC_HASH_KEY_FILE", hash_key));
    }
    let mut service = Program::start("syncomatic", path, [""; 0], &variables, folder, Some(cores))?;
    // Both sides are established before the policy is told.
    service
        .logged(|line| line.contains("\"policy\"").then_some(()))
        .await?;
    Ok(service)
}

async fn bucket(s3: &aws_sdk_s3::Client, bucket: &str, region: &str) -> Result<(), Failure> {
    let location = BucketLocationConstraint::from(region);
    let location = CreateBucketConfiguration::builder()
        .location_constraint(location)
        .build();
    let create = s3
        .create_bucket()
        .bucket(bucket)
        .create_bucket_configuration(location);
    create.send().await.map_err(|error| failed(describe(&error)))?;
    Ok(())
}

async fn queue(sqs: &aws_sdk_sqs::Client, name: &str) -> Result<String, Failure> {
    let created = sqs.create_queue().queue_name(name).send().await;
    let created = created.map_err(|error| failed(describe(&error)))?;
    created.queue_url.ok_or_else(|| failed("a queue without a URL"))
}

/// A queue's ARN; its URL ends with the account and the name.
fn arn(partition: &str, region: &str, url: &str, name: &str) -> Result<String, Failure> {
    let account = url
        .rsplit('/')
        .nth(1)
        .ok_or_else(|| failed("a queue URL without an account"))?;
    Ok(format!("arn:{partition}:sqs:{region}:{account}:{name}"))
}

/// From now on the queue is told of new objects.
async fn notify(s3: &aws_sdk_s3::Client, bucket: &str, queue_arn: &str) -> Result<(), Failure> {
    let queue = QueueConfiguration::builder()
        .queue_arn(queue_arn)
        .events(Event::from("s3:ObjectCreated:*"))
        .build()
        .map_err(failed)?;
    let notification = NotificationConfiguration::builder()
        .queue_configurations(queue)
        .build();
    let put = s3.put_bucket_notification_configuration().bucket(bucket);
    let put = put.notification_configuration(notification).send().await;
    put.map_err(|error| failed(describe(&error)))?;
    Ok(())
}
