//! Each program is stopped and killed in the middle of the flow. What was accepted is on both sides,
//! once; only an event whose answer was lost, and which was therefore sent again, may be there twice.

use std::time::Duration;

use local_cloud::Rule;
use pipeline_tests::{Client, Pipeline, Process, Sent, eventually};

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");
const EVENTS: u64 = 1_200;
/// How long AWS takes for the step that makes things durable: long enough that a program is most
/// likely ended while it waits for one.
const SLOW: Duration = Duration::from_millis(50);
/// Restarts within one flow: in turn with a drain and without.
const RESTARTS: usize = 6;

#[derive(Clone, Copy, Debug)]
enum End {
    Drained,
    Killed,
}

/// Ends a program as told, and sees that a drain ends well.
async fn end(program: Process, how: End) {
    match how {
        End::Killed => program.kill().await,
        End::Drained => {
            let ended = program.terminate().await;
            assert!(ended.status.success(), "{ended:#?}");
        }
    }
}

fn ends() -> impl Iterator<Item = End> {
    [End::Drained, End::Killed].into_iter().cycle().take(RESTARTS)
}

/// Sends while `disturb` restarts a program again and again.
async fn send_during(client: &Client, disturb: impl Future<Output = Process>) -> (Sent, Process) {
    tokio::join!(client.send(EVENTS), disturb)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_restarts_in_the_middle() {
    let pipeline = Pipeline::start(PIPELINE).await;
    let (mut events, _hoard, _syncomatic) =
        tokio::join!(pipeline.events(), pipeline.hoard(), pipeline.syncomatic());
    let client = pipeline.client(&events, "northwind-speaker").await;
    let faults = pipeline.aws.source.cloud.faults();
    faults.inject(Rule::on("kinesis:PutRecords").delay(SLOW));
    let (sent, _events) = send_during(&client, async {
        for how in ends() {
            some_batches_pass(&client).await;
            end(events, how).await;
            events = pipeline.events().await;
            client.follow(&events).await;
        }
        events
    })
    .await;
    pipeline.holds_exactly(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hoard_restarts_in_the_middle() {
    let pipeline = Pipeline::start(PIPELINE).await;
    let (events, mut hoard, _syncomatic) =
        tokio::join!(pipeline.events(), pipeline.hoard(), pipeline.syncomatic());
    let client = pipeline.client(&events, "northwind-speaker").await;
    let faults = pipeline.aws.source.cloud.faults();
    faults.inject(Rule::on("s3:PutObject").delay(SLOW));
    let (sent, _hoard) = send_during(&client, async {
        for how in ends() {
            some_batches_pass(&client).await;
            end(hoard, how).await;
            hoard = pipeline.hoard().await;
        }
        hoard
    })
    .await;
    assert!(sent.answer_lost.is_empty(), "events was never disturbed");
    pipeline.holds_exactly(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn syncomatic_restarts_in_the_middle() {
    let pipeline = Pipeline::start(PIPELINE).await;
    let (events, _hoard, mut syncomatic) =
        tokio::join!(pipeline.events(), pipeline.hoard(), pipeline.syncomatic());
    let client = pipeline.client(&events, "northwind-speaker").await;
    let faults = pipeline.aws.destination.cloud.faults();
    faults.inject(Rule::on("s3:PutObject").delay(SLOW));
    let (sent, _syncomatic) = send_during(&client, async {
        for how in ends() {
            some_batches_pass(&client).await;
            end(syncomatic, how).await;
            syncomatic = pipeline.syncomatic().await;
        }
        syncomatic
    })
    .await;
    assert!(sent.answer_lost.is_empty(), "events was never disturbed");
    pipeline.holds_exactly(&sent).await;
}

/// A disturbance counts only between events.
async fn some_batches_pass(client: &Client) {
    let before = client.accepted();
    eventually("some batches to pass", Duration::from_secs(60), async || {
        (client.accepted() >= (before + 100).min(EVENTS)).then_some(())
    })
    .await
    .unwrap_or_else(|late| panic!("{late}"));
}
