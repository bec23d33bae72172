//! The least that anyone must do to archive a stream: read it, and compress it.

use std::{hint::black_box, time::Duration};

use aws_sdk_kinesis::types::ShardIteratorType;
use clap::Args;
use hoard::encode::BLOCK_BYTES;
use libdeflater::{CompressionError, CompressionLvl, Compressor};
use rustix::time::{ClockId, clock_gettime};

use super::world::{KEY_ID, REGION, SECRET, Stream, kinesis};
use crate::{Failure, cores::Cores, program::Program};

/// The service's default.
const GZIP_LEVEL: i32 = 6;
/// As many records as hoard asks for at this size of theirs.
const LIMIT: i32 = 4_600;
/// What the reader prints before its number of records.
const READ: &str = "records read: ";

/// Which stream the reader reads.
#[derive(Args, Clone, Debug)]
pub struct ReadStream {
    #[arg(long)]
    endpoint: String,
    #[arg(long)]
    stream: String,
}

/// Reads every shard to its end with the SDK and drops what comes; then waits to be ended.
///
/// # Errors
/// When the stream cannot be read.
#[expect(clippy::print_stdout, reason = "how it says that it is done")]
pub async fn read_stream(asked: ReadStream) -> Result<(), Failure> {
    let kinesis = kinesis(&asked.endpoint).await;
    let failed = |error: &dyn std::fmt::Display| Failure::NotMeasured(format!("cannot read: {error}"));
    let shards = kinesis.list_shards().stream_name(&asked.stream).send().await;
    let mut records = 0;
    for shard in shards.map_err(|error| failed(&error))?.shards() {
        let iterator = kinesis.get_shard_iterator().stream_name(&asked.stream);
        let iterator = iterator.shard_id(shard.shard_id());
        let iterator = iterator
            .shard_iterator_type(ShardIteratorType::TrimHorizon)
            .send()
            .await;
        let mut next = iterator.map_err(|error| failed(&error))?.shard_iterator;
        while let Some(iterator) = next {
            let request = kinesis.get_records().shard_iterator(iterator).limit(LIMIT);
            let answer = request.send().await.map_err(|error| failed(&error))?;
            records += answer.records.len();
            let is_behind = answer.millis_behind_latest != Some(0);
            next = answer.next_shard_iterator.filter(|_| is_behind);
        }
    }
    println!("{READ}{records}");
    std::future::pending().await
}

/// What reading the stream takes, as a process of its own.
pub(super) async fn wire(stream: &Stream, records: usize, cores: &Cores) -> Result<Duration, Failure> {
    let own = std::env::current_exe().map_err(Failure::system("cannot find this program"))?;
    let folder = tempfile::tempdir().map_err(Failure::system("no temporary folder"))?;
    let (endpoint, name) = (stream.endpoint.as_str(), stream.name.as_str());
    let arguments = ["read-stream", "--endpoint", endpoint, "--stream", name];
    let mut variables = vec![
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
    ];
    variables.extend(stream.trust.iter().cloned());
    let mut program = Program::start("reader", &own, arguments, &variables, folder.path(), Some(cores))?;
    let read = program
        .logged(|line| line.strip_prefix(READ)?.parse::<usize>().ok())
        .await?;
    if read != records {
        return Err(Failure::NotMeasured(format!(
            "{read} of {records} records were read"
        )));
    }
    Ok(program.usage()?.cpu)
}

/// What compressing the lines takes, in this process: in blocks that are ready, by a compressor that is.
pub(super) fn compression(lines: &[String], cores: &Cores) -> Result<Duration, Failure> {
    let level = CompressionLvl::new(GZIP_LEVEL);
    let level = level.map_err(|_| Failure::NotMeasured("no such level of gzip".to_owned()))?;
    let blocks = blocks(lines);
    let compressed = cores.measured(|| {
        let mut compressor = Compressor::new(level);
        let mut member = vec![0; compressor.gzip_compress_bound(2 * BLOCK_BYTES)];
        let started = thread_time();
        for block in &blocks {
            black_box(compressor.gzip_compress(black_box(block), &mut member)?);
        }
        Ok(thread_time().saturating_sub(started))
    });
    compressed.map_err(|error: CompressionError| Failure::NotMeasured(error.to_string()))
}

/// The lines in blocks as hoard makes them.
fn blocks(lines: &[String]) -> Vec<Vec<u8>> {
    let mut blocks = vec![Vec::new()];
    for line in lines {
        if blocks
            .last()
            .is_some_and(|block: &Vec<u8>| block.len() >= BLOCK_BYTES)
        {
            blocks.push(Vec::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.extend_from_slice(line.as_bytes());
            block.push(b'\n');
        }
    }
    blocks
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}
