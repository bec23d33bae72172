use super::*;
use crate::encode::crc64_nvme;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 3).expect("memory")
}

fn read(key: &str, body: &[u8], chunk: usize) -> io::Result<Content> {
    let mut reader = ContentReader::for_key(key)?;
    for chunk in body.chunks(chunk) {
        reader.push(chunk)?;
    }
    reader.finish()
}

#[test]
fn members_and_frames_that_follow_each_other_are_one_text() {
    let text = b"{\"n\":1}\n{\"n\":2}\n";
    let (first, second) = text.split_at(8);
    let expected = Content {
        lines: 2,
        bytes: 16,
        crc: crc64_nvme(text),
        is_lines: true,
    };
    for (key, body) in [
        ("a.jsonl", text.to_vec()),
        ("a.jsonl.gz", [gzip(first), gzip(second)].concat()),
        ("a.jsonl.zst", [zstd(first), zstd(second)].concat()),
    ] {
        for chunk in [1, 7, 1000] {
            assert_eq!(read(key, &body, chunk).expect("readable"), expected, "{key}");
        }
    }
}

#[test]
fn what_is_cut_off_or_damaged_is_not_the_same_content() {
    let text = b"{\"n\":1}\n".repeat(100);
    for (key, body) in [("a.jsonl.gz", gzip(&text)), ("a.jsonl.zst", zstd(&text))] {
        let whole = read(key, &body, 64).expect("readable");
        for length in 0..body.len() {
            let cut_off = read(key, &body[..length], 64);
            assert!(
                cut_off.is_err() || cut_off.is_ok_and(|content| content != whole),
                "{key} {length}"
            );
        }
        let mut trailing = body.clone();
        trailing.extend_from_slice(b"garbage");
        assert!(read(key, &trailing, 64).is_err(), "{key}");
    }
}

#[test]
fn empty_and_unended_lines_are_seen() {
    for (text, is_lines) in [
        ("{}\n", true),
        ("{}\n{}\n", true),
        ("", false),
        ("\n", false),
        ("{}", false),
        ("{}\n{}", false),
        ("{}\n\n{}\n", false),
        ("{}\n\n", false),
    ] {
        for chunk in [1, 100] {
            let content = read("a.jsonl", text.as_bytes(), chunk).expect("plain");
            assert_eq!(content.is_lines, is_lines, "{text:?}");
        }
    }
}

proptest! {
    #[test]
    fn chunks_make_no_difference(text in "[a\n]{0,40}", chunk in 1_usize..10) {
        let content = read("a.jsonl", text.as_bytes(), chunk).expect("plain");
        prop_assert_eq!(content.lines, text.matches('\n').count() as u64);
        prop_assert_eq!(content.crc, crc64_nvme(text.as_bytes()));
        let is_lines = text.ends_with('\n') && !text.starts_with('\n') && !text.contains("\n\n");
        prop_assert_eq!(content.is_lines, is_lines);
    }
}
