//! `events` beside its floors.
//!
//! Each round measures, one after the other and all on the same core:
//!
//! 1. reading and judging events and nothing else, with the usual tree and with the project's own;
//! 2. `events`, a hundred events a request, each event in a record of its own, then with `--aggregate`;
//! 3. the bare handler, then `events`, one event a request, over the same connections;
//! 4. how long `events` takes to answer at half of the load that it took in 3, beside PutRecords alone;
//! 5. with `--tls`, batches and single events once more, where TLS is between `events` and Kinesis.
//!
//! Every event is sent once, so nothing is answered from memory, and every one must be accepted, or
//! there is no figure.

mod floor;
mod idle;
mod over_tls;
mod world;

use std::time::Duration;

use bytes::Bytes;
use clap::Args;

pub(crate) use self::idle::raise_open_files;
use self::{
    floor::Floors,
    over_tls::OverTls,
    world::{Wire, World},
};
use crate::{
    Failure,
    cores::Cores,
    handler,
    load::{self, Arrivals, Loaded, Target},
    population::{Mix, Population},
    program::{self, Program},
    report::{Line, Report, Target as Reach, difference, provenance},
};

/// Events of a request, where there are several.
const BATCH: usize = 100;
/// Connections that bring batches: enough that calls of PutRecords are full.
const BATCH_CONNECTIONS: usize = 8;
/// Connections that bring one event at a time: enough that a service that answers after a round trip to
/// Kinesis is as busy as one that answers at once.
const SINGLE_CONNECTIONS: usize = 512;
/// The share of the work that is done once before it counts.
const WARM_UP: usize = 10;

/// How much is measured.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// Rounds; a figure is the median of them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,

    /// Events that are sent in batches, a round.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    batched: u32,

    /// Events that are sent one by one, a round.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    single: u32,

    /// How long latency is measured, a round.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    latency: Duration,

    /// Idle connections, whose memory is measured once at the end.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    idle: u32,

    /// Measures batches and single events over TLS to Kinesis as well.
    #[arg(long)]
    tls: bool,

    /// Decides devices and events.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What one round came to; each list has a value a round.
#[derive(Default)]
struct Rounds {
    plain_floor: Vec<f64>,
    own_floor: Vec<f64>,
    batched: Vec<f64>,
    batched_wall: Vec<f64>,
    aggregated: Vec<f64>,
    peak_mib: Vec<f64>,
    handler: Vec<f64>,
    single: Vec<f64>,
    single_wall: Vec<f64>,
    latency_rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    sink_p50: Vec<f64>,
    sink_p99: Vec<f64>,
    tls: OverTls,
}

/// Measures everything.
///
/// # Errors
/// When something cannot be measured: there is no report with holes.
pub async fn measure(plan: &Plan, cores: &Cores) -> Result<Report, Failure> {
    // Programs inherit it, so it comes before any of them.
    let open_files = raise_open_files();
    let mut facts = provenance();
    facts.push(("cores", cores.describe()));
    say("building the programs that are measured");
    let paths = program::built(&["events", "local-cloud"]).await?;
    let [events, cloud] = paths.as_slice() else {
        return Err(Failure::NotMeasured("two programs are needed".to_owned()));
    };
    let start = async |more: &[&str]| World::start(events, cloud, cores, more, Wire::Plain).await;
    let mut population = Population::new(Mix {
        seed: plan.seed,
        ..Mix::default()
    });
    let floors = Floors::compile()?;
    let mut rounds = Rounds::default();
    for round in 1..=plan.rounds {
        let total = plan.rounds;
        let say = |what: &str| say(&format!("round {round} of {total}: {what}"));
        say("reading and judging alone");
        let (plain, own) = floors.measure(&mut population, cores)?;
        rounds.plain_floor.push(plain);
        rounds.own_floor.push(own);
        say("events in batches");
        batched(plan, &start(&[]).await?, &mut population, &mut rounds).await?;
        say("events in batches, aggregated");
        aggregated(
            plan,
            &start(&["--aggregate"]).await?,
            &mut population,
            &mut rounds,
        )
        .await?;
        say("the bare handler");
        bare(plan, cores, &mut population, &mut rounds).await?;
        say("events one by one");
        let world = start(&[]).await?;
        let rate = single(plan, &world, &mut population, &mut rounds).await?;
        say(&format!("latency at {rate:.0} requests/s"));
        latency(plan, &world, rate, &mut population, &mut rounds).await?;
        world.end().await?;
        if plan.tls {
            say("events over TLS, in batches and one by one");
            let world = World::start(events, cloud, cores, &[], Wire::Tls).await?;
            rounds.tls.measure(plan, &world, &mut population).await?;
            world.end().await?;
        }
    }
    let mut lines = lines(&rounds);
    if plan.tls {
        lines.extend(rounds.tls.lines(&rounds.batched, &rounds.single));
    }
    let mut notes = vec![NOTES.to_owned()];
    if plan.idle > 0 {
        say("idle connections");
        let (measured, note) =
            idle::measure(plan.idle, open_files, &start(&[]).await?, &mut population).await?;
        lines.extend(measured);
        notes.extend(note);
    }
    Ok(Report {
        title: format!(
            "events, {BATCH} events of {:.0} bytes a request",
            floors.mean_bytes(plan.seed)
        ),
        facts,
        lines,
        notes,
    })
}

const NOTES: &str = "\
CPU is the processor time of the measured process alone, in user and kernel mode; `a core` is what that makes
of one core. Rates on the wall clock are for orientation: client and sink share what is left of the machine.
Added latency is the same quantile of both: answers of events, counted from when each request was to be sent,
less PutRecords of one record, called meanwhile.";

/// Bodies of so many events, and a tenth as many before them.
fn bodies(population: &mut Population, events: u32, batch: usize) -> (Vec<Bytes>, Vec<Bytes>) {
    let count = usize::try_from(events).unwrap_or(usize::MAX).div_ceil(batch);
    let mut make = |count: usize| (0..count).map(|_| population.body(batch)).collect();
    (make(count.div_ceil(WARM_UP)), make(count))
}

/// Sends the warm-up, then the rest, and gives microseconds of processor time a request.
async fn processor_time(
    program: &Program,
    target: &Target,
    connections: usize,
    batch: usize,
    (warm_up, counted): (Vec<Bytes>, Vec<Bytes>),
) -> Result<(f64, Loaded), Failure> {
    let requests = counted.len();
    let warmed = load::closed(target, connections, &load::prepared(warm_up)).await?;
    all_accepted(&warmed, batch)?;
    let before = program.usage()?.cpu;
    let loaded = load::closed(target, connections, &load::prepared(counted)).await?;
    let used = program.usage()?.cpu.saturating_sub(before);
    all_accepted(&loaded, batch)?;
    Ok((used.as_secs_f64() * 1e6 / to_f64(requests), loaded))
}

fn all_accepted(loaded: &Loaded, batch: usize) -> Result<(), Failure> {
    let sent = loaded.requests * batch as u64;
    if loaded.accepted == sent && loaded.broken == 0 {
        return Ok(());
    }
    Err(Failure::NotMeasured(format!(
        "{} of {sent} events were accepted, {} refused, {} to be sent again, {} requests were not answered: {:?}",
        loaded.accepted, loaded.rejected, loaded.retry, loaded.broken, loaded.statuses
    )))
}

async fn batched(
    plan: &Plan,
    world: &World,
    population: &mut Population,
    rounds: &mut Rounds,
) -> Result<(), Failure> {
    let bodies = bodies(population, plan.batched, BATCH);
    let (micros, loaded) =
        processor_time(&world.service, &world.target, BATCH_CONNECTIONS, BATCH, bodies).await?;
    rounds.batched.push(micros / to_f64(BATCH));
    rounds
        .batched_wall
        .push(to_f64(usize::try_from(loaded.accepted).unwrap_or(usize::MAX)) / loaded.took.as_secs_f64());
    rounds.peak_mib.push(mebibytes(world.service.usage()?.peak_bytes));
    Ok(())
}

async fn aggregated(
    plan: &Plan,
    world: &World,
    population: &mut Population,
    rounds: &mut Rounds,
) -> Result<(), Failure> {
    let bodies = bodies(population, plan.batched, BATCH);
    let (micros, _) = processor_time(&world.service, &world.target, BATCH_CONNECTIONS, BATCH, bodies).await?;
    rounds.aggregated.push(micros / to_f64(BATCH));
    Ok(())
}

async fn bare(
    plan: &Plan,
    cores: &Cores,
    population: &mut Population,
    rounds: &mut Rounds,
) -> Result<(), Failure> {
    let own = std::env::current_exe().map_err(Failure::system("cannot find this program"))?;
    let folder = tempfile::tempdir().map_err(Failure::system("no temporary folder"))?;
    let mut program = Program::start("handler", &own, ["handler"], &[], folder.path(), Some(cores))?;
    let address = program
        .logged(|line| line.strip_prefix(handler::LISTENING).map(str::to_owned))
        .await?;
    let target = Target::resolve(&format!("http://{address}"), "key", "secret").await?;
    let bodies = bodies(population, plan.single, 1);
    let (micros, _) = processor_time(&program, &target, SINGLE_CONNECTIONS, 1, bodies).await?;
    rounds.handler.push(micros);
    Ok(())
}

/// Gives half of the rate that it took.
async fn single(
    plan: &Plan,
    world: &World,
    population: &mut Population,
    rounds: &mut Rounds,
) -> Result<f64, Failure> {
    let bodies = bodies(population, plan.single, 1);
    let (micros, loaded) =
        processor_time(&world.service, &world.target, SINGLE_CONNECTIONS, 1, bodies).await?;
    let rate = f64::from(plan.single) / loaded.took.as_secs_f64();
    rounds.single.push(micros);
    rounds.single_wall.push(rate);
    Ok(rate / 2.0)
}

async fn latency(
    plan: &Plan,
    world: &World,
    rate: f64,
    population: &mut Population,
    rounds: &mut Rounds,
) -> Result<(), Failure> {
    let arrivals = Arrivals {
        rate,
        duration: plan.latency,
        seed: plan.seed,
    };
    // A tenth more than will be due on average.
    let count = rate * plan.latency.as_secs_f64() * 1.1;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of requests"
    )]
    let bodies: Vec<_> = (0..count as usize + 100).map(|_| population.body(1)).collect();
    let (bodies, progress) = (load::prepared(bodies), load::progress());
    let (loaded, sink) = tokio::join!(
        load::open(&world.target, SINGLE_CONNECTIONS, arrivals, &bodies, &progress),
        world.sink_latency(plan.latency)
    );
    let (loaded, sink) = (loaded?, sink?);
    all_accepted(&loaded, 1)?;
    rounds.latency_rate.push(rate);
    rounds.p50.push(loaded.latency_ms(0.5));
    rounds.p99.push(loaded.latency_ms(0.99));
    rounds.sink_p50.push(sink.0);
    rounds.sink_p99.push(sink.1);
    Ok(())
}

fn lines(rounds: &Rounds) -> Vec<Line> {
    let ratio = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a / b).collect() };
    let a_core = |micros: &[f64]| -> Vec<f64> { micros.iter().map(|micros| 1e6 / micros).collect() };
    let line = |what, unit, values: &[f64]| Line::new(what, unit, values.to_vec());
    vec![
        line(
            "floor: serde_json's tree and jsonschema",
            "CPU µs/event",
            &rounds.plain_floor,
        ),
        line(
            "floor: event-model, the same verdict",
            "CPU µs/event",
            &rounds.own_floor,
        ),
        line(
            "events, batched: validated and published",
            "CPU µs/event",
            &rounds.batched,
        ),
        Line::new(
            "events, batched, over the serde_json floor",
            "×",
            ratio(&rounds.batched, &rounds.plain_floor),
        )
        .with_target(Reach::AtMost(1.5)),
        Line::new(
            "events, batched, over the event-model floor",
            "×",
            ratio(&rounds.batched, &rounds.own_floor),
        )
        .with_target(Reach::AtMost(1.5)),
        Line::new("events, batched, a core", "events/s", a_core(&rounds.batched))
            .with_target(Reach::AtLeast(100_000.0)),
        line(
            "events, batched and aggregated",
            "CPU µs/event",
            &rounds.aggregated,
        ),
        line(
            "events, batched and aggregated, over the serde_json floor",
            "×",
            &ratio(&rounds.aggregated, &rounds.plain_floor),
        ),
        line(
            "events, batched, on the wall clock",
            "events/s",
            &rounds.batched_wall,
        ),
        line("events, batched, the most memory", "MiB", &rounds.peak_mib),
        line(
            "bare axum handler, the same single events",
            "CPU µs/request",
            &rounds.handler,
        ),
        line("events, one event a request", "CPU µs/request", &rounds.single),
        Line::new(
            "events, one by one: rate a core over the bare handler's",
            "×",
            ratio(&rounds.handler, &rounds.single),
        )
        .with_target(Reach::AtLeast(0.6)),
        line(
            "events, one by one, on the wall clock",
            "requests/s",
            &rounds.single_wall,
        ),
        line("latency: at half of that", "requests/s", &rounds.latency_rate),
        line("latency: events p50", "ms", &rounds.p50),
        line("latency: events p99", "ms", &rounds.p99),
        line("latency: PutRecords alone p50", "ms", &rounds.sink_p50),
        line("latency: PutRecords alone p99", "ms", &rounds.sink_p99),
        Line::new(
            "latency: added p50",
            "ms",
            difference(&rounds.p50, &rounds.sink_p50),
        ),
        Line::new(
            "latency: added p99",
            "ms",
            difference(&rounds.p99, &rounds.sink_p99),
        )
        .with_target(Reach::AtMost(5.0)),
    ]
}

fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "memory is less than 2^52 bytes")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a measurement are less than 2^52"
)]
fn to_f64(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::print_stderr, reason = "a person waits for it")]
fn say(what: &str) {
    eprintln!("bench: {what}");
}
