//! What `syncomatic reconcile` costs for buckets of 1 to 1,000,000 objects.
//!
//! `cargo run --release -p syncomatic --example reconcile [OBJECTS …]`
//!
//! Each row is a process of its own that runs the command as the program does, through the SDK, against two
//! endpoints of this process that list buckets which exist nowhere: pages as S3 writes them, made up as they
//! are asked for. Of every thousand objects one is missing at the destination. The figures are those of the
//! command's process alone, as its kernel counts them.

#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use service_runtime::Shutdown;
use service_runtime::tasks::Tasks;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const PAGE: usize = 1000;
const OBJECTS: [usize; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == "reconcile") {
        let ended = syncomatic::command::run(std::env::args_os()).expect("a command");
        eprint_usage();
        return ended;
    }
    let given: Vec<usize> = arguments[1..]
        .iter()
        .map(|text| text.parse().expect("a number of objects"))
        .collect();
    let objects = if given.is_empty() { OBJECTS.to_vec() } else { given };
    println!(
        "{:>9}{:>12}{:>10}{:>14}{:>12}{:>11}{:>12}",
        "objects", "list calls", "CPU s", "µs an object", "objects/s", "peak MiB", "missing"
    );
    let executor = tokio::runtime::Runtime::new().expect("threads");
    for objects in objects {
        executor.block_on(row(objects));
    }
    ExitCode::SUCCESS
}

/// What the kernel knows of this process at its end.
#[expect(clippy::print_stderr, reason = "standard output has the command's result")]
fn eprint_usage() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    // proc_pid_stat(5): fields 14 and 15, in hundredths of a second.
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak
        .and_then(|line| line.split_whitespace().next())
        .unwrap_or("0");
    eprintln!("usage {ticks} {peak}");
}

async fn row(objects: usize) {
    let (calls, shutdown) = (
        Arc::new(AtomicU64::new(0)),
        Shutdown::new(std::time::Duration::from_secs(1)),
    );
    let mut servers = Tasks::new(shutdown.clone());
    let mut urls = Vec::new();
    for (region, lacks) in [("cn-north-1", false), ("eu-west-1", true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        urls.push(format!("http://{}", listener.local_addr().expect("an address")));
        let side = Arc::new(Side {
            region,
            objects,
            lacks,
            calls: calls.clone(),
        });
        servers.spawn(region, serve(listener, side, shutdown.clone()));
    }
    let secrets = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secrets.path(), "secret").expect("written");
    let command = command(&urls, secrets.path());
    let begun = std::time::Instant::now();
    let output = tokio::task::spawn_blocking(move || {
        let mut command = command;
        command.output()
    });
    let output = output.await.expect("no panic").expect("it runs");
    let took = begun.elapsed();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let last: serde_json::Value = out
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("no summary: {out}{err}"));
    assert_eq!(last["total"]["objects"], objects, "{last}");
    let usage = err
        .lines()
        .find_map(|line| line.strip_prefix("usage "))
        .expect("usage");
    let (ticks, peak) = usage.split_once(' ').expect("two numbers");
    let (cpu, peak) = (
        ticks.parse::<f64>().expect("a number") / 100.0,
        peak.parse::<f64>().expect("a number"),
    );
    println!(
        "{objects:>9}{:>12}{cpu:>10.2}{:>14.1}{:>12.0}{:>11.1}{:>12}",
        calls.load(Ordering::Relaxed),
        cpu * 1e6 / objects as f64,
        objects as f64 / took.as_secs_f64(),
        peak / 1024.0,
        last["total"]["missing"].as_u64().expect("a number"),
    );
    shutdown.request();
    servers.join().await.expect("closed");
}

fn command(urls: &[String], secret: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .env_clear()
        .args(["reconcile", "--json", "--route", "in/=>of/:verbatim"])
        .args([
            "--source-region",
            "cn-north-1",
            "--source-bucket",
            "cn",
            "--source-endpoint-url",
            &urls[0],
        ])
        .args([
            "--destination-region",
            "eu-west-1",
            "--destination-bucket",
            "eu",
            "--destination-endpoint-url",
            &urls[1],
        ])
        .args([
            "--source-access-key-id",
            "id",
            "--destination-access-key-id",
            "id",
        ])
        .arg("--source-secret-access-key-file")
        .arg(secret)
        .arg("--destination-secret-access-key-file")
        .arg(secret)
        .stdin(Stdio::null());
    command
}

/// One side's S3: it says where its bucket is, and lists it.
struct Side {
    region: &'static str,
    objects: usize,
    /// Whether of every thousand objects one is not there.
    lacks: bool,
    calls: Arc<AtomicU64>,
}

async fn serve(listener: TcpListener, side: Arc<Side>, shutdown: Shutdown) -> Result<(), std::io::Error> {
    let mut connections = Tasks::new(shutdown.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = shutdown.requested() => return Ok(()),
        };
        let side = side.clone();
        connections.spawn("connection", async move { side.answer(accepted.0).await });
    }
}

impl Side {
    /// HTTP/1.1, as far as two kinds of request without a body need it.
    async fn answer(&self, stream: TcpStream) -> Result<(), std::io::Error> {
        let mut stream = BufReader::new(stream);
        let mut request = String::new();
        loop {
            request.clear();
            if stream.read_line(&mut request).await? == 0 {
                return Ok(());
            }
            let mut header = String::new();
            while stream.read_line(&mut header).await? > 2 {
                header.clear();
            }
            let body = if request.starts_with("HEAD") {
                String::new()
            } else {
                self.page(&request)
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nx-amz-bucket-region: {}\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                 Content-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
                self.region,
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
    }

    /// The token is the number of the page's first object.
    fn page(&self, request: &str) -> String {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let token = request
            .split(['?', '&', ' '])
            .find_map(|part| part.strip_prefix("continuation-token="));
        let begin: usize = token.and_then(|token| token.parse().ok()).unwrap_or(0);
        let end = (begin + PAGE).min(self.objects);
        let prefix = if self.lacks { "of" } else { "in" };
        let mut xml = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>b</Name><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>",
        );
        for number in begin..end {
            if self.lacks && number % PAGE == 7 {
                continue;
            }
            write!(
                xml,
                "<Contents><Key>{prefix}/2026/01/31/events-shardId-000000000000-{number:056}.jsonl.gz</Key>\
                 <LastModified>2025-12-01T00:00:00.000Z</LastModified><ETag>&quot;{number:032x}&quot;</ETag>\
                 <ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>\
                 <Size>5242880</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
            .expect("memory");
        }
        let more = end < self.objects;
        write!(
            xml,
            "<KeyCount>{}</KeyCount><IsTruncated>{more}</IsTruncated>",
            end - begin
        )
        .expect("memory");
        if more {
            write!(xml, "<NextContinuationToken>{end}</NextContinuationToken>").expect("memory");
        }
        xml.push_str("</ListBucketResult>");
        xml
    }
}
