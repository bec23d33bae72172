//! Each program is stopped and killed again and again while events flow, each time while it waits for
//! the very step that makes things durable. What was accepted is on both sides, once; only an event
//! whose answer was lost, and which was therefore sent again, may be there twice.

use std::time::Duration;

use local_cloud::{Faults, Rule};
use pipeline_tests::{Pipeline, Process, eventually};

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");
/// In turn with a drain and without.
const RESTARTS: usize = 6;
/// How long the durable step takes: long enough to end the program in the middle of it.
const SLOW: Duration = Duration::from_millis(100);
/// For the next durable step to begin; they come every second.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum End {
    Drained,
    Killed,
}

/// The step that makes a program's work durable, slowed down and watched.
struct DurableStep<'a> {
    faults: &'a Faults,
    operation: &'static str,
}

impl<'a> DurableStep<'a> {
    fn slow(faults: &'a Faults, operation: &'static str, resource: &str) -> Self {
        faults.inject(Rule::on(operation).resource_containing(resource).delay(SLOW));
        Self { faults, operation }
    }

    /// Waits until AWS has just been asked for one, and has not done it yet.
    async fn begins(&self) {
        let before = self.faults.injected(self.operation);
        eventually(self.operation, PATIENCE, async || {
            (self.faults.injected(self.operation) > before).then_some(())
        })
        .await
        .unwrap_or_else(|late| panic!("{late}"));
    }

    /// Ends the program in the middle of the step, again and again; `start` gives the next one.
    async fn end_repeatedly(&self, mut program: Process, mut start: impl AsyncFnMut() -> Process) -> Process {
        for how in [End::Drained, End::Killed].into_iter().cycle().take(RESTARTS) {
            self.begins().await;
            end(program, how).await;
            program = start().await;
        }
        program
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn events_ends_while_it_publishes() {
    let pipeline = Pipeline::start(PIPELINE).await;
    let (events, _hoard, _syncomatic) =
        tokio::join!(pipeline.events(), pipeline.hoard(), pipeline.syncomatic());
    let client = pipeline.client(&events, "northwind-speaker").await;
    let publish = DurableStep::slow(pipeline.aws.source.cloud.faults(), "kinesis:PutRecords", "");
    let restart = async || {
        let events = pipeline.events().await;
        client.follow(&events).await;
        events
    };
    let (sent, _events) = client.send_during(publish.end_repeatedly(events, restart)).await;
    pipeline.holds_exactly(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hoard_ends_while_it_puts_an_object() {
    let pipeline = Pipeline::start(PIPELINE).await;
    let (events, hoard, _syncomatic) =
        tokio::join!(pipeline.events(), pipeline.hoard(), pipeline.syncomatic());
    let client = pipeline.client(&events, "northwind-speaker").await;
    let put = DurableStep::slow(pipeline.aws.source.cloud.faults(), "s3:PutObject", ".jsonl.gz");
    let (sent, _hoard) = client
        .send_during(put.end_repeatedly(hoard, async || pipeline.hoard().await))
        .await;
    assert!(sent.answer_lost.is_empty(), "events was never disturbed");
    pipeline.holds_exactly(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn syncomatic_ends_while_it_copies() {
    let pipeline = Pipeline::start(PIPELINE).await;
    let (events, _hoard, syncomatic) =
        tokio::join!(pipeline.events(), pipeline.hoard(), pipeline.syncomatic());
    let client = pipeline.client(&events, "northwind-speaker").await;
    let copy = DurableStep::slow(pipeline.aws.destination.cloud.faults(), "s3:PutObject", "");
    let restart = async || pipeline.syncomatic().await;
    let (sent, _syncomatic) = client.send_during(copy.end_repeatedly(syncomatic, restart)).await;
    assert!(sent.answer_lost.is_empty(), "events was never disturbed");
    pipeline.holds_exactly(&sent).await;
}
