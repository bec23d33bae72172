//! Where bodies lie in the data folder: key ↔ path.
//!
//! | path below `<data folder>/s3` | what |
//! |---|---|
//! | `<bucket>/<key>` | the current version of an ordinary key: the object as a file |
//! | `.reserved/<bucket>/<encoded key>.<body id>` | older versions, and keys that no file can be named after |
//! | `.staging/<body id>` | bodies being received, and the parts of multipart uploads |
//!
//! Bucket names never begin with a dot, so the three cannot meet. A key that could leave its
//! bucket's folder (`../x`) or collapse with another (`a//b`) is not ordinary.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What common file systems take as one name.
const SEGMENT_BYTES_MAX: usize = 255;
/// Of an encoded key in a reserved name; the body id behind it keeps names apart.
const ENCODED_BYTES_MAX: usize = 180;

/// Which of the places a body is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// `.staging`.
    Staged,
    /// Under the object's own name.
    Plain,
    /// `.reserved`.
    Reserved,
}

/// The paths below one root.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(data_folder: &Path) -> Self {
        Self {
            root: data_folder.join("s3"),
        }
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.root.join(".staging")
    }

    pub(super) fn staged(&self, id: &str) -> PathBuf {
        self.staging().join(id)
    }

    pub(super) fn bucket(&self, bucket: &str) -> PathBuf {
        self.root.join(bucket)
    }

    pub(super) fn reserved_bucket(&self, bucket: &str) -> PathBuf {
        self.root.join(".reserved").join(bucket)
    }

    pub(super) fn path(&self, bucket: &str, key: &str, id: &str, place: Place) -> PathBuf {
        match place {
            Place::Staged => self.staged(id),
            Place::Plain => self.bucket(bucket).join(key),
            Place::Reserved => self.reserved_bucket(bucket).join(reserved_name(key, id)),
        }
    }

    /// Where the current version of a key can be put, with the folders above it made.
    ///
    /// `owned` says that the file under the key's name, if there is one, is this key's own. A file
    /// or folder that is anything else (`d` where `d/e` lies, `A` where `a` lies on a file system
    /// that takes them for one) sends the body to the reserved place.
    pub(super) fn place(&self, bucket: &str, key: &str, owned: bool) -> Place {
        if !is_ordinary(key) {
            return Place::Reserved;
        }
        let path = self.bucket(bucket).join(key);
        let parent_is_there = path
            .parent()
            .is_some_and(|parent| fs::create_dir_all(parent).is_ok());
        if parent_is_there && (owned || fs::symlink_metadata(&path).is_err()) {
            Place::Plain
        } else {
            Place::Reserved
        }
    }

    /// Removes the folders above a file that is gone, as far as they are empty.
    pub(super) fn prune(&self, bucket: &str, file: &Path) {
        let top = self.bucket(bucket);
        for folder in file.ancestors().skip(1) {
            if folder == top || !folder.starts_with(&top) || fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }
}

/// Whether a file can have the key as its path, unchanged.
fn is_ordinary(key: &str) -> bool {
    let segment_is_ordinary = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.len() <= SEGMENT_BYTES_MAX
            && !segment
                .chars()
                .any(|character| character.is_control() || matches!(character, '\\' | ':'))
    };
    key.split('/').all(segment_is_ordinary)
}

/// A single file name that a person can still recognise the key in.
fn reserved_name(key: &str, id: &str) -> String {
    let mut name = String::with_capacity(key.len() + id.len() + 1);
    for byte in key.bytes() {
        if name.len() + 3 > ENCODED_BYTES_MAX {
            break;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            name.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(name, "%{byte:02X}");
        }
    }
    format!("{name}.{id}")
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn folder() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(folder.path());
        (folder, layout)
    }

    #[test]
    fn ordinary_keys_keep_their_names() {
        let (_folder, layout) = folder();
        for key in [
            "a",
            "2026/11/23/x.jsonl.gz",
            "with space+plus%25",
            "ünï/código",
            "[x]",
            ".hidden",
            "a..b",
        ] {
            assert_eq!(layout.place("bucket", key, false), Place::Plain, "{key}");
            assert!(layout.path("bucket", key, "id", Place::Plain).ends_with(key));
        }
    }

    #[test]
    fn awkward_keys_go_to_the_reserved_place() {
        let (_folder, layout) = folder();
        let long = "x".repeat(256);
        for key in [
            "a//b",
            "../x",
            "a/../b",
            "./x",
            "/x",
            "x/",
            "",
            ".",
            "a\u{0}b",
            "a\nb",
            "c:\\x",
            long.as_str(),
        ] {
            assert_eq!(layout.place("bucket", key, false), Place::Reserved, "{key:?}");
        }
    }

    #[test]
    fn a_file_and_a_folder_of_one_name_do_not_clash() {
        let (_folder, layout) = folder();
        for (first, second) in [("d", "d/e"), ("f/g", "f")] {
            assert_eq!(layout.place("bucket", first, false), Place::Plain);
            fs::write(layout.path("bucket", first, "id", Place::Plain), b"x").expect("a file");
            assert_eq!(layout.place("bucket", second, false), Place::Reserved, "{second}");
            assert_eq!(
                layout.place("bucket", first, true),
                Place::Plain,
                "its own file may be replaced"
            );
            assert_eq!(
                layout.place("bucket", first, false),
                Place::Reserved,
                "another's may not"
            );
        }
    }

    #[test]
    fn pruning_stops_at_the_bucket_and_at_what_is_in_use() {
        let (_folder, layout) = folder();
        assert_eq!(layout.place("bucket", "a/b/c", false), Place::Plain);
        let file = layout.path("bucket", "a/b/c", "id", Place::Plain);
        fs::write(layout.bucket("bucket").join("a/other"), b"x").expect("a file");
        layout.prune("bucket", &file);
        assert!(!layout.bucket("bucket").join("a/b").exists());
        assert!(layout.bucket("bucket").join("a/other").exists());
    }

    proptest! {
        /// Whatever the key, the path stays below its bucket, and two keys never share one.
        #[test]
        fn no_key_escapes_or_clashes(one in "[a-c./%\\\\:\u{e9} ]{1,12}", other in "[a-c./%\\\\:\u{e9} ]{1,12}") {
            let (_folder, layout) = folder();
            let path = |key: &str, id: &str| layout.path("bucket", key, id, layout.place("bucket", key, false));
            let first = path(&one, "1");
            let below_plain = first.starts_with(layout.bucket("bucket"));
            prop_assert!(below_plain || first.starts_with(layout.reserved_bucket("bucket")));
            let odd = first.components().any(|part| matches!(part, Component::ParentDir));
            prop_assert!(!odd, "{first:?}");
            if one != other {
                prop_assert_ne!(first, path(&other, "2"));
            }
        }
    }
}
