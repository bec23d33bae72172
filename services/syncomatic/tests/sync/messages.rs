//! What is not a notification, what may not travel, and what becomes of their messages.

use std::time::Duration;

use syncomatic::config::Queue;

use crate::harness::{DEAD_LETTERS, SOURCE_BUCKET, World, message, record, until};

/// Reason and body of the dead letters, in any order.
async fn dead_letters(world: &World, url: &str, count: usize) -> Vec<(String, String)> {
    let mut letters = Vec::new();
    while letters.len() < count {
        let request = world
            .source
            .sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10);
        let answer = request
            .message_attribute_names("All")
            .wait_time_seconds(5)
            .send()
            .await
            .expect("received");
        let messages = answer.messages.expect("a dead letter in time");
        letters.extend(messages.into_iter().map(|message| {
            let attributes = message.message_attributes.expect("attributes");
            let reason = attributes["reason"].string_value.clone().expect("a reason");
            (reason, message.body.expect("a body"))
        }));
    }
    letters.sort();
    letters
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_succeeds_goes_to_the_dead_letter_queue_with_its_reason() {
    let world = World::new().await;
    let dead_letter_url = world.create_dead_letter_queue().await;
    let mut config = world.config_with_routes(&["public/=>:verbatim", "state/:denied"]);
    config.dead_letter_queue = Some(Queue::Name(DEAD_LETTERS.to_owned()));
    let service = world.run(config);
    world.put_source("private/1", "must not travel").await;
    world
        .put_source("state/checkpoint", "stays, and nobody needs to know")
        .await;
    let foreign = message(&[record("another-bucket", "public/1")]);
    world.send(&foreign).await;
    world.send("{\"hello\": 1}").await;
    world.send("hello").await;
    world.until_queue_is_empty().await;

    let letters = dead_letters(&world, &dead_letter_url, 4).await;
    let reasons: Vec<_> = letters.iter().map(|(reason, _)| reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "denied_foreign_bucket",
            "denied_no_route",
            "not_json",
            "unknown_shape"
        ]
    );
    assert_eq!(letters[0].1, foreign);
    assert_eq!(letters[2].1, "hello");
    assert_eq!(service.records("denied_by_route"), 1);
    assert_eq!(service.records("malformed"), 2);
    let listed = world
        .destination
        .s3
        .list_objects_v2()
        .bucket(crate::harness::DESTINATION_BUCKET);
    assert_eq!(
        listed.send().await.expect("listed").key_count,
        Some(0),
        "nothing has left"
    );
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_one_bad_record_has_its_good_ones_copied() {
    let world = World::new().await;
    let dead_letter_url = world.create_dead_letter_queue().await;
    for key in ["a", "b"] {
        world.put_source(key, key).await;
    }
    let mut config = world.config();
    config.dead_letter_queue = Some(Queue::Url(dead_letter_url.clone()));
    let service = world.run(config);
    world.until_queue_is_empty().await;
    world.put_source("c", "c").await;
    until("c is copied", async || service.records("copied") == 3).await;

    let body = message(&[
        record(SOURCE_BUCKET, "a"),
        record(SOURCE_BUCKET, "%zz"),
        record(SOURCE_BUCKET, "b"),
    ]);
    world.send(&body).await;
    let letters = dead_letters(&world, &dead_letter_url, 1).await;
    assert_eq!(letters, [("invalid_key".to_owned(), body)]);
    assert_eq!(
        service.records("already_there"),
        2,
        "the records around it were looked at"
    );
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_dead_letter_queue_it_is_left_to_the_redrive_policy_at_growing_intervals() {
    let world = World::new().await;
    let mut config = world.config();
    config.limits.visibility_timeout = Duration::from_secs(2);
    let service = world.run(config);
    service.until_ready().await;
    world.send("hello").await;
    let rejected = || service.metric("syncomatic_messages_total", Some("rejected"));
    until("it was rejected twice", async || rejected() == 2).await;
    assert_eq!(
        world.queue_depth(&world.queue_url).await,
        (0, 1),
        "hidden, and still there"
    );
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_deleted_only_when_all_its_records_are_done() {
    let world = World::without_queue().await;
    world.create_queue().await;
    let mut config = world.config();
    config.limits.tries = 1;
    config.limits.visibility_timeout = Duration::from_secs(2);
    world.put_source("a", "a").await;
    world.put_source("b", "b").await;
    let fault = local_cloud::Rule::on("s3:PutObject")
        .resource_containing("b")
        .times(1);
    // The bucket's name has no `b`; only the object's key has.
    assert!(!crate::harness::DESTINATION_BUCKET.contains('b'));
    world.europe.faults().inject(fault.fail(500, "InternalError"));
    let service = world.run(config);
    world
        .send(&message(&[
            record(SOURCE_BUCKET, "a"),
            record(SOURCE_BUCKET, "b"),
        ]))
        .await;
    until("b failed", async || {
        service.metric("syncomatic_messages_total", Some("left")) == 1
    })
    .await;
    assert_eq!(service.records("copied"), 1);
    assert_eq!(world.queue_depth(&world.queue_url).await, (0, 1), "not deleted");
    world.until_queue_is_empty().await;
    assert_eq!(
        (service.records("copied"), service.records("already_there")),
        (2, 1)
    );
    service.stop().await.expect("drained");
}
