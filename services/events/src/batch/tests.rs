use std::collections::HashSet;

use proptest::prelude::*;
use tokio::sync::oneshot::Receiver;

use super::*;
use crate::submission::tests::tickets;

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
        ticket,
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
    let (mut queue, now) = (Queue::new(BOUNDS), Instant::now());
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
    let (mut queue, now) = (Queue::new(BOUNDS), Instant::now());
    let _few = push(
        &mut queue,
        now,
        &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")],
    );
    assert_eq!(
        lines(&queue.take(now, false).expect("full by count")),
        ["1", "2", "3", "4"]
    );

    let (mut queue, long) = (Queue::new(BOUNDS), "x".repeat(29));
    let _large = push(&mut queue, now, &[("aaa", &long), ("bbb", &long), ("ccc", &long)]);
    let batch = queue.take(now, false).expect("full by bytes");
    assert_eq!(
        batch.iter().map(|queued| queued.record.bytes()).sum::<usize>(),
        64
    );
}

#[tokio::test]
async fn the_next_of_a_key_waits_until_the_one_before_is_stored_and_other_keys_do_not() {
    let (mut queue, now) = (Queue::new(BOUNDS), Instant::now());
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
    assert!(queue.is_empty());
}

#[tokio::test]
async fn a_record_given_up_takes_those_behind_it_along() {
    let (mut queue, now) = (Queue::new(BOUNDS), Instant::now());
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
    assert!(queue.is_empty());
}

#[tokio::test]
async fn what_fails_until_its_time_is_up_is_given_up() {
    let (mut queue, start) = (Queue::new(BOUNDS), Instant::now());
    let mut answer = push(&mut queue, start, &[("a", "1")]);
    let (mut now, mut tries) = (start, 0);
    while !queue.is_empty() {
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
    let (mut queue, now) = (Queue::new(BOUNDS), Instant::now());
    let mut answer = push(&mut queue, now, &[("a", "1"), ("a", "2"), ("b", "3")]);
    assert!(queue.take(now + BOUNDS.time_to_live, true).is_none());
    assert_eq!(answer.try_recv().expect("settled"), [Settled::Retry; 3]);
    assert!(queue.is_empty());
}

#[tokio::test]
async fn a_queue_thrown_away_settles_everything_as_retry() {
    let (mut queue, now) = (Queue::new(BOUNDS), Instant::now());
    let mut answer = push(&mut queue, now, &[("a", "1"), ("a", "2"), ("b", "3")]);
    drop(queue.take(now, true));
    drop(queue);
    assert_eq!(answer.try_recv().expect("settled"), [Settled::Retry; 3]);
}

/// One step of the simulation below.
#[derive(Clone, Debug)]
enum Step {
    /// A request brings records with these keys.
    Push(Vec<u8>),
    /// A call goes out if one is due.
    Send,
    /// The oldest or the newest call out ends with these verdicts.
    End { oldest: bool, verdicts: Vec<Sent> },
    /// Time passes, in milliseconds.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        4 => Just(Sent::Stored),
        2 => Just(Sent::Failed),
        2 => Just(Sent::Throttled),
        1 => Just(Sent::Refused),
    ];
    prop_oneof![
        proptest::collection::vec(0..4_u8, 1..6).prop_map(Step::Push),
        Just(Step::Send),
        (any::<bool>(), proptest::collection::vec(verdict, 4))
            .prop_map(|(oldest, verdicts)| Step::End { oldest, verdicts }),
        (0..3_000_u64).prop_map(Step::Wait),
    ]
}

/// A queue with its surroundings: a stream, the calls that are out, and what was pushed.
struct Simulation {
    queue: Queue,
    now: Instant,
    calls: VecDeque<Vec<Queued>>,
    /// Key and number of each record, in the order in which they entered the stream.
    stream: Vec<(u8, usize)>,
    pushed: Vec<(u8, Receiver<Vec<Settled>>)>,
}

impl Simulation {
    fn apply(&mut self, step: Step) {
        match step {
            Step::Push(keys) => keys.into_iter().for_each(|key| {
                let number = self.pushed.len().to_string();
                let answer = push(&mut self.queue, self.now, &[(&key.to_string(), &number)]);
                self.pushed.push((key, answer));
            }),
            Step::Send => {
                self.calls
                    .extend(self.queue.take(self.now, self.calls.is_empty()));
                self.at_most_one_of_a_key_is_out();
            }
            Step::End { oldest, verdicts } => {
                let call = if oldest {
                    self.calls.pop_front()
                } else {
                    self.calls.pop_back()
                };
                self.end(call.unwrap_or_default(), &verdicts);
            }
            Step::Wait(milliseconds) => self.now += Duration::from_millis(milliseconds),
        }
    }

    fn end(&mut self, call: Vec<Queued>, verdicts: &[Sent]) {
        let verdicts = &verdicts[..call.len()];
        for (queued, verdict) in call.iter().zip(verdicts) {
            if *verdict == Sent::Stored {
                let key = queued.record.partition_key.parse().expect("a number");
                let number = lines(std::slice::from_ref(queued))[0].parse().expect("a number");
                self.stream.push((key, number));
            }
        }
        self.queue.complete(call, verdicts, self.now);
    }

    fn at_most_one_of_a_key_is_out(&self) {
        let out: Vec<_> = self
            .calls
            .iter()
            .flatten()
            .map(|queued| &queued.record.partition_key)
            .collect();
        let keys: HashSet<_> = out.iter().collect();
        assert_eq!(keys.len(), out.len(), "two records of a key are out");
        for call in &self.calls {
            let bytes: usize = call.iter().map(|queued| queued.record.bytes()).sum();
            assert!(call.len() <= BOUNDS.records && bytes <= BOUNDS.bytes);
        }
    }

    /// Lets everything end well, within a bounded number of steps.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            self.calls.extend(self.queue.take(self.now, true));
            if self.queue.is_empty() {
                return;
            }
            match self.calls.pop_front() {
                Some(call) => self.end(call, &[Sent::Stored; BOUNDS.records]),
                None => self.now = self.queue.next_due().expect("something is due"),
            }
        }
        panic!("the queue does not drain");
    }
}

proptest! {
    #[test]
    fn every_record_is_settled_truthfully_and_no_key_loses_its_order(
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut simulation = Simulation {
            queue: Queue::new(BOUNDS),
            now: Instant::now(),
            calls: VecDeque::new(),
            stream: Vec::new(),
            pushed: Vec::new(),
        };
        steps.into_iter().for_each(|step| simulation.apply(step));
        simulation.drain();

        let stored: HashSet<usize> = simulation.stream.iter().map(|(_, number)| *number).collect();
        prop_assert_eq!(stored.len(), simulation.stream.len(), "nothing is stored twice");
        for (number, (_, answer)) in simulation.pushed.iter_mut().enumerate() {
            let settled = answer.try_recv().expect("every record is settled")[0];
            prop_assert_eq!(settled == Settled::Published, stored.contains(&number));
        }
        for key in 0..4 {
            let numbers = simulation.stream.iter().filter(|(of, _)| *of == key);
            prop_assert!(numbers.is_sorted(), "key {key} is out of order");
        }
        prop_assert_eq!(simulation.queue.ready_bytes, 0);
    }
}
