//! Conditions on reads and writes, decided with the commit: under a race, one writer wins.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::primitives::{ByteStream, DateTime, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::{Target, refusal};

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>, RFC 9110 section 13.2.2.
#[tokio::test]
async fn reads_can_be_conditional() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let etag = target.put(&bucket, "key", b"x").await;
    let get = || target.s3.get_object().bucket(&bucket).key("key");
    let hour = Duration::from_secs(3600);
    let past = DateTime::from(SystemTime::now() - hour);
    let future = DateTime::from(SystemTime::now() + hour);

    get().if_match(&etag).send().await.expect("it matches");
    get()
        .if_none_match("\"other\"")
        .send()
        .await
        .expect("it is another");
    get()
        .if_modified_since(past)
        .send()
        .await
        .expect("it was modified since");
    get()
        .if_unmodified_since(future)
        .send()
        .await
        .expect("it was not modified since");
    get()
        .if_match(&etag)
        .if_unmodified_since(past)
        .send()
        .await
        .expect("the ETag takes precedence");

    assert_eq!(
        refusal(get().if_match("\"other\"").send().await),
        (412, "PreconditionFailed".into())
    );
    assert_eq!(
        refusal(get().if_unmodified_since(past).send().await),
        (412, "PreconditionFailed".into())
    );
    assert_eq!(refusal(get().if_none_match(&etag).send().await).0, 304);
    assert_eq!(refusal(get().if_modified_since(future).send().await).0, 304);
    let head = target
        .s3
        .head_object()
        .bucket(&bucket)
        .key("key")
        .if_none_match(&etag)
        .send()
        .await;
    assert_eq!(refusal(head).0, 304);
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
#[tokio::test]
async fn writes_can_be_conditional() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let put = |body: &'static [u8]| {
        target
            .s3
            .put_object()
            .bucket(&bucket)
            .key("key")
            .body(ByteStream::from_static(body))
    };
    assert_eq!(
        refusal(put(b"0").if_match("\"any\"").send().await),
        (404, "NoSuchKey".into())
    );
    let first = put(b"1")
        .if_none_match("*")
        .send()
        .await
        .expect("there is none yet")
        .e_tag
        .expect("an ETag");
    assert_eq!(
        refusal(put(b"2").if_none_match("*").send().await),
        (412, "PreconditionFailed".into())
    );
    let second = put(b"3")
        .if_match(&first)
        .send()
        .await
        .expect("it matches")
        .e_tag
        .expect("an ETag");
    assert_eq!(
        refusal(put(b"4").if_match(&first).send().await),
        (412, "PreconditionFailed".into())
    );
    assert_eq!(target.get(&bucket, "key").await, b"3");

    // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html>
    let delete = || target.s3.delete_object().bucket(&bucket).key("key");
    assert_eq!(
        refusal(delete().if_match(&first).send().await),
        (412, "PreconditionFailed".into())
    );
    delete().if_match(&second).send().await.expect("it matches");
    put(b"5")
        .if_none_match("*")
        .send()
        .await
        .expect("there is none any more");
}

/// A body that is sent only when all writers have begun theirs, so that each has been let in before
/// any can be done.
struct Gated {
    gate: Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>,
    bytes: Option<Bytes>,
}

impl Gated {
    fn new(all: Arc<Barrier>, bytes: Vec<u8>) -> Self {
        let gate = Box::pin(async move {
            all.wait().await;
        });
        Self {
            gate: Mutex::new(gate),
            bytes: Some(bytes.into()),
        }
    }
}

impl Body for Gated {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.bytes.is_some() {
            let mut gate = self.gate.lock().expect("no panic");
            std::task::ready!(gate.as_mut().poll(context));
        }
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// Of any number of writers that all require that there is no object, exactly one wins.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
#[tokio::test(flavor = "multi_thread")]
async fn of_64_racing_writers_one_wins() {
    const WRITERS: usize = 64;
    let target = Target::start().await;
    let bucket = target.bucket().await;
    for round in 0..4 {
        let key = format!("race-{round}");
        let all = Arc::new(Barrier::new(WRITERS));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let body = Gated::new(Arc::clone(&all), format!("writer {writer}").into_bytes());
            let body = ByteStream::new(SdkBody::from_body_1_x(body));
            let put = target
                .s3
                .put_object()
                .bucket(&bucket)
                .key(&key)
                .if_none_match("*")
                .body(body);
            writers.spawn(async move { (writer, put.send().await) });
        }
        let mut winners = Vec::new();
        while let Some(writer) = writers.join_next().await {
            match writer.expect("no panic") {
                (writer, Ok(_)) => winners.push(writer),
                // A conflict says "try again"; the object is somebody else's then, too.
                (_, result) => assert!(matches!(refusal(result).0, 412 | 409)),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(
            target.get(&bucket, &key).await,
            format!("writer {}", winners[0]).into_bytes()
        );
    }
}

/// Compare-and-swap from 16 tasks at once counts correctly.
#[tokio::test(flavor = "multi_thread")]
async fn if_match_makes_a_counter() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    target.put(&bucket, "counter", b"0").await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (s3, bucket) = (target.s3.clone(), bucket.clone());
        tasks.spawn(async move {
            loop {
                let got = s3
                    .get_object()
                    .bucket(&bucket)
                    .key("counter")
                    .send()
                    .await
                    .expect("the counter");
                let etag = got.e_tag().expect("an ETag").to_owned();
                let value = got.body.collect().await.expect("bytes").to_vec();
                let value: u32 = String::from_utf8(value)
                    .expect("digits")
                    .parse()
                    .expect("a number");
                let next = (value + 1).to_string().into_bytes();
                let put = s3
                    .put_object()
                    .bucket(&bucket)
                    .key("counter")
                    .if_match(etag)
                    .body(next.into());
                match put.send().await {
                    Ok(_) => return,
                    result => assert!(matches!(refusal(result).0, 412 | 409)),
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    assert_eq!(target.get(&bucket, "counter").await, b"16");
}
