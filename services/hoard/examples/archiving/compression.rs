//! Each choice of compression over the same lines.

use std::io::Write;
use std::time::{Duration, Instant};

use hoard::encode::{Compression, Encoder};

use crate::{Failure, MB, corpus};

const LINES: u64 = 200_000;

fn blocks(lines: &[String], bytes: usize) -> Vec<Vec<u8>> {
    let mut blocks = vec![Vec::new()];
    for line in lines {
        if blocks.last().is_some_and(|block: &Vec<u8>| block.len() >= bytes) {
            blocks.push(Vec::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.extend_from_slice(line.as_bytes());
            block.push(b'\n');
        }
    }
    blocks
}

fn compress(compression: Compression, block: &[u8]) -> Result<usize, Failure> {
    Ok(match compression {
        Compression::None => block.len(),
        Compression::Gzip { level } => {
            let level = libdeflater::CompressionLvl::new(level.try_into()?).map_err(|_| "no such level")?;
            let mut compressor = libdeflater::Compressor::new(level);
            let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
            compressor.gzip_compress(block, &mut member)?
        }
        Compression::Zstd { level } => zstd::bulk::compress(block, level.try_into()?)?.len(),
    })
}

/// Nanoseconds on a CPU, from the scheduler.
fn cpu_of_this_thread() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let spent = stat.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(spent.parse()?))
}

/// Prints size and speed of the choices.
pub(crate) fn table() -> Result<(), Failure> {
    let lines: Vec<String> = (0..LINES).map(corpus::event).collect();
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    println!(
        "{LINES} lines, {:.0} MB, {:.0} bytes each",
        bytes as f64 / MB,
        bytes as f64 / LINES as f64
    );
    println!("{:<34} {:>8} {:>12}", "compression", "ratio", "MB/s a core");
    for level in [1, 2, 3, 4, 5, 6, 9, 12] {
        row(&format!("gzip {level}, libdeflate"), bytes, || {
            archived(Compression::Gzip { level }, &lines)
        })?;
    }
    for level in [1, 3, 6] {
        row(&format!("gzip {level}, zlib-rs, one stream"), bytes, || {
            let compression = flate2::Compression::new(level);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), compression);
            for line in &lines {
                encoder.write_all(line.as_bytes())?;
                encoder.write_all(b"\n")?;
            }
            Ok(encoder.finish()?.len())
        })?;
    }
    for level in [1, 3, 6, 9] {
        row(&format!("zstd {level}"), bytes, || {
            archived(Compression::Zstd { level }, &lines)
        })?;
    }
    row("none", bytes, || archived(Compression::None, &lines))?;
    println!("\n{:<34} {:>8} {:>12}", "size of blocks", "ratio", "MB/s a core");
    for kib in [64, 128, 256, 512, 1024, 4096] {
        let blocks = blocks(&lines, kib << 10);
        for compression in [Compression::Gzip { level: 4 }, Compression::Zstd { level: 3 }] {
            let name = format!("{compression:?}").to_lowercase();
            row(&format!("{kib} KiB, {name}"), bytes, || {
                blocks.iter().map(|block| compress(compression, block)).sum()
            })?;
        }
    }
    Ok(())
}

/// The size of an object of these lines.
fn archived(compression: Compression, lines: &[String]) -> Result<usize, Failure> {
    let mut encoder = Encoder::new(compression);
    for line in lines {
        encoder.push(line.as_bytes())?;
    }
    Ok(encoder.finish()?.body.len())
}

fn row(name: &str, bytes: usize, work: impl FnOnce() -> Result<usize, Failure>) -> Result<(), Failure> {
    let (wall, started) = (Instant::now(), cpu_of_this_thread()?);
    let stored = work()?;
    let cpu = cpu_of_this_thread()? - started;
    debug_assert!(wall.elapsed() >= cpu / 2, "one thread");
    let (ratio, speed) = (
        bytes as f64 / stored as f64,
        bytes as f64 / MB / cpu.as_secs_f64(),
    );
    println!("{name:<34} {ratio:>8.2} {speed:>12.0}");
    Ok(())
}
