//! Redacted objects that go in parts: killed at any step they end with the same copy, the same quarantine,
//! and nothing left behind on either side.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::future::join_all;
use local_cloud::Rule;
use serde_json::Value;
use syncomatic::config::Config;
use syncomatic::redact::OnCanary;

use crate::harness::{Calls, DESTINATION_BUCKET, SOURCE_BUCKET, World, message, record, until};
use crate::redaction::{QUARANTINE, redacted};

const PART: usize = 5 << 20;

fn config(world: &World) -> Config {
    let mut config = world.config_with_routes(&["=>eu/:redacted"]);
    config.routes = config.routes.reserve(QUARANTINE).expect("no route below it");
    config.redacted = Some(redacted(OnCanary::Count));
    config.limits.visibility_timeout = Duration::from_secs(2);
    config
}

/// Looks for abandoned uploads so often that one under way would seem abandoned: for when there is none.
fn sweeping(world: &World) -> Config {
    let mut config = config(world);
    config.limits.sweep_interval = Duration::from_millis(100);
    config
}

/// An object whose copy has two parts, and with `quarantined` its quarantine as well. Few and long lines:
/// quicker than many.
fn object(quarantined: bool) -> String {
    let mut text = String::new();
    let title = "la".repeat(100_000);
    for number in 0..27 {
        let line = r#"{"eventtype":"play","schemaversion":"1-0-0","deviceid":"spk-"#;
        writeln!(text, r#"{line}{number}","track":"{title}"}}"#).expect("memory");
    }
    if quarantined {
        for number in 0..20 {
            writeln!(text, "no event {number}: {title}").expect("memory");
        }
    }
    text
}

/// Uploads and journal entries, of either side.
async fn left_behind(world: &World) -> usize {
    let (journals, uploads) = world.uploads().await;
    let s3 = &world.source.s3;
    let listed = s3
        .list_multipart_uploads()
        .bucket(SOURCE_BUCKET)
        .send()
        .await
        .expect("a list");
    let prefix = format!("{QUARANTINE}_uploads/");
    let entries = s3
        .list_objects_v2()
        .bucket(SOURCE_BUCKET)
        .prefix(prefix)
        .send()
        .await
        .expect("a list");
    journals + uploads + listed.uploads().len() + entries.contents().len()
}

async fn quarantined_lines(world: &World) -> Vec<Vec<u8>> {
    let s3 = &world.source.s3;
    let listed = s3
        .list_objects_v2()
        .bucket(SOURCE_BUCKET)
        .prefix(QUARANTINE)
        .send()
        .await
        .expect("a list");
    let mut lines = Vec::new();
    for object in listed.contents() {
        let get = s3
            .get_object()
            .bucket(SOURCE_BUCKET)
            .key(object.key().expect("a key"))
            .send();
        let bytes = get
            .await
            .expect("there")
            .body
            .collect()
            .await
            .expect("a body")
            .to_vec();
        for line in String::from_utf8(bytes).expect("UTF-8").lines() {
            let entry: Value = serde_json::from_str(line).expect("JSON");
            lines.push(
                BASE64_STANDARD
                    .decode(entry["raw"].as_str().expect("text"))
                    .expect("base64"),
            );
        }
    }
    lines
}

/// The copy has been made, by the call that is held up when the program is killed: its operation, part of
/// what it is about, and how often it was let through before.
const STEPS: [(&str, &str, &str, u64); 7] = [
    ("nothing announced", "s3:PutObject", "uploads/", 0),
    ("announced, not begun", "s3:CreateMultipartUpload", "", 0),
    ("begun, not named in the journal", "s3:PutObject", "uploads/", 1),
    ("named, no part", "s3:UploadPart", "", 0),
    ("one part", "s3:UploadPart", "", 1),
    ("every part", "s3:CompleteMultipartUpload", "", 0),
    ("complete, still in the journal", "s3:DeleteObject", "", 0),
];

async fn killed_at(step: (&str, &str, &str, u64), of_the_quarantine: bool) {
    let (done, operation, about, skip) = step;
    let world = World::new().await;
    let service = world.run(config(&world));
    service.until_ready().await;
    let cloud = if of_the_quarantine {
        &world.china
    } else {
        &world.europe
    };
    let hold = Rule::on(operation).resource_containing(about).skip(skip);
    cloud.faults().inject(hold.delay(Duration::from_secs(600)));
    let text = object(of_the_quarantine);
    let put = world.put("a", text.clone()).send();
    put.await.expect("stored");
    until(done, async || cloud.faults().injected(operation) > 0).await;
    service.kill().await;
    cloud.faults().clear();

    let service = world.run(config(&world));
    world.until_queue_is_empty().await;
    let copy = world.destination_bytes("eu/a").await.expect("there");
    let copy = String::from_utf8(copy).expect("UTF-8");
    assert_eq!(copy.lines().count(), 27, "killed with {done}");
    assert!(copy.len() > PART, "this test is about parts");
    if of_the_quarantine {
        let refused: Vec<_> = text
            .lines()
            .skip(27)
            .map(|line| line.as_bytes().to_vec())
            .collect();
        assert!(quarantined_lines(&world).await == refused, "killed with {done}");
    }
    service.stop().await.expect("drained");
    let service = world.run(sweeping(&world));
    until("nothing is left behind", async || left_behind(&world).await == 0).await;
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_of_the_copy_it_ends_whole_and_leaves_nothing_behind() {
    join_all(STEPS.map(|step| Box::pin(killed_at(step, false)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_of_the_quarantine_it_ends_whole_and_leaves_nothing_behind() {
    // The other steps are the same code; these are its ends.
    let ends = [STEPS[1], STEPS[4], STEPS[6]];
    join_all(ends.map(|step| Box::pin(killed_at(step, true)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_not_sent_again_and_what_is_whole_is_known_as_that() {
    let world = World::new().await;
    let service = world.run(config(&world));
    service.until_ready().await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:UploadPart").skip(1).delay(Duration::from_secs(600)));
    world.put_source("a", object(false)).await;
    until("one part was sent", async || {
        world.europe.faults().injected("s3:UploadPart") > 0
    })
    .await;
    service.kill().await;

    let calls = Calls::count(&world.europe, &["s3:UploadPart", "s3:CreateMultipartUpload"]);
    let service = world.run(config(&world));
    world.until_queue_is_empty().await;
    assert_eq!(calls.since(), [1, 0], "the second part alone is missing");
    assert_eq!(
        service.metric("syncomatic_multipart_uploads_total", Some("resumed")),
        1
    );

    let operations = ["s3:HeadObject", "s3:GetObject", "s3:PutObject"];
    let (source, destination) = (
        Calls::count(&world.china, &operations),
        Calls::count(&world.europe, &operations),
    );
    world.send(&message(&[record(SOURCE_BUCKET, "a")])).await;
    until("it was looked at", async || service.records("already_there") == 1).await;
    world.until_queue_is_empty().await;
    assert_eq!(
        (source.since(), destination.since()),
        (vec![1, 0, 0], vec![1, 0, 0])
    );
    assert_eq!(service.metric("syncomatic_unattested_objects_total", None), 0);

    // Other bytes under its marker are not.
    let copy = world.get_destination("eu/a").await.expect("there");
    let put = world
        .destination
        .s3
        .put_object()
        .bucket(DESTINATION_BUCKET)
        .key("eu/a");
    let put = put.set_metadata(copy.metadata).body(vec![b'x'; 6 << 20].into());
    put.send().await.expect("stored");
    world.send(&message(&[record(SOURCE_BUCKET, "a")])).await;
    until("it is copied again", async || service.records("copied") == 2).await;
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_nobody_goes_on_with_is_ended_on_either_side() {
    let world = World::new().await;
    let service = world.run(config(&world));
    service.until_ready().await;
    // The quarantine has a part, and the copy has one.
    world
        .china
        .faults()
        .inject(Rule::on("s3:CompleteMultipartUpload").delay(Duration::from_secs(600)));
    world.put_source("a", object(true)).await;
    until("all is sent", async || {
        world.china.faults().injected("s3:CompleteMultipartUpload") > 0
    })
    .await;
    service.kill().await;
    world.china.faults().clear();
    assert_eq!(left_behind(&world).await, 4);
    let delete = world.source.s3.delete_object().bucket(SOURCE_BUCKET).key("a");
    delete.send().await.expect("deleted");

    let service = world.run(sweeping(&world));
    until("both are ended", async || left_behind(&world).await == 0).await;
    world.until_queue_is_empty().await;
    assert_eq!(service.metric("syncomatic_swept_uploads_total", None), 2);
    assert_eq!(world.destination_bytes("eu/a").await, None);
    service.stop().await.expect("drained");
}
