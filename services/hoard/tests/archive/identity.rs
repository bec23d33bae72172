//! A stream that was deleted and created again under its name is another stream.

use std::time::{Duration, SystemTime};

use hoard::Error;
use local_cloud::Clock;

use crate::world::{BUCKET, STREAM, World};

const MINUTE: Duration = Duration::from_secs(60);

async fn create_again(world: &World) {
    let delete = world.kinesis.delete_stream().stream_name(STREAM);
    delete.send().await.expect("deleted");
    world.clock.advance(MINUTE);
    let create = world.kinesis.create_stream().stream_name(STREAM).shard_count(1);
    create.send().await.expect("created");
    world.until_active().await;
}

fn assert_is_refused(error: &Error) {
    assert!(matches!(error, Error::OtherStream { .. }), "{error}");
    assert!(error.to_string().contains("move them away"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn states_of_another_stream_are_refused_until_they_are_moved_away() {
    let clock = Clock::stopped_at(SystemTime::now() - 60 * MINUTE);
    let world = World::with_clock(1, clock).await;
    world.send(0..30).await;
    let first = world.start(world.config());
    world.until_archived(30).await;
    // While it runs, too.
    let mut running = world.start(world.config());
    create_again(&world).await;
    assert_is_refused(&running.ended().await.expect_err("another stream"));
    drop(first);

    world.send(30..50).await;
    let refused = world.start(world.config()).ended().await;
    assert_is_refused(&refused.expect_err("another stream"));
    assert_eq!(world.lines_count("raw/").await, 30, "nothing is touched");

    for key in world.keys(&format!("_hoard/{STREAM}/")).await {
        let delete = world.s3.delete_object().bucket(BUCKET).key(key);
        delete.send().await.expect("deleted");
    }
    let anew = world.start(world.config());
    world.until_archived(50).await;
    anew.stop().await;
}
