//! An emulated AWS in a process of its own, with a stream full of events.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use local_cloud::{Account, CloudSettings, LocalCloud};

use crate::{Failure, corpus};

pub(crate) const STREAM: &str = "events";
pub(crate) const BUCKET: &str = "archive";
const REGION: &str = "us-east-1";

/// Where a stream is, and what is in it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) endpoint: String,
    pub(crate) shards: i32,
    pub(crate) records: u64,
}

/// The process.
pub(crate) struct Cloud {
    process: Child,
    pub(crate) place: Place,
    /// Of all records.
    pub(crate) bytes: u64,
}

impl Place {
    pub(crate) fn new(endpoint: &str, shards: &str, records: &str) -> Result<Self, Failure> {
        Ok(Self {
            endpoint: endpoint.to_owned(),
            shards: shards.parse()?,
            records: records.parse()?,
        })
    }

    pub(crate) async fn clients(&self) -> (aws_sdk_kinesis::Client, aws_sdk_s3::Client) {
        let hoard::Clients { kinesis, s3, .. } = self.all_clients().await;
        (kinesis, s3)
    }

    pub(crate) async fn all_clients(&self) -> hoard::Clients {
        let account = Account::development(REGION);
        let (id, secret) = (account.access_key_id, account.secret_access_key);
        let endpoint = aws_clients::Endpoint {
            region: Some(REGION.to_owned()),
            endpoint_url: Some(self.endpoint.clone()),
            credentials: Some(aws_clients::Credentials::new(id, secret, None, None, "example")),
            ..Default::default()
        };
        hoard::Clients::of(&aws_clients::load(&endpoint).await)
    }
}

/// Serves until the parent kills it.
pub(crate) async fn serve() -> Result<(), Failure> {
    let cloud = LocalCloud::start(CloudSettings::in_memory(REGION)).await?;
    println!("{}", cloud.endpoint_url());
    std::future::pending().await
}

impl Cloud {
    /// Starts it and fills a stream of so many shards.
    pub(crate) async fn start(shards: i32, records: u64) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("cloud")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut endpoint = String::new();
        let output = process.stdout.take().ok_or("no output")?;
        BufReader::new(output).read_line(&mut endpoint)?;
        let endpoint = endpoint.trim().to_owned();
        let place = Place {
            endpoint,
            shards,
            records,
        };
        let bytes = fill(&place).await?;
        Ok(Self {
            process,
            place,
            bytes,
        })
    }

    /// Deletes what an instance has written, so that the next one begins anew.
    pub(crate) async fn forget_archive(&self) -> Result<(), Failure> {
        let (_, s3) = self.place.clients().await;
        loop {
            let listed = s3.list_objects_v2().bucket(BUCKET).send().await?;
            let objects = listed.contents.unwrap_or_default();
            if objects.is_empty() {
                return Ok(());
            }
            for key in objects.into_iter().filter_map(|object| object.key) {
                s3.delete_object().bucket(BUCKET).key(key).send().await?;
            }
        }
    }

    /// Writes the objects of the archive under `folder`.
    pub(crate) async fn export(&self, folder: &Path) -> Result<(), Failure> {
        let (_, s3) = self.place.clients().await;
        let listed = s3.list_objects_v2().bucket(BUCKET).prefix("raw/").send().await?;
        for key in listed
            .contents
            .unwrap_or_default()
            .into_iter()
            .filter_map(|object| object.key)
        {
            let object = s3.get_object().bucket(BUCKET).key(&key).send().await?;
            let path = folder.join(&key);
            std::fs::create_dir_all(path.parent().ok_or("a key without a folder")?)?;
            std::fs::write(path, object.body.collect().await?.into_bytes())?;
        }
        Ok(())
    }

    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

async fn fill(place: &Place) -> Result<u64, Failure> {
    let (kinesis, s3) = place.clients().await;
    s3.create_bucket().bucket(BUCKET).send().await?;
    let create = kinesis.create_stream().stream_name(STREAM);
    create.shard_count(place.shards).send().await?;
    loop {
        let summary = kinesis
            .describe_stream_summary()
            .stream_name(STREAM)
            .send()
            .await?;
        let summary = summary.stream_description_summary.ok_or("no summary")?;
        if summary.stream_status().as_str() == "ACTIVE" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (mut bytes, mut n) = (0, 0);
    while n < place.records {
        let mut entries = Vec::with_capacity(500);
        for n in n..(n + 500).min(place.records) {
            let event = corpus::event(n);
            bytes += event.len() as u64;
            let entry = PutRecordsRequestEntry::builder().partition_key(format!("{n}"));
            entries.push(entry.data(Blob::new(event)).build()?);
        }
        n += entries.len() as u64;
        let put = kinesis
            .put_records()
            .stream_name(STREAM)
            .set_records(Some(entries));
        if put.send().await?.failed_record_count != Some(0) {
            return Err("not all records were taken".into());
        }
    }
    Ok(bytes)
}
