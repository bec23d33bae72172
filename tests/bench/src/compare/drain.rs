//! `bench compare drain`: any command that brings a stream into a bucket.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    io::Read,
    time::Duration,
};

use aws_clients::describe;
use aws_sdk_kinesis::{primitives::Blob, types::PutRecordsRequestEntry};
use clap::Args;
use flate2::read::MultiGzDecoder;
use local::aws::{Aws, DESTINATION_REGION, SOURCE_BUCKET, SOURCE_REGION, STREAM};
use local_cloud::CloudSettings;

use super::{Work, endpoint::to_mebibytes, running};
use crate::{
    Failure,
    population::Population,
    report::{Line, Report, Target},
};

/// The most entries that PutRecords takes.
const PUT_MAX: usize = 500;
/// The text before an event's id, by which lines are recognised in whatever form they are stored.
const ID: &[u8] = b"\"eventid\":\"";
const ID_LENGTH: usize = 36;

/// What is in the stream, and what drains it.
#[derive(Args, Clone, Debug)]
pub struct Drain {
    /// Events in the stream.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    events: u32,

    /// Shards.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=200))]
    shards: u16,

    /// How long it may take.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    limit: Duration,

    #[command(flatten)]
    pub(super) work: Work,

    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What is in the bucket.
#[derive(Default)]
struct Found {
    keys: BTreeSet<String>,
    stored_bytes: u64,
    /// How often each event is there.
    times: HashMap<Vec<u8>, u32>,
}

impl Drain {
    pub(super) async fn measure(&self) -> Result<Report, Failure> {
        let name = self.command[0].to_string_lossy().into_owned();
        let mut report = self.work.report(
            &format!("{} events from {} shards", self.events, self.shards),
            &name,
        );
        let (mut cpu, mut rates, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
        let (mut objects, mut stored, mut missing, mut again) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.work.rounds {
            let aws = emulated(self.shards).await?;
            let bytes = self.fill(&aws).await?;
            let account = aws.source.cloud.account();
            let variables = [
                ("AWS_ENDPOINT_URL", aws.source.cloud.endpoint_url()),
                ("AWS_REGION", account.region.clone()),
                ("AWS_ACCESS_KEY_ID", account.access_key_id.clone()),
                ("AWS_SECRET_ACCESS_KEY", account.secret_access_key.clone()),
                ("STREAM", STREAM.to_owned()),
                ("BUCKET", SOURCE_BUCKET.to_owned()),
            ];
            let mut found = Found::default();
            let used = running::run(&self.command, &variables, self.limit, async || {
                found.look(&aws).await?;
                Ok(found.times.len() >= usize::try_from(self.events).unwrap_or(usize::MAX))
            });
            let used = used.await?;
            found.look(&aws).await?;
            let megabytes = to_mebibytes(bytes) * 1.048_576;
            cpu.push(used.cpu.as_secs_f64() * 1e3 / megabytes);
            rates.push(megabytes / used.took.as_secs_f64());
            peaks.push(to_mebibytes(used.peak_bytes));
            objects.push(count(found.keys.len()));
            stored.push(to_mebibytes(found.stored_bytes));
            let wanted = usize::try_from(self.events).unwrap_or(usize::MAX);
            missing.push(count(wanted.saturating_sub(found.times.len())));
            again.push(count(found.times.values().filter(|times| **times > 1).count()));
            if !used.is_done {
                report
                    .notes
                    .push("The command ended before the bucket held every event.".to_owned());
            }
            aws.stop().await;
        }
        report.lines = vec![
            Line::new("processor time", "CPU ms/MB", cpu),
            Line::new("on the wall clock", "MB/s", rates),
            Line::new("the most memory", "MiB", peaks),
            Line::new("objects", "", objects),
            Line::new("stored", "MiB", stored),
            Line::new("events that are missing", "", missing).with_target(Target::AtMost(0.0)),
            Line::new("events that are there again", "", again).with_target(Target::AtMost(0.0)),
        ];
        Ok(report)
    }

    /// Puts the events into the stream, and gives their bytes.
    async fn fill(&self, aws: &Aws) -> Result<u64, Failure> {
        let kinesis = aws_clients::kinesis(&aws.source.config);
        let mut population = Population::new(self.work.mix());
        let (mut left, mut bytes) = (usize::try_from(self.events).unwrap_or(usize::MAX), 0);
        while left > 0 {
            let entries: Result<Vec<_>, _> = (0..left.min(PUT_MAX))
                .map(|index| {
                    let json = population.event().json;
                    bytes += json.len() as u64;
                    let entry = PutRecordsRequestEntry::builder().data(Blob::new(json));
                    entry.partition_key((left - index).to_string()).build()
                })
                .collect();
            let entries = entries.map_err(|error| Failure::NotMeasured(error.to_string()))?;
            left -= entries.len();
            let put = kinesis
                .put_records()
                .stream_name(STREAM)
                .set_records(Some(entries));
            put.send()
                .await
                .map_err(|error| Failure::NotMeasured(describe(&error)))?;
        }
        Ok(bytes)
    }
}

/// Both sides, in memory.
pub(super) async fn emulated(shards: u16) -> Result<Aws, Failure> {
    let (source, destination) = (
        CloudSettings::in_memory(SOURCE_REGION),
        CloudSettings::in_memory(DESTINATION_REGION),
    );
    let started = Aws::over(source, destination, shards).await;
    started.map_err(|error| Failure::NotMeasured(error.to_string()))
}

impl Found {
    /// Reads what is new. Names that begin with `_` are state, as Hive and Spark have it.
    async fn look(&mut self, aws: &Aws) -> Result<(), Failure> {
        let not_read =
            |problem: String| Failure::NotMeasured(format!("cannot read {SOURCE_BUCKET}: {problem}"));
        let s3 = aws_clients::s3(&aws.source.config);
        let mut pages = s3.list_objects_v2().bucket(SOURCE_BUCKET).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| not_read(describe(&error)))?;
            for key in page.contents().iter().filter_map(|object| object.key()) {
                if key.starts_with('_') || !self.keys.insert(key.to_owned()) {
                    continue;
                }
                let got = s3.get_object().bucket(SOURCE_BUCKET).key(key).send().await;
                let body = got
                    .map_err(|error| not_read(describe(&error)))?
                    .body
                    .collect()
                    .await;
                let bytes = body.map_err(|error| not_read(error.to_string()))?.into_bytes();
                self.stored_bytes += bytes.len() as u64;
                self.count(&bytes)?;
            }
        }
        Ok(())
    }

    /// Counts the events of an object, whatever stands around them.
    fn count(&mut self, stored: &[u8]) -> Result<(), Failure> {
        let mut text = Vec::new();
        if stored.starts_with(&[0x1f, 0x8b]) {
            let read = MultiGzDecoder::new(stored).read_to_end(&mut text);
            read.map_err(Failure::system("an object is not gzip"))?;
        } else {
            text.extend_from_slice(stored);
        }
        let mut rest = text.as_slice();
        while let Some(at) = rest.windows(ID.len()).position(|window| window == ID) {
            rest = &rest[at + ID.len()..];
            if let Some(id) = rest.get(..ID_LENGTH) {
                *self.times.entry(id.to_vec()).or_default() += 1;
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are less than 2^52")]
pub(super) fn count(of: usize) -> f64 {
    of as f64
}
