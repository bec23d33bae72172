//! The service that is measured, and the emulated Kinesis that it publishes to: each a process.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use aws_clients::{Endpoint, SdkConfig, describe};
use aws_credential_types::Credentials;
use aws_sdk_kinesis::{Client as Kinesis, primitives::Blob, types::PutRecordsRequestEntry};
use hdrhistogram::Histogram;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    Failure,
    cores::Cores,
    load::Target,
    program::{self, Program},
    tls::Tls,
};

const REGION: &str = "cn-north-1";
const STREAM: &str = "events";
const SHARDS: i32 = 8;
/// Who we are to the emulated AWS.
const KEY_ID: &str = "bench";
const SECRET: &str = "bench-secret";
/// How often PutRecords is called alone to see how long it takes.
const SINK_EVERY: Duration = Duration::from_millis(10);

pub(super) struct World {
    pub(super) service: Program,
    pub(super) target: Target,
    cloud: Program,
    kinesis: Kinesis,
    _tls: Option<Tls>,
    _folder: TempDir,
}

/// How the service reaches the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Plain,
    Tls,
}

/// What `events client new --json` shows.
#[derive(Deserialize)]
struct Issued {
    key: String,
    secret: String,
}

impl World {
    /// Starts both; `more` are further flags of `events`.
    pub(super) async fn start(
        events: &Path,
        cloud: &Path,
        cores: &Cores,
        more: &[&str],
        wire: Wire,
    ) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(Failure::system("no temporary folder"))?;
        let side = format!("region={REGION},listen=127.0.0.1:0,credentials={KEY_ID}:{SECRET}");
        let mut cloud = Program::start("local-cloud", cloud, ["--side", &side], &[], folder.path(), None)?;
        let address = cloud.logged(|line| after(line, "address=")).await?;
        let endpoint_url = format!("http://{address}");
        let config = aws_clients::load(&Endpoint {
            region: Some(REGION.to_owned()),
            endpoint_url: Some(endpoint_url.clone()),
            credentials: Some(Credentials::new(KEY_ID, SECRET, None, None, "bench")),
            ..Endpoint::default()
        })
        .await;
        let kinesis = stream(&config).await?;
        let tls = match wire {
            Wire::Plain => None,
            Wire::Tls => Some(Tls::start(folder.path(), &[&endpoint_url]).await?),
        };
        let endpoint_url = tls.as_ref().map_or(endpoint_url, |tls| tls.urls.concat());

        let path = |name: &str| folder.path().join(name).display().to_string();
        let (clients, hash_key) = (path("clients.json"), path("hash-key"));
        program::output(events, &["client", "new-hash-key", "--file", &hash_key]).await?;
        let files = [
            "--credentials-file",
            &clients,
            "--credentials-hash-key-file",
            &hash_key,
        ];
        let new = [
            "client",
            "new",
            "--partner",
            "bench",
            "--clientid",
            "bench-platform",
        ];
        let may = ["--kind", "platform", "--allow", "*", "--json"];
        let issued = program::output(events, &[new.as_slice(), &may, &files].concat()).await?;
        let issued: Issued = serde_json::from_str(&issued)
            .map_err(|error| Failure::NotMeasured(format!("no credential: {error}")))?;

        let listen = [
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ];
        let arguments = [listen.as_slice(), &["--stream", STREAM], &files, more].concat();
        let mut variables = vec![
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL", endpoint_url),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ];
        variables.extend(tls.as_ref().map(Tls::trust));
        let mut service = Program::start(
            "events",
            events,
            arguments,
            &variables,
            folder.path(),
            Some(cores),
        )?;
        let address = service
            .logged(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                let listening = line["message"] == "listening";
                listening.then(|| line["address"].as_str().map(str::to_owned))?
            })
            .await?;
        Ok(Self {
            target: Target::resolve(&format!("http://{address}"), &issued.key, &issued.secret).await?,
            service,
            cloud,
            kinesis,
            _tls: tls,
            _folder: folder,
        })
    }

    /// How long PutRecords of one small record takes, p50 and p99 in milliseconds: called alone, at set times.
    pub(super) async fn sink_latency(&self, duration: Duration) -> Result<(f64, f64), Failure> {
        let mut micros = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("sensible bounds");
        let mut ticks = interval(SINK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = Instant::now();
        while started.elapsed() < duration {
            ticks.tick().await;
            let called = Instant::now();
            let entry = PutRecordsRequestEntry::builder()
                .data(Blob::new(vec![b'x'; 600]))
                .partition_key("bench")
                .build()
                .map_err(|error| Failure::NotMeasured(error.to_string()))?;
            let call = self.kinesis.put_records().stream_name(STREAM).records(entry);
            call.send()
                .await
                .map_err(|error| Failure::NotMeasured(describe(&error)))?;
            micros.saturating_record(u64::try_from(called.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        #[expect(clippy::cast_precision_loss, reason = "at most a minute")]
        let millis = |quantile| micros.value_at_quantile(quantile) as f64 / 1e3;
        Ok((millis(0.5), millis(0.99)))
    }

    /// Ends both; a service that does not drain is no service whose figures count.
    pub(super) async fn end(self) -> Result<(), Failure> {
        self.service.end().await?;
        self.cloud.end().await
    }
}

async fn stream(config: &SdkConfig) -> Result<Kinesis, Failure> {
    let kinesis = aws_clients::kinesis(config);
    let create = kinesis.create_stream().stream_name(STREAM).shard_count(SHARDS);
    create
        .send()
        .await
        .map_err(|error| Failure::NotMeasured(format!("no stream: {}", describe(&error))))?;
    Ok(kinesis)
}

/// The word after `name` in a line of a log.
fn after(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(name)?;
    rest.split_whitespace().next().map(str::to_owned)
}
