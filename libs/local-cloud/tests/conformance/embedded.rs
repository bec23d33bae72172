//! What is particular to `local-cloud`: its folder, its one credential, and its loudness.

use std::path::Path;

use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, VersioningConfiguration,
};
use local_cloud::{CloudSettings, LocalCloud, StartError, StateError};

use tokio::task::JoinSet;

use crate::notifications::{configure, created, queue, receive};
use crate::s3_keys::{assert_all, put_all};
use crate::{REGION, Target, refusal};

async fn open(folder: &Path) -> Target {
    Target::embedded(
        LocalCloud::start(CloudSettings::in_folder(REGION, folder))
            .await
            .expect("a cloud"),
    )
}

async fn enable_versioning(target: &Target, bucket: &str) {
    let versioning = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .build();
    let put = target
        .s3
        .put_bucket_versioning()
        .bucket(bucket)
        .versioning_configuration(versioning);
    put.send().await.expect("set");
}

#[tokio::test]
async fn a_folder_keeps_everything_across_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = open(folder.path()).await;
    let (awkward, versioned) = (target.bucket().await, target.bucket().await);
    put_all(&target, &awkward).await;
    let put = target
        .s3
        .put_object()
        .bucket(&versioned)
        .key("key")
        .body(ByteStream::from_static(b"0"));
    put.metadata("m", "1")
        .tagging("t=1")
        .send()
        .await
        .expect("stored");
    enable_versioning(&target, &versioned).await;
    let first = target
        .s3
        .put_object()
        .bucket(&versioned)
        .key("key")
        .body(ByteStream::from_static(b"1"));
    let first = first.send().await.expect("stored").version_id.expect("a version");
    target.put(&versioned, "key", b"2").await;
    let create = target
        .s3
        .create_multipart_upload()
        .bucket(&versioned)
        .key("upload")
        .send()
        .await
        .expect("an upload");
    let upload_id = create.upload_id().expect("an id").to_owned();
    let part = target
        .s3
        .upload_part()
        .bucket(&versioned)
        .key("upload")
        .upload_id(&upload_id)
        .part_number(1);
    let part = part
        .body(ByteStream::from_static(b"part"))
        .send()
        .await
        .expect("a part");
    let sent_to = queue(&target).await;
    configure(&target, &versioned, vec![created(&sent_to)]).await;
    target.put(&versioned, "told", b"x").await;
    target.stop().await;

    let target = open(folder.path()).await;
    assert_all(&target, &awkward).await;
    assert_eq!(target.get(&versioned, "key").await, b"2");
    let null = target
        .s3
        .get_object()
        .bucket(&versioned)
        .key("key")
        .version_id("null")
        .send()
        .await
        .expect("kept");
    assert_eq!(
        null.metadata().map(|metadata| metadata["m"].clone()),
        Some("1".to_owned())
    );
    assert_eq!(null.body.collect().await.expect("bytes").to_vec(), b"0");
    let old = target
        .s3
        .get_object()
        .bucket(&versioned)
        .key("key")
        .version_id(&first)
        .send()
        .await
        .expect("kept");
    assert_eq!(old.body.collect().await.expect("bytes").to_vec(), b"1");
    let part = CompletedPart::builder()
        .part_number(1)
        .set_e_tag(part.e_tag)
        .set_checksum_crc32(part.checksum_crc32);
    let parts = CompletedMultipartUpload::builder().parts(part.build()).build();
    let complete = target
        .s3
        .complete_multipart_upload()
        .bucket(&versioned)
        .key("upload")
        .upload_id(&upload_id);
    complete.multipart_upload(parts).send().await.expect("completed");
    assert_eq!(target.get(&versioned, "upload").await, b"part");
    // The queue's port is another one now; its name is the same.
    let name = sent_to.url.rsplit('/').next().expect("a name");
    let url = target
        .sqs
        .get_queue_url()
        .queue_name(name)
        .send()
        .await
        .expect("kept")
        .queue_url
        .expect("a URL");
    let events = receive(&target, &crate::notifications::Queue { url, ..sent_to }, 3).await;
    let mut told: Vec<_> = events
        .iter()
        .filter_map(|event| event["Records"][0]["s3"]["object"]["key"].as_str())
        .collect();
    told.sort_unstable();
    assert_eq!(told, ["told", "upload"], "the third is the test event");
}

#[tokio::test]
async fn objects_can_be_looked_at_as_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = open(folder.path()).await;
    let bucket = target.bucket().await;
    let file = folder.path().join("s3").join(&bucket).join("2026/11/23/x.jsonl");
    target.put(&bucket, "2026/11/23/x.jsonl", b"first").await;
    assert_eq!(std::fs::read(&file).expect("a file"), b"first");
    target.put(&bucket, "2026/11/23/x.jsonl", b"second").await;
    assert_eq!(std::fs::read(&file).expect("a file"), b"second");
    put_all(&target, &bucket).await;
    let outside = std::fs::read_dir(folder.path().join("s3")).expect("a folder");
    let mut names: Vec<_> = outside
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [".reserved", ".staging", bucket.as_str()],
        "nothing escaped"
    );
    assert!(!folder.path().join("x").exists() && !folder.path().join("s3/x").exists());

    target
        .s3
        .delete_object()
        .bucket(&bucket)
        .key("2026/11/23/x.jsonl")
        .send()
        .await
        .expect("deleted");
    assert!(!file.exists());
    assert!(
        !folder.path().join("s3").join(&bucket).join("2026").exists(),
        "empty folders are removed"
    );
    let staging = std::fs::read_dir(folder.path().join("s3/.staging")).expect("a folder");
    assert_eq!(staging.count(), 0, "nothing is left of what was received");
}

/// A reader sees one version whole, whatever is written while it reads.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_read_whole_while_it_is_overwritten() {
    const BYTES: usize = 3 * 1024 * 1024;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = open(folder.path()).await;
    let bucket = target.bucket().await;
    target.put(&bucket, "key", &vec![0; BYTES]).await;
    let (s3, written) = (target.s3.clone(), bucket.clone());
    let mut writer = JoinSet::new();
    writer.spawn(async move {
        for round in 1..=20_u8 {
            let put = s3
                .put_object()
                .bucket(&written)
                .key("key")
                .body(vec![round; BYTES].into());
            put.send().await.expect("stored");
        }
    });
    while writer.try_join_next().transpose().expect("no panic").is_none() {
        let bytes = target.get(&bucket, "key").await;
        assert_eq!(bytes.len(), BYTES);
        assert!(
            bytes.iter().all(|byte| *byte == bytes[0]),
            "the bytes of one version"
        );
    }
    assert_eq!(target.get(&bucket, "key").await[0], 20);
}

/// Two sides in one process do not take each other's requests.
#[tokio::test]
async fn another_accounts_credential_is_refused() {
    let china = Target::start_embedded("cn-north-1").await;
    let europe = LocalCloud::start(CloudSettings::in_memory("eu-west-1"))
        .await
        .expect("a cloud");
    let other = europe.account();
    assert_ne!(china.cloud().account().id, other.id);
    let credentials = Credentials::new(
        &other.access_key_id,
        &other.secret_access_key,
        None,
        None,
        "other",
    );
    let mixed = Target::connect(&china.cloud().endpoint_url(), "cn-north-1", &credentials, None);
    assert_eq!(
        refusal(mixed.s3.list_buckets().send().await),
        (403, "InvalidAccessKeyId".into())
    );
    let code = refusal(mixed.kinesis.list_streams().send().await);
    assert_eq!(code, (400, "UnrecognizedClientException".into()));
    assert_eq!(
        refusal(mixed.sqs.list_queues().send().await),
        (403, "InvalidClientTokenId".into())
    );

    let own = china.cloud().account();
    let wrong_secret = Credentials::new(&own.access_key_id, "wrong", None, None, "wrong");
    let forged = Target::connect(&china.cloud().endpoint_url(), "cn-north-1", &wrong_secret, None);
    assert_eq!(
        refusal(forged.s3.list_buckets().send().await),
        (403, "SignatureDoesNotMatch".into())
    );
    let credentials = Credentials::new(&own.access_key_id, &own.secret_access_key, None, None, "own");
    let astray = Target::connect(&china.cloud().endpoint_url(), "eu-west-1", &credentials, None);
    let code = refusal(astray.kinesis.list_streams().send().await);
    assert_eq!(
        code,
        (400, "InvalidSignatureException".into()),
        "signed for another region"
    );
    let code = refusal(astray.s3.list_buckets().send().await);
    assert_eq!(code, (400, "AuthorizationHeaderMalformed".into()));
}

#[tokio::test]
async fn what_is_not_emulated_says_so() {
    let target = Target::start_embedded(REGION).await;
    let bucket = target.bucket().await;
    let acl = target.s3.get_bucket_acl().bucket(&bucket).send().await;
    assert_eq!(refusal(acl), (501, "NotImplemented".into()));
    let lock = target
        .s3
        .get_object_legal_hold()
        .bucket(&bucket)
        .key("key")
        .send()
        .await;
    assert_eq!(refusal(lock), (501, "NotImplemented".into()));
    let tagged = target.kinesis.describe_limits().send().await;
    assert_eq!(refusal(tagged).1, "UnknownOperationException");
    let permission = target
        .sqs
        .add_permission()
        .queue_url("http://localhost/1/q")
        .label("l")
        .aws_account_ids("1");
    let permission = permission.actions("*").send().await;
    assert_eq!(refusal(permission).1, "UnknownOperationException");
}

#[tokio::test]
async fn a_folder_or_port_that_is_taken_is_one_clear_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = LocalCloud::start(CloudSettings::in_folder(REGION, folder.path()))
        .await
        .expect("a cloud");
    let again = LocalCloud::start(CloudSettings::in_folder(REGION, folder.path())).await;
    let error = again.expect_err("the folder is taken");
    assert!(
        matches!(error, StartError::State(StateError::Locked { .. })),
        "{error}"
    );
    assert!(!error.to_string().contains('\n'));

    let mut settings = CloudSettings::in_memory(REGION);
    settings.listen = first
        .endpoint_url()
        .trim_start_matches("http://")
        .parse()
        .expect("an address");
    let error = LocalCloud::start(settings).await.expect_err("the port is taken");
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
    first.stop().await;
    let other = LocalCloud::start(CloudSettings::in_folder("eu-west-1", folder.path())).await;
    let error = other.expect_err("the folder is another side's");
    assert!(
        matches!(error, StartError::State(StateError::Foreign { .. })),
        "{error}"
    );
}
