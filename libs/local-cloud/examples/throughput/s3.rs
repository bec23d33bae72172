//! Objects: bodies kept in memory, and as files.

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use bytes::Bytes;
use local_cloud::{CloudSettings, LocalCloud};

use crate::{Failure, Meter, REGION, measure, sdk_config};

const BUCKET: &str = "throughput";
const SMALL_BYTES: usize = 4 * 1024;
const LARGE_BYTES: usize = 8 * 1024 * 1024;
/// Keys that are written in turn, so that memory stays bounded.
const KEYS: usize = 8;

pub(crate) async fn rows() -> Result<(), Failure> {
    let memory = LocalCloud::start(CloudSettings::in_memory(REGION)).await?;
    objects(&sdk_config(&memory).await, "memory").await?;
    memory.stop().await;
    let folder = tempfile::tempdir()?;
    let files = LocalCloud::start(CloudSettings::in_folder(REGION, folder.path())).await?;
    objects(&sdk_config(&files).await, "folder").await?;
    files.stop().await;
    Ok(())
}

async fn objects(config: &SdkConfig, place: &str) -> Result<(), Failure> {
    let config = aws_sdk_s3::config::Builder::from(config)
        .force_path_style(true)
        .build();
    let client = Client::from_conf(config);
    let location =
        CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::CnNorth1);
    client
        .create_bucket()
        .bucket(BUCKET)
        .create_bucket_configuration(location.build())
        .send()
        .await?;
    for (size, bytes) in [("4 KiB", SMALL_BYTES), ("8 MiB", LARGE_BYTES)] {
        let body = Bytes::from(vec![b'o'; bytes]);
        let title = format!("PutObject, SDK, {size}, {place}, 4 clients");
        measure(&title, 4, bytes, |meter| put(client.clone(), body.clone(), meter)).await?;
        let title = format!("GetObject, SDK, {size}, {place}, 4 clients");
        measure(&title, 4, bytes, |meter| get(client.clone(), meter)).await?;
    }
    Ok(())
}

fn key(number: usize) -> String {
    format!("2026/11/23/object-{}", number % KEYS)
}

async fn put(client: Client, body: Bytes, meter: Meter) -> Result<(), Failure> {
    for number in 0.. {
        if !meter.goes_on() {
            break;
        }
        let put = client.put_object().bucket(BUCKET).key(key(number));
        put.body(ByteStream::from(body.clone())).send().await?;
        meter.add(1);
    }
    Ok(())
}

/// Reads what [`put`] wrote.
async fn get(client: Client, meter: Meter) -> Result<(), Failure> {
    for number in 0.. {
        if !meter.goes_on() {
            break;
        }
        let got = client.get_object().bucket(BUCKET).key(key(number)).send().await?;
        got.body.collect().await?;
        meter.add(1);
    }
    Ok(())
}
