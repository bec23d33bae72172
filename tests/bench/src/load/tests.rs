use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// Answers every request alike, but for the one of this number, which has to wait.
async fn server(answer: &'static str, slow: usize, pause: Duration) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut tasks = JoinSet::new();
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            connections.spawn(async move {
                let mut buffer = [0; 4096];
                // Requests are small: one read is one request.
                while let Ok(1..) = stream.read(&mut buffer).await {
                    if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == slow {
                        tokio::time::sleep(pause).await;
                    }
                    let text = format!(
                        "HTTP/1.1 207 x\r\ncontent-length: {}\r\n\r\n{answer}",
                        answer.len()
                    );
                    stream
                        .write_all(text.as_bytes())
                        .await
                        .expect("the client is there");
                }
            });
        }
    });
    (url, tasks)
}

fn bodies(count: usize) -> Bodies {
    prepared(vec![Bytes::from_static(b"{}"); count])
}

#[tokio::test]
async fn what_is_answered_is_counted() {
    let answer = r#"{"accepted":3,"duplicate":4,"rejected":2,"retry":1,"results":[{"index":0}]}"#;
    let (url, _server) = server(answer, usize::MAX, Duration::ZERO).await;
    let target = Target::resolve(&url, "key", "secret").await.expect("a URL");
    let loaded = closed(&target, 4, &bodies(50)).await.expect("an answer each");
    assert_eq!((loaded.requests, loaded.broken), (50, 0));
    assert_eq!((loaded.accepted, loaded.duplicates), (150, 200));
    assert_eq!((loaded.rejected, loaded.retry), (100, 50));
    assert_eq!(loaded.statuses, BTreeMap::from([(207, 50)]));
    assert_eq!(loaded.micros.len(), 50);
}

#[tokio::test]
async fn a_pause_of_the_service_is_felt_by_every_request_that_fell_into_it() {
    let pause = Duration::from_millis(300);
    let (url, _server) = server("{}", 0, pause).await;
    let target = Target::resolve(&url, "key", "secret").await.expect("a URL");
    let arrivals = Arrivals {
        rate: 200.0,
        duration: Duration::from_millis(500),
        seed: 1,
    };
    // One connection, so that all wait for the first one.
    let loaded = open(&target, 1, arrivals, &bodies(1_000), &progress())
        .await
        .expect("an answer each");
    // About sixty fell into the pause. Counted from their sending, one would be late.
    let late = loaded.micros.len() - loaded.micros.count_between(0, 100_000);
    assert!(late > 20, "{late} of {}", loaded.micros.len());
}

#[test]
fn arrivals_come_at_their_rate_and_the_same_for_the_same_seed() {
    let arrivals = Arrivals {
        rate: 1_000.0,
        duration: Duration::from_secs(10),
        seed: 3,
    };
    let offsets: Vec<_> = arrivals.offsets().collect();
    assert!(offsets.len().abs_diff(10_000) < 500, "{}", offsets.len());
    assert!(offsets.is_sorted());
    assert_eq!(offsets, arrivals.offsets().collect::<Vec<_>>());
    // Exponential gaps: e^-2 of them are longer than twice the mean.
    let gaps = offsets.windows(2).map(|pair| pair[1] - pair[0]);
    let long = gaps.filter(|gap| *gap > Duration::from_millis(2)).count();
    assert!(long.abs_diff(1_353) < 200, "{long}");
}

#[tokio::test]
async fn only_plain_urls_are_taken() {
    for url in ["https://127.0.0.1:1", "127.0.0.1:1", "ftp://x", "http://", ""] {
        Target::resolve(url, "key", "secret").await.expect_err(url);
    }
    let target = Target::resolve("http://127.0.0.1:80/", "key", "secret")
        .await
        .expect("a URL");
    assert_eq!(target.path, "/v1/events");
    assert!(!format!("{target:?}").contains("secret"), "{target:?}");
}
