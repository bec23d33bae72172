//! Where the catalogue comes from: a folder that is looked at again and again, or the build itself.
//!
//! A folder holds `{eventtype}/{version}.json` and nothing else. Names that begin with a dot are passed
//! over, and symbolic links are followed: a Kubernetes ConfigMap is mounted as links into a hidden
//! folder, `play` → `..data/play`, which is swapped as a whole. Whoever may write to the folder decides
//! what is an event, so a link gives nobody anything. Everything else is refused by its name: a document
//! that was put where nobody looks for it would be missed, not seen.
//!
//! What is read is bounded: in entries, in bytes a document, and in bytes altogether.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use event_model::{Catalogue, CatalogueError};

use crate::reload::Source;

/// The most entries of a folder that are looked at, those of its folders and hidden ones included.
const MAX_ENTRIES: usize = 4096;

/// The largest document, in bytes. Those of the build have less than 8 KiB.
const MAX_DOCUMENT_BYTES: u64 = 256 << 10;

/// The most bytes of all documents together. A ConfigMap holds 1 MiB.
const MAX_BYTES: u64 = 16 << 20;

/// Where the schemas are.
#[derive(Clone, Debug)]
pub enum Schemas {
    /// Part of the build.
    Bundled,
    /// In a folder, as `{eventtype}/{version}.json`.
    Folder(PathBuf),
}

/// Why there is no catalogue where the schemas are.
#[derive(Debug, thiserror::Error)]
pub enum SchemasError {
    /// A document that is not fit for a catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A file or folder that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something that is no document at the place of one.
    #[error("{} is no schema: a folder of schemas holds EVENTTYPE/MODEL-REVISION-ADDITION.json alone", path.display())]
    NoDocument {
        /// What.
        path: PathBuf,
    },
    /// More than is looked at.
    #[error("{} holds more than {MAX_ENTRIES} files and folders", folder.display())]
    TooMany {
        /// The folder.
        folder: PathBuf,
    },
    /// A document, or all of them together, larger than is read.
    #[error("{} holds more than {limit} bytes", path.display())]
    TooLarge {
        /// The document, or the folder.
        path: PathBuf,
        /// How many are read.
        limit: u64,
    },
    /// An empty folder is a mistake, such as a volume that is not mounted.
    #[error("{} holds no schema", folder.display())]
    Nothing {
        /// The folder.
        folder: PathBuf,
    },
}

/// A document as it was found: its path in a catalogue, such as `play/1-0-0.json`, and its content.
pub(crate) type Document = (String, Vec<u8>);

impl Schemas {
    /// Every document, unread as JSON.
    pub(crate) fn documents(&self) -> Result<Vec<Document>, SchemasError> {
        match self {
            Self::Bundled => Ok(event_model::bundled_documents()
                .map(|(path, document)| (path.to_owned(), document.to_owned()))
                .collect()),
            Self::Folder(folder) => read_folder(folder),
        }
    }
}

impl Source for Schemas {
    const WHAT: &'static str = "schemas";
    type Value = Catalogue;
    type Error = SchemasError;

    fn files(&self) -> Vec<PathBuf> {
        let Self::Folder(folder) = self else {
            return Vec::new();
        };
        // What cannot be listed cannot be read either, and reading says why.
        let found = list(folder).unwrap_or_default();
        std::iter::once(folder.clone())
            .chain(found.folders)
            .chain(found.documents.into_iter().map(|(_, path)| path))
            .collect()
    }

    fn read(&self) -> Result<Catalogue, SchemasError> {
        Ok(Catalogue::from_documents(self.documents()?)?)
    }
}

/// What a folder of schemas holds, in the order of names.
#[derive(Default)]
struct Listing {
    folders: Vec<PathBuf>,
    /// The path in a catalogue, and on the disk.
    documents: Vec<(String, PathBuf)>,
}

fn read_folder(folder: &Path) -> Result<Vec<Document>, SchemasError> {
    let mut bytes = 0;
    let mut documents = Vec::new();
    for (name, path) in list(folder)?.documents {
        let document = read(&path)?;
        bytes += document.len() as u64;
        if bytes > MAX_BYTES {
            let (path, limit) = (folder.to_owned(), MAX_BYTES);
            return Err(SchemasError::TooLarge { path, limit });
        }
        documents.push((name, document));
    }
    if documents.is_empty() {
        let folder = folder.to_owned();
        return Err(SchemasError::Nothing { folder });
    }
    Ok(documents)
}

/// Reads one document, and not more of it than a document may have: a file may grow meanwhile.
fn read(path: &Path) -> Result<Vec<u8>, SchemasError> {
    let unreadable = |source| unreadable(path, source);
    let file = File::open(path).map_err(unreadable)?;
    let mut document = Vec::new();
    file.take(MAX_DOCUMENT_BYTES + 1)
        .read_to_end(&mut document)
        .map_err(unreadable)?;
    if document.len() as u64 > MAX_DOCUMENT_BYTES {
        let (path, limit) = (path.to_owned(), MAX_DOCUMENT_BYTES);
        return Err(SchemasError::TooLarge { path, limit });
    }
    Ok(document)
}

fn list(folder: &Path) -> Result<Listing, SchemasError> {
    let mut listing = Listing::default();
    let mut left = MAX_ENTRIES;
    let too_many = || SchemasError::TooMany {
        folder: folder.to_owned(),
    };
    for (event_type, path) in entries(folder, &mut left)?.ok_or_else(too_many)? {
        if !metadata(&path)?.is_dir() {
            return Err(SchemasError::NoDocument { path });
        }
        for (version, path) in entries(&path, &mut left)?.ok_or_else(too_many)? {
            // A pipe or a device could be waited for without end.
            if !metadata(&path)?.is_file() {
                return Err(SchemasError::NoDocument { path });
            }
            let name = format!("{event_type}/{version}");
            listing.documents.push((name, path));
        }
        listing.folders.push(path);
    }
    Ok(listing)
}

/// The entries of one folder whose names do not begin with a dot, sorted; `None` when there are more
/// than are left to look at.
fn entries(folder: &Path, left: &mut usize) -> Result<Option<Vec<(String, PathBuf)>>, SchemasError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| unreadable(folder, source))? {
        let entry = entry.map_err(|source| unreadable(folder, source))?;
        let Some(rest) = left.checked_sub(1) else {
            return Ok(None);
        };
        *left = rest;
        // A name that is not UTF-8 is no event type's and no version's: the catalogue refuses it.
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(Some(entries))
}

/// Of what a symbolic link points at.
fn metadata(path: &Path) -> Result<fs::Metadata, SchemasError> {
    fs::metadata(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> SchemasError {
    let path = path.to_owned();
    SchemasError::Unreadable { path, source }
}

#[cfg(test)]
#[path = "schemas/tests.rs"]
mod tests;
