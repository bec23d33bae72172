//! What is known of buckets, object versions and uploads: in memory, and as JSON in the state.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use s3s::dto::{NotificationConfiguration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::body::Body;
use super::checksum::{Algorithm, Checksum, Kind};
use crate::state::StateError;

/// `null` is how S3 writes the id of a version that was made without versioning.
pub(super) const NULL_VERSION: &str = "null";

/// A bucket's settings.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct BucketSettings {
    pub(super) created_ms: u64,
    pub(super) versioning: Versioning,
    pub(super) notifications: NotificationConfiguration,
}

/// Once enabled, versioning can only be suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Versioning {
    Never,
    Enabled,
    Suspended,
}

/// One version of an object, or a delete marker.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Version {
    /// Grows with every commit, over all keys; orders the versions of a key.
    pub(super) sequence: u64,
    /// `None` is the null version.
    pub(super) version_id: Option<String>,
    pub(super) modified_ms: u64,
    /// `None` makes it a delete marker.
    pub(super) content: Option<Content>,
}

impl Version {
    pub(super) fn id(&self) -> &str {
        self.version_id.as_deref().unwrap_or(NULL_VERSION)
    }

    pub(super) fn is_null(&self) -> bool {
        self.version_id.is_none()
    }
}

/// An object's bytes and all that is said about them.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) bytes: u64,
    /// Without quotes.
    pub(super) etag: String,
    pub(super) checksum: Checksum,
    pub(super) headers: Headers,
    pub(super) tags: Vec<(String, String)>,
    /// The lengths in bytes of the parts of a multipart object; empty for any other.
    pub(super) part_bytes: Vec<u64>,
    pub(super) body: Body,
}

/// What the writer said and every reader is told.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Headers {
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) expires: Option<Timestamp>,
    pub(super) website_redirect_location: Option<String>,
    /// User metadata, without `x-amz-meta-`.
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) storage_class: Option<String>,
    pub(super) encryption: Encryption,
}

/// The server side encryption that was asked for. Nothing is encrypted; it is only told back.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Encryption {
    pub(super) algorithm: Option<String>,
    pub(super) kms_key_id: Option<String>,
    pub(super) bucket_key_enabled: Option<bool>,
}

/// A multipart upload.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) initiated_ms: u64,
    pub(super) headers: Headers,
    pub(super) tags: Vec<(String, String)>,
    /// What the client chose; S3's own is used otherwise.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) kind: Kind,
    /// By number; each is an entry of its own in the state.
    #[serde(skip)]
    pub(super) parts: BTreeMap<i32, Part>,
}

/// A part of an upload.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) bytes: u64,
    pub(super) md5: [u8; 16],
    pub(super) checksum: Checksum,
    pub(super) modified_ms: u64,
    pub(super) body: Body,
}

/// In whole seconds, the precision that HTTP dates have.
pub(super) fn seconds_of(ms: u64) -> Timestamp {
    Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(ms / 1000))
}

/// The state's key of an object version: bucket names have no zero byte, and the sequence has a
/// fixed length, so any key fits in between.
pub(super) fn version_key(bucket: &str, key: &str, sequence: u64) -> Vec<u8> {
    [bucket.as_bytes(), &[0], key.as_bytes(), &sequence.to_be_bytes()].concat()
}

/// Bucket and key of [`version_key`].
pub(super) fn parse_version_key(stored: &[u8]) -> Result<(String, String), StateError> {
    let corrupt = |reason: &str| StateError::Corrupt {
        what: "object version",
        reason: reason.to_owned(),
    };
    let zero = stored
        .iter()
        .position(|byte| *byte == 0)
        .ok_or_else(|| corrupt("no bucket"))?;
    let end = stored
        .len()
        .checked_sub(8)
        .filter(|end| *end > zero)
        .ok_or_else(|| corrupt("no sequence"))?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| corrupt("not UTF-8"));
    Ok((text(&stored[..zero])?, text(&stored[zero + 1..end])?))
}

/// The state's key of an upload (`part` `None`) or of one of its parts.
pub(super) fn upload_key(upload_id: &str, part: Option<i32>) -> Vec<u8> {
    let mut key = upload_id.as_bytes().to_vec();
    if let Some(part) = part {
        key.push(0);
        key.extend_from_slice(&part.to_be_bytes());
    }
    key
}

/// Upload id and part number of [`upload_key`].
pub(super) fn parse_upload_key(stored: &[u8]) -> Result<(String, Option<i32>), StateError> {
    let corrupt = || StateError::Corrupt {
        what: "upload",
        reason: "its key is malformed".to_owned(),
    };
    let (id, part) = match stored.iter().position(|byte| *byte == 0) {
        Some(zero) => {
            let number = stored[zero + 1..].try_into().map_err(|_| corrupt())?;
            (&stored[..zero], Some(i32::from_be_bytes(number)))
        }
        None => (stored, None),
    };
    Ok((String::from_utf8(id.to_vec()).map_err(|_| corrupt())?, part))
}

pub(super) fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, StateError> {
    serde_json::to_vec(value).map_err(|error| StateError::Corrupt {
        what,
        reason: error.to_string(),
    })
}

pub(super) fn decode<T: DeserializeOwned>(what: &'static str, stored: &[u8]) -> Result<T, StateError> {
    serde_json::from_slice(stored).map_err(|error| StateError::Corrupt {
        what,
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn version_keys_round_trip(key in any::<String>(), sequence in any::<u64>()) {
            let stored = version_key("bucket-1", &key, sequence);
            let (bucket, parsed) = parse_version_key(&stored).expect("well-formed");
            prop_assert_eq!((bucket.as_str(), parsed), ("bucket-1", key));
        }
    }

    #[test]
    fn upload_keys_round_trip() {
        for part in [None, Some(1), Some(10_000)] {
            let (id, parsed) = parse_upload_key(&upload_key("abc", part)).expect("well-formed");
            assert_eq!((id.as_str(), parsed), ("abc", part));
        }
    }
}
