//! Two emulated sides in the test's own process, and the programs that work between them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use local::aws::{Aws, DESTINATION_BUCKET, SOURCE_BUCKET, STREAM, Side};
use local::demo::DemoClients;
use serde_json::{Value, json};
use service_runtime::settings::config_from;
use tempfile::TempDir;
use tokio::time::MissedTickBehavior;

use crate::{Archive, Line, Process, Tls, eventually};

/// Longer than the slowest journey on a busy machine; no test waits for it but to fail.
const PATIENCE: Duration = Duration::from_secs(90);
/// Shards of the stream: enough that several are read side by side.
const SHARDS: &str = "3";
/// Events a request, as a device that gathers some would send.
const BATCH: usize = 20;
/// Between the requests of a client that sends all the time.
const PACE: Duration = Duration::from_millis(50);

/// Both sides, the credentials, and the multi-call binary with the programs.
#[derive(Debug)]
pub struct Pipeline {
    /// The emulated AWS on both sides.
    pub aws: Aws,
    /// Who may send.
    pub clients: DemoClients,
    tls: Option<Tls>,
    folder: TempDir,
    binary: &'static str,
}

impl Pipeline {
    /// Starts both sides with empty buckets; no program runs yet.
    pub async fn start(binary: &'static str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let data = folder.path().display().to_string();
        let free_ports = [
            "--source-port",
            "0",
            "--destination-port",
            "0",
            "--shards",
            SHARDS,
        ];
        let args = ["--data-folder", &data].into_iter().chain(free_ports);
        let config = config_from::<local::Settings>(args).expect("the flags of local");
        let aws = Aws::start(&config).await.expect("both sides start");
        let clients = DemoClients::open(folder.path()).expect("demo credentials");
        Self {
            aws,
            clients,
            tls: None,
            folder,
            binary,
        }
    }

    /// From now on programs are started so that they reach both sides over TLS.
    #[must_use]
    pub fn over(self, tls: Tls) -> Self {
        Self {
            tls: Some(tls),
            ..self
        }
    }

    /// Starts `events` and waits until it is ready.
    pub async fn events(&self) -> Process {
        self.events_with(&[]).await
    }

    /// Starts `events` with a spool that outlives it, and a short time to live.
    pub async fn events_with_spool(&self) -> Process {
        let folder = self.folder.path().join("spool").display().to_string();
        self.events_with(&[("--spool-folder", &folder), ("--record-time-to-live", "500ms")])
            .await
    }

    async fn events_with(&self, more: &[(&str, &str)]) -> Process {
        let events = self.events_before_ready(more);
        events.ready().await;
        events
    }

    /// Starts `events` with these flags too, whether or not it will be ready.
    pub fn events_before_ready(&self, more: &[(&str, &str)]) -> Process {
        let credentials = self.clients.credentials_file.display().to_string();
        let hash_key = self.clients.hash_key_file.display().to_string();
        let mut flags = vec![
            ("--listen", "127.0.0.1:0"),
            ("--stream", STREAM),
            ("--credentials-file", &credentials),
            ("--credentials-hash-key-file", &hash_key),
            ("--trusted-proxies", "127.0.0.0/8"),
            ("--country-header", "x-country"),
        ];
        flags.extend(more);
        self.launch("events", &flags)
    }

    /// Starts `hoard`, with cuts small and frequent enough that a test sees many.
    pub async fn hoard(&self) -> Process {
        self.hoard_with(&[]).await
    }

    /// Starts `hoard` with these flags too.
    pub async fn hoard_with(&self, more: &[(&str, &str)]) -> Process {
        let hoard = self.hoard_before_ready("hoard-0", more);
        hoard.ready().await;
        hoard
    }

    /// Starts `hoard` under this name and with these flags too, whether or not it will be ready.
    pub fn hoard_before_ready(&self, name: &str, more: &[(&str, &str)]) -> Process {
        let mut flags = vec![
            ("--stream", STREAM),
            ("--bucket", SOURCE_BUCKET),
            ("--replica-name", name),
            ("--flush-interval", "1s"),
            ("--flush-bytes", "64KiB"),
        ];
        flags.extend(more);
        self.launch("hoard", &flags)
    }

    /// Starts `syncomatic`. What a killed one had in hand is visible to the next after 2 s.
    pub async fn syncomatic(&self) -> Process {
        self.syncomatic_with(&[]).await
    }

    /// Starts `syncomatic` with these flags too.
    pub async fn syncomatic_with(&self, more: &[(&str, &str)]) -> Process {
        let syncomatic = self.syncomatic_before_ready(more);
        syncomatic.ready().await;
        syncomatic
    }

    /// Starts `syncomatic` with these flags too, whether or not it will be ready.
    pub fn syncomatic_before_ready(&self, more: &[(&str, &str)]) -> Process {
        let (source, destination) = (&self.aws.source.cloud, &self.aws.destination.cloud);
        let [source_url, destination_url] = self.endpoint_urls();
        let source_secret = self.file("source-secret", &source.account().secret_access_key);
        let destination_secret = self.file("destination-secret", &destination.account().secret_access_key);
        let mut flags = vec![
            ("--source-region", source.account().region.as_str()),
            ("--source-bucket", SOURCE_BUCKET),
            ("--source-queue", &self.aws.queue_url),
            ("--source-endpoint-url", &source_url),
            ("--source-access-key-id", &source.account().access_key_id),
            ("--source-secret-access-key-file", &source_secret),
            ("--destination-region", &destination.account().region),
            ("--destination-bucket", DESTINATION_BUCKET),
            ("--destination-endpoint-url", &destination_url),
            (
                "--destination-access-key-id",
                &destination.account().access_key_id,
            ),
            ("--destination-secret-access-key-file", &destination_secret),
            ("--visibility-timeout", "2s"),
        ];
        flags.extend(more);
        self.launch("syncomatic", &flags)
    }

    fn endpoint_urls(&self) -> [String; 2] {
        let plain = || [&self.aws.source, &self.aws.destination].map(|side| side.cloud.endpoint_url());
        self.tls.as_ref().map_or_else(plain, Tls::endpoint_urls)
    }

    fn launch(&self, name: &str, flags: &[(&str, &str)]) -> Process {
        let admin = [("--admin-listen", "127.0.0.1:0"), ("--log-format", "json")];
        let flags = admin.iter().chain(flags);
        let args: Vec<String> = flags
            .flat_map(|(flag, value)| [*flag, *value])
            .map(str::to_owned)
            .collect();
        let account = self.aws.source.cloud.account();
        let [source_url, _] = self.endpoint_urls();
        // The SDK's own conventions. syncomatic has its two sides from flags and must ignore these.
        let mut variables = vec![
            ("AWS_REGION", account.region.clone()),
            ("AWS_ENDPOINT_URL", source_url),
            ("AWS_ACCESS_KEY_ID", account.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", account.secret_access_key.clone()),
            ("RUST_BACKTRACE", "1".to_owned()),
        ];
        variables.extend(self.tls.as_ref().map(Tls::trust));
        Process::start(self.binary, name, &args, &variables)
    }

    /// Writes a file of the programs' own and gives its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, content).expect("the temporary folder can be written");
        path.display().to_string()
    }

    /// A client that sends to `events`.
    pub async fn client(&self, events: &Process, name: &str) -> Client {
        let demo = self
            .clients
            .named(name)
            .unwrap_or_else(|| panic!("no demo client {name}"));
        Client {
            http: reqwest::Client::new(),
            url: Mutex::new(url(events).await),
            key: demo.key.clone(),
            secret: demo.secret.clone(),
            next: AtomicU64::new(0),
        }
    }

    /// Waits until both buckets hold every accepted event, once, in equal objects. Only events whose
    /// first answer was lost may be there twice; anything else fails at once.
    pub async fn holds_exactly(&self, sent: &Sent) -> Vec<Line> {
        let mut last_seen = 0;
        let arrived = eventually("the events in China", PATIENCE, async || {
            let lines = self.read(&self.aws.source, SOURCE_BUCKET).await.lines();
            last_seen = lines.len();
            let (once, again) = once_and_again(&lines);
            assert!(again.is_subset(&sent.answer_lost), "archived twice: {again:?}");
            (once == sent.accepted).then_some(lines)
        });
        let accepted = sent.accepted.len();
        let lines = arrived
            .await
            .unwrap_or_else(|late| panic!("{late}: {last_seen} of {accepted} are there"));
        let source = self.read(&self.aws.source, SOURCE_BUCKET).await;
        eventually("equal objects in Europe", PATIENCE, async || {
            (self.read(&self.aws.destination, DESTINATION_BUCKET).await == source).then_some(())
        })
        .await
        .unwrap_or_else(|late| panic!("{late}"));
        lines
    }

    async fn read(&self, side: &Side, bucket: &str) -> Archive {
        Archive::read(&side.config, bucket)
            .await
            .unwrap_or_else(|error| panic!("cannot read {bucket}: {error}"))
    }
}

/// The ids that are there, and those that are there more than once.
fn once_and_again(lines: &[Line]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut once, mut again) = (BTreeSet::new(), BTreeSet::new());
    for line in lines {
        let id = line.event["eventid"].as_str().expect("every line has its id");
        if !once.insert(id.to_owned()) {
            again.insert(id.to_owned());
        }
    }
    (once, again)
}

/// What became of the events that a client sent.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// The ids that were answered `accepted`.
    pub accepted: BTreeSet<String>,
    /// Those of them that were sent again because no answer came the first time.
    pub answer_lost: BTreeSet<String>,
}

/// Sends events as one client, as a device would: what is not accepted is sent again.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Where events are posted; changes when `events` is started again.
    url: Mutex<String>,
    key: String,
    secret: String,
    next: AtomicU64,
}

impl Client {
    /// Sends to another `events` from now on.
    pub async fn follow(&self, events: &Process) {
        *self.url.lock().expect("not poisoned") = url(events).await;
    }

    /// Posts a body and gives the status and the answer.
    pub async fn post(&self, body: String) -> reqwest::Result<(u16, Value)> {
        let url = self.url.lock().expect("not poisoned").clone();
        let request = self.http.post(url).basic_auth(&self.key, Some(&self.secret));
        let answer = request
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// The next `count` events, each with an id of its own, of a handful of devices.
    pub fn events(&self, count: u64) -> Vec<Value> {
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        (first..first + count)
            .map(|number| {
                json!({
                    "eventtype": "play",
                    "eventid": format!("00000000-0000-4000-8000-{number:012}"),
                    "deviceid": format!("speaker-{}", number % 7),
                    "action": "stop",
                    "musicsource": "tidal",
                    "secondslistened": number,
                    "artist": "Ünïcødé \"quoted\" \u{1F3B5}",
                })
            })
            .collect()
    }

    /// Sends `count` events in batches, each until it is accepted as a whole.
    pub async fn send(&self, count: u64) -> Sent {
        let mut sent = Sent::default();
        for batch in self.events(count).chunks(BATCH) {
            self.send_batch(batch, &mut sent).await;
        }
        sent
    }

    /// Sends batch after batch until `work` is done, and gives what both came to.
    pub async fn send_during<T>(&self, work: impl Future<Output = T>) -> (Sent, T) {
        let done = AtomicBool::new(false);
        let sending = async {
            let mut sent = Sent::default();
            let mut pace = tokio::time::interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !done.load(Ordering::Relaxed) {
                pace.tick().await;
                self.send_batch(&self.events(BATCH as u64), &mut sent).await;
            }
            sent
        };
        let working = async {
            let output = work.await;
            done.store(true, Ordering::Relaxed);
            output
        };
        tokio::join!(sending, working)
    }

    async fn send_batch(&self, batch: &[Value], sent: &mut Sent) {
        let ids = batch
            .iter()
            .map(|event| event["eventid"].as_str().expect("ours").to_owned());
        let ids: Vec<String> = ids.collect();
        eventually("a batch to be accepted", PATIENCE, async || {
            let answer = self.post(json!(batch).to_string()).await;
            match answer {
                Ok((200, _)) => return Some(()),
                Ok((503, _)) => {}
                Ok((status, answer)) => panic!("{status}: {answer}"),
                Err(error) if error.is_connect() => {}
                Err(_) => sent.answer_lost.extend(ids.iter().cloned()),
            }
            None
        })
        .await
        .unwrap_or_else(|late| panic!("{late}"));
        sent.accepted.extend(ids);
    }
}

async fn url(events: &Process) -> String {
    let address = events.logged("listening", "address").await;
    format!("http://{address}/v1/events")
}
