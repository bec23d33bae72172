//! Everything arrives over TLS, and no upload is hashed twice.
//!
//! S3 takes a body under TLS unsigned (`UNSIGNED-PAYLOAD`), and the CRC64NVME of the whole of it, sent
//! ahead, is what proves it. A body that lies in memory the SDK would sign unless it is told not to, which
//! takes SHA-256 of every byte.

use aws_clients::SdkConfig;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType};
use local::aws::{DESTINATION_BUCKET, SOURCE_BUCKET};
use pipeline_tests::{Pipeline, Tls, eventually};
use serde_json::{Value, json};
use tls_front::Head;

use crate::{ADDRESS, PIPELINE, authority};

const MIB: usize = 1 << 20;
/// Longer than a copy takes on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(90);
/// Three parts of 5 MiB, the last of them of one.
const LARGE: &str = "large/a.jsonl.gz";
/// Its source stores another checksum than CRC64NVME, so that none can be sent ahead.
const UNATTESTED: &str = "unattested/a.jsonl.gz";
/// Two parts when it is redacted.
const REDACTED: &str = "redacted/a.jsonl.gz";
const REDACTED_LINES: usize = 27;

/// Bytes that do not repeat.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    });
    words.flatten().take(length).collect()
}

/// Few and long lines: quicker than many. Not compressed, so that the copy is as long.
fn lines_to_redact() -> Vec<u8> {
    let track = "la".repeat(100_000);
    let line = |number| {
        let event = json!({"eventtype": "play", "schemaversion": "1-0-0", "deviceid": format!("speaker-{number}"),
            "track": track});
        format!("{event}\n")
    };
    (0..REDACTED_LINES).map(line).collect::<String>().into_bytes()
}

async fn put(config: &SdkConfig, key: &str, body: Vec<u8>, checksum: ChecksumAlgorithm) {
    let put = aws_clients::s3(config)
        .put_object()
        .bucket(SOURCE_BUCKET)
        .key(key);
    let put = put.checksum_algorithm(checksum).body(body.into());
    put.send().await.expect("stored");
}

async fn get(config: &SdkConfig, bucket: &str, key: &str) -> Option<GetObjectOutput> {
    let get = aws_clients::s3(config).get_object().bucket(bucket).key(key);
    get.checksum_mode(ChecksumMode::Enabled).send().await.ok()
}

/// An object of the destination, once it is there: its bytes, and the checksum that S3 found them to have.
async fn arrived(pipeline: &Pipeline, key: &str) -> (Vec<u8>, String) {
    let config = &pipeline.aws.destination.config;
    let object = eventually(key, PATIENCE, async || get(config, DESTINATION_BUCKET, key).await);
    let object = object.await.unwrap_or_else(|late| panic!("{late}"));
    assert_eq!(object.checksum_type, Some(ChecksumType::FullObject), "{key}");
    let crc = object.checksum_crc64_nvme.clone().expect("a CRC64NVME");
    (object.body.collect().await.expect("a body").to_vec(), crc)
}

/// The same bytes on both sides, and by the same checksum where the source stores it.
async fn is_equal(pipeline: &Pipeline, key: &str) {
    let (copy, crc) = arrived(pipeline, key).await;
    let original = get(&pipeline.aws.source.config, SOURCE_BUCKET, key).await;
    let original = original.expect("there");
    if let Some(stored) = &original.checksum_crc64_nvme {
        assert_eq!(*stored, crc, "{key}");
    }
    let original = original.body.collect().await.expect("a body").to_vec();
    assert!(copy == original, "{key} arrived differently");
}

/// What was redacted is not there, what was not is.
async fn is_redacted(pipeline: &Pipeline) {
    let (copy, _) = arrived(pipeline, REDACTED).await;
    let text = String::from_utf8(copy).expect("text");
    assert!(!text.contains("speaker-"), "no device's name");
    assert_eq!(text.lines().count(), REDACTED_LINES);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["track"].as_str().map(str::len), Some(200_000));
    }
}

/// Requests that wrote bytes of the copy `key`.
fn uploads<'h>(heads: &'h [Head], key: &str) -> Vec<&'h Head> {
    let path = format!("/{DESTINATION_BUCKET}/{key}");
    let writes = |head: &&Head| head.method == "PUT" && head.target.split('?').next() == Some(&path);
    heads.iter().filter(writes).collect()
}

/// The copy went in so many requests (on a slow machine some may have been made again), none of them hashed,
/// each with its checksum ahead.
fn is_not_hashed(heads: &[Head], key: &str, requests: usize) {
    let uploads = uploads(heads, key);
    assert!(uploads.len() >= requests, "{key}: {uploads:#?}");
    for upload in uploads {
        let signed = upload.header("x-amz-content-sha256");
        assert_eq!(signed, Some("UNSIGNED-PAYLOAD"), "{upload:#?}");
        assert!(upload.header("x-amz-checksum-crc64nvme").is_some(), "{upload:#?}");
        assert_eq!(upload.header("x-amz-trailer"), None, "{upload:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_equal_by_checksum_and_no_upload_is_hashed() {
    let pipeline = Pipeline::start(PIPELINE).await;
    let authority = authority();
    let tls = Tls::start(&pipeline.aws, &authority, ADDRESS, &authority).await;
    let to_destination = tls.to_destination();
    let pipeline = pipeline.over(tls);
    let hash_key = pipeline.file("hash-key", &"5a".repeat(32));
    let copying = [
        ("--route", "=>:verbatim"),
        ("--route", "redacted/=>redacted/:redacted"),
        ("--hash-key-file", hash_key.as_str()),
        ("--multipart-threshold-bytes", "5MiB"),
        ("--part-bytes", "5MiB"),
    ];
    let (events, hoard, syncomatic) = tokio::join!(
        pipeline.events(),
        pipeline.hoard(),
        pipeline.syncomatic_with(&copying)
    );
    let client = pipeline.client(&events, "northwind-speaker").await;
    let sent = client.send(600).await;
    let lines = pipeline.holds_exactly(&sent).await;
    let archived = lines.first().expect("a line").key.clone();

    let source = &pipeline.aws.source.config;
    put(source, LARGE, noise(11 * MIB), ChecksumAlgorithm::Crc64Nvme).await;
    put(source, UNATTESTED, noise(MIB), ChecksumAlgorithm::Sha256).await;
    put(source, REDACTED, lines_to_redact(), ChecksumAlgorithm::Crc64Nvme).await;
    for key in [&archived, LARGE, UNATTESTED] {
        is_equal(&pipeline, key).await;
    }
    is_redacted(&pipeline).await;
    for program in [events, hoard, syncomatic] {
        let ended = program.terminate().await;
        assert!(ended.status.success(), "{ended:?}");
    }

    let heads = to_destination.heard();
    is_not_hashed(&heads, &archived, 1);
    is_not_hashed(&heads, LARGE, 3);
    is_not_hashed(&heads, REDACTED, 2);
    let streamed = *uploads(&heads, UNATTESTED).first().expect("it was sent");
    let signed = streamed.header("x-amz-content-sha256");
    assert_eq!(
        signed,
        Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        "{streamed:#?}"
    );
    assert_eq!(streamed.header("x-amz-trailer"), Some("x-amz-checksum-crc64nvme"));
}
