//! `syncomatic` beside its floor, between two emulated clouds.
//!
//! Each round measures, one after the other and the measured process alone on its core:
//!
//! 1. large objects: the SDK's GetObject and PutObject and nothing else, then `syncomatic`;
//! 2. small objects: every call that a copy cannot do without, bare, then `syncomatic`;
//! 3. how long an object of 1 MiB takes from its creation to its copy;
//! 4. archives of events: copied verbatim, then redacted;
//! 5. with `--tls`, 1 and the redaction of 4 once more over TLS.
//!
//! Everything must have arrived, or there is no figure.

mod copies;
mod floor;
mod world;

use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;

pub use self::floor::{FloorPlan, run as floor};
use self::{
    copies::Copies,
    world::{Route, Wire, World},
};
use crate::{
    Failure,
    cores::Cores,
    population::{Mix, Population},
    program,
    report::{Line, Report, Target as Reach, difference, provenance},
};

const MIB: usize = 1 << 20;
const LAG_BYTES: usize = MIB;
/// Events of one archive object: about what hoard puts into one.
const ARCHIVE_EVENTS: usize = 50_000;
/// What the service may hold of objects (its default), and what it may take beside that.
const CAP_MIB: f64 = 64.0;
const BESIDE_CAP_MIB: f64 = 64.0;

/// How much is measured.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// Rounds; a figure is the median of them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,

    /// Objects of 64 MiB, a round; both clouds keep them in memory.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    large: u32,

    /// Objects of 4 KiB, a round.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    small: u32,

    /// Objects of 1 MiB whose lag is measured, a round, ten a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    lag: u32,

    /// Archives of 50,000 events, a round, each verbatim and redacted.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    archives: u32,

    /// Measures copies over TLS as well.
    #[arg(long)]
    tls: bool,

    /// Decides devices and events.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What one round came to; each list has a value a round.
#[derive(Default)]
struct Rounds {
    plain: Copies,
    tls: Copies,
    peak: Vec<f64>,
    lag_p50: Vec<f64>,
    lag_p99: Vec<f64>,
    archive_verbatim: Vec<f64>,
    archive_redacted: Vec<f64>,
    redacted_wall: Vec<f64>,
    redacted_peak: Vec<f64>,
    redacted_tls: Vec<f64>,
}

/// An archive as hoard writes it.
struct Archive {
    body: Bytes,
    lines_mib: f64,
}

/// Measures everything.
///
/// # Errors
/// When something cannot be measured: there is no report with holes.
pub async fn measure(plan: &Plan, cores: &Cores) -> Result<Report, Failure> {
    let mut facts = provenance();
    facts.push(("cores", cores.describe()));
    say("building the programs that are measured");
    let paths = program::built(&["syncomatic", "local-cloud"]).await?;
    let [syncomatic, cloud] = paths.as_slice() else {
        return Err(Failure::NotMeasured("two programs are needed".to_owned()));
    };
    let start = async |route, wire| World::start(syncomatic, cloud, cores, (route, wire)).await;
    let archive = archive(plan.seed)?;
    let mut rounds = Rounds::default();
    for round in 1..=plan.rounds {
        let total = plan.rounds;
        let say = |what: &str| say(&format!("round {round} of {total}: {what}"));
        let mut world = start(Route::Verbatim, Wire::Plain).await?;
        rounds.plain.measure(&mut world, plan, cores, say).await?;

        say("lag");
        let (p50, p99) = world.lag(plan.lag, &Bytes::from(noise(LAG_BYTES))).await?;
        rounds.lag_p50.push(p50);
        rounds.lag_p99.push(p99);
        rounds.peak.push(world.peak_mib()?);

        let mib = archive.lines_mib * f64::from(plan.archives);
        say("archives, verbatim");
        world.put("archive", plan.archives, &archive.body).await?;
        let used = world.copied("archive", plan.archives).await?;
        rounds.archive_verbatim.push(mib / used.cpu.as_secs_f64());
        world.end().await?;
        say("archives, redacted");
        let mut world = start(Route::Redacted, Wire::Plain).await?;
        world.put("archive", plan.archives, &archive.body).await?;
        let used = world.copied("archive", plan.archives).await?;
        rounds.archive_redacted.push(mib / used.cpu.as_secs_f64());
        rounds.redacted_wall.push(mib / used.wall.as_secs_f64());
        rounds.redacted_peak.push(world.peak_mib()?);
        world.end().await?;
        if plan.tls {
            say("over TLS");
            let mut world = start(Route::Verbatim, Wire::Tls).await?;
            rounds.tls.measure(&mut world, plan, cores, say).await?;
            world.end().await?;
            let mut world = start(Route::Redacted, Wire::Tls).await?;
            world.put("archive", plan.archives, &archive.body).await?;
            let used = world.copied("archive", plan.archives).await?;
            rounds.redacted_tls.push(mib / used.cpu.as_secs_f64());
            world.end().await?;
        }
    }
    let mut lines = lines(&rounds);
    if plan.tls {
        lines.extend(rounds.tls.lines_over_tls(&rounds.plain));
        lines.push(Line::new(
            "TLS, archives, redacted",
            "MiB/core-s",
            rounds.redacted_tls,
        ));
    }
    Ok(Report {
        title: "syncomatic, memory 64 MiB".to_owned(),
        facts,
        lines,
        notes: vec![NOTES.to_owned()],
    })
}

const NOTES: &str = "\
CPU is the processor time of the measured process alone, in user and kernel mode, over plain HTTP but where TLS is
named; the other end of TLS is a process of its own. The floor of large objects is GetObject streamed into
PutObject, without checksums. The bare calls of a small object are its share of ReceiveMessage, two HeadObject,
GetObject, PutObject, two HeadObject, DeleteMessage. Lag is counted from before an object is sent to the source
until S3 says that its copy was created. Archives are gzip JSON lines; their MiB are of lines.";

fn lines(rounds: &Rounds) -> Vec<Line> {
    let ratio = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a / b).collect() };
    let line = |what, unit, values: &[f64]| Line::new(what, unit, values.to_vec());
    vec![
        line(
            "64 MiB: GetObject and PutObject by the SDK",
            "core-s/GiB",
            &rounds.plain.large_floor,
        ),
        line("64 MiB: syncomatic, verbatim", "core-s/GiB", &rounds.plain.large)
            .with_target(Reach::AtMost(2.0)),
        Line::new(
            "64 MiB: over the SDK alone",
            "×",
            ratio(&rounds.plain.large, &rounds.plain.large_floor),
        ),
        line("64 MiB: on the wall clock", "MiB/s", &rounds.plain.large_wall),
        line(
            "4 KiB: the bare calls",
            "core-ms/object",
            &rounds.plain.small_floor,
        ),
        line("4 KiB: syncomatic", "core-ms/object", &rounds.plain.small),
        Line::new(
            "4 KiB: over the bare calls",
            "core-ms/object",
            difference(&rounds.plain.small, &rounds.plain.small_floor),
        )
        .with_target(Reach::AtMost(1.0)),
        line("4 KiB: on the wall clock", "objects/s", &rounds.plain.small_wall),
        line("the most memory, verbatim", "MiB", &rounds.peak)
            .with_target(Reach::AtMost(CAP_MIB + BESIDE_CAP_MIB)),
        line("1 MiB: created to copied, p50", "ms", &rounds.lag_p50),
        line("1 MiB: created to copied, p99", "ms", &rounds.lag_p99).with_target(Reach::AtMost(2_000.0)),
        line("archives, verbatim", "MiB/core-s", &rounds.archive_verbatim),
        line("archives, redacted", "MiB/core-s", &rounds.archive_redacted),
        line(
            "archives, redacted, on the wall clock",
            "MiB/s",
            &rounds.redacted_wall,
        ),
        line("the most memory, redacted", "MiB", &rounds.redacted_peak)
            .with_target(Reach::AtMost(CAP_MIB + BESIDE_CAP_MIB)),
    ]
}

/// Lines as `events` stores them, compressed as hoard does by default.
fn archive(seed: u64) -> Result<Archive, Failure> {
    let mut population = Population::new(Mix {
        seed,
        ..Mix::default()
    });
    let mut encoder = hoard::encode::Encoder::new(hoard::encode::Compression::Gzip { level: 6 });
    let failed = |what: String| Failure::NotMeasured(format!("no archive: {what}"));
    for _ in 0..ARCHIVE_EVENTS {
        let event = population.event().json;
        let mut event: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&event).map_err(|error| failed(error.to_string()))?;
        for (name, value) in [
            ("eventid", "0192f0c1-8a3e-7c54-9f0e-2b6d1a7c4e10"),
            ("schemaversion", "1-0-0"),
            ("partnerid", "bench"),
            ("clientid", "bench-platform"),
            ("countrycode", "cn"),
            ("receivedtime", "2026-03-02T19:02:11.482Z"),
        ] {
            event.entry(name).or_insert_with(|| value.into());
        }
        let line = serde_json::to_vec(&event).map_err(|error| failed(error.to_string()))?;
        encoder.push(&line).map_err(|error| failed(error.to_string()))?;
    }
    let encoded = encoder.finish().map_err(|error| failed(error.to_string()))?;
    #[expect(clippy::cast_precision_loss, reason = "less than 2^52 bytes")]
    let bytes = encoded.bytes as f64;
    Ok(Archive {
        body: encoded.body,
        lines_mib: bytes / f64::from(1 << 20),
    })
}

/// Bytes that do not repeat.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    });
    words.take(length.div_ceil(8)).flatten().take(length).collect()
}

/// What was used for so many copies.
struct Used {
    cpu: Duration,
    wall: Duration,
}

impl World {
    /// Tells the service of these objects and waits until it has settled all of them.
    async fn copied(&mut self, folder: &str, objects: u32) -> Result<Used, Failure> {
        let before = self.service.usage()?.cpu;
        let started = Instant::now();
        self.announce(folder, objects).await?;
        self.until_settled().await?;
        let (wall, after) = (started.elapsed(), self.service.usage()?.cpu);
        self.require_copied(folder, objects).await?;
        Ok(Used {
            cpu: after.saturating_sub(before),
            wall,
        })
    }

    fn peak_mib(&self) -> Result<f64, Failure> {
        #[expect(clippy::cast_precision_loss, reason = "memory is less than 2^52 bytes")]
        let bytes = self.service.usage()?.peak_bytes as f64;
        Ok(bytes / f64::from(1 << 20))
    }
}

#[expect(clippy::print_stderr, reason = "a person waits for it")]
fn say(what: &str) {
    eprintln!("bench: {what}");
}
