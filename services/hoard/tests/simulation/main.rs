//! Ownership and the prepared cut under a seeded scheduler: replicas crash between any two steps, pause
//! and wake up later with clocks of different speeds; calls are slow, lost, repeated and late; shards
//! split and merge. What is decided is the service's own code; what is checked, at every write that
//! reaches the bucket, is `hoard::invariants` and that each record is in exactly one object.
//!
//! A seed that fails is printed with the command that repeats it: `HOARD_SIM_SEED=n cargo test -p hoard
//! --test simulation`. `HOARD_SIM_SEEDS=n` sets how many there are.

mod broken;
mod bucket;
mod replica;
mod shard;
mod stream;
mod world;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::broken::Protocol;
use crate::bucket::Violation;
use crate::world::{Course, run};

const SEEDS: u64 = 10_000;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

fn seeds() -> Range<u64> {
    match variable("HOARD_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("HOARD_SIM_SEEDS").unwrap_or(SEEDS),
    }
}

/// Runs every seed, several at a time and each on one thread.
fn run_all(seeds: Range<u64>) -> Result<Course, (u64, Violation)> {
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new(Ok(Course::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(seed, Protocol::Correct);
                    let mut sum = sum.lock().expect("no panic under the lock");
                    match (sum.as_mut(), outcome) {
                        (Ok(sum), Ok(course)) => sum.add(course),
                        (Ok(_), Err(violation)) => *sum = Err((seed, violation)),
                        (Err(_), _) => return,
                    }
                }
            });
        }
    });
    sum.into_inner().expect("no panic under the lock")
}

impl Course {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.records += other.records;
        self.crashes += other.crashes;
        self.pauses += other.pauses;
        self.drains += other.drains;
        self.reshards += other.reshards;
        self.claims += other.claims;
    }
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the figures of the run, shown with --nocapture"
)]
fn each_record_is_in_exactly_one_object_whatever_happens() {
    let started = Instant::now();
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    match run_all(seeds) {
        Ok(course) => {
            println!("{count} seeds in {:?}: {course:?}", started.elapsed());
            if count >= 1000 {
                let least = [course.crashes, course.pauses, course.drains, course.reshards];
                assert!(
                    least.iter().all(|times| *times > count / 4),
                    "little happened: {course:?}"
                );
            }
        }
        Err((seed, violation)) => {
            panic!("{violation:?}; again with HOARD_SIM_SEED={seed} cargo test -p hoard --test simulation")
        }
    }
}

/// What a simulation that finds nothing is worth shows here.
#[test]
#[expect(
    clippy::print_stdout,
    reason = "the seeds that find each, shown with --nocapture"
)]
fn a_protocol_with_any_step_broken_is_found_out() {
    for protocol in Protocol::BROKEN {
        let found = (0..2000).find_map(|seed| {
            let violation = run(seed, protocol).err()?;
            Some((seed, violation))
        });
        let (seed, violation) = found.unwrap_or_else(|| panic!("{protocol:?} is not found out"));
        println!("{protocol:?}: seed {seed}, {violation:?}");
    }
}

#[test]
fn a_seed_is_one_course_of_events() {
    for seed in 0..20 {
        assert_eq!(run(seed, Protocol::Correct), run(seed, Protocol::Correct));
    }
}
