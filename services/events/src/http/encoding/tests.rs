use std::io::Write;

use axum::http::HeaderValue;
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;
use crate::admission::tests::{admission, admit, gauge};

const LIMIT: usize = 5 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

/// With a checksum, as the command-line tool writes it.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("an encoder");
    encoder.include_checksum(true).expect("a parameter");
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

/// A zstd frame of this window whose blocks each say "128 KiB of zeros" in four bytes
/// (RFC 8878, sections 3.1.1.1.2 and 3.1.1.2).
fn zeros_in_zstd(window_log: u8, blocks: usize) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (window_log - 10) << 3];
    for block in 1..=blocks {
        let header = (128_u32 << 10) << 3 | 1 << 1 | u32::from(block == blocks);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// What comes out under a budget, and the bytes of the budget that are held in the end.
fn undo_within(
    budget: usize,
    limit: usize,
    encoding: Encoding,
    sent: Vec<u8>,
) -> (Result<Bytes, Refusal>, i64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let gauge = gauge();
    let admission = admission(budget, &gauge);
    let mut admitted = admit(&admission, sent.len()).expect("there is room");
    let decompressor = Decompressor::new(limit, Duration::from_secs(10));
    let undone = decompressor.undo(encoding, sent.into(), &mut admitted);
    let result = runtime.expect("a runtime").block_on(undone);
    drop(admitted);
    (result, gauge.get())
}

fn undo(encoding: Encoding, sent: Vec<u8>) -> Result<Bytes, Refusal> {
    undo_within(64 << 20, LIMIT, encoding, sent).0
}

fn problem(encoding: Encoding, sent: Vec<u8>) -> (usize, &'static str) {
    match undo(encoding, sent) {
        Err(Refusal::BadEncoding { offset, problem, .. }) => (offset, problem),
        other => panic!(
            "expected a bad encoding, got {:?}",
            other.map(|bytes| bytes.len())
        ),
    }
}

#[test]
fn one_known_encoding_is_taken() {
    let of = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        Encoding::of(&headers)
    };
    assert_eq!(of(&[]), Ok(Encoding::Identity));
    assert_eq!(of(&["identity"]), Ok(Encoding::Identity));
    assert_eq!(of(&["GZIP"]), Ok(Encoding::Gzip));
    assert_eq!(of(&["x-gzip"]), Ok(Encoding::Gzip));
    assert_eq!(of(&["zstd"]), Ok(Encoding::Zstd));
    for refused in [
        &["br"][..],
        &["deflate"],
        &[""],
        &["gzip, zstd"],
        &["gzip", "gzip"],
    ] {
        assert_eq!(of(refused), Err(Refusal::ContentEncoding), "{refused:?}");
    }
}

#[test]
fn a_body_may_become_as_large_as_the_limit_and_no_larger() {
    for (encoding, encode) in [(Encoding::Gzip, gzip as fn(&[u8]) -> _), (Encoding::Zstd, zstd)] {
        for (length, fits) in [(LIMIT - 1, true), (LIMIT, true), (LIMIT + 1, false)] {
            let result = undo(encoding, encode(&vec![7; length]));
            match result {
                Ok(bytes) => assert!(fits && bytes.len() == length, "{encoding:?} {length}"),
                Err(refusal) => {
                    assert!(!fits, "{encoding:?} {length}");
                    assert_eq!(refusal, Refusal::BodyTooLarge { limit: LIMIT });
                }
            }
        }
    }
}

#[test]
fn a_gibibyte_of_zeros_is_refused_and_never_held() {
    let gzipped = gzip(&vec![0; 16 << 20]).repeat(64);
    let zstandard = zeros_in_zstd(20, 8192);
    for (encoding, bomb) in [(Encoding::Gzip, gzipped), (Encoding::Zstd, zstandard)] {
        // What is held is admitted first: a budget of just what may be held is enough, so no more
        // than that was held. One byte less and the budget says no.
        let enough = bomb.len() + LIMIT;
        let (result, held) = undo_within(enough, LIMIT, encoding, bomb.clone());
        assert_eq!(
            result,
            Err(Refusal::BodyTooLarge { limit: LIMIT }),
            "{encoding:?}"
        );
        assert_eq!(held, 0);
        let (result, held) = undo_within(enough - 1, LIMIT, encoding, bomb);
        assert_eq!(result, Err(Refusal::Overloaded), "{encoding:?}");
        assert_eq!(held, 0);
    }
}

#[test]
fn the_budget_covers_what_came_out() {
    let sent = gzip(&[1; 1 << 20]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let gauge = gauge();
    let admission = admission(64 << 20, &gauge);
    let mut admitted = admit(&admission, sent.len()).expect("there is room");
    let decompressor = Decompressor::new(LIMIT, Duration::from_secs(10));
    let undone = decompressor.undo(Encoding::Gzip, sent.into(), &mut admitted);
    let bytes = runtime.expect("a runtime").block_on(undone).expect("valid");
    assert_eq!((bytes.len(), gauge.get()), (1 << 20, 1 << 20));
}

#[test]
fn what_is_no_stream_is_told_with_the_place() {
    let (valid_gzip, valid_zstd) = (gzip(b"{}"), zstd(b"{}"));
    assert_eq!(problem(Encoding::Gzip, Vec::new()), (0, "it ends too early"));
    assert_eq!(problem(Encoding::Zstd, Vec::new()), (0, "it ends too early"));
    assert_eq!(
        problem(Encoding::Gzip, b"{\"a\":1}".to_vec()),
        (0, "it is corrupt")
    );
    assert_eq!(
        problem(Encoding::Zstd, b"{\"a\":1}".to_vec()),
        (0, "it is corrupt")
    );
    assert_eq!(problem(Encoding::Gzip, valid_zstd.clone()).1, "it is corrupt");
    assert_eq!(problem(Encoding::Zstd, valid_gzip.clone()).1, "it is corrupt");
    for (encoding, valid) in [(Encoding::Gzip, valid_gzip), (Encoding::Zstd, valid_zstd)] {
        let trailing = [&valid[..], b"\n"].concat();
        let expected = (valid.len(), "there are other bytes after its end");
        assert_eq!(problem(encoding, trailing), expected, "{encoding:?}");
    }
}

#[test]
fn a_body_may_have_several_streams_but_not_any_number() {
    for (encoding, encode) in [(Encoding::Gzip, gzip as fn(&[u8]) -> _), (Encoding::Zstd, zstd)] {
        let two = [encode(b"{\"a\":"), encode(b""), encode(b"1}")].concat();
        assert_eq!(undo(encoding, two), Ok(Bytes::from_static(b"{\"a\":1}")));
        let one = encode(b"");
        assert_eq!(undo(encoding, one.repeat(MAX_STREAMS)), Ok(Bytes::new()));
        let expected = (one.len() * MAX_STREAMS, "it has more than 1024 parts");
        assert_eq!(problem(encoding, one.repeat(MAX_STREAMS + 1)), expected);
    }
}

#[test]
fn a_zstd_window_is_bounded() {
    let zeros = undo(Encoding::Zstd, zeros_in_zstd(23, 2)).expect("8 MiB is allowed");
    assert!(zeros.len() == 256 << 10 && zeros.iter().all(|byte| *byte == 0));
    let (_, refused) = problem(Encoding::Zstd, zeros_in_zstd(24, 2));
    assert_eq!(refused, "its window is larger than 8 MiB");
}

#[test]
fn who_waits_too_long_for_a_turn_is_told_to_come_back() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let mut decompressor = Decompressor::new(LIMIT, Duration::from_millis(1));
    decompressor.turns = Semaphore::new(0);
    let admission = admission(LIMIT, &gauge());
    let mut admitted = admit(&admission, 0).expect("there is room");
    let undone = decompressor.undo(Encoding::Gzip, gzip(b"{}").into(), &mut admitted);
    let result = runtime.expect("a runtime").block_on(undone);
    assert_eq!(result, Err(Refusal::Overloaded));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_encoded_comes_out(body in prop::collection::vec(any::<u8>(), 0..200_000)) {
        prop_assert_eq!(undo(Encoding::Gzip, gzip(&body)), Ok(Bytes::from(body.clone())));
        prop_assert_eq!(undo(Encoding::Zstd, zstd(&body)), Ok(Bytes::from(body)));
    }

    #[test]
    fn a_body_cut_off_at_any_byte_is_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for (encoding, whole) in [(Encoding::Gzip, gzip(&body)), (Encoding::Zstd, zstd(&body))] {
            for length in 0..whole.len() {
                let (offset, problem) = problem(encoding, whole[..length].to_vec());
                prop_assert_eq!((offset, problem), (length, "it ends too early"));
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_or_changes_nothing(
        body in prop::collection::vec(any::<u8>(), 0..200),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        for (encoding, mut sent) in [(Encoding::Gzip, gzip(&body)), (Encoding::Zstd, zstd(&body))] {
            let place = place.index(sent.len());
            sent[place] ^= 1_u8 << bit;
            match undo(encoding, sent) {
                Ok(bytes) => prop_assert_eq!(&bytes[..], &body[..]),
                Err(refusal) => prop_assert_eq!(refusal.code(), "bad_encoding"),
            }
        }
    }
}
