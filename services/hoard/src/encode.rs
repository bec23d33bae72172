//! Lines into an object's bytes, as the records arrive: the compressor's work is spread over the
//! cut's life and what waits in memory is already small.
//!
//! The same lines give the same bytes (no time stamp in the gzip header). What identifies an
//! object's content across versions of the compressor is the CRC-64/NVME of its uncompressed lines.

use std::io::{self, Write};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use flate2::GzBuilder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

/// What a deflate stream keeps beside its output: window, hash chains and pending symbols.
const DEFLATE_STATE_BYTES: usize = 320 * 1024;
/// The output grows by this much at a time: doubling would hold up to twice what is needed.
const GROWTH_BYTES: usize = 256 * 1024;
/// What an encoder can hold beyond its output, in bytes.
pub const ENCODER_OVERHEAD_BYTES: usize = DEFLATE_STATE_BYTES + GROWTH_BYTES;

/// How objects are compressed. Part of a prepared cut, so that redoing it after a change of
/// settings still gives the object that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Plain lines.
    None,
    /// One gzip member.
    Gzip {
        /// 1 (fast) to 9 (small).
        level: u32,
    },
}

impl Compression {
    /// What follows `.jsonl` in a key. Engines choose the decompressor by it.
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip { .. } => ".gz",
        }
    }
}

/// An object being written.
pub struct Encoder {
    output: Output,
    crc: Digest,
    lines: u64,
    bytes: u64,
}

enum Output {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
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
        let output = match compression {
            Compression::None => Output::Plain(Vec::new()),
            Compression::Gzip { level } => {
                let gzip = GzBuilder::new().mtime(0);
                Output::Gzip(Box::new(gzip.write(Vec::new(), flate2::Compression::new(level))))
            }
        };
        Self {
            output,
            crc: Digest::new(CrcAlgorithm::Crc64Nvme),
            lines: 0,
            bytes: 0,
        }
    }

    /// Adds one line; `line` must not hold a line break, which is added here. Writing to memory
    /// does not fail, but the compressor's interface is an `io::Write`.
    pub fn push(&mut self, line: &[u8]) -> io::Result<()> {
        debug_assert!(!line.contains(&b'\n'), "one line a record");
        self.reserve(line.len() + 1);
        self.write(line)?;
        self.write(b"\n")?;
        self.lines += 1;
        Ok(())
    }

    /// Uncompressed bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory that this object holds now, in bytes.
    pub fn footprint(&self) -> usize {
        match &self.output {
            Output::Plain(output) => output.capacity(),
            Output::Gzip(encoder) => encoder.get_ref().capacity() + DEFLATE_STATE_BYTES,
        }
    }

    /// Ends the object.
    pub fn finish(self) -> io::Result<Encoded> {
        let body = match self.output {
            Output::Plain(output) => output,
            Output::Gzip(encoder) => encoder.finish()?,
        };
        Ok(Encoded {
            body: body.into(),
            lines: self.lines,
            bytes: self.bytes,
            crc: self.crc.finalize(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.bytes += bytes.len() as u64;
        match &mut self.output {
            Output::Plain(output) => output.write_all(bytes),
            Output::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    /// Room for what `incoming` bytes may add at worst.
    fn reserve(&mut self, incoming: usize) {
        let output = match &mut self.output {
            Output::Plain(output) => output,
            Output::Gzip(encoder) => encoder.get_mut(),
        };
        if output.capacity() - output.len() < incoming {
            output.reserve_exact(incoming.max(GROWTH_BYTES));
        }
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
mod tests {
    use super::*;
    use flate2::read::MultiGzDecoder;
    use proptest::prelude::*;
    use std::io::Read;

    fn encode(compression: Compression, lines: &[Vec<u8>]) -> Encoded {
        let mut encoder = Encoder::new(compression);
        for line in lines {
            encoder.push(line).expect("memory");
        }
        encoder.finish().expect("memory")
    }

    fn decode(compression: Compression, body: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => body.to_vec(),
            Compression::Gzip { .. } => {
                let mut plain = Vec::new();
                MultiGzDecoder::new(body)
                    .read_to_end(&mut plain)
                    .expect("a gzip member");
                plain
            }
        }
    }

    fn compressions() -> impl Strategy<Value = Compression> {
        prop_oneof![
            Just(Compression::None),
            (1_u32..=9).prop_map(|level| Compression::Gzip { level })
        ]
    }

    #[test]
    fn the_crc_is_the_one_that_s3_computes() {
        // The check value of CRC-64/NVME in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc_to_hex(crc64_nvme(b"123456789")), "ae8b14860a799888");
    }

    #[test]
    fn memory_is_what_is_compressed_not_what_came_in() {
        let mut encoder = Encoder::new(Compression::Gzip { level: 3 });
        for _ in 0..20_000 {
            encoder
                .push(br#"{"eventtype":"play","countrycode":"CN","partnerid":"p-1"}"#)
                .expect("memory");
        }
        assert!(encoder.bytes() > 1_000_000);
        assert!(encoder.footprint() < 1_000_000, "{}", encoder.footprint());
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_the_lines(
            compression in compressions(),
            lines in proptest::collection::vec(proptest::collection::vec(0x20_u8.., 0..300), 0..60),
        ) {
            let encoded = encode(compression, &lines);
            let plain: Vec<u8> = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
            prop_assert_eq!(&decode(compression, &encoded.body), &plain);
            prop_assert_eq!(encoded.lines, lines.len() as u64);
            prop_assert_eq!(encoded.bytes, plain.len() as u64);
            prop_assert_eq!(encoded.crc, crc64_nvme(&plain));
            prop_assert_eq!(encode(compression, &lines).body, encoded.body);
        }
    }
}
