//! All that is known, in memory: buckets, the versions of each key, uploads.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use s3s::{S3Result, s3_error};

use super::body::Bodies;
use super::layout::{Layout, Place};
use super::record::{self, BucketSettings, Content, Upload, Version};
use crate::state::{State, StateError, Table};

/// The structures behind S3's one lock.
#[derive(Default)]
pub(super) struct Catalogue {
    pub(super) buckets: BTreeMap<String, Bucket>,
    /// By upload id.
    pub(super) uploads: BTreeMap<String, Upload>,
    last_sequence: u64,
}

/// A bucket and what is in it.
pub(super) struct Bucket {
    pub(super) settings: BucketSettings,
    /// In the order in which S3 lists them: that of their UTF-8 bytes.
    pub(super) keys: BTreeMap<String, Versions>,
}

/// The versions of a key, oldest first; never empty. The last one is the current one.
pub(super) type Versions = Vec<Version>;

impl Catalogue {
    /// A number above all that were given out, also before a restart: it follows the clock, unless
    /// that stands still or goes back.
    pub(super) fn next_sequence(&mut self) -> u64 {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let clock = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.last_sequence = clock.max(self.last_sequence + 1);
        self.last_sequence
    }

    pub(super) fn bucket(&self, name: &str) -> S3Result<&Bucket> {
        self.buckets.get(name).ok_or_else(no_such_bucket)
    }

    pub(super) fn bucket_mut(&mut self, name: &str) -> S3Result<&mut Bucket> {
        self.buckets.get_mut(name).ok_or_else(no_such_bucket)
    }

    /// The upload, if it is one of this key.
    pub(super) fn upload(&self, bucket: &str, key: &str, upload_id: &str) -> S3Result<&Upload> {
        self.bucket(bucket)?;
        self.uploads.get(upload_id).filter(|upload| upload.bucket == bucket && upload.key == key).ok_or_else(|| {
            s3_error!(
                NoSuchUpload,
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
                 aborted or completed."
            )
        })
    }

    /// Reads back what the state holds, and finishes the renames that the end of the last process
    /// interrupted.
    pub(super) fn load(state: &State, bodies: &Bodies) -> Result<Self, StateError> {
        let mut catalogue = Self::default();
        for entry in state.scan(Table::Buckets) {
            let (name, settings) = entry?;
            let settings = record::decode("bucket", &settings)?;
            let name = String::from_utf8_lossy(&name).into_owned();
            catalogue.buckets.insert(
                name,
                Bucket {
                    settings,
                    keys: BTreeMap::new(),
                },
            );
        }
        for entry in state.scan(Table::Objects) {
            let (stored_key, version) = entry?;
            let (bucket, key) = record::parse_version_key(&stored_key)?;
            let version: Version = record::decode("object version", &version)?;
            catalogue.last_sequence = catalogue.last_sequence.max(version.sequence);
            let missing = || StateError::Corrupt {
                what: "object version",
                reason: format!("no bucket {bucket}"),
            };
            let bucket = catalogue.buckets.get_mut(&bucket).ok_or_else(missing)?;
            bucket.keys.entry(key).or_default().push(version);
        }
        for versions in catalogue
            .buckets
            .values_mut()
            .flat_map(|bucket| bucket.keys.values_mut())
        {
            // One key can be the beginning of another's stored key: the scan's order is not enough.
            versions.sort_by_key(|version| version.sequence);
        }
        for entry in state.scan(Table::Uploads) {
            let (stored_key, value) = entry?;
            let (id, part) = record::parse_upload_key(&stored_key)?;
            match part {
                None => drop(catalogue.uploads.insert(id, record::decode("upload", &value)?)),
                Some(number) => {
                    let part = record::decode("part", &value)?;
                    let missing = || StateError::Corrupt {
                        what: "part",
                        reason: "its upload is missing".to_owned(),
                    };
                    catalogue
                        .uploads
                        .get_mut(&id)
                        .ok_or_else(missing)?
                        .parts
                        .insert(number, part);
                }
            }
        }
        if let Bodies::Folder(layout) = bodies {
            catalogue.settle(layout).map_err(|source| StateError::Folder {
                folder: layout.staging(),
                source,
            })?;
        }
        Ok(catalogue)
    }

    /// Brings files to where the state says they are; the state was written first. Staged files
    /// that nothing refers to belonged to requests that were never answered.
    fn settle(&self, layout: &Layout) -> std::io::Result<()> {
        fs::create_dir_all(layout.staging())?;
        // Older versions make room before the current one takes the key's own name.
        for wanted in [Place::Reserved, Place::Plain] {
            for (name, bucket) in &self.buckets {
                for (key, versions) in &bucket.keys {
                    for content in versions.iter().filter_map(|version| version.content.as_ref()) {
                        if content.body.place == wanted {
                            settle_body(layout, name, key, content)?;
                        }
                    }
                }
            }
        }
        let parts: Vec<&str> = self
            .uploads
            .values()
            .flat_map(|upload| upload.parts.values())
            .map(|part| part.body.id.as_str())
            .collect();
        for file in fs::read_dir(layout.staging())? {
            let file = file?;
            if !file
                .file_name()
                .to_str()
                .is_some_and(|name| parts.contains(&name))
            {
                fs::remove_file(file.path())?;
            }
        }
        self.sweep_reserved(layout)
    }

    /// Removes the reserved files of versions whose removal was kept and not finished.
    fn sweep_reserved(&self, layout: &Layout) -> std::io::Result<()> {
        for (name, bucket) in &self.buckets {
            let Ok(files) = fs::read_dir(layout.reserved_bucket(name)) else {
                continue;
            };
            let known: HashSet<PathBuf> = bucket
                .keys
                .iter()
                .flat_map(|(key, versions)| versions.iter().map(move |version| (key, version)))
                .filter_map(|(key, version)| Some((key, &version.content.as_ref()?.body)))
                .filter(|(_, body)| body.place == Place::Reserved)
                .map(|(key, body)| layout.path(name, key, &body.id, Place::Reserved))
                .collect();
            for file in files {
                let path = file?.path();
                if !known.contains(&path) {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }
}

fn settle_body(layout: &Layout, bucket: &str, key: &str, content: &Content) -> std::io::Result<()> {
    let path = |place| layout.path(bucket, key, &content.body.id, place);
    let wanted = path(content.body.place);
    let staged = path(Place::Staged);
    let found = if staged.exists() {
        staged
    } else if content.body.place == Place::Reserved && !wanted.exists() && path(Place::Plain).is_file() {
        path(Place::Plain)
    } else {
        if !wanted.exists() {
            tracing::error!(bucket, key, path = %wanted.display(), "the body of an object is missing");
        }
        return Ok(());
    };
    if let Some(parent) = wanted.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(found, wanted)
}

/// The current version, unless it is a delete marker.
pub(super) fn current_content(versions: Option<&Versions>) -> Option<(&Version, &Content)> {
    let version = versions?.last()?;
    Some((version, version.content.as_ref()?))
}

pub(super) fn no_such_bucket() -> s3s::S3Error {
    s3_error!(NoSuchBucket, "The specified bucket does not exist")
}

pub(super) fn no_such_key() -> s3s::S3Error {
    s3_error!(NoSuchKey, "The specified key does not exist.")
}
