//! `events` with more and more clients.

use std::{fs, net::SocketAddr, path::Path};

use event_model::Producer;
use events::credentials::{CredentialsFile, HashKey, issue};
use local::aws::{Aws, DESTINATION_REGION, SOURCE_REGION, STREAM};
use local_cloud::{CloudSettings, Rule};
use tokio::task::JoinSet;

use super::{Clients, say, shards::to_f64};
use crate::{
    Failure,
    events::raise_open_files,
    load::{Connection, Target},
    population::{Mix, Population},
    program::{Program, Scrape, logged},
    report::Table,
};

/// Clients of one partner.
const OF_A_PARTNER: u32 = 10;
/// Requests that are out at a time.
const WORKERS: usize = 64;
/// Shards of the stream.
const SHARDS: u16 = 8;

pub(super) async fn measure(plan: &Clients, events: &Path) -> Result<Table, Failure> {
    // Programs inherit it, so it comes before any of them.
    let files = raise_open_files();
    let most = plan.clients.iter().copied().max().unwrap_or_default();
    if u64::from(most) + 256 > files {
        return Err(Failure::NotMeasured(format!(
            "{most} connections need more files than the {files} that the system allows this program"
        )));
    }
    let columns = [
        "clients",
        "partners",
        "CPU µs/request",
        "requests/s",
        "PutRecords calls/1,000 requests",
        "MiB before",
        "MiB after",
        "lines of /metrics",
    ];
    let mut table = Table::new(
        format!("events, {} requests of one event", plan.requests),
        &columns,
    );
    for clients in &plan.clients {
        say(&format!("{clients} clients"));
        table.rows.push(Box::pin(one(plan, *clients, events)).await?);
    }
    Ok(table)
}

async fn one(plan: &Clients, clients: u32, events: &Path) -> Result<Vec<f64>, Failure> {
    let (source, destination) = (
        CloudSettings::in_memory(SOURCE_REGION),
        CloudSettings::in_memory(DESTINATION_REGION),
    );
    let started = Aws::over(source, destination, SHARDS).await;
    let aws = started.map_err(|error| Failure::NotMeasured(error.to_string()))?;
    let faults = aws.source.cloud.faults();
    faults.inject(Rule::on("kinesis:PutRecords"));
    let folder = tempfile::tempdir().map_err(Failure::system("no temporary folder"))?;
    let (credentials, hash_key) = (folder.path().join("clients.json"), folder.path().join("hash-key"));
    let secrets = issue_all(clients, &credentials, &hash_key)?;
    let (credentials, hash_key) = (credentials.display().to_string(), hash_key.display().to_string());
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
        "--stream",
        STREAM,
        "--max-connections",
        "60000",
        "--credentials-file",
        &credentials,
        "--credentials-hash-key-file",
        &hash_key,
    ];
    let account = aws.source.cloud.account();
    let variables = [
        ("AWS_REGION", account.region.clone()),
        ("AWS_ENDPOINT_URL", aws.source.cloud.endpoint_url()),
        ("AWS_ACCESS_KEY_ID", account.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", account.secret_access_key.clone()),
    ];
    let mut program = Program::start("events", events, arguments, &variables, folder.path(), None)?;
    let admin: SocketAddr = program.logged(|line| logged(line, "starting", "admin")).await?;
    let address: SocketAddr = program
        .logged(|line| logged(line, "listening", "address"))
        .await?;

    let at_rest = program.usage()?;
    let url = format!("http://{address}");
    let mut connections = Vec::with_capacity(secrets.len());
    for (key, secret) in &secrets {
        connections.push(Connection::open(&Target::resolve(&url, key, secret).await?).await?);
    }
    let (before, calls) = (program.usage()?, faults.injected("kinesis:PutRecords"));
    let begun = std::time::Instant::now();
    let connections = send(plan, connections).await?;
    let took = begun.elapsed().as_secs_f64();
    let after = program.usage()?;
    let calls = faults.injected("kinesis:PutRecords") - calls;
    let series = Scrape::of(admin).await?.series();
    drop(connections);
    program.end().await?;
    aws.stop().await;
    let requests = f64::from(plan.requests);
    Ok(vec![
        f64::from(clients),
        f64::from(clients.div_ceil(OF_A_PARTNER)),
        after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / requests,
        requests / took,
        to_f64(calls) * 1e3 / requests,
        to_f64(at_rest.resident_bytes) / 1_048_576.0,
        to_f64(after.resident_bytes) / 1_048_576.0,
        to_f64(series as u64),
    ])
}

/// Makes the clients' credentials, and gives each one's key and secret.
fn issue_all(
    clients: u32,
    credentials: &Path,
    hash_key_file: &Path,
) -> Result<Vec<(String, String)>, Failure> {
    let (hash_key, hash_key_text) = HashKey::generate();
    let mut file = CredentialsFile::default();
    let secrets = (0..clients).map(|number| {
        let partner = format!("partner-{:05}", number / OF_A_PARTNER);
        let client = format!("client-{number:06}");
        let issued = issue(&hash_key, &client, &partner, Producer::Platform, &["*"]);
        let key = issued.entry.key.clone();
        file.clients.push(issued.entry);
        (key, issued.secret)
    });
    let secrets = secrets.collect();
    let text = serde_json::to_vec(&file).expect("our own types are JSON");
    fs::write(credentials, text).map_err(Failure::system("cannot write the credentials"))?;
    fs::write(hash_key_file, hash_key_text.as_bytes())
        .map_err(Failure::system("cannot write the hash key"))?;
    Ok(secrets)
}

/// Every connection in turn, some side by side, until all requests are sent; every event must be accepted.
async fn send(plan: &Clients, connections: Vec<Connection>) -> Result<Vec<Connection>, Failure> {
    let mut shares: Vec<Vec<Connection>> = (0..WORKERS.min(connections.len())).map(|_| Vec::new()).collect();
    let workers = shares.len();
    for (number, connection) in connections.into_iter().enumerate() {
        shares[number % workers].push(connection);
    }
    let mut tasks = JoinSet::new();
    for (number, mut share) in (0_u64..).zip(shares) {
        let requests = usize::try_from(plan.requests)
            .unwrap_or(usize::MAX)
            .div_ceil(workers);
        tasks.spawn(async move {
            let mut population = Population::new(Mix {
                seed: number,
                devices: 1_000,
                ..Mix::default()
            });
            let turns = share.len();
            for turn in 0..requests {
                let (status, _) = share[turn % turns].post(population.body(1)).await?;
                if !status.is_success() {
                    return Err(Failure::NotMeasured(format!("an event was answered {status}")));
                }
            }
            Ok::<_, Failure>(share)
        });
    }
    let mut back = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        back.extend(ended.map_err(|error| Failure::NotMeasured(error.to_string()))??);
    }
    Ok(back)
}
