//! Three replicas of `hoard` share a stream and are killed, drained and paused at random while its
//! shards split and merge and AWS throttles, fails and loses answers. Then every event is in the
//! archive exactly once, and `hoard verify` says so too.
//!
//! `REPLICAS_EVENTS=1000000` makes it long, `REPLICAS_SEED=n` chooses what happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use local_cloud::Rule;
use pipeline_tests::{Fleet, Process};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");
const EVENTS: u64 = 50_000;
const REPLICAS: usize = 3;
/// Events that are sent at a time; more of them where there are many, so that a million do not take
/// for ever.
const BATCH: u64 = 1_000;
/// At most so many times.
const BATCHES_MAX: u64 = 500;
/// Between one such and the next: things happen from the first event to the last.
const PACE: Duration = Duration::from_millis(250);
/// At least so much happens, however fast the events are sent.
const ROUNDS_MIN: u32 = 8;
/// Longer than the replicas announce: whoever is paused for so long is taken for dead and wakes up as
/// a zombie.
const PAUSE: Duration = Duration::from_millis(2500);

#[derive(Debug, Default)]
struct Happened {
    rounds: u32,
    kills: u32,
    drains: u32,
    pauses: u32,
    splits: u32,
    merges: u32,
}

fn variable(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number")),
        Err(_) => default,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stdout,
    reason = "the figures of the run, shown with --nocapture"
)]
async fn three_replicas_lose_and_double_nothing() {
    let (events, seed) = (variable("REPLICAS_EVENTS", EVENTS), variable("REPLICAS_SEED", 1));
    let fleet = Fleet::start(PIPELINE, 4, seed).await;
    let faults = fleet.cloud.faults();
    faults.inject(Rule::on("kinesis:GetRecords").probability(0.05).throttle());
    faults.inject(Rule::on("kinesis:GetShardIterator").probability(0.05).throttle());
    for operation in [
        "s3:PutObject",
        "s3:GetObject",
        "s3:HeadObject",
        "s3:ListObjectsV2",
    ] {
        faults.inject(Rule::on(operation).probability(0.03).fail(503, "SlowDown"));
        faults.inject(Rule::on(operation).probability(0.02).lose_answer());
        faults.inject(Rule::on(operation).probability(0.01).cut_off());
    }

    let started = Instant::now();
    let is_sent = AtomicBool::new(false);
    let sending = async {
        let batch = BATCH.max(events.div_ceil(BATCHES_MAX));
        let mut next = 0;
        while next < events {
            let end = events.min(next + batch);
            fleet.send(next..end).await;
            next = end;
            tokio::time::sleep(PACE).await;
        }
        is_sent.store(true, Ordering::Relaxed);
    };
    let (_, (happened, replicas)) = tokio::join!(sending, chaos(&fleet, seed, &is_sent));

    // What is under way ends well once AWS does.
    faults.clear();
    fleet.until_archived(events).await;
    let archived = started.elapsed();
    for replica in replicas {
        let ended = replica.terminate().await;
        assert!(ended.status.success(), "{ended:#?}");
    }
    let days = fleet.holds_exactly(events).await;
    let verified = fleet.verify(&days).await;
    let injected = faults.injected("*");
    println!(
        "{events} events archived in {archived:?} through {injected} faults and {happened:?}\n{verified}"
    );
}

/// Ends, drains or pauses a replica, or changes the shards, round after round until everything is sent.
async fn chaos(fleet: &Fleet, seed: u64, is_sent: &AtomicBool) -> (Happened, Vec<Process>) {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut happened = Happened::default();
    let mut replicas: Vec<Process> = (0..REPLICAS).map(|_| fleet.replica()).collect();
    for replica in &replicas {
        replica.ready().await;
    }
    while !is_sent.load(Ordering::Relaxed) || happened.rounds < ROUNDS_MIN {
        happened.rounds += 1;
        tokio::time::sleep(Duration::from_millis(chance.random_range(200..1500))).await;
        let victim = chance.random_range(0..REPLICAS);
        match chance.random_range(0..10) {
            0..3 => {
                happened.kills += 1;
                replicas.swap_remove(victim).kill().await;
                replicas.push(fleet.replica());
            }
            3..5 => {
                happened.drains += 1;
                let ended = replicas.swap_remove(victim).terminate().await;
                assert!(ended.status.success(), "{ended:#?}");
                replicas.push(fleet.replica());
            }
            5..7 => {
                happened.pauses += 1;
                replicas[victim].signal("STOP").await;
                tokio::time::sleep(PAUSE).await;
                replicas[victim].signal("CONT").await;
            }
            7..9 => {
                let open = fleet.open_shards().await;
                if open.len() < 6 {
                    happened.splits += 1;
                    fleet.split(&open[chance.random_range(0..open.len())]).await;
                }
            }
            _ => {
                let open = fleet.open_shards().await;
                if open.len() > 2 {
                    happened.merges += 1;
                    let place = chance.random_range(0..open.len() - 1);
                    fleet.merge(&open[place], &open[place + 1]).await;
                }
            }
        }
    }
    (happened, replicas)
}
