//! What redaction costs beside a verbatim copy.
//!
//! `cargo run --release -p syncomatic --example redaction`
//!
//! First the transform alone, on one thread, beside what it cannot do without (undoing the compression
//! and doing it again). Then the whole service between two emulated clouds, verbatim and redacted, over
//! the same objects. The clouds run in the same process and take their share of it both times.

#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use aws_clients::{Credentials, Endpoint};
use aws_sdk_s3::types::{BucketLocationConstraint, ChecksumAlgorithm, CreateBucketConfiguration};
use event_model::Catalogue;
use local_cloud::{CloudSettings, LocalCloud};
use serde_json::json;
use service_runtime::Runtime;
use service_runtime::tasks::Tasks;
use syncomatic::config::{Config, Limits, Queue, Side};
use syncomatic::policy::{Route, Routes};
use syncomatic::redact::{HashKey, Options, Redaction, Room};
use syncomatic::{Destination, RedactedRoutes, Source};

/// Lines of one object: about what hoard puts into one.
const LINES: usize = 100_000;
const OBJECTS: usize = 8;
const CN: &str = "events-cn";
const EU: &str = "events-eu";
const MIB: f64 = 1024.0 * 1024.0;

fn main() {
    let plain = lines();
    let zipped = gzip(&plain);
    let squeezed = zstd::stream::encode_all(plain.as_slice(), 3).expect("memory");
    println!(
        "an object: {LINES} events, {:.1} MiB of lines, {:.1} MiB in gzip, {:.1} MiB in zstd\n",
        plain.len() as f64 / MIB,
        zipped.len() as f64 / MIB,
        squeezed.len() as f64 / MIB,
    );
    println!(
        "{:44}{:>14}{:>16}",
        "the transform alone, one thread", "MiB lines/s", "events/s"
    );
    let size = plain.len();
    measure("gzip undone and done again, level 3", size, || {
        let mut lines = Vec::new();
        flate2::read::MultiGzDecoder::new(zipped.as_slice())
            .read_to_end(&mut lines)
            .expect("gzip");
        gzip(&lines).len()
    });
    let redaction = redaction();
    measure("redacted, gzip", size, || redact(&redaction, &zipped));
    measure("redacted, zstd", size, || redact(&redaction, &squeezed));
    measure("redacted, plain lines", size, || redact(&redaction, &plain));

    println!(
        "\n{:44}{:>14}{:>16}{:>16}",
        "the service, 2 clouds in the process", "MiB gzip/s", "events/s", "CPU s/GiB lines"
    );
    let executor = tokio::runtime::Runtime::new().expect("threads");
    for (name, action) in [("verbatim", "verbatim"), ("redacted", "redacted")] {
        let (wall, cpu) = executor.block_on(copy(action, &zipped));
        let (objects, bytes) = (OBJECTS as f64, zipped.len() as f64);
        println!(
            "{name:44}{:>14.1}{:>16.0}{:>16.2}",
            objects * bytes / MIB / wall.as_secs_f64(),
            objects * LINES as f64 / wall.as_secs_f64(),
            cpu.as_secs_f64() / (objects * size as f64 / MIB / 1024.0),
        );
    }
}

fn measure(name: &str, size: usize, work: impl Fn() -> usize) {
    let best = (0..3).map(|_| {
        let begun = Instant::now();
        assert!(work() > 0);
        begun.elapsed()
    });
    let best = best.min().expect("three tries").as_secs_f64();
    println!(
        "{name:44}{:>14.1}{:>16.0}",
        size as f64 / MIB / best,
        LINES as f64 / best
    );
}

/// Plays of many devices, as `events` stores them.
fn lines() -> Vec<u8> {
    let mut text = String::new();
    for number in 0..LINES {
        let (device, track, millis) = (number * 7919 % 20_011, number * 31 % 5_003, number % 1000);
        writeln!(
            text,
            r#"{{"eventid":"0192f0c1-{:04x}-7c54-9f0e-{number:012x}","schemaversion":"1-0-0","partnerid":"acme","clientid":"acme-speaker","countrycode":"cn","receivedtime":"2026-03-02T19:02:11.{millis:03}Z","eventtype":"play","deviceid":"spk-{device:08x}","userid":"u-{device:08x}","eventtime":"2026-03-02T19:02:10.{millis:03}Z","action":"stop","musicsource":"tidal","audiosource":"streaming","secondslistened":{}.{millis},"track":"Track number {track}","trackid":"{track}","artist":"Artist {}","album":"Album {}","genre":"indie","trackseconds":240,"firmware":"4.12.{}"}}"#,
            number & 0xffff,
            number % 300,
            track % 401,
            track % 997,
            device % 40,
        )
        .expect("memory");
    }
    text.into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(3));
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn redaction() -> Redaction {
    let key = HashKey::from_hex("cn-1", &"0b".repeat(32)).expect("a key");
    Redaction::new(&Catalogue::bundled().expect("bundled"), key, Options::default())
}

/// What comes out, in bytes.
fn redact(redaction: &Redaction, object: &[u8]) -> usize {
    let mut transform = redaction.transform(Room::Full);
    let mut size = 0;
    for mut chunk in object.chunks(256 << 10) {
        loop {
            let (taken, more) = transform.step(chunk).expect("readable");
            chunk = &chunk[taken..];
            size += transform.take_output().len();
            if chunk.is_empty() && !more {
                break;
            }
        }
    }
    let tally = transform.finish().expect("readable");
    assert_eq!(tally.lines(), LINES as u64);
    size + transform.take_output().len()
}

fn endpoint(cloud: &LocalCloud) -> Endpoint {
    let account = cloud.account();
    let (id, secret) = (&account.access_key_id, &account.secret_access_key);
    Endpoint {
        region: Some(account.region.clone()),
        profile: None,
        endpoint_url: Some(cloud.endpoint_url()),
        credentials: Some(Credentials::new(id, secret, None, None, "example")),
    }
}

/// Wall-clock and processor time for all objects.
async fn copy(action: &str, object: &[u8]) -> (Duration, Duration) {
    let china = LocalCloud::start(CloudSettings::in_memory("cn-north-1"))
        .await
        .expect("a cloud");
    let europe = LocalCloud::start(CloudSettings::in_memory("eu-west-1"))
        .await
        .expect("a cloud");
    let (source, destination) = (
        aws_clients::load(&endpoint(&china)).await,
        aws_clients::load(&endpoint(&europe)).await,
    );
    let source = Source {
        s3: aws_clients::s3(&source),
        sqs: aws_clients::sqs(&source),
    };
    let destination = Destination {
        s3: aws_clients::s3(&destination),
    };
    for (s3, bucket, region) in [(&source.s3, CN, "cn-north-1"), (&destination.s3, EU, "eu-west-1")] {
        let location =
            CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(region));
        let create = s3
            .create_bucket()
            .bucket(bucket)
            .create_bucket_configuration(location.build());
        create.send().await.expect("a bucket");
    }
    let queue = source
        .sqs
        .create_queue()
        .queue_name("new")
        .send()
        .await
        .expect("a queue");
    let url = queue.queue_url.expect("its URL");
    for number in 0..OBJECTS {
        let put = source.s3.put_object().bucket(CN).key(format!("{number}.gz"));
        let put = put
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(object.to_vec().into());
        put.send().await.expect("stored");
        let record = json!({"eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "cn-north-1",
            "eventTime": "2026-03-01T12:00:00.000Z", "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": CN}, "object": {"key": format!("{number}.gz"), "sequencer": "00"}}});
        let body = json!({"Records": [record]}).to_string();
        source
            .sqs
            .send_message()
            .queue_url(&url)
            .message_body(body)
            .send()
            .await
            .expect("sent");
    }
    let sides = (
        Side::new(CN, endpoint(&china)).expect("a region"),
        Side::new(EU, endpoint(&europe)).expect("a region"),
    );
    let route: Route = format!("=>:{action}").parse().expect("a route");
    let config = Config {
        routes: Routes::new(vec![route], sides.0.partition, sides.1.partition).expect("allowed"),
        source: sides.0,
        destination: sides.1,
        queue: Queue::Url(url),
        dead_letter_queue: None,
        redacted: Some(RedactedRoutes {
            redaction: redaction(),
            quarantine_bucket: CN.to_owned(),
            quarantine_prefix: "_quarantine/".to_owned(),
        }),
        ledger: None,
        storage: syncomatic::attributes::Storage::default(),
        journal_prefix: "_syncomatic/uploads/".to_owned(),
        limits: Limits::default(),
        reconcile: syncomatic::ReconcileLimits::default(),
    };
    let runtime = Runtime::new("syncomatic");
    let (begun, cpu) = (Instant::now(), cpu());
    let mut running = Tasks::new(runtime.shutdown.clone());
    running.spawn(
        "syncomatic",
        syncomatic::run(config, source, destination, runtime.clone()),
    );
    while copied(&runtime) < OBJECTS as u64 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let taken = (begun.elapsed(), self::cpu() - cpu);
    runtime.shutdown.request();
    running.join().await.expect("drained");
    taken
}

fn copied(runtime: &Runtime) -> u64 {
    let families = runtime.registry.gather();
    let records = families
        .iter()
        .find(|family| family.name() == "syncomatic_records_total");
    let counters = records.map(|family| family.get_metric()).unwrap_or_default();
    counters
        .iter()
        .map(|counter| counter.get_counter().get_value() as u64)
        .sum()
}

/// Processor time of this process so far (proc_pid_stat(5): fields 14 and 15, in hundredths of a second).
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
