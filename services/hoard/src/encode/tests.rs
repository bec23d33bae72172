//! Objects read back by decoders that share no code with what wrote them, where there is one: gzip is
//! written by libdeflate and read by zlib-rs.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use proptest::prelude::*;

use super::*;

fn encode(compression: Compression, lines: &[Vec<u8>]) -> Encoded {
    let mut encoder = Encoder::new(compression);
    for line in lines {
        encoder.push(line).expect("memory");
    }
    encoder.finish().expect("memory")
}

fn decode(compression: Compression, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match compression {
        Compression::None => plain.extend_from_slice(body),
        Compression::Gzip { .. } => {
            MultiGzDecoder::new(body)
                .read_to_end(&mut plain)
                .expect("gzip members");
        }
        Compression::Zstd { .. } => {
            let mut decoder = zstd::stream::read::Decoder::new(body).expect("memory");
            decoder.read_to_end(&mut plain).expect("zstd frames");
        }
    }
    plain
}

fn compressions() -> impl Strategy<Value = Compression> {
    prop_oneof![
        Just(Compression::None),
        (1_u32..=12).prop_map(|level| Compression::Gzip { level }),
        (1_u32..=19).prop_map(|level| Compression::Zstd { level }),
    ]
}

#[test]
fn the_crc_is_the_one_that_s3_computes() {
    // The check value of CRC-64/NVME in the catalogue of parametrised CRC algorithms.
    assert_eq!(crc_to_hex(crc64_nvme(b"123456789")), "ae8b14860a799888");
}

#[test]
fn objects_of_many_blocks_are_read_back_whole() {
    let lines: Vec<Vec<u8>> = (0..20_000)
        .map(|n| format!("{{\"n\":{n},\"eventtype\":\"play\",\"countrycode\":\"CN\"}}").into_bytes())
        .collect();
    let plain: Vec<u8> = lines
        .iter()
        .flat_map(|line| [line, &b"\n"[..]].concat())
        .collect();
    assert!(plain.len() > 3 * BLOCK_BYTES, "several blocks are meant");
    for compression in [Compression::Gzip { level: 1 }, Compression::Zstd { level: 1 }] {
        let encoded = encode(compression, &lines);
        let magic: &[u8] = match compression {
            Compression::Gzip { .. } => &[0x1f, 0x8b, 8],
            _ => &[0x28, 0xb5, 0x2f, 0xfd],
        };
        let members = encoded
            .body
            .windows(magic.len())
            .filter(|window| *window == magic)
            .count();
        assert!(members > 3, "{members} members");
        assert_eq!(decode(compression, &encoded.body), plain);
    }
}

#[test]
fn memory_is_what_is_compressed_not_what_came_in() {
    let mut encoder = Encoder::new(Compression::Gzip { level: 3 });
    let line = br#"{"eventtype":"play","countrycode":"CN","partnerid":"p-1"}"#;
    for _ in 0..20_000 {
        encoder.push(line).expect("memory");
    }
    assert!(encoder.footprint() < 400_000, "{}", encoder.footprint());
    assert!(encoder.finish().expect("memory").bytes > 1_000_000);
}

#[test]
fn an_open_object_costs_little_more_than_its_lines() {
    let mut encoder = Encoder::new(Compression::Gzip { level: 6 });
    encoder.push(&[b'x'; 300]).expect("memory");
    assert!(encoder.footprint() < 2_048, "{}", encoder.footprint());
    for _ in 0..200 {
        encoder.push(&[b'x'; 300]).expect("memory");
    }
    assert!(encoder.footprint() < 72_000, "{}", encoder.footprint());
}

#[test]
fn a_line_larger_than_a_block_takes_its_memory_for_itself_alone() {
    let mut encoder = Encoder::new(Compression::Gzip { level: 1 });
    encoder.push(&vec![b'x'; 4 * BLOCK_BYTES]).expect("memory");
    assert!(encoder.footprint() < BLOCK_BYTES, "{}", encoder.footprint());
}

proptest! {
    #[test]
    fn what_is_decoded_is_the_lines(
        compression in compressions(),
        lines in proptest::collection::vec(proptest::collection::vec(0x20_u8.., 0..300), 1..60),
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
