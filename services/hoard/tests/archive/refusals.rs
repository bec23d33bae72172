//! What `hoard` refuses to start with.

use axum::Router;
use axum::http::header::ETAG;
use hoard::{Clients, Error};
use service_runtime::Runtime;

use crate::world::{BUCKET, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_there_is_named() {
    let world = World::with_shards(1).await;
    let mut config = world.config();
    config.stream = "nowhere".to_owned();
    let error = world.start(config).ended().await.expect_err("no such stream");
    assert!(
        matches!(&error, Error::Stream { stream, .. } if stream == "nowhere"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_named() {
    let world = World::with_shards(1).await;
    let mut config = world.config();
    config.bucket = "nowhere".to_owned();
    let error = world.start(config).ended().await.expect_err("no such bucket");
    assert!(
        matches!(&error, Error::Bucket { bucket, .. } if bucket == "nowhere"),
        "{error}"
    );
}

/// An S3 that stores whatever it is given, as older compatible stores do.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_is_refused() {
    let world = World::with_shards(1).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    let careless = Router::new().fallback(|| async { [(ETAG, "\"0\"")] });
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, careless).await });
    let endpoint = aws_clients::Endpoint {
        region: Some("cn-north-1".to_owned()),
        endpoint_url: Some(format!("http://{address}")),
        credentials: Some(aws_clients::Credentials::new("id", "secret", None, None, "test")),
        ..Default::default()
    };
    let s3 = aws_clients::s3(&aws_clients::load(&endpoint).await);
    let outcome = hoard::run(
        world.config(),
        Clients {
            s3,
            ..world.clients()
        },
        Runtime::new("hoard"),
    )
    .await;
    let error = outcome.expect_err("not honoured");
    assert!(
        matches!(&error, Error::ConditionalWrites { bucket, .. } if bucket == BUCKET),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_not_ours_stops_its_shard_and_is_left_alone() {
    let world = World::with_shards(2).await;
    world.send(0..100).await;
    let key = "_hoard/events/shardId-000000000000.json";
    let body = aws_sdk_s3::primitives::ByteStream::from_static(b"{\"notes\":1}");
    world
        .s3
        .put_object()
        .bucket(BUCKET)
        .key(key)
        .body(body)
        .send()
        .await
        .expect("stored");
    let hoard = world.start(world.config());
    let others = world.records("shardId-000000000001").await.len() as f64;
    world
        .until("the other shard goes on", async || {
            hoard.metric("hoard_records_committed_total") == others
        })
        .await;
    world
        .until("the shard has failed", async || {
            hoard.metric("hoard_shards{state=\"failed\"}") == 1.0
        })
        .await;
    hoard.stop().await;
    let answer = world
        .s3
        .get_object()
        .bucket(BUCKET)
        .key(key)
        .send()
        .await
        .expect("there");
    assert_eq!(
        answer.body.collect().await.expect("whole").to_vec(),
        b"{\"notes\":1}"
    );
}
