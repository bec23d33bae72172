//! What each choice of compression costs, and an archive for readers that are not ours.
//!
//! `cargo run --release -p hoard --example archiving` prints size and speed of each choice, over blocks as the
//! archive makes them, in CPU rather than in time, so that a busy machine does not blur it.
//!
//! `… -- export FOLDER gzip 4` writes the objects of a small archive into a folder instead: for `gzip -t`,
//! DuckDB.
//!
//! What archiving costs beside that, `bench hoard` measures.

#![allow(clippy::print_stdout, reason = "its output is for people")]

mod cloud;
mod compression;
mod corpus;
mod instance;

use std::error::Error;
use std::path::Path;

use cloud::Cloud;
use hoard::encode::Compression;

type Failure = Box<dyn Error + Send + Sync>;

const MB: f64 = 1e6;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => compression::table(),
        ["export", folder, name, level] => export(Path::new(folder), choice(name, level)?).await,
        _ => Err("give no arguments, or `export FOLDER gzip|zstd|none LEVEL`".into()),
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

async fn export(folder: &Path, compression: Compression) -> Result<(), Failure> {
    let cloud = Cloud::start(4, 40_000).await?;
    instance::archive(&cloud, compression).await?;
    cloud.export(folder).await?;
    println!("{} records, {} bytes", cloud.records, cloud.bytes);
    cloud.stop().await;
    Ok(())
}
