//! Two emulated sides in this process, and how to start each program on them.

use std::path::{Path, PathBuf};

use local::{
    aws::{Aws, DESTINATION_BUCKET, DESTINATION_REGION, SOURCE_BUCKET, SOURCE_REGION, STREAM},
    demo::{DemoClient, DemoClients},
};
use local_cloud::{Clock, CloudSettings};

use crate::{Failure, program::Program};

/// Shards of the stream at the beginning.
const SHARDS: u16 = 3;
/// Kinesis keeps records for so many hours: its clock is moved by less.
const RETENTION_HOURS: i32 = 8_760;
/// A message may be received so often before it is put aside (the most that SQS takes): it is what is
/// tried here again and again.
const MAX_RECEIVES: u32 = 1_000;

/// Files with the secrets of both sides.
const SOURCE_SECRET: &str = "source-secret";
const DESTINATION_SECRET: &str = "destination-secret";

/// The programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Events,
    Hoard,
    Syncomatic,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Hoard => "hoard",
            Self::Syncomatic => "syncomatic",
        }
    }
}

pub(super) struct World {
    pub(super) aws: Aws,
    /// Of Kinesis, SQS and S3 in China.
    pub(super) clock: Clock,
    clients: DemoClients,
    folder: PathBuf,
}

impl World {
    /// Starts both sides in a folder. `programs` is the binary that is every program, by its name.
    pub(super) async fn start(folder: &Path, programs: &Path, seed: u64) -> Result<Self, Failure> {
        let bin = folder.join("bin");
        std::fs::create_dir_all(&bin).map_err(Failure::system("cannot make a folder"))?;
        for kind in [Kind::Events, Kind::Hoard, Kind::Syncomatic] {
            std::os::unix::fs::symlink(programs, bin.join(kind.as_str()))
                .map_err(Failure::system("cannot name a program"))?;
        }
        let clock = Clock::system();
        let side = |region: &str, name: &str, clock: &Clock| CloudSettings {
            seed,
            clock: clock.clone(),
            ..CloudSettings::in_folder(region, folder.join(name))
        };
        let source = side(SOURCE_REGION, "china", &clock);
        let destination = side(DESTINATION_REGION, "europe", &Clock::system());
        let not_made = |problem: String| Failure::Program {
            program: "the emulated AWS".to_owned(),
            problem,
        };
        let started = Aws::over(source, destination, SHARDS).await;
        let aws = started.map_err(|error| not_made(error.to_string()))?;
        let clients = DemoClients::open(folder).map_err(|error| not_made(error.to_string()))?;
        let world = Self {
            aws,
            clock,
            clients,
            folder: folder.to_owned(),
        };
        world.prepare().await.map_err(not_made)?;
        // Once: a program that starts must not find a file that is being written.
        for (name, side) in [
            (SOURCE_SECRET, &world.aws.source),
            (DESTINATION_SECRET, &world.aws.destination),
        ] {
            std::fs::write(folder.join(name), &side.cloud.account().secret_access_key)
                .map_err(Failure::system("cannot write a secret"))?;
        }
        Ok(world)
    }

    async fn prepare(&self) -> Result<(), String> {
        let kinesis = aws_clients::kinesis(&self.aws.source.config);
        let retention = kinesis.increase_stream_retention_period().stream_name(STREAM);
        let kept = retention.retention_period_hours(RETENTION_HOURS).send().await;
        kept.map_err(|error| aws_clients::describe(&error))?;
        let sqs = aws_clients::sqs(&self.aws.source.config);
        let name = aws_sdk_sqs::types::QueueAttributeName::RedrivePolicy;
        let queue = sqs.get_queue_attributes().queue_url(&self.aws.queue_url);
        let found = queue.attribute_names(name.clone()).send().await;
        let found = found.map_err(|error| aws_clients::describe(&error))?;
        let policy = found.attributes().and_then(|attributes| attributes.get(&name));
        let mut policy: serde_json::Value = policy
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or("the queue has no redrive policy")?;
        policy["maxReceiveCount"] = MAX_RECEIVES.into();
        let set = sqs.set_queue_attributes().queue_url(&self.aws.queue_url);
        let set = set.attributes(name, policy.to_string()).send().await;
        set.map_err(|error| aws_clients::describe(&error))?;
        Ok(())
    }

    /// A demo client by its name.
    pub(super) fn client(&self, name: &str) -> Result<&DemoClient, Failure> {
        let unknown = || Failure::NotMeasured(format!("there is no demo client {name}"));
        self.clients.named(name).ok_or_else(unknown)
    }

    /// Starts a program as the `number`th of its kind; `life` counts how often.
    pub(super) fn launch(&self, kind: Kind, number: usize, life: usize) -> Result<Program, Failure> {
        let mut flags = vec![
            ("--admin-listen", "127.0.0.1:0".to_owned()),
            ("--log-format", "json".to_owned()),
        ];
        flags.extend(match kind {
            Kind::Events => self.events_flags(number),
            Kind::Hoard => hoard_flags(number),
            Kind::Syncomatic => self.syncomatic_flags(),
        });
        let mut arguments: Vec<String> = flags
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect();
        if kind == Kind::Events && number % 2 == 1 {
            arguments.push("--aggregate".to_owned());
        }
        let (cloud, name) = (&self.aws.source.cloud, kind.as_str());
        // The SDK's own conventions; syncomatic has its two sides from flags.
        let variables = [
            ("AWS_REGION", cloud.account().region.clone()),
            ("AWS_ENDPOINT_URL", cloud.endpoint_url()),
            ("AWS_ACCESS_KEY_ID", cloud.account().access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", cloud.account().secret_access_key.clone()),
            ("RUST_BACKTRACE", "1".to_owned()),
        ];
        let path = self.folder.join("bin").join(name);
        let named = format!("{name}-{number}.{life}");
        Program::start(named, &path, arguments, &variables, &self.folder, None)
    }

    fn events_flags(&self, number: usize) -> Vec<(&'static str, String)> {
        let spool = self.folder.join(format!("spool-{number}"));
        vec![
            ("--listen", "127.0.0.1:0".to_owned()),
            ("--stream", STREAM.to_owned()),
            (
                "--credentials-file",
                self.clients.credentials_file.display().to_string(),
            ),
            (
                "--credentials-hash-key-file",
                self.clients.hash_key_file.display().to_string(),
            ),
            ("--trusted-proxies", "127.0.0.0/8".to_owned()),
            ("--country-header", super::senders::COUNTRY_HEADER.to_owned()),
            ("--spool-folder", spool.display().to_string()),
            ("--record-time-to-live", "700ms".to_owned()),
            ("--stream-check-interval", "2s".to_owned()),
        ]
    }

    fn syncomatic_flags(&self) -> Vec<(&'static str, String)> {
        let (source, destination) = (&self.aws.source.cloud, &self.aws.destination.cloud);
        let secret = |name: &str| self.folder.join(name).display().to_string();
        vec![
            ("--source-region", source.account().region.clone()),
            ("--source-bucket", SOURCE_BUCKET.to_owned()),
            ("--source-queue", self.aws.queue_url.clone()),
            ("--source-endpoint-url", source.endpoint_url()),
            ("--source-access-key-id", source.account().access_key_id.clone()),
            ("--source-secret-access-key-file", secret(SOURCE_SECRET)),
            ("--destination-region", destination.account().region.clone()),
            ("--destination-bucket", DESTINATION_BUCKET.to_owned()),
            ("--destination-endpoint-url", destination.endpoint_url()),
            (
                "--destination-access-key-id",
                destination.account().access_key_id.clone(),
            ),
            ("--destination-secret-access-key-file", secret(DESTINATION_SECRET)),
            ("--visibility-timeout", "2s".to_owned()),
            ("--progress-deadline", "2s".to_owned()),
        ]
    }

    /// Runs `hoard verify` over these days.
    pub(super) async fn verify(&self, (first, last): (&str, &str)) -> Result<(), Failure> {
        let cloud = &self.aws.source.cloud;
        let arguments = [
            "verify",
            "--stream",
            STREAM,
            "--bucket",
            SOURCE_BUCKET,
            "--from",
            first,
            "--to",
            last,
        ];
        let mut verify = tokio::process::Command::new(self.folder.join("bin").join("hoard"));
        verify
            .args(arguments)
            .env_clear()
            .env("AWS_REGION", &cloud.account().region)
            .env("AWS_ENDPOINT_URL", cloud.endpoint_url())
            .env("AWS_ACCESS_KEY_ID", &cloud.account().access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &cloud.account().secret_access_key)
            .kill_on_drop(true);
        let ran = verify
            .output()
            .await
            .map_err(Failure::system("cannot start hoard verify"))?;
        if ran.status.success() {
            return Ok(());
        }
        Err(Failure::Program {
            program: "hoard verify".to_owned(),
            problem: format!(
                "{}{}",
                String::from_utf8_lossy(&ran.stdout),
                String::from_utf8_lossy(&ran.stderr)
            ),
        })
    }
}

/// Cuts and signs of life so frequent that a round sees many. The first has a name of its own that it
/// keeps, the others get new ones each time.
fn hoard_flags(number: usize) -> Vec<(&'static str, String)> {
    let mut flags: Vec<(&'static str, String)> = [
        ("--stream", STREAM),
        ("--bucket", SOURCE_BUCKET),
        ("--flush-interval", "1s"),
        ("--flush-bytes", "64KiB"),
        ("--memory-budget", "64MiB"),
        ("--poll-interval", "200ms"),
        ("--idle-poll-interval", "300ms"),
        ("--discovery-interval", "2s"),
        ("--heartbeat-interval", "300ms"),
        ("--heartbeat-misses", "4"),
    ]
    .map(|(flag, value)| (flag, value.to_owned()))
    .into();
    if number == 0 {
        flags.push(("--replica-name", "hoard-0".to_owned()));
    }
    flags
}
