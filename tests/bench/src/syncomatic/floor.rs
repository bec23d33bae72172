//! The calls that copying cannot do without, made by the SDK alone: no checksum, no marker, no retry, no
//! bound on memory, no metric. A process of its own, like what it is compared with.

use std::{sync::Arc, time::Duration};

use aws_clients::describe;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use tokio::{sync::Semaphore, task::JoinSet};

use super::world::{DESTINATION_BUCKET, FLOOR_QUEUE, SOURCE_BUCKET, World, china, europe, failed, key};
use crate::{Failure, cores::Cores, program::Program, tls::Tls};

/// What it says when it is done, and after it its processor time in nanoseconds.
const USED: &str = "processor time in ns: ";
/// Objects on their way at once, as many as the service has by default.
const AT_ONCE: usize = 32;

/// What the process is to copy.
#[derive(Args, Clone, Debug)]
pub struct FloorPlan {
    /// URL of the source side.
    #[arg(long)]
    china: String,
    /// URL of the destination side.
    #[arg(long)]
    europe: String,
    /// What the keys begin with.
    #[arg(long)]
    folder: String,
    /// How many objects there are.
    #[arg(long)]
    objects: u32,
    /// Makes the calls around a copy as well: one message each in the queue, and a look at each side
    /// before and after it.
    #[arg(long)]
    calls_around: bool,
}

struct Sides {
    source: aws_sdk_s3::Client,
    destination: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    queue_url: String,
}

impl World {
    /// Processor time of the floor over these objects, whose copies go under keys of their own.
    pub(super) async fn floor(
        &self,
        cores: &Cores,
        folder: &str,
        objects: u32,
        calls_around: bool,
    ) -> Result<Duration, Failure> {
        let own = std::env::current_exe().map_err(Failure::system("cannot find this program"))?;
        let objects_text = objects.to_string();
        let mut arguments = vec![
            "syncomatic-floor",
            "--china",
            &self.china,
            "--europe",
            &self.europe,
            "--folder",
            folder,
            "--objects",
            &objects_text,
        ];
        if calls_around {
            self.announce_to(&self.floor_queue_url, folder, objects).await?;
            arguments.push("--calls-around");
        }
        let trust: Vec<_> = self.tls.iter().map(Tls::trust).collect();
        let mut program = Program::start("floor", &own, arguments, &trust, self.folder.path(), Some(cores))?;
        let nanos = program
            .logged(|line| line.strip_prefix(USED)?.parse::<u64>().ok())
            .await?;
        Ok(Duration::from_nanos(nanos))
    }
}

/// Copies and says what that took.
///
/// # Errors
/// A call failed.
#[expect(clippy::print_stdout, reason = "its output is read by the bench")]
pub async fn run(plan: FloorPlan) -> Result<(), Failure> {
    let (source, destination) = (
        aws_clients::load(&china(&plan.china)).await,
        aws_clients::load(&europe(&plan.europe)).await,
    );
    let sqs = aws_clients::sqs(&source);
    let queue_url = sqs.get_queue_url().queue_name(FLOOR_QUEUE).send().await;
    let queue_url = queue_url.map_err(|error| failed(describe(&error)))?.queue_url;
    let sides = Arc::new(Sides {
        source: unchecked(&aws_clients::s3(&source)),
        destination: unchecked(&aws_clients::s3(&destination)),
        sqs,
        queue_url: queue_url.ok_or_else(|| failed("a queue without a URL"))?,
    });
    let before = processor_time();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut copies = JoinSet::new();
    let mut receipts = Vec::new();
    for number in 0..plan.objects {
        let place = places.clone().acquire_owned().await.map_err(failed)?;
        if plan.calls_around && receipts.is_empty() {
            receipts = sides.receive().await?;
        }
        let (sides, key, receipt) = (sides.clone(), key(&plan.folder, number), receipts.pop());
        copies.spawn(async move {
            let copied = sides.copy(&key, receipt).await;
            drop(place);
            copied
        });
    }
    while let Some(copied) = copies.join_next().await {
        copied.map_err(failed)??;
    }
    println!("{USED}{}", processor_time().saturating_sub(before).as_nanos());
    Ok(())
}

impl Sides {
    /// Receipts of up to ten messages; what they say does not matter here.
    async fn receive(&self) -> Result<Vec<String>, Failure> {
        let receive = self.sqs.receive_message().queue_url(&self.queue_url);
        let answer = receive
            .max_number_of_messages(10)
            .wait_time_seconds(20)
            .send()
            .await;
        let messages = answer
            .map_err(|error| failed(describe(&error)))?
            .messages
            .unwrap_or_default();
        Ok(messages
            .into_iter()
            .filter_map(|message| message.receipt_handle)
            .collect())
    }

    /// With the message of a copy, the calls around it are made too.
    async fn copy(&self, key: &str, receipt: Option<String>) -> Result<(), Failure> {
        if receipt.is_some() {
            self.look(key).await?;
        }
        let get = self
            .source
            .get_object()
            .bucket(SOURCE_BUCKET)
            .key(key)
            .send()
            .await;
        let object = get.map_err(|error| failed(describe(&error)))?;
        let put = self.destination.put_object().bucket(DESTINATION_BUCKET);
        // Under a key of its own: the service is to find nothing there.
        let put = put
            .key(format!("floor-{key}"))
            .set_content_length(object.content_length)
            .body(object.body);
        let put = put.customize().disable_payload_signing().send().await;
        put.map_err(|error| failed(describe(&error)))?;
        if receipt.is_some() {
            self.look(key).await?;
            let delete = self.sqs.delete_message().queue_url(&self.queue_url);
            let deleted = delete.set_receipt_handle(receipt).send().await;
            deleted.map_err(|error| failed(describe(&error)))?;
        }
        Ok(())
    }

    async fn look(&self, key: &str) -> Result<(), Failure> {
        // The copy is not there before it is made; that is an answer too.
        let copy = format!("floor-{key}");
        let copy = self
            .destination
            .head_object()
            .bucket(DESTINATION_BUCKET)
            .key(copy)
            .send()
            .await;
        if let Err(error) = copy
            && !error.as_service_error().is_some_and(|error| error.is_not_found())
        {
            return Err(failed(describe(&error)));
        }
        let original = self
            .source
            .head_object()
            .bucket(SOURCE_BUCKET)
            .key(key)
            .send()
            .await;
        original.map_err(|error| failed(describe(&error)))?;
        Ok(())
    }
}

/// A client that computes no checksum where S3 does not insist.
fn unchecked(s3: &aws_sdk_s3::Client) -> aws_sdk_s3::Client {
    let config = s3.config().to_builder();
    let config = config
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    aws_sdk_s3::Client::from_conf(config.build())
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}
