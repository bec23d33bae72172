//! An emulated AWS with a stream full of events.

use std::path::Path;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use hoard::Clients;
use local_cloud::{CloudSettings, LocalCloud};

use crate::{Failure, corpus};

pub(crate) const STREAM: &str = "events";
pub(crate) const BUCKET: &str = "archive";
const REGION: &str = "us-east-1";

/// The cloud, and what is in its stream.
pub(crate) struct Cloud {
    cloud: LocalCloud,
    pub(crate) clients: Clients,
    pub(crate) records: u64,
    /// Of all records.
    pub(crate) bytes: u64,
}

impl Cloud {
    /// Starts it and fills a stream of so many shards.
    pub(crate) async fn start(shards: i32, records: u64) -> Result<Self, Failure> {
        let cloud = LocalCloud::start(CloudSettings::in_memory(REGION)).await?;
        let account = cloud.account();
        let (id, secret) = (account.access_key_id.clone(), account.secret_access_key.clone());
        let endpoint = aws_clients::Endpoint {
            region: Some(REGION.to_owned()),
            endpoint_url: Some(cloud.endpoint_url()),
            credentials: Some(aws_clients::Credentials::new(id, secret, None, None, "example")),
            ..Default::default()
        };
        let clients = Clients::of(&aws_clients::load(&endpoint).await);
        let bytes = fill(&clients, shards, records).await?;
        Ok(Self {
            cloud,
            clients,
            records,
            bytes,
        })
    }

    /// Writes the objects of the archive under `folder`.
    pub(crate) async fn export(&self, folder: &Path) -> Result<(), Failure> {
        let s3 = &self.clients.s3;
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

    pub(crate) async fn stop(self) {
        self.cloud.stop().await;
    }
}

async fn fill(clients: &Clients, shards: i32, records: u64) -> Result<u64, Failure> {
    let Clients { kinesis, s3, .. } = clients;
    s3.create_bucket().bucket(BUCKET).send().await?;
    let create = kinesis.create_stream().stream_name(STREAM);
    create.shard_count(shards).send().await?;
    let (mut bytes, mut n) = (0, 0);
    while n < records {
        let mut entries = Vec::with_capacity(500);
        for n in n..(n + 500).min(records) {
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
