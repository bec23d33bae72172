//! Folders as an interrupted process leaves them: what opening makes of each.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use futures::TryStreamExt;

use super::checksum::{Algorithm, Expected, hex};
use super::commit::NewObject;
use super::condition::WriteCondition;
use super::layout::Place;
use super::notification::{Delivery, Event};
use super::record::{self, Headers, Versioning};
use super::*;
use crate::state::Table;

const BUCKET: &str = "bucket";
const KEY: &str = "2026/key";

struct Cloud {
    backend: Arc<Backend>,
    sqs: Arc<Sqs>,
    folder: PathBuf,
}

/// Opens the folder as a new process would. The one before must have been dropped.
fn open(folder: &Path) -> Cloud {
    let account = Account::development("cn-north-1");
    let (state, clock) = (State::open(folder).expect("the folder is free"), Clock::system());
    let sqs = Arc::new(Sqs::open(&account, &state, &clock, "http://127.0.0.1:1").expect("queues"));
    let s3 = S3::open(
        &account,
        &state,
        &Faults::seeded(0),
        &clock,
        Arc::clone(&sqs),
        Some(folder),
    );
    let backend = s3.expect("buckets").backend;
    Cloud {
        backend,
        sqs,
        folder: folder.to_owned(),
    }
}

fn create_bucket(cloud: &Cloud) {
    use s3s::dto::{BucketLocationConstraint, CreateBucketConfiguration, CreateBucketInput};
    let configuration = CreateBucketConfiguration {
        location_constraint: Some(BucketLocationConstraint::from("cn-north-1".to_owned())),
        ..CreateBucketConfiguration::default()
    };
    let input = CreateBucketInput {
        bucket: BUCKET.to_owned(),
        create_bucket_configuration: Some(configuration),
        ..CreateBucketInput::default()
    };
    cloud.backend.create_bucket(input).expect("a bucket");
}

impl Cloud {
    async fn put(&self, text: &'static str) {
        let new = self.receive(text, WriteCondition::default()).await;
        self.backend.commit(new).expect("committed");
    }

    /// An object that only waits to be committed.
    async fn receive(&self, text: &'static str, condition: WriteCondition) -> NewObject<'static> {
        let body = futures::stream::iter([Ok(Bytes::from_static(text.as_bytes()))]);
        let received = self
            .backend
            .bodies
            .receive(body, Expected::nothing(Algorithm::DEFAULT))
            .await;
        let received = received.expect("received");
        NewObject {
            bucket: BUCKET,
            key: KEY,
            bytes: received.bytes,
            etag: hex(&received.digests.md5),
            checksum: received.digests.checksum,
            headers: Headers::default(),
            tags: Vec::new(),
            part_bytes: Vec::new(),
            staged: received.staged,
            condition,
            event: Event::Put,
            upload_id: None,
        }
    }

    async fn get(&self, version_id: Option<&str>) -> Option<String> {
        let object = self.backend.open(BUCKET, KEY, version_id).ok()?;
        let stream = object
            .reader
            .stream(0..object.content.bytes)
            .await
            .expect("a stream");
        let chunks: Vec<Bytes> = stream.try_collect().await.expect("readable");
        Some(String::from_utf8(chunks.concat()).expect("text"))
    }

    /// The path that the body of each version has in a place, oldest first.
    fn paths(&self, place: Place) -> Vec<PathBuf> {
        let layout = Layout::new(&self.folder);
        let catalogue = self.backend.lock();
        let versions = &catalogue.bucket(BUCKET).expect("the bucket").keys[KEY];
        let bodies = versions
            .iter()
            .filter_map(|version| Some(&version.content.as_ref()?.body));
        bodies
            .map(|body| layout.path(BUCKET, KEY, &body.id, place))
            .collect()
    }
}

/// The condition is decided and the commit made in one step: threads that arrive together cannot
/// both find the key free.
#[tokio::test]
async fn of_commits_at_one_moment_one_wins() {
    const WRITERS: usize = 8;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cloud = open(folder.path());
    create_bucket(&cloud);
    for round in 0..100 {
        let mut waiting = Vec::new();
        for _ in 0..WRITERS {
            let condition =
                WriteCondition::new(None, Some(&s3s::dto::ETagCondition::Any)).expect("supported");
            waiting.push(cloud.receive("body", condition).await);
        }
        let (backend, start) = (&cloud.backend, &Barrier::new(WRITERS));
        let won = std::thread::scope(|threads| {
            let threads: Vec<_> = waiting
                .into_iter()
                .map(|new| {
                    threads.spawn(move || {
                        start.wait();
                        backend.commit(new).is_ok()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| usize::from(thread.join().expect("no panic")))
                .sum::<usize>()
        });
        assert_eq!(won, 1, "in round {round}");
        let left = fs::read_dir(Layout::new(folder.path()).staging())
            .expect("the folder")
            .count();
        assert_eq!(left, 0, "the bodies of the losers are gone");
        backend
            .delete(BUCKET, KEY, None, &WriteCondition::default())
            .expect("deleted");
    }
}

#[tokio::test]
async fn a_commit_that_was_not_renamed_is_finished() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cloud = open(folder.path());
    create_bucket(&cloud);
    cloud.put("one").await;
    let (plain, staged) = (
        cloud.paths(Place::Plain).remove(0),
        cloud.paths(Place::Staged).remove(0),
    );
    drop(cloud);
    // The state was written, the process ended before the rename; the version before is still
    // under the key's name.
    fs::rename(&plain, &staged).expect("renamed");
    fs::write(&plain, "the version before").expect("written");

    let cloud = open(folder.path());
    assert_eq!(cloud.get(None).await.as_deref(), Some("one"));
    assert_eq!(fs::read_to_string(&plain).expect("a file"), "one");
    assert!(!staged.exists());
}

#[tokio::test]
async fn a_version_that_had_not_made_room_makes_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cloud = open(folder.path());
    create_bucket(&cloud);
    cloud
        .backend
        .change_bucket(BUCKET, |settings| settings.versioning = Versioning::Enabled)
        .expect("set");
    cloud.put("one").await;
    let first = cloud.backend.open(BUCKET, KEY, None).expect("opened").version_id;
    cloud.put("two").await;
    let (reserved, staged) = (
        cloud.paths(Place::Reserved).remove(0),
        cloud.paths(Place::Staged).remove(1),
    );
    let plain = cloud.paths(Place::Plain).remove(1);
    drop(cloud);
    // Neither of the two renames was made.
    fs::rename(&plain, &staged).expect("renamed");
    fs::rename(&reserved, &plain).expect("renamed");

    let cloud = open(folder.path());
    assert_eq!(cloud.get(None).await.as_deref(), Some("two"));
    assert_eq!(cloud.get(first.as_deref()).await.as_deref(), Some("one"));
    assert!(plain.exists() && reserved.exists() && !staged.exists());
}

#[tokio::test]
async fn a_deletion_that_was_not_kept_did_not_happen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cloud = open(folder.path());
    create_bucket(&cloud);
    cloud.put("one").await;
    let (plain, staged) = (
        cloud.paths(Place::Plain).remove(0),
        cloud.paths(Place::Staged).remove(0),
    );
    drop(cloud);
    // The file was set aside; the state still has the version.
    fs::rename(&plain, &staged).expect("renamed");

    let cloud = open(folder.path());
    assert_eq!(cloud.get(None).await.as_deref(), Some("one"));
    assert!(plain.exists());
}

#[tokio::test]
async fn files_of_nobody_are_removed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cloud = open(folder.path());
    create_bucket(&cloud);
    let layout = Layout::new(folder.path());
    drop(cloud);
    let received = layout.staged("never-answered");
    let removed = layout.path(BUCKET, "a//b", "deleted", Place::Reserved);
    fs::create_dir_all(layout.reserved_bucket(BUCKET)).expect("a folder");
    for file in [&received, &removed] {
        fs::write(file, "left over").expect("written");
    }
    let _cloud = open(folder.path());
    assert!(!received.exists() && !removed.exists());
}

#[tokio::test]
async fn a_notification_that_was_not_handed_over_is_sent_on_opening() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cloud = open(folder.path());
    let account = Account::development("cn-north-1");
    let state = cloud.backend.state.clone();
    let faults = Faults::seeded(0);
    let throttle = crate::fault::RecordThrottle::new(&faults, None);
    let body = Bytes::from_static(br#"{"QueueName":"queue"}"#);
    let create = crate::wire::json::Call {
        operation: "CreateQueue",
        body,
        throttle: throttle.clone(),
    };
    crate::wire::json::JsonService::call(cloud.sqs.as_ref(), create)
        .await
        .expect("a queue");
    let delivery = Delivery {
        queue_arn: account.arn("sqs", "queue"),
        body: "late, not lost".to_owned(),
    };
    let value = record::encode("notification", &delivery).expect("JSON");
    state.put(Table::Outbox, b"1", &value).expect("written");
    drop((cloud, state));

    let cloud = open(folder.path());
    let body = r#"{"QueueUrl":"http://127.0.0.1:1/ACCOUNT/queue"}"#.replace("ACCOUNT", &account.id);
    let receive = crate::wire::json::Call {
        operation: "ReceiveMessage",
        body: body.into(),
        throttle,
    };
    let received = crate::wire::json::JsonService::call(cloud.sqs.as_ref(), receive)
        .await
        .expect("an answer");
    assert!(String::from_utf8_lossy(&received).contains("late, not lost"));
    assert_eq!(
        cloud.backend.state.scan(Table::Outbox).count(),
        0,
        "it is sent once"
    );
}
