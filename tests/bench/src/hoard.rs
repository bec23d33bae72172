//! `hoard` beside its floor.
//!
//! A stream is filled once. Each round measures, one after the other and all on the same core:
//!
//! 1. reading the stream with the SDK and dropping what comes: what the wire costs;
//! 2. compressing the same lines, and nothing else;
//! 3. `hoard`, from its start until all of it is committed, at the pace that Kinesis allows;
//! 4. how long it takes from a put into the stream until the record can be read in the bucket, at a short
//!    flush interval;
//! 5. with `--tls`, 1 and 3 once more over TLS.
//!
//! Memory is measured once, with 1 and with 200 shards. What is not archived whole has no figure.

mod floor;
mod freshness;
mod world;

use std::time::Duration;

use clap::Args;

pub use self::floor::{ReadStream, read_stream};
use self::freshness::Freshness;
use self::world::{Archive, Cloud, Stream};
use crate::{
    Failure,
    cores::Cores,
    population::{Mix, Population},
    program,
    report::{Line, Report, Target as Reach, difference, provenance},
};

/// The service's default.
const BUDGET_MIB: f64 = 256.0;
/// What it may take beside its budget.
const BESIDE_BUDGET_MIB: f64 = 64.0;
/// What freshness may add to the flush interval.
const BESIDE_INTERVAL: Duration = Duration::from_secs(2);
/// A cut ends after so long while a backlog is archived: about what a shard gives in that time.
const CATCH_UP_INTERVAL: Duration = Duration::from_secs(5);
/// Kinesis gives 2 MB/s of a shard; one shard is to be done within half a minute.
const ONE_SHARD_RECORDS: u32 = 60_000;

/// How much is measured.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// Rounds; a figure is the median of them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,

    /// Records of the stream that is archived.
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u32).range(10_000..=5_000_000))]
    records: u32,

    /// Its shards.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=200))]
    shards: u16,

    /// The flush interval that freshness is measured with.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    flush_interval: Duration,

    /// How long freshness is measured, a round.
    #[arg(long, default_value = "20s", value_parser = humantime::parse_duration)]
    freshness: Duration,

    /// Measures reading and archiving over TLS as well.
    #[arg(long)]
    tls: bool,

    /// Decides the events.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What one round came to; each list has a value a round.
#[derive(Default)]
struct Rounds {
    wire: Vec<f64>,
    compression: Vec<f64>,
    hoard: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    wire_tls: Vec<f64>,
    hoard_tls: Vec<f64>,
}

/// Measures everything.
///
/// # Errors
/// When something cannot be measured: there is no report with holes.
pub async fn measure(plan: &Plan, cores: &Cores) -> Result<Report, Failure> {
    let mut facts = provenance();
    facts.push(("cores", cores.describe()));
    say("building the programs that are measured");
    let paths = program::built(&["hoard", "local-cloud"]).await?;
    let [hoard, cloud] = paths.as_slice() else {
        return Err(Failure::NotMeasured("two programs are needed".to_owned()));
    };
    let mut population = Population::new(Mix {
        seed: plan.seed,
        ..Mix::default()
    });
    let mut events = |count: u32| -> Vec<String> { (0..count).map(|_| population.event().json).collect() };

    let cloud = Cloud::start(cloud).await?;
    say("filling the stream");
    let lines = events(plan.records);
    let stream = cloud.stream("catch-up", plan.shards).await?;
    stream.fill(&lines).await?;
    let megabytes = megabytes(&lines);
    let mut rounds = Rounds::default();
    for round in 1..=plan.rounds {
        let total = plan.rounds;
        let say = |what: &str| say(&format!("round {round} of {total}: {what}"));
        say("the wire alone");
        let wire = floor::wire(&stream, lines.len(), cores).await?;
        rounds.wire.push(millis(wire) / megabytes);
        say("compression alone");
        rounds
            .compression
            .push(millis(floor::compression(&lines, cores)?) / megabytes);
        say("hoard, catching up");
        let archive = catch_up(hoard, &stream, &lines, &format!("round-{round}/"), cores).await?;
        rounds.hoard.push(millis(archive.usage()?.cpu) / megabytes);
        archive.end().await?;
        say("freshness");
        let folder = format!("fresh-{round}/");
        let live = cloud.stream(&format!("live-{round}"), 1).await?;
        let archive = Archive::start(hoard, &live, &folder, plan.flush_interval, cores).await?;
        let Freshness { p50, p99 } = freshness::measure(plan.freshness, &live, &folder, &mut events).await?;
        archive.end().await?;
        rounds.p50.push(p50.as_secs_f64());
        rounds.p99.push(p99.as_secs_f64());
        if plan.tls {
            let tls = cloud.tls().await?;
            let stream = stream.over(&tls);
            say("the wire alone, over TLS");
            let wire = floor::wire(&stream, lines.len(), cores).await?;
            rounds.wire_tls.push(millis(wire) / megabytes);
            say("hoard, catching up over TLS");
            let archive = catch_up(hoard, &stream, &lines, &format!("tls-{round}/"), cores).await?;
            rounds.hoard_tls.push(millis(archive.usage()?.cpu) / megabytes);
            archive.end().await?;
        }
    }
    let mut report_lines = report_lines(plan, &rounds);
    if plan.tls {
        report_lines.extend(lines_over_tls(&rounds));
    }
    for (what, shards, records) in [
        ("peak memory with 1 shard", 1, ONE_SHARD_RECORDS.min(plan.records)),
        ("peak memory with 200 shards", 200, plan.records),
    ] {
        say(what);
        let lines = &lines[..records as usize];
        let stream = cloud.stream(&format!("memory-{shards}"), shards).await?;
        stream.fill(lines).await?;
        let archive = catch_up(hoard, &stream, lines, &format!("memory-{shards}/"), cores).await?;
        let peak = mebibytes(archive.usage()?.peak_bytes);
        archive.end().await?;
        let limit = BUDGET_MIB + BESIDE_BUDGET_MIB;
        report_lines.push(Line::new(what, "MiB", vec![peak]).with_target(Reach::AtMost(limit)));
    }
    cloud.end().await?;
    Ok(Report {
        title: format!(
            "hoard, {} shards, {megabytes:.0} MB of {} lines",
            plan.shards,
            lines.len()
        ),
        facts,
        lines: report_lines,
        notes: vec![NOTES.to_owned()],
    })
}

const NOTES: &str = "\
CPU is the processor time of the measured process, from its start, in user and kernel mode. `The wire` reads the
stream with the SDK (HTTP, JSON, base64) and drops it; `compression` is gzip 6 of the lines in this process. hoard
reads within the limits that it has with Kinesis, so `MB/s a core` is what its processor time makes of one core and
not how fast it was. Freshness counts from the call that puts a record to the first listing that shows its object,
looked for every 20 ms.";

/// Archives the whole stream; the service is still running.
async fn catch_up(
    hoard: &std::path::Path,
    stream: &Stream,
    lines: &[String],
    folder: &str,
    cores: &Cores,
) -> Result<Archive, Failure> {
    let mut archive = Archive::start(hoard, stream, folder, CATCH_UP_INTERVAL, cores).await?;
    archive.until_committed(lines.len()).await?;
    Ok(archive)
}

fn report_lines(plan: &Plan, rounds: &Rounds) -> Vec<Line> {
    let floors: Vec<f64> = rounds
        .wire
        .iter()
        .zip(&rounds.compression)
        .map(|(a, b)| a + b)
        .collect();
    let ratios = rounds
        .hoard
        .iter()
        .zip(&floors)
        .map(|(hoard, floor)| hoard / floor);
    let rates = rounds.hoard.iter().map(|hoard| 1e3 / hoard);
    let line = |what, unit, values: &[f64]| Line::new(what, unit, values.to_vec());
    let fresh = plan.flush_interval + BESIDE_INTERVAL;
    vec![
        line("floor: the wire", "CPU ms/MB", &rounds.wire),
        line("floor: compression", "CPU ms/MB", &rounds.compression),
        line("hoard, catching up", "CPU ms/MB", &rounds.hoard),
        Line::new("hoard: CPU over the floors' sum", "×", ratios.collect()).with_target(Reach::AtMost(1.25)),
        Line::new("hoard: catching up", "MB/s a core", rates.collect()),
        line("freshness: put → readable in the bucket, p50", "s", &rounds.p50),
        line("freshness: put → readable in the bucket, p99", "s", &rounds.p99)
            .with_target(Reach::AtMost(fresh.as_secs_f64())),
    ]
}

fn lines_over_tls(rounds: &Rounds) -> Vec<Line> {
    let line = |what, values: &[f64]| Line::new(what, "CPU ms/MB", values.to_vec());
    vec![
        line("TLS: the wire", &rounds.wire_tls),
        line("TLS: hoard, catching up", &rounds.hoard_tls),
        line(
            "TLS: added to the wire",
            &difference(&rounds.wire_tls, &rounds.wire),
        ),
        line(
            "TLS: added to hoard",
            &difference(&rounds.hoard_tls, &rounds.hoard),
        ),
    ]
}

fn megabytes(lines: &[String]) -> f64 {
    let bytes: usize = lines.iter().map(String::len).sum();
    #[expect(clippy::cast_precision_loss, reason = "a stream of a few hundred megabytes")]
    let bytes = bytes as f64;
    bytes / 1e6
}

fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "memory is less than 2^52 bytes")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::print_stderr, reason = "a person waits for it")]
fn say(what: &str) {
    eprintln!("bench: {what}");
}
