//! What archiving costs, in CPU rather than in time, so that a busy machine does not blur it.
//!
//! `cargo run --release -p hoard --example archiving` prints three tables:
//!
//! - compression: size and speed of each choice, over blocks as the archive makes them;
//! - catching up: CPU of an instance of hoard, from a full stream to the last commit, against that of
//!   reading the same stream with the SDK and dropping it, plus that of the compression alone;
//! - memory: the peak of an instance with 1 and with 200 shards.
//!
//! `… -- export FOLDER gzip 4` writes the objects of a small archive into a folder instead, for readers
//! that are not ours: `gzip -t`, DuckDB.
//!
//! The emulated cloud and each instance are processes of their own; the CPU and memory of one process
//! are what is printed.

#![allow(clippy::print_stdout, reason = "its output is for people")]

mod cloud;
mod compression;
mod corpus;
mod instance;
mod usage;

use std::error::Error;

use cloud::{Cloud, Place};
use hoard::encode::Compression;
use usage::Usage;

type Failure = Box<dyn Error + Send + Sync>;

const MB: f64 = 1e6;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => tables().await,
        ["compression"] => compression::table(),
        ["cloud"] => cloud::serve().await,
        ["read", endpoint, shards, records] => instance::read(&Place::new(endpoint, shards, records)?).await,
        ["archive", endpoint, shards, records, compression, level] => {
            let compression = choice(compression, level)?;
            instance::archive(&Place::new(endpoint, shards, records)?, compression).await
        }
        ["export", folder, name, level] => export(folder, name, level).await,
        _ => Err("give no arguments, `compression`, or `export FOLDER gzip|zstd|none LEVEL`".into()),
    }
}

fn choice(name: &str, level: &str) -> Result<Compression, Failure> {
    let level = level.parse()?;
    match name {
        "gzip" => Ok(Compression::Gzip { level }),
        "zstd" => Ok(Compression::Zstd { level }),
        "none" => Ok(Compression::None),
        other => Err(format!("{other} is no compression").into()),
    }
}

async fn export(folder: &str, name: &str, level: &str) -> Result<(), Failure> {
    let cloud = Cloud::start(4, 40_000).await?;
    usage::of_child(&["archive"], &cloud.place, &[name, level])?;
    cloud.export(std::path::Path::new(folder)).await?;
    println!("{} records, {} bytes", cloud.place.records, cloud.bytes);
    cloud.stop()
}

async fn tables() -> Result<(), Failure> {
    compression::table()?;
    catching_up().await?;
    memory().await
}

/// Hoard against the least that any archiver must do.
async fn catching_up() -> Result<(), Failure> {
    let cloud = Cloud::start(4, 400_000).await?;
    let read = usage::of_child(&["read"], &cloud.place, &[])?;
    println!(
        "\n4 shards, {} records, {:.0} MB",
        cloud.place.records,
        cloud.bytes as f64 / MB
    );
    println!(
        "CPU ms/MB{:>28} {:>10} {:>10} {:>10} {:>8}",
        "wire", "compress", "hoard", "ratio", "MB/s"
    );
    for (name, level) in [
        ("gzip", "1"),
        ("gzip", "4"),
        ("gzip", "6"),
        ("zstd", "3"),
        ("none", "1"),
    ] {
        let compress = compression::cpu(choice(name, level)?, cloud.place.records)?;
        cloud.forget_archive().await?;
        let archive = usage::of_child(&["archive"], &cloud.place, &[name, level])?;
        let per_mb = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e3 / (cloud.bytes as f64 / MB);
        let (wire, compress, hoard) = (per_mb(read.cpu), per_mb(compress), per_mb(archive.cpu));
        println!(
            "{:<24} {wire:>12.2} {compress:>10.2} {hoard:>10.2} {:>10.2} {:>8.0}",
            format!("{name} {level}"),
            hoard / (wire + compress),
            1e3 / hoard
        );
    }
    cloud.stop()
}

async fn memory() -> Result<(), Failure> {
    println!("\n{:<24} {:>12} {:>14}", "memory", "budget MiB", "peak RSS MiB");
    for shards in [1, 200] {
        let cloud = Cloud::start(shards, 400_000).await?;
        let Usage { peak_kib, .. } = usage::of_child(&["archive"], &cloud.place, &["gzip", "4"])?;
        println!(
            "{:<24} {:>12} {:>14}",
            format!("{shards} shards"),
            instance::BUDGET >> 20,
            peak_kib >> 10
        );
        cloud.stop()?;
    }
    Ok(())
}
