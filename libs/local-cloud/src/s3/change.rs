//! The difference that a commit makes to the versions of one key: in memory, and to the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::body::{Bodies, Body};
use super::catalogue::Versions;
use super::layout::Place;
use super::record::{Version, Versioning};

/// The difference that a commit makes to the versions of one key.
#[derive(Default)]
pub(super) struct Change {
    pub(super) added: Option<Version>,
    pub(super) removed: Vec<Version>,
    /// The version that gives its plain place up, as it is afterwards.
    pub(super) demoted: Option<Version>,
}

impl Change {
    /// A new current version: it replaces the null version if it is one itself, and takes the
    /// plain place from the version that was current.
    pub(super) fn adding(added: Version, versions: Option<&Versions>, versioning: Versioning) -> Self {
        let mut change = Self {
            added: None,
            removed: Vec::new(),
            demoted: None,
        };
        for version in versions.into_iter().flatten() {
            if versioning != Versioning::Enabled && version.is_null() {
                change.removed.push(version.clone());
            } else if version
                .content
                .as_ref()
                .is_some_and(|content| content.body.place == Place::Plain)
            {
                let mut demoted = version.clone();
                if let Some(content) = &mut demoted.content {
                    content.body.place = Place::Reserved;
                }
                change.demoted = Some(demoted);
            }
        }
        change.added = Some(added);
        change
    }

    /// Decides where the added body goes.
    pub(super) fn place(&mut self, bodies: &Bodies, bucket: &str, key: &str) {
        let Bodies::Folder(layout) = bodies else { return };
        let owned = self.demoted.is_some() || self.removed.iter().any(is_plain);
        if let Some(content) = self.added.as_mut().and_then(|added| added.content.as_mut()) {
            content.body.place = layout.place(bucket, key, owned);
        }
    }

    /// Moves the files of removed versions out of the way before the state forgets them: should
    /// the process end in between, they are staged files of versions that are known, or of none.
    pub(super) fn set_aside(
        &self,
        bodies: &Bodies,
        bucket: &str,
        key: &str,
    ) -> std::io::Result<Vec<(PathBuf, PathBuf)>> {
        let Bodies::Folder(layout) = bodies else {
            return Ok(Vec::new());
        };
        let mut moved = Vec::new();
        for Body { id, place, .. } in self
            .removed
            .iter()
            .filter_map(|version| Some(&version.content.as_ref()?.body))
        {
            let (from, to) = (layout.path(bucket, key, id, *place), layout.staged(id));
            if let Err(error) = fs::rename(&from, &to) {
                put_back(&moved);
                return Err(error);
            }
            moved.push((from, to));
        }
        Ok(moved)
    }

    /// Brings files to where the state now says they are.
    pub(super) fn move_files(&self, bodies: &Bodies, bucket: &str, key: &str) -> std::io::Result<()> {
        let Bodies::Folder(layout) = bodies else {
            return Ok(());
        };
        let path = |body: &Body, place| layout.path(bucket, key, &body.id, place);
        if let Some(content) = self.demoted.as_ref().and_then(|version| version.content.as_ref()) {
            rename_into(
                &path(&content.body, Place::Plain),
                &path(&content.body, Place::Reserved),
            )?;
        }
        let mut new_plain = false;
        if let Some(content) = self.added.as_ref().and_then(|version| version.content.as_ref()) {
            rename_into(
                &path(&content.body, Place::Staged),
                &path(&content.body, content.body.place),
            )?;
            new_plain = content.body.place == Place::Plain;
        }
        for content in self.removed.iter().filter_map(|version| version.content.as_ref()) {
            let old = path(&content.body, content.body.place);
            let replaced = new_plain && content.body.place == Place::Plain;
            if !replaced && old.exists() {
                fs::remove_file(&old)?;
            }
            if content.body.place == Place::Plain {
                layout.prune(bucket, &old);
            }
        }
        Ok(())
    }

    pub(super) fn apply(self, keys: &mut BTreeMap<String, Versions>, key: &str) {
        let versions = keys.entry(key.to_owned()).or_default();
        versions.retain(|version| {
            !self
                .removed
                .iter()
                .any(|removed| removed.sequence == version.sequence)
        });
        if let Some(demoted) = self.demoted
            && let Some(version) = versions
                .iter_mut()
                .find(|version| version.sequence == demoted.sequence)
        {
            *version = demoted;
        }
        versions.extend(self.added);
        if versions.is_empty() {
            keys.remove(key);
        }
    }
}

fn is_plain(version: &Version) -> bool {
    version
        .content
        .as_ref()
        .is_some_and(|content| content.body.place == Place::Plain)
}

/// Undoes [`Change::set_aside`].
pub(super) fn put_back(moved: &[(PathBuf, PathBuf)]) {
    for (from, to) in moved {
        if let Err(error) = fs::rename(to, from) {
            tracing::error!(%error, "a file stays set aside until the next start");
        }
    }
}

fn rename_into(from: &Path, to: &Path) -> std::io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(from, to)
}
