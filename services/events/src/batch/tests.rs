use tokio::sync::oneshot::Receiver;

use super::*;
use crate::{backlog::Keys, shard_map, submission::tests::tickets};

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

/// An event on its own, for tests of how records are made up.
pub(crate) fn queued(key: &str, line: &str) -> Queued {
    let now = Instant::now();
    let (mut tickets, _) = tickets(1);
    Queued {
        record: record(key, line, tickets.remove(0)),
        deadline: None,
        ready_since: now,
        backoff: Backoff::new(BACKOFF_BASE, BACKOFF_CAP),
        throttles: 0,
        refused_alone: None,
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

fn lines(batch: &[Entry]) -> Vec<String> {
    let text = |queued: &Queued| String::from_utf8_lossy(&queued.record.line).into_owned();
    batch.iter().flat_map(Entry::events).map(text).collect()
}

/// What the spool has read, as it comes back.
fn spooled(records: &[(&str, &str)]) -> Done {
    let record = |(number, (key, line)): (usize, &(&str, &str))| Record {
        line: line.as_bytes().to_vec(),
        partition_key: (*key).into(),
        owner: Owner::Spool(Sequence::from(number as u64)),
    };
    Done {
        read: records.iter().enumerate().map(record).collect(),
        ..Done::default()
    }
}

/// A queue that sends what a spool holds.
fn draining(records: &[(&str, &str)], now: Instant) -> Queue {
    let mut keys = Keys::default();
    records.iter().for_each(|(key, _)| keys.add(&(*key).into()));
    let mut queue = Queue::new(BOUNDS, Some(Backlog::new(keys, records.len() as u64)));
    queue.spool_done(spooled(records), now);
    queue
}

#[tokio::test]
async fn an_idle_publisher_sends_at_once_and_a_busy_one_after_the_linger() {
    let (mut queue, now) = (Queue::new(BOUNDS, None), Instant::now());
    let _answer = push(&mut queue, now, &[("a", "1"), ("b", "2")]);
    assert!(queue.take(now, false, None).is_none());
    assert_eq!(queue.next_due(), Some(now + BOUNDS.linger));
    let batch = queue
        .take(now + BOUNDS.linger, false, None)
        .expect("waited long enough");
    assert_eq!(lines(&batch), ["1", "2"]);

    let _answer = push(&mut queue, now, &[("c", "3")]);
    assert_eq!(lines(&queue.take(now, true, None).expect("eager")), ["3"]);
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
        lines(&queue.take(now, false, None).expect("full by count")),
        ["1", "2", "3", "4"]
    );

    let (mut queue, long) = (Queue::new(BOUNDS, None), "x".repeat(29));
    let _large = push(&mut queue, now, &[("aaa", &long), ("bbb", &long), ("ccc", &long)]);
    let batch = queue.take(now, false, None).expect("full by bytes");
    assert_eq!(batch.iter().map(Entry::bytes).sum::<usize>(), 64);
}

#[tokio::test]
async fn the_next_of_a_key_waits_until_the_one_before_is_stored_and_other_keys_do_not() {
    let (mut queue, now) = (Queue::new(BOUNDS, None), Instant::now());
    let mut answer = push(
        &mut queue,
        now,
        &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")],
    );
    let batch = queue.take(now, true, None).expect("one of each key");
    assert_eq!(lines(&batch), ["a1", "b1"]);
    assert!(queue.take(now, true, None).is_none(), "the others are held");

    queue.complete(batch, &[Sent::Failed, Sent::Stored], now);
    let batch = queue.take(now, true, None).expect("the next of b");
    assert_eq!(lines(&batch), ["b2"]);
    queue.complete(batch, &[Sent::Stored], now);

    let later = queue.next_due().expect("a1 is delayed");
    let batch = queue.take(later, true, None).expect("a1 again");
    assert_eq!(lines(&batch), ["a1"]);
    queue.complete(batch, &[Sent::Stored], later);
    let batch = queue.take(later, true, None).expect("a2 at last");
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
    let batch = queue.take(now, true, None).expect("one of each key");
    queue.complete(batch, &[Sent::Unavailable, Sent::Stored], now);
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
        let batch = queue.take(now, true, None).expect("it is due");
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
    assert!(queue.take(now + BOUNDS.time_to_live, true, None).is_none());
    assert_eq!(answer.try_recv().expect("settled"), [Settled::Retry; 3]);
    assert!(queue.is_drained(false));
}

#[tokio::test]
async fn a_queue_thrown_away_settles_everything_as_retry() {
    let (mut queue, now) = (Queue::new(BOUNDS, None), Instant::now());
    let mut answer = push(&mut queue, now, &[("a", "1"), ("a", "2"), ("b", "3")]);
    drop(queue.take(now, true, None));
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
    let batch = queue.take(now, true, None).expect("one of each key");
    queue.complete(batch, &[Sent::Unavailable, Sent::Stored], now);
    let mut later = push(&mut queue, now, &[("a", "a3")]);
    assert!(queue.take(now, true, None).is_none(), "a3 must not overtake");

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
    let batch = queue.take(now, true, None).expect("the first");
    queue.complete(batch, &[Sent::Refused], now);
    assert_eq!(answer.try_recv().expect("settled"), [Settled::Retry; 2]);
    assert!(queue.is_drained(false) && queue.spool_work(true).is_none());
}

#[tokio::test]
async fn one_invalid_record_is_found_and_its_neighbours_are_stored() {
    let (mut queue, mut now) = (Queue::new(BOUNDS, None), Instant::now());
    let mut answer = push(
        &mut queue,
        now,
        &[("a", "1"), ("b", "2"), ("c", "bad"), ("d", "4")],
    );
    let (mut calls, mut due) = (0, Some(now));
    while let Some(at) = due {
        now = at;
        while let Some(batch) = queue.take(now, true, None) {
            calls += 1;
            let bad = lines(&batch).contains(&"bad".to_owned());
            let verdict = if bad { Sent::Refused } else { Sent::Stored };
            queue.complete(batch, &[verdict; 4], now);
        }
        due = queue.next_due();
    }
    use Settled::{Published, Retry};
    assert_eq!(
        answer.try_recv().expect("settled"),
        [Published, Published, Retry, Published]
    );
    assert_eq!(calls, 5, "four, two and two, one and one");
    assert!(queue.is_drained(false));
}

#[tokio::test]
async fn a_spooled_record_is_buried_only_if_kinesis_takes_others() {
    let start = Instant::now();
    let mut queue = draining(&[("a", "bad"), ("a", "2")], start);
    let mut now = start;
    for _ in 0..10 {
        let batch = queue.take(now, true, None).expect("it is tried again");
        assert_eq!(lines(&batch), ["bad"]);
        queue.complete(batch, &[Sent::Refused], now);
        now = queue.next_due().expect("it is delayed");
    }
    assert!(
        queue.spool_work(true).is_none(),
        "perhaps everything would be refused"
    );

    now += Duration::from_millis(1);
    let _answer = push(&mut queue, now, &[("b", "3")]);
    let mut lone = queue.take(now, true, None).expect("the bad one, alone");
    if lines(&lone) == ["bad"] {
        queue.complete(lone, &[Sent::Refused], now);
        lone = queue.take(now, true, None).expect("the other");
    }
    assert_eq!(lines(&lone), ["3"]);
    queue.complete(lone, &[Sent::Stored], now);
    now = queue.next_due().expect("it is delayed") + Duration::from_secs(2);
    let batch = queue.take(now, true, None).expect("it is tried again");
    queue.complete(batch, &[Sent::Refused], now);
    let work = queue.spool_work(true).expect("it is buried");
    assert_eq!(work.bury.len(), 1);
    let next = queue.take(now, true, None).expect("the next of its key goes on");
    assert_eq!(lines(&next), ["2"]);
}

/// All keys are of one shard, and records have room for so many bytes.
fn packing(bytes: usize) -> Packing {
    Packing {
        map: shard_map::tests::map(&[]),
        bytes,
    }
}

const ROOMY: Bounds = Bounds {
    bytes: 4096,
    ..BOUNDS
};

#[tokio::test]
async fn packed_events_of_a_key_go_in_one_record_and_the_rest_wait_for_it() {
    let (mut queue, now) = (Queue::new(ROOMY, None), Instant::now());
    let long = "x".repeat(60);
    let mut answer = push(
        &mut queue,
        now,
        &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", &long), ("a", "a4")],
    );
    let batch = queue.take(now, true, Some(&packing(100))).expect("due");
    assert_eq!(batch.len(), 1);
    assert_eq!(batch[0].packed_events(), Some(3));
    assert_eq!(lines(&batch), ["a1", "a2", "b1"], "a4 must not overtake");
    assert!(queue.take(now, true, Some(&packing(100))).is_none());

    queue.complete(batch, &[Sent::Stored], now);
    let batch = queue.take(now, true, Some(&packing(256))).expect("due");
    assert_eq!(lines(&batch), [long.as_str(), "a4"]);
    queue.complete(batch, &[Sent::Stored], now);
    assert_eq!(answer.try_recv().expect("settled"), [Settled::Published; 5]);
    assert!(queue.is_drained(false));
}

#[tokio::test]
async fn a_packed_record_that_fails_comes_again_in_order_in_front_of_what_came_since() {
    let (mut queue, now) = (Queue::new(ROOMY, None), Instant::now());
    let mut answer = push(
        &mut queue,
        now,
        &[("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3")],
    );
    let batch = queue.take(now, true, Some(&packing(1024))).expect("due");
    assert_eq!(lines(&batch), ["a1", "a2", "a3", "b1"]);
    let mut later = push(&mut queue, now, &[("a", "a4"), ("b", "b2")]);
    queue.complete(batch, &[Sent::Throttled], now);
    let due = queue.next_due().expect("delayed");
    // Without a map, one of a key at a time.
    let batch = queue.take(due, true, None).expect("due");
    assert_eq!(lines(&batch), ["a1", "b1"]);
    assert!(
        batch
            .iter()
            .flat_map(Entry::events)
            .all(|event| event.throttles == 1)
    );
    queue.complete(batch, &[Sent::Stored, Sent::Stored], due);
    let batch = queue.take(due, true, Some(&packing(1024))).expect("due");
    assert_eq!(lines(&batch), ["a2", "a3", "a4", "b2"]);
    queue.complete(batch, &[Sent::Stored], due);
    assert_eq!(answer.try_recv().expect("settled"), [Settled::Published; 4]);
    assert_eq!(later.try_recv().expect("settled"), [Settled::Published; 2]);
    assert!(queue.is_drained(false));
}

#[path = "simulation.rs"]
mod simulation;
