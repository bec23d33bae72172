//! Any interleaving of requests, failures, spooling, draining, reshards and crashes, with a stream and
//! a disk that remember what they were given.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// How many records the disk takes.
const DISK: usize = 12;

/// One step.
#[derive(Clone, Debug)]
enum Step {
    /// A request brings records with these keys; some are invalid to Kinesis.
    Push(Vec<(u8, bool)>),
    /// From now on events are packed by shards that begin at these hash keys, or not.
    Map(Option<Vec<u128>>),
    /// A call goes out if one is due.
    Send,
    /// The oldest or the newest call out ends with these verdicts.
    End { oldest: bool, verdicts: Vec<Sent> },
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The spool takes up work.
    Spool,
    /// The spool ends its work, or fails in it.
    Spooled { works: bool },
    /// The process dies, with calls of which Kinesis took this much, and starts again.
    Crash { taken: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        4 => Just(Sent::Stored),
        2 => Just(Sent::Failed),
        2 => Just(Sent::Throttled),
        1 => Just(Sent::Unavailable),
        1 => Just(Sent::Refused),
    ];
    prop_oneof![
        4 => proptest::collection::vec((0..4_u8, proptest::bool::weighted(0.03)), 1..6).prop_map(Step::Push),
        1 => proptest::option::weighted(0.8, proptest::collection::vec(1_u128.., 0..3)).prop_map(Step::Map),
        4 => Just(Step::Send),
        4 => (any::<bool>(), proptest::collection::vec(verdict, 4))
            .prop_map(|(oldest, verdicts)| Step::End { oldest, verdicts }),
        3 => (0..6_000_u64).prop_map(Step::Wait),
        3 => Just(Step::Spool),
        3 => prop_oneof![4 => Just(true), 1 => Just(false)].prop_map(|works| Step::Spooled { works }),
        1 => (0..4_usize).prop_map(|taken| Step::Crash { taken }),
    ]
}

/// A queue with its surroundings.
struct Simulation {
    queue: Queue,
    now: Instant,
    calls: VecDeque<Vec<Entry>>,
    packing: Option<Packing>,
    /// Records that Kinesis calls invalid: it refuses any call with one of them.
    invalid: HashSet<usize>,
    /// What the spool works on, or worked on and failed.
    work: Option<Work>,
    /// Key and number of each record, in the order in which they entered the stream.
    stream: Vec<(u8, usize)>,
    pushed: Vec<(u8, Receiver<Vec<Settled>>)>,
    /// None: the service has no spool.
    disk: Option<Disk>,
    /// Records that were out when the process died.
    uncertain: HashSet<usize>,
}

#[derive(Default)]
struct Disk {
    records: BTreeMap<u64, (u8, usize)>,
    next: u64,
    cursor: u64,
    dead: HashSet<usize>,
}

impl Disk {
    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        self.records
            .values()
            .for_each(|(key, _)| keys.add(&key.to_string().into()));
        keys
    }

    fn work(&mut self, work: Work, works: bool) -> Done {
        let mut done = Done::default();
        if !works {
            (done.not_removed, done.not_buried) = (work.remove, work.bury);
            done.not_kept = work.append;
            return done;
        }
        for record in &work.remove {
            let Owner::Spool(sequence) = &record.owner else {
                panic!("removes a record of a client");
            };
            assert!(self.records.remove(&sequence.number()).is_some());
        }
        done.removed = work.remove;
        for record in &work.bury {
            let Owner::Spool(sequence) = &record.owner else {
                panic!("buries a record of a client");
            };
            let (_, number) = self.records.remove(&sequence.number()).expect("it is there");
            self.dead.insert(number);
        }
        done.buried = work.bury;
        let mut left_out = HashSet::new();
        for record in work.append {
            let (key, number) = identify(&record);
            if self.records.len() < DISK && !left_out.contains(&key) {
                self.records.insert(self.next, (key, number));
                self.next += 1;
                done.kept.push(record);
            } else {
                left_out.insert(key);
                done.not_kept.push(record);
            }
        }
        // Few at a time, so that reading ahead meets everything else.
        for (sequence, (key, number)) in self.records.range(self.cursor..).take(work.read.0.min(3)) {
            self.cursor = sequence + 1;
            done.read.push(Record {
                line: number.to_string().into_bytes(),
                partition_key: key.to_string().into(),
                owner: Owner::Spool(Sequence::from(*sequence)),
            });
        }
        done
    }
}

fn identify(record: &Record) -> (u8, usize) {
    let text = String::from_utf8_lossy(&record.line);
    (
        record.partition_key.parse().expect("a number"),
        text.parse().expect("a number"),
    )
}

impl Simulation {
    fn new(spool: bool) -> Self {
        let disk = spool.then(Disk::default);
        Self {
            queue: queue(disk.as_ref()),
            now: Instant::now(),
            calls: VecDeque::new(),
            packing: None,
            invalid: HashSet::new(),
            work: None,
            stream: Vec::new(),
            pushed: Vec::new(),
            disk,
            uncertain: HashSet::new(),
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Push(keys) => keys.into_iter().for_each(|(key, invalid)| {
                let number = self.pushed.len();
                if invalid {
                    self.invalid.insert(number);
                }
                let line = number.to_string();
                let answer = push(&mut self.queue, self.now, &[(&key.to_string(), &line)]);
                self.pushed.push((key, answer));
            }),
            Step::Map(starts) => {
                self.packing = starts.map(|starts| Packing {
                    map: shard_map::tests::map(&starts),
                    bytes: 250,
                });
            }
            Step::Send => {
                self.take(self.calls.is_empty());
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
            Step::Spool => self.take_up_work(),
            Step::Spooled { works } => self.end_work(works),
            Step::Crash { taken } => self.crash(taken),
        }
    }

    fn take(&mut self, eager: bool) {
        self.calls
            .extend(self.queue.take(self.now, eager, self.packing.as_ref()));
    }

    fn is_invalid(&self, call: &[Entry]) -> bool {
        let mut numbers = call
            .iter()
            .flat_map(Entry::events)
            .map(|event| identify(&event.record).1);
        numbers.any(|number| self.invalid.contains(&number))
    }

    fn end(&mut self, call: Vec<Entry>, verdicts: &[Sent]) {
        let refused = vec![Sent::Refused; call.len()];
        let verdicts = if self.is_invalid(&call) {
            &refused
        } else {
            &verdicts[..call.len()]
        };
        for (entry, verdict) in call.iter().zip(verdicts) {
            if *verdict == Sent::Stored {
                self.stream
                    .extend(entry.events().map(|event| identify(&event.record)));
            }
        }
        self.queue.complete(call, verdicts, self.now);
    }

    fn take_up_work(&mut self) {
        if self.work.is_none() {
            self.work = self.queue.spool_work(true);
        }
    }

    fn end_work(&mut self, works: bool) {
        if let (Some(work), Some(disk)) = (self.work.take(), &mut self.disk) {
            self.queue.spool_done(disk.work(work, works), self.now);
        }
    }

    /// Kinesis may have taken any record that was out. What the spool was at work on may be on disk.
    fn crash(&mut self, taken: usize) {
        for call in std::mem::take(&mut self.calls) {
            let taken = if self.is_invalid(&call) { 0 } else { taken };
            for (index, entry) in call.iter().enumerate() {
                for event in entry.events() {
                    self.uncertain.insert(identify(&event.record).1);
                    if index < taken {
                        self.stream.push(identify(&event.record));
                    }
                }
            }
        }
        if let (Some(work), Some(disk)) = (self.work.take(), &mut self.disk) {
            disk.work(work, taken.is_multiple_of(2));
        }
        if let Some(disk) = &mut self.disk {
            disk.cursor = 0;
            // Stored, and not removed yet: these go again.
            let again = disk.records.values().map(|(_, number)| *number);
            self.uncertain.extend(again);
        }
        self.queue = queue(self.disk.as_ref());
    }

    fn at_most_one_of_a_key_is_out(&self) {
        let mut out = HashSet::new();
        for entry in self.calls.iter().flatten() {
            let keys: HashSet<_> = entry.events().map(|event| &event.record.partition_key).collect();
            for key in keys {
                assert!(out.insert(key), "two records with events of {key} are out");
            }
        }
        for call in &self.calls {
            let bytes: usize = call.iter().map(Entry::bytes).sum();
            assert!(call.len() <= WIDE.records && bytes <= WIDE.bytes);
        }
    }

    /// Lets everything end well, within a bounded number of steps.
    fn drain(&mut self) {
        for step in 1..10_000 {
            self.take_up_work();
            self.end_work(true);
            self.take(true);
            let on_disk = self.disk.as_ref().is_some_and(|disk| !disk.records.is_empty());
            if self.queue.is_drained(false) && !on_disk {
                return;
            }
            match self.calls.pop_front() {
                Some(call) => self.end(call, &[Sent::Stored; WIDE.records]),
                None => self.now = self.queue.next_due().unwrap_or(self.now),
            }
            if step % 50 == 0 {
                // Only what else Kinesis takes shows that an invalid record is what is wrong.
                let number = self.pushed.len();
                let answer = push(&mut self.queue, self.now, &[("9", &number.to_string())]);
                self.pushed.push((9, answer));
                self.now += Duration::from_millis(1);
            }
        }
        panic!("the queue does not drain");
    }
}

/// Room for several events in a record, and for several such records in a call.
const WIDE: Bounds = Bounds { bytes: 600, ..BOUNDS };

fn queue(disk: Option<&Disk>) -> Queue {
    let backlog = disk.map(|disk| Backlog::new(disk.keys(), disk.records.len() as u64));
    Queue::new(WIDE, backlog)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn every_record_is_settled_truthfully_and_no_key_loses_its_order(
        spool in any::<bool>(),
        steps in proptest::collection::vec(step(), 0..160),
    ) {
        let mut simulation = Simulation::new(spool);
        steps.into_iter().for_each(|step| simulation.apply(step));
        simulation.drain();

        let mut stored = HashSet::new();
        let mut first_times = Vec::new();
        for (key, number) in &simulation.stream {
            if stored.insert(*number) {
                first_times.push((*key, *number));
            } else {
                prop_assert!(simulation.uncertain.contains(number), "{number} is stored twice");
            }
        }
        for (number, (_, answer)) in simulation.pushed.iter_mut().enumerate() {
            let settled = answer.try_recv().expect("every record is settled")[0];
            let accepted = settled != Settled::Retry;
            let dead = simulation.disk.as_ref().is_some_and(|disk| disk.dead.contains(&number));
            prop_assert!(!dead || simulation.invalid.contains(&number), "{number} is buried alive");
            let kept = stored.contains(&number) || dead;
            prop_assert!(!accepted || kept, "{number} is lost: {settled:?}");
            // Without a crash the answer is exact.
            let exact = simulation.uncertain.is_empty();
            prop_assert!(!exact || accepted == kept, "{number}: {settled:?}");
        }
        for key in 0..4 {
            let numbers = first_times.iter().filter(|(of, _)| *of == key);
            prop_assert!(numbers.is_sorted(), "key {key} is out of order");
        }
        prop_assert_eq!(simulation.queue.ready_bytes, 0);
    }
}
