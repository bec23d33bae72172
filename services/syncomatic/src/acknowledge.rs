//! What becomes of a message once its records are settled. It is deleted only when every one of them
//! is done, or when a copy of it is safe in the dead letter queue.

use std::time::Duration;

use service_runtime::backoff::Backoff;

use crate::failure::CallFailure;
use crate::metrics::Metrics;
use crate::queue::{Message, SourceQueue};

/// How the records of a message ended, the worst of them deciding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Every object is in place, or needs no copy.
    Done,
    /// At least one record never succeeds, for this reason; the others are done.
    Rejected(&'static str),
    /// At least one object is not in place yet.
    Unfinished,
}

/// Tries of a delete. When all fail the message is delivered again, which costs two looks an object.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// The longest that a message without a dead letter queue stays hidden between two receives.
const REJECTED_HIDDEN_MAX: Duration = Duration::from_secs(15 * 60);

/// Settles a message. Failures are counted and logged here; the message is then delivered again.
pub(crate) async fn acknowledge(
    queue: &SourceQueue,
    metrics: &Metrics,
    message: &Message,
    verdict: Verdict,
    draining: bool,
) {
    let (outcome, settled) = match verdict {
        Verdict::Done => ("deleted", delete(queue, message).await),
        Verdict::Rejected(reason) => reject(queue, message, reason).await,
        // While draining another receiver should have it at once; otherwise the remaining time-out
        // is the pause before the next try.
        Verdict::Unfinished if draining => ("released", queue.hide(message, Duration::ZERO).await),
        Verdict::Unfinished => ("left", Ok(())),
    };
    match settled {
        Ok(()) => metrics.settled(outcome),
        Err(error) => {
            metrics.settled("failed");
            metrics.queue_operation_failed(outcome);
            tracing::warn!(message = message.id, outcome, %error, "a message could not be settled; it will be delivered again");
        }
    }
}

async fn reject(
    queue: &SourceQueue,
    message: &Message,
    reason: &str,
) -> (&'static str, Result<(), CallFailure>) {
    match &queue.dead_letter_url {
        Some(url) => {
            let buried = queue.bury(url, message, reason).await;
            let settled = match buried {
                Ok(()) => delete(queue, message).await,
                Err(error) => Err(error),
            };
            ("dead_lettered", settled)
        }
        None => {
            let hidden = rejected_hidden(queue.visibility_timeout, message.receive_count);
            ("rejected", queue.hide(message, hidden).await)
        }
    }
}

/// Doubles with each receive, so that the redrive policy gets the message without it running hot.
fn rejected_hidden(visibility_timeout: Duration, receive_count: u32) -> Duration {
    let doublings = receive_count.saturating_sub(1).min(16);
    let hidden = visibility_timeout.saturating_mul(1 << doublings);
    hidden.min(REJECTED_HIDDEN_MAX.max(visibility_timeout))
}

async fn delete(queue: &SourceQueue, message: &Message) -> Result<(), CallFailure> {
    let mut backoff = Backoff::new(PAUSE, PAUSE * 4);
    for _ in 1..TRIES {
        match queue.delete(message).await {
            Err(error) if error.failure.is_retryable() => tokio::time::sleep(backoff.next_delay()).await,
            settled => return settled,
        }
    }
    queue.delete(message).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_record_decides() {
        let rejected = Verdict::Rejected("unknown_shape");
        assert_eq!(Verdict::Done.max(rejected), rejected);
        assert_eq!(rejected.max(Verdict::Unfinished), Verdict::Unfinished);
    }

    #[test]
    fn rejected_messages_come_back_ever_more_seldom() {
        let minute = Duration::from_secs(60);
        assert_eq!(rejected_hidden(minute, 1), minute);
        assert_eq!(rejected_hidden(minute, 3), 4 * minute);
        assert_eq!(rejected_hidden(minute, u32::MAX), REJECTED_HIDDEN_MAX);
        assert_eq!(rejected_hidden(60 * minute, 9), 60 * minute);
    }
}
