//! Where a cloud's state outlives its process: nowhere, or a folder.
//!
//! The structures that the services keep in memory are authoritative while the process runs. Each
//! mutation is written here **before it is acknowledged**, and read back once, when the cloud is
//! opened.
//!
//! A write has reached the operating system when the call returns, so what was acknowledged
//! survives the end of the process however it ends (`kill -9` included). It is not flushed to the
//! device: a power cut may lose the last writes. That is the right trade for an emulator.
//!
//! Calls are synchronous and short (a memory table and an append to a file in the page cache); they
//! may be made from asynchronous code, also under a short lock.

use std::fs;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

/// A key and its value, as they were written.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// One ordered key space each. Names are part of the format on disk: never rename one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// The account that the folder belongs to.
    Cloud,
    /// S3: bucket → its settings.
    Buckets,
    /// S3: object versions.
    Objects,
    /// S3: multipart uploads and their parts.
    Uploads,
    /// S3: notifications of committed objects that the queue has not taken yet.
    Outbox,
    /// Kinesis: stream → its description, shards and consumers.
    Streams,
    /// Kinesis: records, in the order of shard and sequence number.
    Records,
    /// Firehose: delivery stream → its description.
    DeliveryStreams,
    /// SQS: queue → its attributes.
    Queues,
    /// SQS: messages.
    Messages,
}

impl Table {
    const ALL: [Self; 10] = [
        Self::Cloud,
        Self::Buckets,
        Self::Objects,
        Self::Uploads,
        Self::Outbox,
        Self::Streams,
        Self::Records,
        Self::DeliveryStreams,
        Self::Queues,
        Self::Messages,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Buckets => "buckets",
            Self::Objects => "objects",
            Self::Uploads => "uploads",
            Self::Outbox => "outbox",
            Self::Streams => "streams",
            Self::Records => "records",
            Self::DeliveryStreams => "delivery-streams",
            Self::Queues => "queues",
            Self::Messages => "messages",
        }
    }
}

/// Why state could not be opened, read or written. Always one line.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder cannot be created or written to.
    #[error("the data folder {} cannot be used: {source}", folder.display())]
    Folder {
        /// The folder that was asked for.
        folder: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another process has the folder open.
    #[error("the data folder {} is in use by another process", folder.display())]
    Locked {
        /// The folder that was asked for.
        folder: PathBuf,
    },
    /// The folder holds the state of another account or region.
    #[error("the data folder {} belongs to {found}, not to {wanted}", folder.display())]
    Foreign {
        /// The folder that was asked for.
        folder: PathBuf,
        /// Account and region found in it.
        found: String,
        /// Account and region that were asked for.
        wanted: String,
    },
    /// The store failed.
    #[error("the state cannot be read or written: {0}")]
    Store(#[from] fjall::Error),
    /// What was stored cannot be understood, for example because another version wrote it.
    #[error("the stored {what} cannot be read: {reason}")]
    Corrupt {
        /// The kind of entry.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// A write-through key-value store; a cheap handle, clone it freely.
#[derive(Clone)]
pub(crate) struct State {
    store: Option<Store>,
}

#[derive(Clone)]
struct Store {
    database: Database,
    tables: [Keyspace; Table::ALL.len()],
}

impl Store {
    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }
}

impl State {
    /// Keeps nothing: writes are dropped and scans are empty.
    pub(crate) fn in_memory() -> Self {
        Self { store: None }
    }

    /// Opens or creates the store in `<folder>/state`.
    ///
    /// # Errors
    /// The folder cannot be written to, or another process has it open.
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Folder {
            folder: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(unusable)?;
        // The store reports a folder without write permission in words of its own: try first.
        tempfile_in(folder).map_err(unusable)?;
        let database = Database::builder(folder.join("state"))
            .worker_threads(1)
            .open()
            .map_err(|error| match error {
                fjall::Error::Locked => StateError::Locked {
                    folder: folder.to_owned(),
                },
                fjall::Error::Io(source) => unusable(source),
                other => StateError::Store(other),
            })?;
        let mut tables = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            tables.push(database.keyspace(table.name(), KeyspaceCreateOptions::default)?);
        }
        let Ok(tables) = tables.try_into() else {
            unreachable!("one key space was opened for each table")
        };
        Ok(Self {
            store: Some(Store { database, tables }),
        })
    }

    /// Whether writes are kept.
    pub(crate) fn is_durable(&self) -> bool {
        self.store.is_some()
    }

    /// Writes one entry.
    pub(crate) fn put(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        if let Some(store) = &self.store {
            store.table(table).insert(key, value)?;
        }
        Ok(())
    }

    /// Removes one entry; one that is not there is removed already.
    pub(crate) fn remove(&self, table: Table, key: &[u8]) -> Result<(), StateError> {
        if let Some(store) = &self.store {
            store.table(table).remove(key)?;
        }
        Ok(())
    }

    /// Starts a group of writes that are kept all together or not at all.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch {
            open: self.store.as_ref().map(|store| (store, store.database.batch())),
        }
    }

    /// All entries of a table in the order of their keys.
    pub(crate) fn scan(&self, table: Table) -> impl Iterator<Item = Result<Entry, StateError>> + use<> {
        self.scan_prefix(table, &[])
    }

    /// The entries whose keys begin with `prefix`, in the order of their keys.
    pub(crate) fn scan_prefix(
        &self,
        table: Table,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<Entry, StateError>> + use<> {
        self.store
            .as_ref()
            .map(|store| store.table(table).prefix(prefix))
            .into_iter()
            .flatten()
            .map(|guard| {
                let (key, value) = guard.into_inner()?;
                Ok((key.to_vec(), value.to_vec()))
            })
    }
}

/// Proves that a file can be created in the folder, and leaves nothing behind.
fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(".writable");
    fs::write(&probe, [])?;
    fs::remove_file(&probe)
}

/// Writes that become visible together; dropped without [`Batch::commit`] they never happened.
pub(crate) struct Batch<'a> {
    open: Option<(&'a Store, fjall::OwnedWriteBatch)>,
}

impl Batch<'_> {
    /// Adds a write.
    pub(crate) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        if let Some((store, batch)) = &mut self.open {
            batch.insert(store.table(table), key, value);
        }
    }

    /// Adds a removal.
    pub(crate) fn remove(&mut self, table: Table, key: &[u8]) {
        if let Some((store, batch)) = &mut self.open {
            batch.remove(store.table(table), key);
        }
    }

    /// Keeps all of them.
    pub(crate) fn commit(self) -> Result<(), StateError> {
        match self.open {
            Some((_, batch)) => Ok(batch.commit()?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(state: &State, table: Table) -> Vec<Entry> {
        state
            .scan(table)
            .collect::<Result<_, _>>()
            .expect("the store is readable")
    }

    #[test]
    fn entries_come_back_in_key_order_after_reopening() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = State::open(folder.path()).expect("the folder is writable");
        state.put(Table::Queues, b"b", b"2").expect("written");
        state.put(Table::Queues, b"a", b"1").expect("written");
        state.put(Table::Queues, b"gone", b"3").expect("written");
        state.remove(Table::Queues, b"gone").expect("removed");
        let mut batch = state.batch();
        batch.put(Table::Messages, b"m", b"4");
        batch.remove(Table::Queues, b"b");
        batch.commit().expect("committed");
        let mut abandoned = state.batch();
        abandoned.put(Table::Messages, b"never", b"5");
        drop(abandoned);
        drop(state);

        let state = State::open(folder.path()).expect("the folder is free again");
        assert_eq!(entries(&state, Table::Queues), [(b"a".to_vec(), b"1".to_vec())]);
        assert_eq!(entries(&state, Table::Messages), [(b"m".to_vec(), b"4".to_vec())]);
    }

    #[test]
    fn a_folder_in_use_is_refused_in_one_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let _first = State::open(folder.path()).expect("the folder is free");
        let error = State::open(folder.path()).err().expect("the folder is taken");
        assert!(matches!(error, StateError::Locked { .. }), "{error}");
        assert!(!error.to_string().contains('\n'));
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = State::open(&file.path().join("below"))
            .err()
            .expect("a file is no folder");
        assert!(matches!(error, StateError::Folder { .. }), "{error}");
    }

    #[test]
    fn memory_keeps_nothing() {
        let state = State::in_memory();
        state.put(Table::Queues, b"a", b"1").expect("accepted");
        assert!(entries(&state, Table::Queues).is_empty());
    }
}
