//! The program itself: what it refuses, and that a signal drains it.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::harness::{DESTINATION_BUCKET, QUEUE, SOURCE_BUCKET, World, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_syncomatic");

fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(PROGRAM);
    let command = command.args(arguments).envs(variables.iter().copied());
    command.output().expect("the program runs")
}

const FROM_EUROPE_TO_CHINA: [&str; 7] = [
    "--source-region=eu-west-1",
    "--source-bucket=events-eu",
    "--source-queue=new-objects",
    "--source-profile=europe",
    "--destination-region=cn-north-1",
    "--destination-bucket=events-cn",
    "--destination-profile=china",
];

#[test]
fn a_verbatim_copy_from_europe_to_china_is_refused_at_start() {
    let output = refused(&FROM_EUROPE_TO_CHINA, &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(
        text.contains("verbatim from aws to aws-cn") && text.contains("personal data"),
        "{text}"
    );
}

#[test]
fn an_unknown_variable_is_refused_at_start() {
    let output = refused(&FROM_EUROPE_TO_CHINA, &[("SYNCOMATIC_DESTINATION_BUKET", "x")]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("SYNCOMATIC_DESTINATION_BUKET"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_copies_and_drains_on_sigterm() {
    let world = World::new().await;
    let (china, europe) = (world.china.account(), world.europe.account());
    let secrets = tempfile::tempdir().expect("a folder");
    let secret = |name: &str, secret: &str| {
        let file = secrets.path().join(name);
        std::fs::write(&file, secret).expect("written");
        file
    };
    let mut program = tokio::process::Command::new(PROGRAM)
        .env_clear()
        .env("SYNCOMATIC_SOURCE_REGION", &china.region)
        .env("SYNCOMATIC_SOURCE_BUCKET", SOURCE_BUCKET)
        .env("SYNCOMATIC_SOURCE_QUEUE", QUEUE)
        .env("SYNCOMATIC_SOURCE_ENDPOINT_URL", world.china.endpoint_url())
        .env("SYNCOMATIC_SOURCE_ACCESS_KEY_ID", &china.access_key_id)
        .env(
            "SYNCOMATIC_SOURCE_SECRET_ACCESS_KEY_FILE",
            secret("source", &china.secret_access_key),
        )
        .env("SYNCOMATIC_DESTINATION_REGION", &europe.region)
        .env("SYNCOMATIC_DESTINATION_BUCKET", DESTINATION_BUCKET)
        .env("SYNCOMATIC_DESTINATION_ENDPOINT_URL", world.europe.endpoint_url())
        .env("SYNCOMATIC_DESTINATION_ACCESS_KEY_ID", &europe.access_key_id)
        .env(
            "SYNCOMATIC_DESTINATION_SECRET_ACCESS_KEY_FILE",
            secret("destination", &europe.secret_access_key),
        )
        .env("SYNCOMATIC_ADMIN_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    world.put_source("a", "through the program").await;
    until("it is copied", async || {
        world.destination_bytes("a").await.is_some()
    })
    .await;
    world.until_queue_is_empty().await;

    let id = program.id().expect("running").to_string();
    let sent = Command::new("kill")
        .args(["-TERM", &id])
        .status()
        .expect("kill runs");
    assert!(sent.success());
    let ended = tokio::time::timeout(Duration::from_secs(20), program.wait()).await;
    assert_eq!(ended.expect("drained in time").expect("ended").code(), Some(0));
}
