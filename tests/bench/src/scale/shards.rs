//! `hoard` over more and more shards.

use std::{net::SocketAddr, path::Path, time::Duration};

use aws_clients::{SdkConfig, describe};
use aws_sdk_kinesis::{primitives::Blob, types::PutRecordsRequestEntry};
use local::aws::{Aws, DESTINATION_REGION, SOURCE_BUCKET, SOURCE_REGION, STREAM};
use local_cloud::{CloudSettings, Faults, Rule};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{Shards, say};
use crate::{
    Failure,
    population::{Mix, Population},
    program::{Program, Scrape, Usage, logged},
    report::Table,
};

/// Calls that are counted one by one.
const CALLS: [&str; 3] = ["kinesis:GetRecords", "s3:PutObject", "s3:GetObject"];
/// The shards that hoard reads.
const RUNNING: &str = "hoard_shards{state=\"running\"}";
/// What hoard has read.
const READ: &str = "hoard_records_read_total";
/// Between two calls of PutRecords.
const TICK: Duration = Duration::from_millis(100);
/// The most entries that PutRecords takes.
const PUT_MAX: usize = 500;
/// How long hoard gets to claim its shards.
const CLAIM_MAX: Duration = Duration::from_secs(120);

pub(super) async fn measure(plan: &Shards, hoard: &Path) -> Result<Table, Failure> {
    let columns = [
        "shards",
        "rest: CPU ms/s",
        "rest: calls/s",
        "work: CPU ms/s",
        "work: calls/s",
        "records read/s",
        "GetRecords/s",
        "PutObject/s",
        "GetObject/s",
        "peak MiB",
    ];
    let title = format!("hoard, {} events/s, cut after {}", plan.rate, plan.flush_interval);
    let mut table = Table::new(title, &columns);
    for shards in &plan.shards {
        say(&format!("{shards} shards"));
        table.rows.push(Box::pin(one(plan, *shards, hoard)).await?);
    }
    Ok(table)
}

async fn one(plan: &Shards, shards: u16, hoard: &Path) -> Result<Vec<f64>, Failure> {
    let (source, destination) = (
        CloudSettings::in_memory(SOURCE_REGION),
        CloudSettings::in_memory(DESTINATION_REGION),
    );
    let started = Aws::over(source, destination, shards).await;
    let aws = started.map_err(|error| Failure::NotMeasured(error.to_string()))?;
    let faults = aws.source.cloud.faults();
    // A rule without an action disturbs nothing and counts.
    faults.inject(Rule::on("*"));
    let folder = tempfile::tempdir().map_err(Failure::system("no temporary folder"))?;
    let arguments = [
        "--stream",
        STREAM,
        "--bucket",
        SOURCE_BUCKET,
        "--admin-listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
        "--flush-interval",
        &plan.flush_interval,
    ];
    let account = aws.source.cloud.account();
    let variables = [
        ("AWS_REGION", account.region.clone()),
        ("AWS_ENDPOINT_URL", aws.source.cloud.endpoint_url()),
        ("AWS_ACCESS_KEY_ID", account.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", account.secret_access_key.clone()),
    ];
    let mut program = Program::start("hoard", hoard, arguments, &variables, folder.path(), None)?;
    let admin = program.logged(|line| logged(line, "starting", "admin")).await?;
    until_running(admin, shards).await?;

    let seconds = plan.duration.as_secs_f64();
    let (before, calls) = (program.usage()?, total(faults));
    sleep(plan.duration).await;
    let (resting, rest_calls) = (cpu_ms(before, program.usage()?) / seconds, total(faults) - calls);

    let (before, calls) = (program.usage()?, total(faults));
    let single = CALLS.map(|call| faults.injected(call));
    let read: u64 = Scrape::of(admin).await?.value(READ)?;
    let own = send(plan, &aws.source.config).await?;
    let used = program.usage()?;
    let read = Scrape::of(admin).await?.value::<u64>(READ)? - read;
    let work_calls = (total(faults) - calls).saturating_sub(own);
    let mut row = vec![
        f64::from(shards),
        resting,
        to_f64(rest_calls) / seconds,
        cpu_ms(before, used) / seconds,
        to_f64(work_calls) / seconds,
        to_f64(read) / seconds,
    ];
    for (call, before) in CALLS.into_iter().zip(single) {
        row.push(to_f64(faults.injected(call) - before) / seconds);
    }
    row.push(to_f64(used.peak_bytes) / 1_048_576.0);
    program.end().await?;
    aws.stop().await;
    Ok(row)
}

/// Waits until hoard reads all its shards: it claims them one after the other, which is not what is measured.
async fn until_running(admin: SocketAddr, shards: u16) -> Result<(), Failure> {
    let patience = Instant::now() + CLAIM_MAX;
    while Scrape::of(admin).await?.value::<u16>(RUNNING)? < shards {
        if Instant::now() > patience {
            let problem = format!("hoard did not claim {shards} shards in {CLAIM_MAX:?}");
            return Err(Failure::NotMeasured(problem));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Sends at the rate for as long as the plan says, and gives how many calls that took.
async fn send(plan: &Shards, config: &SdkConfig) -> Result<u64, Failure> {
    let kinesis = aws_clients::kinesis(config);
    let mut population = Population::new(Mix::default());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (started, mut sent, mut calls) = (Instant::now(), 0_u64, 0);
    while started.elapsed() < plan.duration {
        ticks.tick().await;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number of events"
        )]
        let due = (started.elapsed().as_secs_f64() * f64::from(plan.rate)) as u64;
        let count = usize::try_from(due.saturating_sub(sent)).unwrap_or(PUT_MAX);
        for chunk in (0..count).collect::<Vec<_>>().chunks(PUT_MAX) {
            let entries: Result<Vec<_>, _> = chunk
                .iter()
                .map(|_| {
                    sent += 1;
                    let entry = PutRecordsRequestEntry::builder().data(Blob::new(population.event().json));
                    entry.partition_key(sent.to_string()).build()
                })
                .collect();
            let entries = entries.map_err(|error| Failure::NotMeasured(error.to_string()))?;
            let put = kinesis
                .put_records()
                .stream_name(STREAM)
                .set_records(Some(entries));
            put.send()
                .await
                .map_err(|error| Failure::NotMeasured(describe(&error)))?;
            calls += 1;
        }
    }
    Ok(calls)
}

fn total(faults: &Faults) -> u64 {
    faults.injected("*")
}

fn cpu_ms(before: Usage, after: Usage) -> f64 {
    after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes are less than 2^52")]
pub(super) fn to_f64(count: u64) -> f64 {
    count as f64
}
