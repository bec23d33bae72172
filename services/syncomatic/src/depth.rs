//! Watches how many messages wait: with the age of the oldest one in hand, the measure of a backlog.

use std::sync::Arc;
use std::time::Duration;

use service_runtime::{BoxError, Shutdown};

use crate::metrics::Metrics;
use crate::queue::SourceQueue;

/// SQS' numbers are estimates that take about a minute to settle.
const INTERVAL: Duration = Duration::from_secs(15);

/// Shows the depth of the queue until a drain.
pub(crate) async fn watch(
    queue: Arc<SourceQueue>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) -> Result<(), BoxError> {
    loop {
        let turn = async {
            match queue.depth().await {
                Ok(depth) => metrics.transfers.queue(depth),
                Err(error) => {
                    metrics.transfers.queue_depth_failed();
                    tracing::warn!(error = %error, "cannot see the depth of the queue");
                }
            }
            tokio::time::sleep(INTERVAL).await;
        };
        tokio::select! {
            () = turn => {}
            () = shutdown.requested() => return Ok(()),
        }
    }
}
