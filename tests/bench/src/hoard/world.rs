//! The service that is measured, and the emulated Kinesis and S3 that it stands between: each a process.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use aws_clients::{Endpoint, SdkConfig, describe};
use aws_credential_types::Credentials;
use aws_sdk_kinesis::{Client as Kinesis, primitives::Blob, types::PutRecordsRequestEntry};
use aws_sdk_s3::{
    Client as S3,
    types::{BucketLocationConstraint, CreateBucketConfiguration},
};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    Failure,
    cores::Cores,
    program::{Program, Scrape, Usage, logged},
    tls::Tls,
};

pub(super) const REGION: &str = "cn-north-1";
/// Who we are to the emulated AWS.
pub(super) const KEY_ID: &str = "bench";
pub(super) const SECRET: &str = "bench-secret";
const BUCKET: &str = "archive";
/// What hoard has stored and will not read again.
const COMMITTED: &str = "hoard_records_committed_total";
/// PutRecords takes so many.
const RECORDS_A_CALL: usize = 500;
/// Longer than the largest stream takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// The emulated AWS.
pub(super) struct Cloud {
    program: Program,
    endpoint: String,
    kinesis: Kinesis,
    s3: S3,
    folder: TempDir,
}

/// A stream in it, and the bucket to archive into.
#[derive(Clone)]
pub(super) struct Stream {
    /// As programs that are measured reach it.
    pub(super) endpoint: String,
    /// Variables by which they trust it.
    pub(super) trust: Vec<(&'static str, String)>,
    pub(super) name: String,
    pub(super) bucket: String,
    pub(super) s3: S3,
    kinesis: Kinesis,
}

/// A running hoard.
pub(super) struct Archive {
    program: Program,
    admin: SocketAddr,
    _folder: TempDir,
}

impl Cloud {
    pub(super) async fn start(path: &Path) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(Failure::system("no temporary folder"))?;
        let side = format!("region={REGION},listen=127.0.0.1:0,credentials={KEY_ID}:{SECRET}");
        let mut program = Program::start("local-cloud", path, ["--side", &side], &[], folder.path(), None)?;
        let address = program
            .logged(|line| {
                line.split_once("address=")?
                    .1
                    .split_whitespace()
                    .next()
                    .map(str::to_owned)
            })
            .await?;
        let endpoint = format!("http://{address}");
        let config = config(&endpoint).await;
        let s3 = aws_clients::s3(&config);
        let location = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::CnNorth1)
            .build();
        let create = s3
            .create_bucket()
            .bucket(BUCKET)
            .create_bucket_configuration(location);
        create
            .send()
            .await
            .map_err(|error| Failure::NotMeasured(format!("no bucket: {}", describe(&error))))?;
        Ok(Self {
            program,
            endpoint,
            kinesis: aws_clients::kinesis(&config),
            s3,
            folder,
        })
    }

    /// TLS before it, for as long as this is kept.
    pub(super) async fn tls(&self) -> Result<Tls, Failure> {
        Tls::start(self.folder.path(), &[&self.endpoint]).await
    }

    pub(super) async fn stream(&self, name: &str, shards: u16) -> Result<Stream, Failure> {
        let create = self
            .kinesis
            .create_stream()
            .stream_name(name)
            .shard_count(shards.into());
        create
            .send()
            .await
            .map_err(|error| Failure::NotMeasured(format!("no stream: {}", describe(&error))))?;
        Ok(Stream {
            endpoint: self.endpoint.clone(),
            trust: Vec::new(),
            name: name.to_owned(),
            bucket: BUCKET.to_owned(),
            s3: self.s3.clone(),
            kinesis: self.kinesis.clone(),
        })
    }

    pub(super) async fn end(self) -> Result<(), Failure> {
        self.program.end().await
    }
}

impl Stream {
    /// The same stream, which programs that are measured reach over TLS.
    pub(super) fn over(&self, tls: &Tls) -> Self {
        Self {
            endpoint: tls.urls.concat(),
            trust: vec![tls.trust()],
            ..self.clone()
        }
    }

    /// Puts these lines, spread over the shards.
    pub(super) async fn fill(&self, lines: &[String]) -> Result<(), Failure> {
        for (call, lines) in lines.chunks(RECORDS_A_CALL).enumerate() {
            self.put(call, lines).await?;
        }
        Ok(())
    }

    /// Puts one line.
    pub(super) async fn put_one(&self, line: &String) -> Result<(), Failure> {
        self.put(0, std::slice::from_ref(line)).await
    }

    async fn put(&self, call: usize, lines: &[String]) -> Result<(), Failure> {
        let entries = lines.iter().enumerate().map(|(n, line)| {
            let entry = PutRecordsRequestEntry::builder().data(Blob::new(line.as_bytes()));
            entry.partition_key(format!("{call}-{n}")).build()
        });
        let entries: Result<Vec<_>, _> = entries.collect();
        let entries = entries.map_err(|error| Failure::NotMeasured(error.to_string()))?;
        let put = self
            .kinesis
            .put_records()
            .stream_name(&self.name)
            .set_records(Some(entries));
        let answer = put
            .send()
            .await
            .map_err(|error| Failure::NotMeasured(describe(&error)))?;
        match answer.failed_record_count {
            None | Some(0) => Ok(()),
            Some(failed) => Err(Failure::NotMeasured(format!("{failed} records were not taken"))),
        }
    }
}

impl Archive {
    /// Starts the service on the measured core; it archives under `folder` and keeps its state there.
    pub(super) async fn start(
        path: &Path,
        stream: &Stream,
        folder: &str,
        flush_interval: Duration,
        cores: &Cores,
    ) -> Result<Self, Failure> {
        let logs = tempfile::tempdir().map_err(Failure::system("no temporary folder"))?;
        let interval = format!("{}ms", flush_interval.as_millis());
        let (state, errors) = (format!("_hoard/{folder}"), format!("_errors/{folder}"));
        let arguments = [
            ("--stream", stream.name.as_str()),
            ("--bucket", &stream.bucket),
            ("--prefix", folder),
            ("--error-prefix", &errors),
            ("--state-prefix", &state),
            ("--flush-interval", &interval),
            ("--replica-name", "bench"),
            ("--admin-listen", "127.0.0.1:0"),
            ("--log-format", "json"),
        ];
        let mut variables = vec![
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL", stream.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ];
        variables.extend(stream.trust.iter().cloned());
        let arguments = arguments.iter().flat_map(|(flag, value)| [*flag, *value]);
        let mut program = Program::start("hoard", path, arguments, &variables, logs.path(), Some(cores))?;
        let admin = program.logged(|line| logged(line, "starting", "admin")).await?;
        Ok(Self {
            program,
            admin,
            _folder: logs,
        })
    }

    /// Waits until so many records are committed; more would mean that some were doubled.
    pub(super) async fn until_committed(&mut self, records: usize) -> Result<(), Failure> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let committed = Scrape::of(self.admin).await?.value::<usize>(COMMITTED)?;
            if committed == records {
                return Ok(());
            }
            if committed > records || Instant::now() > patience {
                let problem = format!("{committed} of {records} records were committed");
                return Err(Failure::NotMeasured(problem));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn usage(&self) -> Result<Usage, Failure> {
        self.program.usage()
    }

    pub(super) async fn end(self) -> Result<(), Failure> {
        self.program.end().await
    }
}

pub(super) async fn kinesis(endpoint: &str) -> Kinesis {
    aws_clients::kinesis(&config(endpoint).await)
}

async fn config(endpoint: &str) -> SdkConfig {
    aws_clients::load(&Endpoint {
        region: Some(REGION.to_owned()),
        endpoint_url: Some(endpoint.to_owned()),
        credentials: Some(Credentials::new(KEY_ID, SECRET, None, None, "bench")),
        ..Endpoint::default()
    })
    .await
}
