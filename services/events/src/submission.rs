//! Ties the records of one request to its answer.
//!
//! Each record carries a [`Ticket`]. A ticket is settled once: published, spooled, a duplicate, or to be
//! retried by the client. One that is dropped unsettled, because a task ended or panicked or a queue was thrown
//! away, settles itself as `retry`. So a record that got lost can never be taken for a success, and
//! a request never waits for ever.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::{admission::Admitted, dedupe::Claim, ledger::Row};

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Kinesis returned a sequence number for it.
    Published,
    /// It is in the spool, fsynced.
    Spooled,
    /// It was accepted before, under the same id, and is not sent again.
    Duplicate(Durability),
    /// It may or may not be in the stream; the client should send it again.
    Retry,
}

/// Where an accepted event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// In the stream.
    Published,
    /// On disk, and in the stream when Kinesis takes it.
    Spooled,
}

impl Durability {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Spooled => "spooled",
        }
    }
}

/// The records of one request, until the last of them is settled.
struct Submission {
    pending: Mutex<Pending>,
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
    /// Where the event is counted.
    row: Arc<Row>,
    /// Where others with its id may wait for it.
    claim: Option<Claim>,
    settled: bool,
}

/// Tickets for events that are counted in these rows, and the answer once all are settled, in the order
/// of the tickets.
pub(crate) fn submission(
    rows: Vec<Arc<Row>>,
    admitted: Admitted,
) -> (Vec<Ticket>, oneshot::Receiver<Vec<Settled>>) {
    let count = rows.len();
    let (answer, receiver) = oneshot::channel();
    let pending = Mutex::new(Pending {
        settled: vec![Settled::Retry; count],
        left: count,
        answer: Some(answer),
    });
    let submission = Arc::new(Submission {
        pending,
        _admitted: admitted,
    });
    let ticket = |(index, row): (usize, Arc<Row>)| {
        row.begin();
        Ticket {
            submission: Arc::clone(&submission),
            index,
            row,
            claim: None,
            settled: false,
        }
    };
    (rows.into_iter().enumerate().map(ticket).collect(), receiver)
}

impl Ticket {
    /// From now on what becomes of it is told to those who wait for it.
    pub(crate) fn claim(&mut self, claim: Claim) {
        self.claim = Some(claim);
    }

    pub(crate) fn settle(mut self, settled: Settled) {
        self.record(settled);
    }

    fn record(&mut self, settled: Settled) {
        self.settled = true;
        let submission = &self.submission;
        self.row.settle(settled);
        if let Some(claim) = self.claim.take() {
            claim.settle(settled);
        }
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
    use super::*;
    use crate::admission::tests::{admission, admit, gauge};

    pub(crate) fn tickets(count: usize) -> (Vec<Ticket>, oneshot::Receiver<Vec<Settled>>) {
        let admitted = admit(&admission(1 << 20, &gauge()), 0).expect("there is room");
        submission(vec![Arc::default(); count], admitted)
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
        let gauge = gauge();
        let admission = admission(1 << 20, &gauge);
        let admitted = admit(&admission, 5_000).expect("there is room");
        let (mut tickets, answer) = submission(vec![Arc::default(); 2], admitted);
        drop(answer);
        tickets.remove(0).settle(Settled::Published);
        assert_eq!(gauge.get(), 5_000);
        tickets.remove(0).settle(Settled::Published);
        assert_eq!(gauge.get(), 0);
    }
}
