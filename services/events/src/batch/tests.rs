use tokio::sync::oneshot::Receiver;

use super::*;
use crate::{backlog::Keys, submission::tests::tickets};

const BOUNDS: Bounds = Bounds {
    records: 4,
    bytes: 64,
    linger: Duration::from_millis(5),
    time_to_live: Duration::from_secs(10),
};

fn record(key: &str, line: &str, ticket: Ticket) -> Record {
    Record {
        line: line.as_bytes().to_vec(),
        partition_key: key.into(),
        owner: Owner::Client(ticket),
    }
}

/// Pushes one record a pair of key and line; the answer settles with the last of them.
fn push(queue: &mut Queue, now: Instant, records: &[(&str, &str)]) -> Receiver<Vec<Settled>> {
    let (tickets, answer) = tickets(records.len());
    for ((key, line), ticket) in records.iter().zip(tickets) {
        queue.push(record(key, line, ticket), now);
    }
    answer
}

fn lines(batch: &[Queued]) -> Vec<String> {
    batch
        .iter()
        .map(|queued| String::from_utf8_lossy(&queued.record.line).into_owned())
        .collect()
}

#[tokio::test]
async fn an_idle_publisher_sends_at_once_and_a_busy_one_after_the_linger() {
    let (mut queue, now) = (Queue::new(BOUNDS, None), Instant::now());
    let _answer = push(&mut queue, now, &[("a", "1"), ("b", "2")]);
    assert!(queue.take(now, false).is_none());
    assert_eq!(queue.next_due(), Some(now + BOUNDS.linger));
    let batch = queue
        .take(now + BOUNDS.linger, false)
        .expect("waited long enough");
    assert_eq!(lines(&batch), ["1", "2"]);

    let _answer = push(&mut queue, now, &[("c", "3")]);
    assert_eq!(lines(&queue.take(now, true).expect("eager")), ["3"]);
}

#[tokio::test]
async fn calls_are_bounded_by_records_and_by_bytes() {
    let (mut queue, now) = (Queue::new(BOUNDS, None), Instant::now());
    let _few = push(
        &mut queue,
        now,
        &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")],
    );
    assert_eq!(
        lines(&queue.take(now, false).expect("full by count")),
        ["1", "2", "3", "4"]
    );

    let (mut queue, long) = (Queue::new(BOUNDS, None), "x".repeat(29));
    let _large = push(&mut queue, now, &[("aaa", &long), ("bbb", &long), ("ccc", &long)]);
    let batch = queue.take(now, false).expect("full by bytes");
    assert_eq!(
        batch.iter().map(|queued| queued.record.bytes()).sum::<usize>(),
        64
    );
}

#[tokio::test]
async fn the_next_of_a_key_waits_until_the_one_before_is_stored_and_other_keys_do_not() {
    let (mut queue, now) = (Queue::new(BOUNDS, None), Instant::now());
    let mut answer = push(
        &mut queue,
        now,
        &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")],
    );
    let batch = queue.take(now, true).expect("one of each key");
    assert_eq!(lines(&batch), ["a1", "b1"]);
    assert!(queue.take(now, true).is_none(), "the others are held");

    queue.complete(batch, &[Sent::Failed, Sent::Stored], now);
    let batch = queue.take(now, true).expect("the next of b");
    assert_eq!(lines(&batch), ["b2"]);
    queue.complete(batch, &[Sent::Stored], now);

    let later = queue.next_due().expect("a1 is delayed");
    let batch = queue.take(later, true).expect("a1 again");
    assert_eq!(lines(&batch), ["a1"]);
    queue.complete(batch, &[Sent::Stored], later);
    let batch = queue.take(later, true).expect("a2 at last");
    assert_eq!(lines(&batch), ["a2"]);
    answer.try_recv().expect_err("a2 is out");
    queue.complete(batch, &[Sent::Stored], later);
    assert_eq!(answer.try_recv().expect("settled"), [Settled::Published; 4]);
    assert!(queue.is_drained(false));
}

#[tokio::test]
async fn a_record_given_up_takes_those_behind_it_along() {
    let (mut queue, now) = (Queue::new(BOUNDS, None), Instant::now());
    let mut answer = push(
        &mut queue,
        now,
        &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")],
    );
    let batch = queue.take(now, true).expect("one of each key");
    queue.complete(batch, &[Sent::Refused, Sent::Stored], now);
    use Settled::{Published, Retry};
    assert_eq!(
        answer.try_recv().expect("settled"),
        [Retry, Retry, Published, Retry]
    );
    assert!(queue.is_drained(false));
}

#[tokio::test]
async fn what_fails_until_its_time_is_up_is_given_up() {
    let (mut queue, start) = (Queue::new(BOUNDS, None), Instant::now());
    let mut answer = push(&mut queue, start, &[("a", "1")]);
    let (mut now, mut tries) = (start, 0);
    while !queue.is_drained(false) {
        let batch = queue.take(now, true).expect("it is due");
        tries += 1;
        queue.complete(batch, &[Sent::Failed], now);
        now = queue.next_due().unwrap_or(now);
    }
    assert_eq!(answer.try_recv().expect("settled"), [Settled::Retry]);
    assert!(tries > 3, "tried {tries} times");
    assert!(now < start + BOUNDS.time_to_live);
}

#[tokio::test]
async fn what_could_not_be_sent_in_time_is_given_up() {
    let (mut queue, now) = (Queue::new(BOUNDS, None), Instant::now());
    let mut answer = push(&mut queue, now, &[("a", "1"), ("a", "2"), ("b", "3")]);
    assert!(queue.take(now + BOUNDS.time_to_live, true).is_none());
    assert_eq!(answer.try_recv().expect("settled"), [Settled::Retry; 3]);
    assert!(queue.is_drained(false));
}

#[tokio::test]
async fn a_queue_thrown_away_settles_everything_as_retry() {
    let (mut queue, now) = (Queue::new(BOUNDS, None), Instant::now());
    let mut answer = push(&mut queue, now, &[("a", "1"), ("a", "2"), ("b", "3")]);
    drop(queue.take(now, true));
    drop(queue);
    assert_eq!(answer.try_recv().expect("settled"), [Settled::Retry; 3]);
}

#[tokio::test]
async fn with_a_spool_what_is_given_up_goes_there_with_all_that_waits_behind_it() {
    let (mut queue, now) = (
        Queue::new(BOUNDS, Some(Backlog::new(Keys::default(), 0))),
        Instant::now(),
    );
    let mut answer = push(&mut queue, now, &[("a", "a1"), ("a", "a2"), ("b", "b1")]);
    let batch = queue.take(now, true).expect("one of each key");
    queue.complete(batch, &[Sent::Unavailable, Sent::Stored], now);
    let mut later = push(&mut queue, now, &[("a", "a3")]);
    assert!(queue.take(now, true).is_none(), "a3 must not overtake");

    let work = queue.spool_work(true).expect("records to write");
    let written: Vec<_> = work.append.iter().map(|record| record.line.clone()).collect();
    assert_eq!(written, [b"a1", b"a2", b"a3"]);
    answer
        .try_recv()
        .expect_err("nothing is accepted before it is on disk");
    let done = Done {
        kept: work.append,
        ..Done::default()
    };
    queue.spool_done(done, now);
    use Settled::{Published, Spooled};
    assert_eq!(answer.try_recv().expect("settled"), [Spooled, Spooled, Published]);
    assert_eq!(later.try_recv().expect("settled"), [Spooled]);
}

#[tokio::test]
async fn what_kinesis_will_never_take_does_not_get_into_the_spool() {
    let (mut queue, now) = (
        Queue::new(BOUNDS, Some(Backlog::new(Keys::default(), 0))),
        Instant::now(),
    );
    let mut answer = push(&mut queue, now, &[("a", "a1"), ("a", "a2")]);
    let batch = queue.take(now, true).expect("the first");
    queue.complete(batch, &[Sent::Refused], now);
    assert_eq!(answer.try_recv().expect("settled"), [Settled::Retry; 2]);
    assert!(queue.is_drained(false) && queue.spool_work(true).is_none());
}

#[path = "simulation.rs"]
mod simulation;
