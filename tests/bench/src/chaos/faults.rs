//! What is done to the pipeline, all of it drawn from the seed: to each program, to the wire, to the
//! stream's shards, to the queue and to the clock. Each of them goes on for itself, side by side.
//!
//! The programs' own clock cannot be moved from outside: it is the machine's, and everybody's. What moves
//! is the clock of the emulated AWS, and forwards only, as it does for its clients: arrival times, days,
//! iterators and visibility time-outs jump with it.

use std::time::Duration;

use local_cloud::Rule;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::world::Kind;

/// A chance of its own for each purpose, the same for the same seed.
pub(super) fn chance(seed: u64, round: u64, purpose: &str) -> StdRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&round.to_le_bytes());
    for (byte, letter) in bytes[16..].iter_mut().zip(purpose.bytes()) {
        *byte = letter;
    }
    StdRng::from_seed(bytes)
}

/// What happens to a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Blow {
    /// `kill -9`, and a start after so long.
    Kill(Duration),
    /// `kill -9` so long after AWS lets one of its calls wait, and a start after so long: between two calls
    /// there is hardly time to be killed, and that is where a promise made too early is broken.
    KillInCall {
        /// Which of the calls that matter to the program, 0 to 1.
        call: f64,
        /// From the call to the kill.
        after: Duration,
        /// From the kill to the start.
        down: Duration,
    },
    /// SIGTERM, and a start after so long.
    Drain(Duration),
    /// SIGSTOP, and SIGCONT after so long: beyond what replicas of hoard announce, and beyond the patience
    /// of some clients.
    Pause(Duration),
}

impl Blow {
    /// How long until it comes, and what it is.
    pub(super) fn draw(rng: &mut StdRng) -> (Duration, Self) {
        let after = millis(rng, 700..4_000);
        let blow = match rng.random_range(0..12) {
            0..4 => Self::Kill(millis(rng, 0..800)),
            4..7 => Self::KillInCall {
                call: rng.random(),
                after: millis(rng, 0..400),
                down: millis(rng, 0..800),
            },
            7..9 => Self::Drain(millis(rng, 0..800)),
            _ => Self::Pause(millis(rng, 200..3_500)),
        };
        (after, blow)
    }
}

/// Which side's AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    China,
    Europe,
}

/// How long a call waits in which a program is to be killed: less than any program's patience.
const HELD: Duration = Duration::from_millis(1_500);

/// Where a call waits in which a program of this kind is killed: one that makes something durable, or one
/// that says that something is. `choice` is from 0 to 1.
pub(super) fn held_call(kind: Kind, choice: f64) -> (Place, Rule) {
    let (place, rule) = match kind {
        Kind::Events => (Place::China, Rule::on("kinesis:PutRecords")),
        Kind::Hoard if choice < 0.7 => (
            Place::China,
            Rule::on("s3:PutObject").resource_containing(".jsonl.gz"),
        ),
        Kind::Hoard => (Place::China, Rule::on("s3:PutObject")),
        Kind::Syncomatic if choice < 0.7 => (Place::Europe, Rule::on("s3:PutObject")),
        Kind::Syncomatic => (Place::China, Rule::on("sqs:DeleteMessage*")),
    };
    (place, rule.delay(HELD))
}

/// A time in which a service is much worse than otherwise.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Episode {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) rule: Rule,
    pub(super) lasts: Duration,
}

impl Episode {
    pub(super) fn draw(rng: &mut StdRng) -> (Duration, Self) {
        let after = millis(rng, 1_500..5_000);
        let lasts = millis(rng, 300..1_800);
        let (name, place, rule) = match rng.random_range(0..8) {
            0..2 => ("stream away", Place::China, Rule::on("kinesis:*").cut_off()),
            2 => (
                "stream throttled",
                Place::China,
                Rule::on("kinesis:*").probability(0.7).throttle(),
            ),
            3 => ("China's S3 away", Place::China, Rule::on("s3:*").cut_off()),
            4 => (
                "China's S3 slow down",
                Place::China,
                Rule::on("s3:*").probability(0.7).fail(503, "SlowDown"),
            ),
            5 => ("queue away", Place::China, Rule::on("sqs:*").cut_off()),
            6 => ("Europe's S3 away", Place::Europe, Rule::on("s3:*").cut_off()),
            _ => (
                "everything slow",
                Place::China,
                Rule::on("*").delay(Duration::from_millis(150)),
            ),
        };
        let episode = Self {
            name,
            place,
            rule,
            lasts,
        };
        (after, episode)
    }
}

/// What happens to single calls all the time.
pub(super) fn everyday(place: Place) -> Vec<Rule> {
    let on = |operation: &str, probability: f64| Rule::on(operation).probability(probability);
    let mut rules = Vec::new();
    if place == Place::China {
        let put = |probability| on("kinesis:PutRecords", probability);
        let get = |probability| on("kinesis:GetRecords", probability);
        rules.extend([
            put(0.05).throttle_records(0.3),
            put(0.02).throttle(),
            put(0.02).fail(500, "InternalFailure"),
            put(0.02).cut_off(),
            put(0.02).lose_answer(),
            put(0.02).cut_off_answer_after(40),
            put(0.03).delay(Duration::from_millis(200)),
            get(0.05).throttle(),
            get(0.02).fail(500, "InternalFailure"),
            get(0.02).cut_off(),
            get(0.03).cut_off_answer_after(300),
            get(0.03).delay(Duration::from_millis(200)),
            on("kinesis:GetShardIterator", 0.05).throttle(),
            on("kinesis:ListShards", 0.05).throttle(),
            on("kinesis:DescribeStreamSummary", 0.05).throttle(),
            on("sqs:ReceiveMessage", 0.04).lose_answer(),
            on("sqs:ReceiveMessage", 0.03).fail(503, "ServiceUnavailable"),
            on("sqs:DeleteMessage", 0.06).cut_off(),
            on("sqs:DeleteMessage", 0.06).lose_answer(),
            on("sqs:DeleteMessageBatch", 0.06).cut_off(),
            on("sqs:DeleteMessageBatch", 0.06).lose_answer(),
            on("sqs:ChangeMessageVisibility", 0.10).fail(503, "ServiceUnavailable"),
        ]);
        // Objects of the archive alone: nobody checks the bytes of the small ones but the SDK.
        let object = |probability| on("s3:GetObject", probability).resource_containing(".jsonl.gz");
        rules.extend([
            object(0.04).cut_off_answer_after(100),
            object(0.04).falsify_answer(60),
            object(0.01).stall_answer_after(100),
        ]);
    }
    for operation in [
        "s3:PutObject",
        "s3:GetObject",
        "s3:HeadObject",
        "s3:ListObjectsV2",
    ] {
        rules.extend([
            on(operation, 0.03).fail(503, "SlowDown"),
            on(operation, 0.02).lose_answer(),
            on(operation, 0.02).cut_off(),
            on(operation, 0.02).delay(Duration::from_millis(100)),
        ]);
    }
    rules
}

/// How long until the shards change, whether one is split (or two merged), and which: its place among the
/// open ones, 0 to 1.
pub(super) fn draw_reshard(rng: &mut StdRng) -> (Duration, bool, f64) {
    (millis(rng, 3_000..8_000), rng.random_bool(0.5), rng.random())
}

/// How long until messages are taken from the queue, and whether they are announced once more when they go
/// back.
pub(super) fn draw_shuffle(rng: &mut StdRng) -> (Duration, bool) {
    (millis(rng, 1_000..4_000), rng.random_bool(0.5))
}

/// How long until the clock of China's AWS jumps, and how far: mostly by minutes, past iterators and
/// visibility time-outs, and seldom by hours, into another day.
pub(super) fn draw_jump(rng: &mut StdRng) -> (Duration, Duration) {
    let after = millis(rng, 4_000..12_000);
    let by = if rng.random_bool(0.1) {
        Duration::from_secs(rng.random_range(3_600..6 * 3_600))
    } else {
        Duration::from_secs(rng.random_range(1..900))
    };
    (after, by)
}

pub(super) fn millis(rng: &mut StdRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_what_happens() {
        let blows = |seed, round, purpose| {
            let mut rng = chance(seed, round, purpose);
            (0..50).map(|_| Blow::draw(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(blows(1, 1, "hoard-0"), blows(1, 1, "hoard-0"));
        assert_ne!(blows(1, 1, "hoard-0"), blows(2, 1, "hoard-0"));
        assert_ne!(blows(1, 1, "hoard-0"), blows(1, 2, "hoard-0"));
        assert_ne!(blows(1, 1, "hoard-0"), blows(1, 1, "hoard-1"));
        let episodes = |seed| {
            let mut rng = chance(seed, 1, "wire");
            (0..50).map(|_| Episode::draw(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(episodes(1), episodes(1));
        assert_ne!(episodes(1), episodes(2));
    }
}
