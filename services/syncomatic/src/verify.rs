//! What counts as proof that an object has arrived: the marker that the copy left, the size, and the
//! full-object CRC64NVME that both sides computed for themselves. Never an ETag or a size alone.

use std::fmt::{Display, Formatter};

use crate::object::{DestinationObject, SourceObject};

/// The user metadata entry of the destination that names the source object it is a copy of.
pub const MARKER: &str = "syncomatic-source";

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

/// How far the proof goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Source and destination store the same CRC64NVME.
    Checksum,
    /// The source stores no full-object CRC64NVME: marker and size agree, and the destination checked
    /// the bytes it received against the checksum of the bytes that were sent.
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

#[cfg(test)]
mod tests {
    use super::*;

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
