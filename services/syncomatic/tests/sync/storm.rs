//! Everything at once: calls of both sides and of the queue fail in every way that a wire can, and some
//! bring wrong bytes. In the end all objects are equal, nothing else was ever visible, and nothing is left
//! behind.
//!
//! `SYNC_STORM_SEED` chooses another weather, `SYNC_STORM_OBJECTS` more objects.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use local_cloud::{Faults, Rule};
use syncomatic::config::Config;

use crate::harness::{DESTINATION_BUCKET, JOURNAL_PREFIX, World, until, until_within};

const PART: usize = 5 << 20;
/// With eight kinds of failure below, 5 % of calls fail.
const PROBABILITY: f64 = 0.0064;
/// How often an object's bytes are falsified on their way.
const FALSIFIED: f64 = 0.01;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// What each object holds: small ones of many lengths, and every hundredth in parts.
fn objects(count: usize) -> BTreeMap<String, Vec<u8>> {
    let object = |index: usize| {
        let size = if index % 100 == 7 {
            PART + 1 + index
        } else {
            index * index * 31 % 60_000
        };
        let words = (1_u64..).map(|word| (word * (index as u64 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut body: Vec<u8> = words.take(size.div_ceil(8)).flat_map(u64::to_be_bytes).collect();
        body.truncate(size);
        (format!("2026/03/{:02}/{index} +%&.gz", index % 28), body)
    };
    (0..count).map(object).collect()
}

/// One call in twenty fails.
fn blow(faults: &Faults, service: &str) {
    let rule = || Rule::on(format!("{service}:*")).probability(PROBABILITY);
    faults.inject(rule().throttle());
    faults.inject(rule().fail(503, "ServiceUnavailable"));
    faults.inject(rule().fail(500, "InternalError"));
    faults.inject(rule().cut_off());
    faults.inject(rule().lose_answer());
    faults.inject(rule().cut_off_answer_after(40));
    faults.inject(rule().stall_answer_after(20));
    faults.inject(
        rule()
            .delay(Duration::from_millis(300))
            .fail(500, "InternalError"),
    );
}

/// Bytes of objects change on their way: near the beginning, which all but the shortest have, and deep in
/// the large ones.
fn falsify(world: &World) {
    let falsified = |operation| {
        Rule::on(operation)
            .resource_containing("2026/")
            .probability(FALSIFIED)
    };
    for byte in [0, 1_000, 3_000_000] {
        world
            .china
            .faults()
            .inject(falsified("s3:GetObject").falsify_answer(byte));
        world
            .europe
            .faults()
            .inject(falsified("s3:PutObject").falsify_request(byte));
    }
    // Parts travel in chunks, and what says how long a chunk is must not be meant.
    world
        .europe
        .faults()
        .inject(falsified("s3:UploadPart").falsify_request(100));
    // And streams that end or stop in the middle.
    for after in [500, 2_000_000] {
        let read = || Rule::on("s3:GetObject").probability(PROBABILITY);
        world.china.faults().inject(read().cut_off_answer_after(after));
        world.china.faults().inject(read().stall_answer_after(after));
    }
}

fn config(world: &World) -> Config {
    let mut config = world.config();
    config.limits.multipart_threshold_bytes = PART as u64;
    config.limits.part_bytes = PART as u64;
    config.limits.visibility_timeout = Duration::from_secs(3);
    config.limits.progress_deadline = Duration::from_millis(750);
    config.limits.sweep_interval = Duration::from_secs(3);
    config
}

/// Calls of SQS that nobody answers end soon.
fn impatient(sqs: &aws_sdk_sqs::Client) -> aws_sdk_sqs::Client {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(2));
    let config = sqs.config().to_builder().timeout_config(timeouts.build());
    aws_sdk_sqs::Client::from_conf(config.build())
}

async fn keep_versions(world: &World) {
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled);
    let request = world
        .destination
        .s3
        .put_bucket_versioning()
        .bucket(DESTINATION_BUCKET);
    let request = request.versioning_configuration(enabled.build());
    request.send().await.expect("versions");
}

/// Every version that was ever visible under a key, and whether it is the last; but for the journal's.
async fn versions(world: &World) -> Vec<(String, bool, Vec<u8>)> {
    let s3 = &world.destination.s3;
    let mut versions = Vec::new();
    let mut request = s3.list_object_versions().bucket(DESTINATION_BUCKET);
    loop {
        let page = request.clone().send().await.expect("a page");
        for version in page.versions.unwrap_or_default() {
            let key = version.key.expect("a key");
            if key.starts_with(JOURNAL_PREFIX) {
                continue;
            }
            let get = s3.get_object().bucket(DESTINATION_BUCKET).key(&key);
            let object = get
                .set_version_id(version.version_id)
                .send()
                .await
                .expect("the version");
            let body = object.body.collect().await.expect("a body").to_vec();
            versions.push((key, version.is_latest == Some(true), body));
        }
        if page.is_truncated != Some(true) {
            return versions;
        }
        request = request
            .set_key_marker(page.next_key_marker)
            .set_version_id_marker(page.next_version_id_marker);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_objects_end_equal_and_were_never_seen_otherwise() {
    let mut world = World::seeded(number("SYNC_STORM_SEED", 1)).await;
    keep_versions(&world).await;
    let count = usize::try_from(number("SYNC_STORM_OBJECTS", 200)).expect("a number");
    let objects = objects(count);
    for (key, body) in &objects {
        world.put_source(key, body.clone()).await;
    }
    blow(world.china.faults(), "s3");
    blow(world.china.faults(), "sqs");
    blow(world.europe.faults(), "s3");
    falsify(&world);
    world.source.sqs = impatient(&world.source.sqs);
    let service = world.run(config(&world));

    // What asks here is in the storm too.
    let depth = async || {
        let attributes = world
            .source
            .sqs
            .get_queue_attributes()
            .queue_url(&world.queue_url);
        let attributes = attributes
            .attribute_names(aws_sdk_sqs::types::QueueAttributeName::All)
            .send()
            .await;
        let attributes = attributes.ok()?.attributes?;
        let number = |name: &str| attributes.get(&name.into())?.parse::<u32>().ok();
        Some(number("ApproximateNumberOfMessages")? + number("ApproximateNumberOfMessagesNotVisible")?)
    };
    let patience = Duration::from_secs(120 + count as u64 / 5);
    let mut refused = Vec::new();
    until_within(patience, "every message was deleted", async || {
        let reasons = service.runtime.readiness.reasons().into_iter();
        refused
            .extend(reasons.filter(|reason| reason.starts_with("access: ") && !reason.ends_with("starting")));
        depth().await == Some(0)
    })
    .await;
    let failed = world.china.faults().injected("*") + world.europe.faults().injected("*");
    world.china.faults().clear();
    world.europe.faults().clear();

    let mut in_place = 0;
    for (key, is_latest, seen) in versions(&world).await {
        assert!(
            objects.get(&key) == Some(&seen),
            "{key} was seen with other bytes: {}",
            seen.len()
        );
        in_place += usize::from(is_latest);
    }
    assert_eq!(in_place, count, "every object is in place");
    until("no upload is left", async || world.uploads().await == (0, 0)).await;
    let metric = |name| service.metric(name, None);
    assert!(failed > count as u64 / 5, "a storm of {failed} failures is none");
    assert!(
        metric("syncomatic_checksum_mismatches_total") > 0,
        "wrong bytes are to be called that"
    );
    assert_eq!(metric("syncomatic_in_flight_bytes"), 0);
    assert_eq!(refused, [""; 0], "nobody was refused anything");
    service.stop().await.expect("drained");
}
