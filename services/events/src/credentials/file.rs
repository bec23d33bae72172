//! Changes to the credentials file: one at a time, each whole or not at all.
//!
//! A change holds a lock on a file beside the credentials (`.NAME.lock`, which stays), so that of two
//! that run at the same time the second sees what the first wrote. What is written goes to a temporary
//! file, to the disk, and then over the old one by a rename: a reader finds the old file or the new.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{
    ClientEntry, CredentialsError, CredentialsFile, HashKey, MAX_SECRETS, NewCredential, check_all, issue,
    new_secret,
};

/// What cannot be done to the clients.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The credentials cannot be read, or would not be usable afterwards.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A file could not be locked or written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A hash key would be overwritten, and with it every secret made worthless.
    #[error("{path} exists: a hash key is never overwritten, because every secret depends on it")]
    HashKeyExists {
        /// The file.
        path: String,
    },
    /// There is no client of this key.
    #[error("there is no client with this key: `events client list` shows them")]
    UnknownKey,
    /// The id belongs to another client.
    #[error("there is a client of this id, with key {key}: rotate its secret, or revoke it first")]
    ClientExists {
        /// The other client's key.
        key: String,
    },
    /// Every place for a secret is taken.
    #[error("this client has {MAX_SECRETS} secrets already: retire one with `events client retire`")]
    SecretsFull,
    /// Only one secret is left.
    #[error("this client has one secret only: to shut it out, revoke it")]
    LastSecret,
}

/// Which of a client's two secrets stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Keep {
    /// The one that was added last: the rotation is complete.
    Newest,
    /// The one that was there before: the rotation is given up.
    Oldest,
}

/// The credentials file on disk.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The file at `path`, which need not exist yet. A symbolic link stays one: what it points at
    /// is changed.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Self { path }
    }

    /// Every client.
    ///
    /// # Errors
    /// When the file cannot be read, or a client in it cannot be used.
    pub fn clients(&self) -> Result<Vec<ClientEntry>, ChangeError> {
        let file = CredentialsFile::read(&self.path)?;
        check_all(file.clone())?;
        Ok(file.clients)
    }

    /// Adds a client; the file is made if there is none.
    ///
    /// # Errors
    /// When the client cannot be used, or its id is another's.
    pub fn add(&self, hash_key: &HashKey, client: NewClient<'_>) -> Result<NewCredential, ChangeError> {
        self.change(|file| {
            let same_id = |other: &&ClientEntry| other.clientid == client.clientid;
            if let Some(other) = file.clients.iter().find(same_id) {
                let key = other.key.clone();
                return Err(ChangeError::ClientExists { key });
            }
            let issued = issue(
                hash_key,
                client.clientid,
                client.partner,
                client.kind,
                client.allow,
            );
            file.clients.push(issued.entry.clone());
            Ok(issued)
        })
    }

    /// Gives a client a second secret, beside the one it has.
    ///
    /// # Errors
    /// When there is no such client, or it has two secrets.
    pub fn rotate(&self, hash_key: &HashKey, key: &str) -> Result<NewCredential, ChangeError> {
        self.change(|file| {
            let entry = find(file, key)?;
            if entry.secrets.len() >= MAX_SECRETS {
                return Err(ChangeError::SecretsFull);
            }
            let (secret, hash) = new_secret(hash_key, key);
            entry.secrets.push(hash);
            let entry = entry.clone();
            Ok(NewCredential { entry, secret })
        })
    }

    /// Takes away one of a client's two secrets.
    ///
    /// # Errors
    /// When there is no such client, or it has only one.
    pub fn retire(&self, key: &str, keep: Keep) -> Result<(), ChangeError> {
        self.change(|file| {
            let secrets = &mut find(file, key)?.secrets;
            if secrets.len() < 2 {
                return Err(ChangeError::LastSecret);
            }
            match keep {
                Keep::Newest => drop(secrets.drain(..secrets.len() - 1)),
                Keep::Oldest => secrets.truncate(1),
            }
            Ok(())
        })
    }

    /// Takes a client out.
    ///
    /// # Errors
    /// When there is no such client.
    pub fn revoke(&self, key: &str) -> Result<(), ChangeError> {
        self.change(|file| {
            find(file, key)?;
            file.clients.retain(|entry| entry.key != key);
            Ok(())
        })
    }

    /// Reads, changes, checks and writes, while nobody else does.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut CredentialsFile) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let _lock = self.lock().map_err(|source| self.cannot_write(source))?;
        let mut file = match CredentialsFile::read(&self.path) {
            Err(CredentialsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                CredentialsFile::default()
            }
            read => read?,
        };
        let changed = change(&mut file)?;
        check_all(file.clone())?;
        let mut text = serde_json::to_vec_pretty(&file).expect("our own types are JSON");
        text.push(b'\n');
        let written = written(&self.path, &text);
        let replaced = written.and_then(|written| Ok(written.persist(&self.path)?));
        replaced.map_err(|source| self.cannot_write(source))?;
        sync_folder(&self.path).map_err(|source| self.cannot_write(source))?;
        Ok(changed)
    }

    /// Held until the returned file is dropped. The credentials themselves cannot be locked: they
    /// are replaced.
    fn lock(&self) -> io::Result<File> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let lock = self.path.with_file_name(format!(".{name}.lock"));
        let lock = File::options().create(true).append(true).open(lock)?;
        lock.lock()?;
        Ok(lock)
    }

    fn cannot_write(&self, source: io::Error) -> ChangeError {
        cannot_write(&self.path, source)
    }
}

/// A client to be added.
#[derive(Clone, Copy, Debug)]
pub struct NewClient<'a> {
    /// What its events carry as `clientid`.
    pub clientid: &'a str,
    /// What its events carry as `partnerid`.
    pub partner: &'a str,
    /// What kind of client it is.
    pub kind: event_model::Producer,
    /// The event types it may send, or `*`.
    pub allow: &'a [&'a str],
}

/// Writes a new hash key to a file that must not exist.
///
/// # Errors
/// When it exists or cannot be written.
pub fn create_hash_key(path: &Path) -> Result<(), ChangeError> {
    let (_, text) = HashKey::generate();
    let written =
        written(path, format!("{text}\n").as_bytes()).map_err(|source| cannot_write(path, source))?;
    match written.persist_noclobber(path) {
        Ok(_) => sync_folder(path).map_err(|source| cannot_write(path, source)),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(ChangeError::HashKeyExists {
            path: path.display().to_string(),
        }),
        Err(error) => Err(cannot_write(path, error.error)),
    }
}

fn find<'f>(file: &'f mut CredentialsFile, key: &str) -> Result<&'f mut ClientEntry, ChangeError> {
    let entry = file.clients.iter_mut().find(|entry| entry.key == key);
    entry.ok_or(ChangeError::UnknownKey)
}

/// A temporary file in the folder of `path`, for its owner alone (mode 0600), with `content` on disk.
fn written(path: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(folder(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Makes a rename last: it is a change of the folder.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn cannot_write(path: &Path, source: io::Error) -> ChangeError {
    ChangeError::Write {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
#[path = "file/tests.rs"]
mod tests;
