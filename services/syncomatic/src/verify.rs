//! What counts as proof that an object has arrived: the marker that the copy left, the size, and the
//! full-object CRC64NVME that both sides computed for themselves. Never an ETag or a size alone.
//!
//! A redacted copy has other bytes than its source. Its marker names the source object by a keyed hash
//! and the redaction by its digest; its CRC64NVME is held against the one of the bytes that were
//! written: the writer knows it, and notes it beside the marker unless the copy was written in parts,
//! whose metadata is fixed before their bytes are. S3 completed those only under the checksum that their
//! writer asked for, so such a copy that is found later is believed by its marker, which nobody can make
//! without the key, and by its form: as many parts as its size makes.

use std::fmt::{Display, Formatter};

use crate::object::{DestinationObject, SourceObject};
use crate::redact::Redaction;
use crate::upload::{Output, PART_BYTES};

/// The user metadata entry of the destination that names the source object it is a copy of.
pub const MARKER: &str = "syncomatic-source";

/// The user metadata entry in which a redacted copy says what it is itself.
pub const OUTPUT: &str = "syncomatic-output";

/// What is written under [`MARKER`]. The text is compared as a whole, so a version of this program
/// that writes it differently copies again rather than trusting what it does not understand.
pub(crate) struct Marker<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) source: &'a SourceObject,
}

impl Display for Marker<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { bucket, source } = self;
        let etag = source.etag.trim_matches('"');
        let version = source.version_id.as_deref().unwrap_or("-");
        let crc = source.crc64_nvme.as_deref().unwrap_or("-");
        let size = source.size;
        write!(
            f,
            "1 bucket={bucket} version={version} etag={etag} size={size} crc64nvme={crc} policy=verbatim"
        )
    }
}

/// What a redacted copy has under [`MARKER`]. The source's ETag and checksum stay on their side: of a small
/// object they tell its content to whoever guesses it.
pub(crate) fn redacted_marker(bucket: &str, source: &SourceObject, redaction: &Redaction) -> String {
    let identity = redaction.identity(&Marker { bucket, source }.to_string());
    format!("1 source={identity} policy=redacted:{}", redaction.digest())
}

/// What a redacted copy has under [`OUTPUT`].
pub(crate) fn note(output: &Output) -> (String, String) {
    (OUTPUT.to_owned(), noted(output.size, &output.crc64_nvme))
}

fn noted(size: u64, crc64_nvme: &str) -> String {
    format!("1 size={size} crc64nvme={crc64_nvme}")
}

/// How far the proof goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Source and destination store the same CRC64NVME.
    Checksum,
    /// A redacted copy in parts, found in place: the destination completed it under the CRC64NVME that was
    /// computed on the way.
    Completed,
    /// The source stores no CRC64NVME to compare with. The marker agrees, and the destination checked the
    /// bytes it received against the checksum of the bytes that were sent.
    Unattested,
}

/// Why the destination is not the copy of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Difference {
    #[error("there is no object")]
    Missing,
    #[error("it is not marked as a copy of the present source object")]
    Marker,
    #[error("its size differs")]
    Size,
    #[error("its CRC64NVME differs or is missing")]
    Checksum,
}

/// Holds what is stored at the destination against what is stored at the source.
pub(crate) fn compare(
    bucket: &str,
    source: &SourceObject,
    destination: Option<&DestinationObject>,
) -> Result<Proof, Difference> {
    let destination = destination.ok_or(Difference::Missing)?;
    let marker = Marker { bucket, source }.to_string();
    if destination.marker.as_ref() != Some(&marker) {
        return Err(Difference::Marker);
    }
    if destination.size != source.size {
        return Err(Difference::Size);
    }
    match &source.crc64_nvme {
        None => Ok(Proof::Unattested),
        Some(_) if source.crc64_nvme == destination.crc64_nvme => Ok(Proof::Checksum),
        Some(_) => Err(Difference::Checksum),
    }
}

/// Holds what is stored at the destination against a redacted copy with this marker. `written` is what
/// was written just now, if it was.
pub(crate) fn compare_redacted(
    marker: &str,
    written: Option<&Output>,
    destination: Option<&DestinationObject>,
) -> Result<Proof, Difference> {
    let destination = destination.ok_or(Difference::Missing)?;
    if destination.marker.as_deref() != Some(marker) {
        return Err(Difference::Marker);
    }
    let crc64_nvme = destination.crc64_nvme.as_deref().ok_or(Difference::Checksum)?;
    let stored = noted(destination.size, crc64_nvme);
    match (written.map(note), &destination.output) {
        (Some((_, expected)), _) if expected != stored => Err(Difference::Checksum),
        (None, Some(expected)) if *expected != stored => Err(Difference::Checksum),
        (None, None) if is_in_parts(destination) => Ok(Proof::Completed),
        // What fits into one part carries its note.
        (None, None) => Err(Difference::Checksum),
        _ => Ok(Proof::Checksum),
    }
}

/// Whether an object has the form of a redacted copy in parts: the ETag of an upload ends with the number
/// of its parts (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>).
fn is_in_parts(destination: &DestinationObject) -> bool {
    let parts = destination.etag.trim_matches('"').rsplit_once('-');
    let parts = parts.and_then(|(_, parts)| parts.parse::<u64>().ok());
    let part_bytes = PART_BYTES as u64;
    destination.size > part_bytes && parts == Some(destination.size.div_ceil(part_bytes))
}

#[cfg(test)]
mod tests {
    use event_model::Catalogue;

    use crate::redact::{HashKey, Options};

    use super::*;

    fn redaction(digit: char) -> Redaction {
        let key = HashKey::from_hex("k", &digit.to_string().repeat(64)).expect("a key");
        Redaction::new(&Catalogue::bundled().expect("bundled"), key, Options::default())
    }

    #[test]
    fn a_redacted_copy_is_proved_by_what_was_written() {
        let marker = redacted_marker("b", &source(), &redaction('a'));
        let output = Output {
            size: 5,
            crc64_nvme: "AAAAAAAAAAI=".into(),
        };
        let copy = |noted: Option<&Output>| DestinationObject {
            etag: "\"x\"".into(),
            size: 5,
            crc64_nvme: Some("AAAAAAAAAAI=".into()),
            marker: Some(marker.clone()),
            output: noted.map(|output| note(output).1),
        };
        let other = Output {
            size: 6,
            ..output.clone()
        };
        for (noted, written, expected) in [
            (Some(&output), None, Ok(Proof::Checksum)),
            (Some(&output), Some(&output), Ok(Proof::Checksum)),
            (None, Some(&output), Ok(Proof::Checksum)),
            (None, None, Err(Difference::Checksum)),
            (Some(&other), None, Err(Difference::Checksum)),
            (Some(&output), Some(&other), Err(Difference::Checksum)),
            (None, Some(&other), Err(Difference::Checksum)),
        ] {
            let compared = compare_redacted(&marker, written, Some(&copy(noted)));
            assert_eq!(compared, expected, "{noted:?} {written:?}");
        }
        assert_eq!(compare_redacted(&marker, None, None), Err(Difference::Missing));
        let unchecked = DestinationObject {
            crc64_nvme: None,
            ..copy(None)
        };
        assert_eq!(
            compare_redacted(&marker, None, Some(&unchecked)),
            Err(Difference::Checksum)
        );
    }

    #[test]
    fn a_redacted_copy_in_parts_is_known_by_its_marker_and_its_form() {
        let marker = redacted_marker("b", &source(), &redaction('a'));
        let size = 2 * PART_BYTES as u64 + 1;
        let copy = |etag: &str, size| DestinationObject {
            etag: etag.into(),
            size,
            crc64_nvme: Some("AAAAAAAAAAI=".into()),
            marker: Some(marker.clone()),
            output: None,
        };
        let in_parts = copy("\"0f-3\"", size);
        assert_eq!(
            compare_redacted(&marker, None, Some(&in_parts)),
            Ok(Proof::Completed)
        );
        let other = redacted_marker("b", &source(), &redaction('b'));
        assert_eq!(
            compare_redacted(&other, None, Some(&in_parts)),
            Err(Difference::Marker)
        );
        for (etag, size) in [
            ("\"0f\"", size),
            ("\"0f-2\"", size),
            ("\"0f-3\"", size - 1),
            ("\"0f-1\"", 5),
        ] {
            let compared = compare_redacted(&marker, None, Some(&copy(etag, size)));
            assert_eq!(compared, Err(Difference::Checksum), "{etag} {size}");
        }
    }

    #[test]
    fn the_marker_of_a_redacted_copy_tells_nothing_of_the_source_and_everything_apart() {
        let marker = redacted_marker("b", &source(), &redaction('a'));
        assert!(
            !marker.contains("abc") && !marker.contains("AAAAAAAAAAA"),
            "{marker}"
        );
        let newer = SourceObject {
            etag: "\"abd\"".into(),
            ..source()
        };
        for other in [
            redacted_marker("b", &newer, &redaction('a')),
            redacted_marker("c", &source(), &redaction('a')),
            redacted_marker("b", &source(), &redaction('b')),
            Marker {
                bucket: "b",
                source: &source(),
            }
            .to_string(),
        ] {
            assert_ne!(marker, other);
        }
    }

    fn source() -> SourceObject {
        SourceObject {
            etag: "\"abc\"".into(),
            version_id: Some("v1".into()),
            size: 7,
            crc64_nvme: Some("AAAAAAAAAAA=".into()),
        }
    }

    fn copy_of(source: &SourceObject) -> DestinationObject {
        DestinationObject {
            etag: "\"other\"".into(),
            size: source.size,
            crc64_nvme: source.crc64_nvme.clone(),
            marker: Some(Marker { bucket: "b", source }.to_string()),
            output: None,
        }
    }

    #[test]
    fn only_a_marked_copy_of_the_same_size_and_checksum_is_proof() {
        let source = source();
        assert_eq!(
            compare("b", &source, Some(&copy_of(&source))),
            Ok(Proof::Checksum)
        );
        assert_eq!(compare("b", &source, None), Err(Difference::Missing));

        type Change = fn(&mut DestinationObject);
        let changes: [(Change, Difference); 5] = [
            (|copy| copy.marker = None, Difference::Marker),
            (|copy| copy.marker = Some("1".into()), Difference::Marker),
            (|copy| copy.size += 1, Difference::Size),
            (
                |copy| copy.crc64_nvme = Some("AAAAAAAAAAE=".into()),
                Difference::Checksum,
            ),
            (|copy| copy.crc64_nvme = None, Difference::Checksum),
        ];
        for (change, difference) in changes {
            let mut copy = copy_of(&source);
            change(&mut copy);
            assert_eq!(compare("b", &source, Some(&copy)), Err(difference));
        }
    }

    #[test]
    fn a_copy_of_any_other_source_object_is_none_of_this_one() {
        let copy = copy_of(&source());
        type Change = fn(&mut SourceObject);
        let changes: [Change; 4] = [
            |source| source.etag = "\"abd\"".into(),
            |source| source.version_id = None,
            |source| source.size = 8,
            |source| source.crc64_nvme = None,
        ];
        for change in changes {
            let mut source = source();
            change(&mut source);
            assert_eq!(compare("b", &source, Some(&copy)), Err(Difference::Marker));
        }
        assert_eq!(
            compare("another", &source(), Some(&copy)),
            Err(Difference::Marker)
        );
    }

    #[test]
    fn without_a_source_checksum_the_proof_says_so() {
        let source = SourceObject {
            crc64_nvme: None,
            ..source()
        };
        let mut copy = copy_of(&source);
        copy.crc64_nvme = Some("AAAAAAAAAAA=".into());
        assert_eq!(compare("b", &source, Some(&copy)), Ok(Proof::Unattested));
    }
}
