//! A look inside one object, as S3 gives it: what is written on it, and its first lines. However large
//! the object is, only its beginning is fetched, and only so much of that is unpacked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read};

use aws_clients::{Failure, classify, describe};
use aws_sdk_s3::Client;
use flate2::bufread::MultiGzDecoder;
use serde::Serialize;

/// Bytes of an object that are fetched, from its beginning.
pub(crate) const FETCHED_BYTES_MAX: usize = 256 << 10;
/// Bytes that are unpacked of them.
const UNPACKED_BYTES_MAX: u64 = 256 << 10;
/// Lines that are shown.
pub(crate) const LINES_MAX: usize = 20;
/// Bytes of a line that are shown.
pub(crate) const LINE_BYTES_MAX: usize = 4 << 10;

/// What there is to see.
#[derive(Debug, Serialize)]
pub(crate) struct Inside {
    bucket: String,
    key: String,
    /// As it is stored.
    bytes: u64,
    etag: String,
    content_type: String,
    modified_ms: i64,
    /// What its writer wrote on it.
    metadata: BTreeMap<String, String>,
    /// The first lines.
    lines: Vec<Line>,
}

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    text: String,
    /// Whether that is all of it.
    whole: bool,
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closed {
    #[error("there is no such object")]
    Missing,
    #[error("S3 does not give it: {0}")]
    Unavailable(String),
    #[error("its bytes are not gzip: {0}")]
    NotGzip(std::io::Error),
}

/// Opens an object.
///
/// # Errors
/// It is not there, S3 does not give it, or it is not gzip.
pub(crate) async fn look(client: &Client, bucket: &str, key: &str) -> Result<Inside, Closed> {
    let range = format!("bytes=0-{}", FETCHED_BYTES_MAX - 1);
    let request = client.get_object().bucket(bucket).key(key).range(range);
    let mut object = request.send().await.map_err(|error| match classify(&error) {
        Failure::NotFound => Closed::Missing,
        _ => Closed::Unavailable(describe(&error)),
    })?;
    let mut body = Vec::new();
    while let Some(chunk) = object.body.next().await {
        let chunk = chunk.map_err(|error| Closed::Unavailable(error.to_string()))?;
        let room = FETCHED_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == FETCHED_BYTES_MAX {
            break;
        }
    }
    let bytes = size(&object).unwrap_or(body.len() as u64);
    let modified = object.last_modified().and_then(|at| at.to_millis().ok());
    Ok(Inside {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        bytes,
        etag: object.e_tag().unwrap_or_default().to_owned(),
        content_type: object.content_type().unwrap_or_default().to_owned(),
        modified_ms: modified.unwrap_or_default(),
        metadata: object.metadata.clone().unwrap_or_default().into_iter().collect(),
        lines: first_lines(&body, bytes > body.len() as u64)?,
    })
}

/// Of the whole object: what comes after the slash of `Content-Range: bytes 0-9/120`.
fn size(object: &aws_sdk_s3::operation::get_object::GetObjectOutput) -> Option<u64> {
    let (_, size) = object.content_range()?.rsplit_once('/')?;
    size.parse().ok()
}

/// The first lines of a gzip body, of which only the beginning may be here.
fn first_lines(body: &[u8], more_follows: bool) -> Result<Vec<Line>, Closed> {
    let mut reader = BufReader::new(MultiGzDecoder::new(body).take(UNPACKED_BYTES_MAX));
    let mut lines = Vec::new();
    let mut line = Vec::new();
    while lines.len() < LINES_MAX {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => lines.push(shown(&line)),
            // The rest of it was not fetched.
            Err(error) if more_follows && error.kind() == ErrorKind::UnexpectedEof => {
                if !line.is_empty() {
                    lines.push(shown(&line));
                }
                break;
            }
            Err(error) => return Err(Closed::NotGzip(error)),
        }
    }
    Ok(lines)
}

/// A line is whole if its end is here and it is not too long to be shown.
fn shown(line: &[u8]) -> Line {
    let (text, ended) = match line.strip_suffix(b"\n") {
        Some(text) => (text, true),
        None => (line, false),
    };
    let whole = ended && text.len() <= LINE_BYTES_MAX;
    let text = String::from_utf8_lossy(&text[..text.len().min(LINE_BYTES_MAX)]).into_owned();
    Line { text, whole }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut body = GzEncoder::new(Vec::new(), Compression::fast());
        body.write_all(text).expect("memory takes every byte");
        body.finish().expect("memory takes every byte")
    }

    fn line(text: &str, whole: bool) -> Line {
        let text = text.to_owned();
        Line { text, whole }
    }

    #[test]
    fn the_first_lines_are_shown_and_no_more() {
        let mut body = gzip(b"a\nb\n");
        body.extend(gzip(b"c\n"));
        let lines = first_lines(&body, false).expect("gzip");
        assert_eq!(
            lines,
            [line("a", true), line("b", true), line("c", true)],
            "of all members"
        );
        let many = gzip("x\n".repeat(LINES_MAX + 5).as_bytes());
        assert_eq!(first_lines(&many, false).expect("gzip").len(), LINES_MAX);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_even_within_a_character() {
        let long = format!("x{}\nshort\n", "é".repeat(LINE_BYTES_MAX));
        let lines = first_lines(&gzip(long.as_bytes()), false).expect("gzip");
        assert!(!lines[0].whole && lines[0].text.len() <= LINE_BYTES_MAX + 2);
        assert_eq!(lines[1], line("short", true));
    }

    #[test]
    fn a_bomb_is_unpacked_only_so_far() {
        let mut text = vec![b' '; UNPACKED_BYTES_MAX as usize];
        text.extend(b"\nbehind the bound\n");
        let lines = first_lines(&gzip(&text), false).expect("gzip");
        assert_eq!(lines, [line(&" ".repeat(LINE_BYTES_MAX), false)]);
    }

    #[test]
    fn an_end_that_is_missing_is_an_error_only_where_the_object_ends() {
        let body = gzip(b"a\nb\n");
        let beginning = &body[..body.len() - 9];
        let lines = first_lines(beginning, true).expect("more follows");
        assert_eq!(lines, [line("a", true), line("b", true)]);
        assert!(matches!(first_lines(beginning, false), Err(Closed::NotGzip(_))));
        assert!(matches!(first_lines(b"plain", false), Err(Closed::NotGzip(_))));
        assert_eq!(first_lines(&gzip(b""), false).expect("gzip"), []);
    }
}
