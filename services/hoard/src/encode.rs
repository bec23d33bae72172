//! Lines into an object's bytes, as the records arrive: the compressor's work is spread over the
//! cut's life and what waits in memory is mostly small already.
//!
//! Lines are gathered into blocks, and each block becomes a gzip member or a zstd frame of its own;
//! both formats are defined as a sequence of them (RFC 1952, section 2.2; RFC 8878, section 3). So an
//! open object holds its bytes and no compressor, and a hundred open objects cost what their lines do.
//!
//! The same lines give the same bytes (no time stamp in the gzip header). What identifies an
//! object's content across versions of the compressor is the CRC-64/NVME of its uncompressed lines.

use std::io;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use libdeflater::{CompressionLvl, Compressor};
use serde::{Deserialize, Serialize};

/// A block is closed by the line that takes it to this size, in bytes. docs/benchmarks.md has what
/// smaller and larger ones cost.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// What an open object takes beside its bytes.
const OBJECT_BYTES: usize = 512;
/// Buffers grow by an eighth and at least by this: doubling would hold up to twice what is needed.
const GROWTH_BYTES_MIN: usize = 1024;

/// How objects are compressed. Part of a prepared cut, so that redoing it after a change of
/// settings still gives the object that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Plain lines.
    None,
    /// Gzip members.
    Gzip {
        /// 1 (fast) to 12 (small).
        level: u32,
    },
    /// Zstandard frames.
    Zstd {
        /// 1 (fast) to 19 (small).
        level: u32,
    },
}

impl Compression {
    /// What follows `.jsonl` in a key. Engines choose the decompressor by it.
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip { .. } => ".gz",
            Self::Zstd { .. } => ".zst",
        }
    }

    /// Adds `block` to `output`, compressed.
    fn append(self, block: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        let mut add = |bytes: &[u8]| {
            grow(output, bytes.len());
            output.extend_from_slice(bytes);
        };
        match self {
            Self::None => add(block),
            Self::Gzip { level } => add(&gzip_member(block, level)?),
            Self::Zstd { level } => add(&zstd::bulk::compress(block, signed(level))?),
        }
        Ok(())
    }
}

fn gzip_member(block: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let level = CompressionLvl::new(signed(level));
    let level = level.map_err(|_| io::Error::other("a gzip level is from 1 to 12"))?;
    let mut compressor = Compressor::new(level);
    let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
    let length = compressor
        .gzip_compress(block, &mut member)
        .map_err(io::Error::other)?;
    member.truncate(length);
    Ok(member)
}

fn signed(level: u32) -> i32 {
    i32::try_from(level).unwrap_or(i32::MAX)
}

/// An object being written.
pub struct Encoder {
    compression: Compression,
    block: Vec<u8>,
    output: Vec<u8>,
    crc: Digest,
    lines: u64,
    bytes: u64,
}

/// A finished object.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The bytes to store.
    pub body: Bytes,
    /// How many lines they hold.
    pub lines: u64,
    /// The lines' size before compression, line breaks included.
    pub bytes: u64,
    /// CRC-64/NVME of the lines before compression.
    pub crc: u64,
}

impl Encoder {
    /// An object without lines.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            block: Vec::new(),
            output: Vec::new(),
            crc: Digest::new(CrcAlgorithm::Crc64Nvme),
            lines: 0,
            bytes: 0,
        }
    }

    /// Adds one line; `line` must not hold a line break, which is added here. Returns by how many
    /// bytes the compressed object grew. Compressing into memory does not fail unless there is none,
    /// or the level is none.
    pub fn push(&mut self, line: &[u8]) -> io::Result<usize> {
        debug_assert!(!line.contains(&b'\n'), "one line a record");
        grow(&mut self.block, line.len() + 1);
        self.block.extend_from_slice(line);
        self.block.push(b'\n');
        self.lines += 1;
        if self.block.len() < BLOCK_BYTES {
            return Ok(0);
        }
        self.close_block()
    }

    /// Memory that this object holds now, in bytes.
    pub fn footprint(&self) -> usize {
        self.block.capacity() + self.output.capacity() + OBJECT_BYTES
    }

    /// Ends the object.
    pub fn finish(mut self) -> io::Result<Encoded> {
        self.close_block()?;
        drop(self.block);
        Ok(Encoded {
            body: self.output.into(),
            lines: self.lines,
            bytes: self.bytes,
            crc: self.crc.finalize(),
        })
    }

    fn close_block(&mut self) -> io::Result<usize> {
        if self.block.is_empty() {
            return Ok(0);
        }
        self.crc.update(&self.block);
        self.bytes += self.block.len() as u64;
        let before = self.output.len();
        self.compression.append(&self.block, &mut self.output)?;
        if self.block.capacity() > 2 * BLOCK_BYTES {
            self.block = Vec::new(); // one line was that long
        }
        self.block.clear();
        Ok(self.output.len() - before)
    }
}

/// Room for `incoming` more bytes.
fn grow(buffer: &mut Vec<u8>, incoming: usize) {
    if buffer.capacity() - buffer.len() < incoming {
        buffer.reserve_exact(incoming.max(buffer.len() / 8).max(GROWTH_BYTES_MIN));
    }
}

/// CRC-64/NVME, the checksum that S3 verifies an upload with.
pub fn crc64_nvme(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// A CRC as 16 hexadecimal digits, for metadata and state.
pub fn crc_to_hex(crc: u64) -> String {
    format!("{crc:016x}")
}

#[cfg(test)]
mod tests;
