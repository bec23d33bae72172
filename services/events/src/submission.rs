//! Ties the records of one request to its answer.
//!
//! Each record carries a [`Ticket`]. A ticket is settled once: published, spooled, or to be retried by
//! the client. One that is dropped unsettled, because a task ended or panicked or a queue was thrown
//! away, settles itself as `retry`. So a record that got lost can never be taken for a success, and
//! a request never waits for ever.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::{admission::Admitted, metrics::Metrics};

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Kinesis returned a sequence number for it.
    Published,
    /// It is in the spool, fsynced.
    Spooled,
    /// It may or may not be in the stream; the client should send it again.
    Retry,
}

/// The records of one request, until the last of them is settled.
struct Submission {
    pending: Mutex<Pending>,
    metrics: Arc<Metrics>,
    /// Given back with the last ticket, whether or not anybody still waits for the answer.
    _admitted: Admitted,
}

struct Pending {
    settled: Vec<Settled>,
    left: usize,
    answer: Option<oneshot::Sender<Vec<Settled>>>,
}

/// One record's share in the answer of its request.
pub(crate) struct Ticket {
    submission: Arc<Submission>,
    index: usize,
    settled: bool,
}

/// Tickets for `count` records, and the answer once all are settled, in the order of the tickets.
pub(crate) fn submission(
    count: usize,
    admitted: Admitted,
    metrics: &Arc<Metrics>,
) -> (Vec<Ticket>, oneshot::Receiver<Vec<Settled>>) {
    let (answer, receiver) = oneshot::channel();
    let pending = Mutex::new(Pending {
        settled: vec![Settled::Retry; count],
        left: count,
        answer: Some(answer),
    });
    let submission = Arc::new(Submission {
        pending,
        metrics: Arc::clone(metrics),
        _admitted: admitted,
    });
    let ticket = |index| Ticket {
        submission: Arc::clone(&submission),
        index,
        settled: false,
    };
    ((0..count).map(ticket).collect(), receiver)
}

impl Ticket {
    pub(crate) fn settle(mut self, settled: Settled) {
        self.record(settled);
    }

    fn record(&mut self, settled: Settled) {
        self.settled = true;
        let submission = &self.submission;
        submission.metrics.settled(settled);
        // Nothing under the lock can panic, so what a poisoned one holds is whole.
        let mut pending = submission.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.settled[self.index] = settled;
        pending.left -= 1;
        if pending.left == 0
            && let Some(answer) = pending.answer.take()
        {
            // An error means that the client is gone; the records are settled all the same.
            answer
                .send(std::mem::take(&mut pending.settled))
                .unwrap_or_default();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.record(Settled::Retry);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use prometheus::IntGauge;

    use super::*;
    use crate::admission::Admission;

    pub(crate) fn tickets(count: usize) -> (Vec<Ticket>, oneshot::Receiver<Vec<Settled>>) {
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("a new registry");
        submission(
            count,
            admission().admit(0).expect("there is room"),
            &Arc::new(metrics),
        )
    }

    fn admission() -> Admission {
        Admission::new(1 << 20, IntGauge::new("bytes", "bytes").expect("a gauge"))
    }

    #[test]
    fn the_answer_comes_with_the_last_ticket_and_in_order() {
        let (mut tickets, mut answer) = tickets(3);
        tickets.remove(2).settle(Settled::Published);
        tickets.remove(0).settle(Settled::Published);
        answer.try_recv().expect_err("one is pending");
        tickets.remove(0).settle(Settled::Retry);
        let settled = answer.try_recv().expect("all are settled");
        assert_eq!(settled, [Settled::Published, Settled::Retry, Settled::Published]);
    }

    #[test]
    fn a_ticket_that_is_lost_is_a_retry() {
        let (mut tickets, mut answer) = tickets(2);
        tickets.remove(0).settle(Settled::Published);
        drop(tickets);
        let settled = answer.try_recv().expect("all are settled");
        assert_eq!(settled, [Settled::Published, Settled::Retry]);
    }

    #[test]
    fn what_was_admitted_is_held_until_the_last_ticket_even_without_a_client() {
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("a new registry");
        let gauge = IntGauge::new("bytes", "bytes").expect("a gauge");
        let admission = Admission::new(1 << 20, gauge.clone());
        let admitted = admission.admit(5_000).expect("there is room");
        let (mut tickets, answer) = submission(2, admitted, &Arc::new(metrics));
        drop(answer);
        tickets.remove(0).settle(Settled::Published);
        assert_eq!(gauge.get(), 5_000);
        tickets.remove(0).settle(Settled::Published);
        assert_eq!(gauge.get(), 0);
    }
}
