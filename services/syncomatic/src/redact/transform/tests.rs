use std::io::{Read, Write};

use event_model::Catalogue;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::Value;

use super::super::codec::BLOCK;
use super::super::{HashKey, Options};
use super::*;

const PLAY: &str = r#"{"eventtype":"play","schemaversion":"1-0-0","deviceid":"spk-1","action":"play","musicsource":"tidal","secret":"jane"}"#;

fn redaction(line_bytes_max: usize) -> Redaction {
    let key = HashKey::from_hex("k1", &"0b".repeat(32)).expect("a key");
    let options = Options {
        line_bytes_max,
        ..Options::default()
    };
    Redaction::new(&Catalogue::bundled().expect("bundled"), key, options)
}

struct Redacted {
    output: Vec<u8>,
    quarantine: String,
    tally: Tally,
    held_max: usize,
}

/// The object in chunks of these sizes, over and over.
fn redact(redaction: &Redaction, object: &[u8], chunks: &[usize]) -> Result<Redacted, Fault> {
    let mut transform = redaction.transform(Room::Full);
    let (mut output, mut quarantine, mut held_max) = (Vec::new(), Vec::new(), 0);
    let mut rest = object;
    for size in chunks.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut chunk, behind) = rest.split_at((*size).min(rest.len()));
        rest = behind;
        loop {
            let (taken, more) = transform.step(chunk)?;
            chunk = &chunk[taken..];
            held_max = held_max
                .max(transform.output.len() + transform.quarantine.len() + transform.line.bytes.len());
            output.append(&mut transform.take_output());
            quarantine.append(&mut transform.take_quarantine());
            if chunk.is_empty() && !more {
                break;
            }
        }
    }
    let tally = transform.finish()?;
    output.append(&mut transform.take_output());
    quarantine.append(&mut transform.take_quarantine());
    Ok(Redacted {
        output,
        quarantine: String::from_utf8(quarantine).expect("UTF-8"),
        tally,
        held_max,
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).expect("memory")
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut plain).expect("gzip");
    plain
}

fn lines(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|number| format!("{}\n", PLAY.replace("spk-1", &format!("spk-{number}"))).into_bytes())
        .collect()
}

#[test]
fn what_comes_compressed_goes_out_the_same_way() {
    let redaction = redaction(1000);
    let plain = lines(1500);
    let expected = redact(&redaction, &plain, &[1000]).expect("readable").output;
    assert_eq!(expected.iter().filter(|byte| **byte == b'\n').count(), 1500);
    assert!(!expected.windows(4).any(|window| window == b"jane"));

    let zipped = redact(&redaction, &gzip(&plain), &[1000])
        .expect("readable")
        .output;
    assert!(gunzip(&zipped) == expected);
    let squeezed = redact(&redaction, &zstd(&plain), &[1000])
        .expect("readable")
        .output;
    assert!(zstd::stream::decode_all(squeezed.as_slice()).expect("zstd") == expected);

    let (one, two) = plain.split_at(plain.len() / 2 + 7);
    let members = [gzip(one), gzip(b""), gzip(two)].concat();
    let members = redact(&redaction, &members, &[1000]).expect("readable").output;
    assert!(
        members == zipped,
        "how the source was cut into members does not matter"
    );
    let frames = [zstd(one), zstd(two)].concat();
    assert!(redact(&redaction, &frames, &[1000]).expect("readable").output == squeezed);
}

#[test]
fn an_empty_object_stays_one() {
    let redaction = redaction(1000);
    let empty = redact(&redaction, b"", &[1]).expect("readable");
    assert_eq!(
        (empty.output.as_slice(), empty.tally.lines()),
        (b"".as_slice(), 0)
    );
    let zipped = redact(&redaction, &gzip(b"\n \r\n"), &[1]).expect("readable");
    assert_eq!(gunzip(&zipped.output), b"");
    assert_eq!(zipped.tally.lines_quarantined(), 0, "a blank line is no event");
}

#[test]
fn lines_that_may_not_pass_are_in_the_quarantine_with_their_bytes() {
    let redaction = redaction(200);
    let long = format!("{{\"eventtype\":\"play\",\"x\":\"{}\"}}", "y".repeat(500));
    let object = format!("{PLAY}\nnot json\n\n{long}\n{PLAY}");
    let redacted = redact(&redaction, object.as_bytes(), &[7]).expect("readable");
    assert_eq!(redacted.tally.lines(), 2);
    assert!(redacted.output.ends_with(b"}\n"), "the last line is ended too");
    let entries: Vec<Value> = redacted
        .quarantine
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let raw = |entry: &Value| {
        BASE64_STANDARD
            .decode(entry["raw"].as_str().expect("text"))
            .expect("base64")
    };
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (&entries[0]["line"], &entries[0]["reason"]),
        (&2.into(), &"not_an_event".into())
    );
    assert_eq!(raw(&entries[0]), b"not json");
    assert_eq!(
        (&entries[1]["line"], &entries[1]["reason"]),
        (&4.into(), &"too_long".into())
    );
    assert_eq!(entries[1]["bytes"], long.len());
    assert_eq!(raw(&entries[1]), long.as_bytes()[..200]);
}

#[test]
fn an_object_that_cannot_be_decompressed_is_a_fault() {
    let redaction = redaction(1000);
    for whole in [gzip(&lines(500)), zstd(&lines(500))] {
        let cut = &whole[..whole.len() - 5];
        assert!(matches!(redact(&redaction, cut, &[100]), Err(Fault::Corrupt(_))));
        let mut wrong = whole.clone();
        let middle = wrong.len() / 2;
        wrong[middle..middle + 8].fill(0xff);
        assert!(matches!(
            redact(&redaction, &wrong, &[100]),
            Err(Fault::Corrupt(_))
        ));
        let tail = [whole.as_slice(), b"tail"].concat();
        assert!(matches!(
            redact(&redaction, &tail, &[100]),
            Err(Fault::Corrupt(_))
        ));
    }
}

/// Half of what is written again after a crash comes from other chunks than before it.
#[test]
fn blocks_are_cut_by_the_lines_alone() {
    let redaction = redaction(1000);
    let plain = lines(8_000);
    let whole = redact(&redaction, &plain, &[plain.len()])
        .expect("readable")
        .output;
    assert!(whole.len() > 3 * BLOCK, "this test is about several blocks");
    let members = |object: &[u8]| {
        object
            .windows(4)
            .filter(|four| *four == [0x1f, 0x8b, 8, 0])
            .count()
    };
    for object in [gzip(&plain), zstd(&plain), plain.clone()] {
        let [one, two] =
            [300, object.len()].map(|chunk| redact(&redaction, &object, &[chunk]).expect("readable"));
        assert!(one.output == two.output, "chunks of 300 bytes give other bytes");
        if object.starts_with(&[0x1f, 0x8b]) {
            assert_eq!(members(&one.output), whole.len().div_ceil(BLOCK));
        }
    }
}

#[test]
fn a_window_for_which_there_is_no_room_is_told_from_damage() {
    let redaction = redaction(1000);
    let with_window = |log: u32| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("memory");
        encoder.window_log(log).expect("a window");
        encoder.write_all(&lines(10)).expect("memory");
        encoder.finish().expect("memory")
    };
    let read = |object: &[u8], room| {
        let mut transform = redaction.transform(room);
        let mut rest = object;
        while !rest.is_empty() {
            let (taken, _) = transform.step(rest)?;
            rest = &rest[taken..];
        }
        transform.finish().map(|tally| tally.lines())
    };
    assert_eq!(read(&with_window(21), Room::Usual), Ok(10));
    assert_eq!(read(&with_window(23), Room::Usual), Err(Fault::LargeWindow));
    assert_eq!(read(&with_window(23), Room::Full), Ok(10));
    assert_eq!(read(&with_window(24), Room::Full), Err(Fault::LargeWindow));
}

#[test]
fn what_is_held_does_not_grow_with_the_object() {
    let redaction = redaction(100_000);
    let bomb = gzip(&vec![b' '; 8 << 20]);
    assert!(bomb.len() < 1 << 20);
    let redacted = redact(&redaction, &bomb, &[64 << 10]).expect("readable");
    assert_eq!(
        redacted.tally.quarantined().collect::<Vec<_>>(),
        [(Reason::TooLong, 1)]
    );
    assert!(redacted.held_max < 400_000, "{}", redacted.held_max);

    let many = redact(&redaction, &gzip(&lines(20_000)), &[400 << 10]).expect("readable");
    assert!(many.held_max < 400_000, "{}", many.held_max);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A retry reads other chunks and must write the same bytes.
    #[test]
    fn how_the_bytes_arrive_decides_nothing(
        count in 1..700_usize,
        one in prop::collection::vec(1..5000_usize, 1..6),
        two in prop::collection::vec(1..5000_usize, 1..6),
        form in 0..3,
    ) {
        let redaction = redaction(110);
        let plain = lines(count);
        let object = match form { 0 => plain, 1 => gzip(&plain), _ => zstd(&plain) };
        let (one, two) = (redact(&redaction, &object, &one).expect("readable"), redact(&redaction, &object, &two).expect("readable"));
        prop_assert!(one.output == two.output);
        prop_assert_eq!(one.quarantine, two.quarantine);
        prop_assert_eq!(one.tally, two.tally);
    }
}
