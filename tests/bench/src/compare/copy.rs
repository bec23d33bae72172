//! `bench compare copy`: any command that copies a bucket.

use std::{collections::BTreeMap, ffi::OsString, time::Duration};

use aws_clients::{SdkConfig, describe};
use aws_sdk_s3::primitives::ByteStream;
use clap::Args;
use local::aws::{ARCHIVE_SUFFIX, Aws, DESTINATION_BUCKET, SOURCE_BUCKET, Side};
use rand::{RngCore, SeedableRng, rngs::StdRng};

use super::{
    Work,
    drain::{count, emulated},
    endpoint::to_mebibytes,
    running,
};
use crate::{
    Failure,
    report::{Line, Report, Target},
};

/// What is in the bucket, and what copies it.
#[derive(Args, Clone, Debug)]
pub struct Copy {
    /// Objects in the bucket.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    objects: u32,

    /// Bytes of an object; they are random.
    #[arg(long, default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(0..=1_073_741_824))]
    bytes: u32,

    /// How long it may take.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    limit: Duration,

    #[command(flatten)]
    pub(super) work: Work,

    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Copy {
    pub(super) async fn measure(&self) -> Result<Report, Failure> {
        let name = self.command[0].to_string_lossy().into_owned();
        let what = format!("{} objects of {} bytes", self.objects, self.bytes);
        let mut report = self.work.report(&what, &name);
        let (mut cpu, mut each, mut rates, mut peaks, mut unlike) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.work.rounds {
            let aws = emulated(1).await?;
            self.fill(&aws).await?;
            let mut variables = vec![("SOURCE_QUEUE_URL", aws.queue_url.clone())];
            variables.extend(side(&aws.source, SOURCE, SOURCE_BUCKET));
            variables.extend(side(&aws.destination, DESTINATION, DESTINATION_BUCKET));
            let objects = usize::try_from(self.objects).unwrap_or(usize::MAX);
            let used = running::run(&self.command, &variables, self.limit, async || {
                let there = tags(&aws.destination.config, DESTINATION_BUCKET).await?;
                Ok(there.len() >= objects)
            });
            let used = used.await?;
            unlike.push(count(self.unlike(&aws).await?));
            let total = u64::from(self.objects) * u64::from(self.bytes);
            let mebibytes = to_mebibytes(total);
            cpu.push(used.cpu.as_secs_f64() / (mebibytes / 1024.0));
            each.push(used.cpu.as_secs_f64() * 1e3 / f64::from(self.objects));
            rates.push(mebibytes / used.took.as_secs_f64());
            peaks.push(to_mebibytes(used.peak_bytes));
            if !used.is_done {
                report
                    .notes
                    .push("The command ended before the bucket held every object.".to_owned());
            }
            aws.stop().await;
        }
        report
            .lines
            .extend((self.bytes > 0).then(|| Line::new("processor time", "CPU s/GiB", cpu)));
        report.lines.extend([
            Line::new("processor time an object", "CPU ms", each),
            Line::new("on the wall clock", "MiB/s", rates),
            Line::new("the most memory", "MiB", peaks),
            Line::new("objects that are missing or not the same", "", unlike)
                .with_target(Target::AtMost(0.0)),
        ]);
        Ok(report)
    }

    async fn fill(&self, aws: &Aws) -> Result<(), Failure> {
        let s3 = aws_clients::s3(&aws.source.config);
        let mut random = StdRng::seed_from_u64(self.work.seed);
        let mut bytes = vec![0; usize::try_from(self.bytes).unwrap_or(usize::MAX)];
        for number in 0..self.objects {
            random.fill_bytes(&mut bytes);
            let key = format!("2026/11/25/object-{number:07}{ARCHIVE_SUFFIX}");
            let put = s3.put_object().bucket(SOURCE_BUCKET).key(key);
            let put = put.body(ByteStream::from(bytes.clone())).send().await;
            put.map_err(|error| Failure::NotMeasured(describe(&error)))?;
        }
        Ok(())
    }

    /// How many objects are not at the destination with the bytes of the source.
    async fn unlike(&self, aws: &Aws) -> Result<usize, Failure> {
        let source = tags(&aws.source.config, SOURCE_BUCKET).await?;
        let destination = tags(&aws.destination.config, DESTINATION_BUCKET).await?;
        let mut unlike = 0;
        for (key, tag) in &source {
            match destination.get(key) {
                Some(same) if same == tag => {}
                // An upload in parts has another tag: the bytes decide.
                Some(_) => {
                    let from = bytes(&aws.source.config, SOURCE_BUCKET, key).await?;
                    let to = bytes(&aws.destination.config, DESTINATION_BUCKET, key).await?;
                    unlike += usize::from(from != to);
                }
                None => unlike += 1,
            }
        }
        Ok(unlike)
    }
}

/// Names of a side's variables: endpoint, region, key, secret, bucket.
const SOURCE: [&str; 5] = [
    "SOURCE_ENDPOINT_URL",
    "SOURCE_REGION",
    "SOURCE_ACCESS_KEY_ID",
    "SOURCE_SECRET_ACCESS_KEY",
    "SOURCE_BUCKET",
];
const DESTINATION: [&str; 5] = [
    "DESTINATION_ENDPOINT_URL",
    "DESTINATION_REGION",
    "DESTINATION_ACCESS_KEY_ID",
    "DESTINATION_SECRET_ACCESS_KEY",
    "DESTINATION_BUCKET",
];

fn side(side: &Side, names: [&'static str; 5], bucket: &str) -> [(&'static str, String); 5] {
    let account = side.cloud.account();
    let values = [
        side.cloud.endpoint_url(),
        account.region.clone(),
        account.access_key_id.clone(),
        account.secret_access_key.clone(),
        bucket.to_owned(),
    ];
    let mut values = values.into_iter();
    names.map(|name| (name, values.next().unwrap_or_default()))
}

/// Key → entity tag of the objects, but for what a program keeps of its own, whose names begin with `_`.
async fn tags(config: &SdkConfig, bucket: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut tags = BTreeMap::new();
    let mut pages = aws_clients::s3(config)
        .list_objects_v2()
        .bucket(bucket)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| Failure::NotMeasured(describe(&error)))?;
        for object in page.contents() {
            let (key, tag) = (
                object.key().unwrap_or_default(),
                object.e_tag().unwrap_or_default(),
            );
            if !key.starts_with('_') {
                tags.insert(key.to_owned(), tag.to_owned());
            }
        }
    }
    Ok(tags)
}

async fn bytes(config: &SdkConfig, bucket: &str, key: &str) -> Result<Vec<u8>, Failure> {
    let got = aws_clients::s3(config)
        .get_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await;
    let got = got.map_err(|error| Failure::NotMeasured(describe(&error)))?;
    let body = got.body.collect().await;
    Ok(body
        .map_err(|error| Failure::NotMeasured(error.to_string()))?
        .to_vec())
}
