//! The spool: accepted records on disk, in order, until Kinesis has taken them.
//!
//! Invariant: **a record that [`Spool::append`] kept is fsynced, and it stays until
//! [`Spool::remove`]**, which is called for records that Kinesis has stored and for no others. So an
//! event that was answered `spooled` is on disk or in the stream, whenever the process or the
//! machine ends. Records are numbered as they come and read in that order, also after a restart.
//!
//! Below it is fjall, a log-structured store. A group of records is one batch of its journal: whole
//! or absent. A torn tail, left by a machine that failed in the middle of a write, is cut off when
//! the journal is opened; nothing in it had been acknowledged. The tests tear it. A journal that is
//! damaged before its end is not opened at all: what to give up there is for a person to decide.
//!
//! Records that Kinesis will never take are dead: [`Spool::bury`] moves them to a keyspace of their
//! own, where they count for the limit and wait for a person. `events spool` looks after them.
//!
//! After an error of the disk the store refuses every write until it is opened again, which
//! [`Spool::recover`] does. A group whose write failed may come back then; it was not acknowledged,
//! and is removed.
//!
//! Calls block: [`crate::spooling`] makes them where they may.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use jiff::Timestamp;

use crate::batch::{Owner, Record};

/// What a record costs beside its bytes: its number, its time, and its share of the store's own
/// structures. Bounds the number of records, and with it the memory that their keys take.
const OVERHEAD: u64 = 128;

/// Time of arrival and length of the partition key, in front of each value.
const HEAD: usize = 8 + 4;

/// The number of a record in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sequence(u64);

#[cfg(test)]
impl Sequence {
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
impl From<u64> for Sequence {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// Why the spool cannot be opened, written or read. It never holds a record.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder cannot be created or used.
    #[error("the spool folder {} cannot be used", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has the folder open.
    #[error("the spool folder {} is in use by another process", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// What is in the folder cannot be made sense of. It was left as it is.
    #[error(
        "the spool in {} is damaged and was left as it is: move the folder aside to start with an empty \
         spool, and keep it, for its events were accepted and are in no stream yet",
        folder.display()
    )]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        #[source]
        source: Damage,
    },
    /// The store failed.
    #[error("the spool cannot be read or written")]
    Store(#[from] fjall::Error),
    /// An entry is not one of ours.
    #[error("the spool holds an entry that cannot be read")]
    Corrupt,
}

/// What is wrong with a damaged spool.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The store's own files.
    #[error("its files cannot be read")]
    Store(#[source] fjall::Error),
    /// An entry is not one of ours.
    #[error("it holds an entry that cannot be read")]
    Entry,
}

impl SpoolError {
    /// The same error, of a spool that is being opened: what cannot be read then is damaged.
    fn on_opening(self, folder: &Path) -> Self {
        let source = match self {
            Self::Corrupt => Damage::Entry,
            Self::Store(fjall::Error::Io(source)) => {
                return Self::Folder {
                    folder: folder.to_owned(),
                    source,
                };
            }
            Self::Store(fjall::Error::Locked) => {
                return Self::Locked {
                    folder: folder.to_owned(),
                };
            }
            Self::Store(error) => Damage::Store(error),
            other => return other,
        };
        Self::Damaged {
            folder: folder.to_owned(),
            source,
        }
    }
}

pub(crate) struct Spool {
    folder: PathBuf,
    limit: u64,
    /// None only when opening it again has failed.
    store: Option<Store>,
    /// The number of the next record; every lower one is acknowledged.
    next: u64,
    /// The next record to read.
    cursor: u64,
    /// No record has a lower number.
    oldest: u64,
    records: u64,
    /// Of all records, the dead ones among them.
    bytes: u64,
    dead: u64,
}

struct Store {
    database: Database,
    entries: Keyspace,
    /// Records that Kinesis will never take, under their numbers.
    dead: Keyspace,
}

/// A record that Kinesis will never take.
pub(crate) struct Dead {
    pub(crate) sequence: u64,
    /// When it came.
    pub(crate) time: Option<Timestamp>,
    pub(crate) record: Record,
}

impl Spool {
    /// Opens or creates the spool, and shows `found` each of its records, in order.
    ///
    /// # Errors
    /// The folder cannot be used, or what is in it cannot be read.
    pub(crate) fn open(folder: &Path, limit: u64, found: impl FnMut(&Record)) -> Result<Self, SpoolError> {
        let opened = Store::open(folder).and_then(|store| Self::of(store, folder, limit, found));
        opened.map_err(|error| error.on_opening(folder))
    }

    fn of(
        store: Store,
        folder: &Path,
        limit: u64,
        mut found: impl FnMut(&Record),
    ) -> Result<Self, SpoolError> {
        let mut spool = Self {
            folder: folder.to_owned(),
            limit,
            store: None,
            next: 0,
            cursor: 0,
            oldest: 0,
            records: 0,
            bytes: 0,
            dead: 0,
        };
        for entry in store.entries.iter() {
            let (key, value) = entry.into_inner()?;
            let (sequence, _, record) = decode(&key, &value)?;
            if spool.records == 0 {
                (spool.oldest, spool.cursor) = (sequence, sequence);
            }
            spool.records += 1;
            spool.bytes += cost(&record);
            spool.next = sequence + 1;
            found(&record);
        }
        for entry in store.dead.iter() {
            let (key, value) = entry.into_inner()?;
            let (sequence, _, record) = decode(&key, &value)?;
            spool.dead += 1;
            spool.bytes += cost(&record);
            // No number is given twice.
            spool.next = spool.next.max(sequence + 1);
        }
        spool.store = Some(store);
        Ok(spool)
    }

    /// Keeps what there is room for; one verdict a record. When this returns `Ok`, what it kept is
    /// on disk. After one that does not fit, later ones of its key are not kept either: none may
    /// overtake it.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<Vec<bool>, SpoolError> {
        let store = self.store()?;
        let now = Timestamp::now().as_millisecond();
        let mut batch = store.database.batch().durability(Some(PersistMode::SyncAll));
        let (mut next, mut bytes, mut kept) = (self.next, self.bytes, Vec::with_capacity(records.len()));
        let mut left_out = HashSet::new();
        for record in records {
            let fits = bytes + cost(record) <= self.limit && !left_out.contains(&record.partition_key);
            if fits {
                batch.insert(&store.entries, next.to_be_bytes(), encode(now, record));
                next += 1;
                bytes += cost(record);
            } else {
                left_out.insert(&record.partition_key);
            }
            kept.push(fits);
        }
        batch.commit()?;
        self.records += next - self.next;
        (self.next, self.bytes) = (next, bytes);
        Ok(kept)
    }

    /// The next records, in order, within a budget; each is read once.
    pub(crate) fn read(&mut self, max_records: usize, max_bytes: usize) -> Result<Vec<Record>, SpoolError> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        let store = self.store()?;
        let mut cursor = self.cursor;
        for entry in store.entries.range(cursor.to_be_bytes()..) {
            let (key, value) = entry.into_inner()?;
            let (sequence, _, record) = decode(&key, &value)?;
            bytes += record.bytes();
            if records.len() == max_records || (bytes > max_bytes && !records.is_empty()) {
                break;
            }
            cursor = sequence + 1;
            records.push(record);
        }
        self.cursor = cursor;
        Ok(records)
    }

    /// Forgets records that Kinesis has stored. Not fsynced: after a power cut they are sent again,
    /// which loses nothing.
    pub(crate) fn remove(&mut self, records: &[Record]) -> Result<(), SpoolError> {
        let store = self.store()?;
        let mut batch = store.database.batch().durability(Some(PersistMode::Buffer));
        for record in records {
            if let Owner::Spool(Sequence(sequence)) = record.owner {
                batch.remove(&store.entries, sequence.to_be_bytes());
            }
        }
        batch.commit()?;
        self.records -= records.len() as u64;
        self.bytes -= records.iter().map(cost).sum::<u64>();
        Ok(())
    }

    /// Puts records aside that Kinesis will never take. When this returns `Ok`, that is on disk.
    pub(crate) fn bury(&mut self, records: &[Record]) -> Result<(), SpoolError> {
        let store = self.store()?;
        let mut batch = store.database.batch().durability(Some(PersistMode::SyncAll));
        for record in records {
            if let Owner::Spool(Sequence(sequence)) = record.owner {
                let key = sequence.to_be_bytes();
                // An earlier try may have moved it, and failed all the same.
                if let Some(value) = store.entries.get(key)? {
                    batch.insert(&store.dead, key, value);
                    batch.remove(&store.entries, key);
                }
            }
        }
        batch.commit()?;
        self.records -= records.len() as u64;
        self.dead += records.len() as u64;
        Ok(())
    }

    /// The dead records, in the order in which they came.
    pub(crate) fn dead_records(&self) -> Result<impl Iterator<Item = Result<Dead, SpoolError>>, SpoolError> {
        let entries = self.store()?.dead.iter();
        Ok(entries.map(|entry| {
            let (key, value) = entry.into_inner()?;
            let (sequence, time, record) = decode(&key, &value)?;
            Ok(Dead {
                sequence,
                time: Timestamp::from_millisecond(time).ok(),
                record,
            })
        }))
    }

    /// Puts the dead records behind all others, in their order, to be sent again.
    pub(crate) fn revive(&mut self) -> Result<u64, SpoolError> {
        let store = self.store()?;
        let mut batch = store.database.batch().durability(Some(PersistMode::SyncAll));
        let mut next = self.next;
        for entry in store.dead.iter() {
            let (key, value) = entry.into_inner()?;
            batch.insert(&store.entries, next.to_be_bytes(), value);
            batch.remove(&store.dead, key);
            next += 1;
        }
        batch.commit()?;
        let revived = next - self.next;
        self.records += revived;
        self.dead -= revived;
        self.next = next;
        Ok(revived)
    }

    /// Deletes the dead records.
    pub(crate) fn discard(&mut self) -> Result<u64, SpoolError> {
        let store = self.store()?;
        let mut batch = store.database.batch().durability(Some(PersistMode::SyncAll));
        let (mut discarded, mut bytes) = (0, 0);
        for entry in store.dead.iter() {
            let (key, value) = entry.into_inner()?;
            bytes += cost(&decode(&key, &value)?.2);
            discarded += 1;
            batch.remove(&store.dead, key);
        }
        batch.commit()?;
        self.bytes -= bytes;
        self.dead -= discarded;
        Ok(discarded)
    }

    /// Opens the store again after an error. What was not acknowledged is removed.
    pub(crate) fn recover(&mut self) -> Result<(), SpoolError> {
        self.store = None;
        let store = Store::open(&self.folder).map_err(|error| error.on_opening(&self.folder))?;
        let mut batch = store.database.batch().durability(Some(PersistMode::SyncAll));
        for entry in store.entries.range(self.next.to_be_bytes()..) {
            batch.remove(&store.entries, entry.key()?);
        }
        batch.commit()?;
        self.store = Some(store);
        Ok(())
    }

    /// When the oldest record came, if there is one.
    pub(crate) fn oldest(&mut self) -> Result<Option<Timestamp>, SpoolError> {
        let first = self.store()?.entries.range(self.oldest.to_be_bytes()..).next();
        let Some(entry) = first else {
            self.oldest = self.next;
            return Ok(None);
        };
        let (key, value) = entry.into_inner()?;
        let (sequence, time, _) = decode(&key, &value)?;
        self.oldest = sequence;
        Ok(Timestamp::from_millisecond(time).ok())
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// What counts for the limit: all records, the dead ones among them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many records are dead.
    pub(crate) fn dead(&self) -> u64 {
        self.dead
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    fn store(&self) -> Result<&Store, SpoolError> {
        self.store
            .as_ref()
            .ok_or(SpoolError::Store(fjall::Error::Poisoned))
    }
}

impl Store {
    fn open(folder: &Path) -> Result<Self, SpoolError> {
        let unusable = |source| SpoolError::Folder {
            folder: folder.to_owned(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(unusable)?;
        let database = Database::builder(folder).worker_threads(1).open()?;
        // The names are part of the format on disk: never rename them.
        let entries = database.keyspace("records", KeyspaceCreateOptions::default)?;
        let dead = database.keyspace("dead", KeyspaceCreateOptions::default)?;
        Ok(Self {
            database,
            entries,
            dead,
        })
    }
}

/// What a record counts for in the limit.
fn cost(record: &Record) -> u64 {
    record.bytes() as u64 + OVERHEAD
}

fn encode(time: i64, record: &Record) -> Vec<u8> {
    let key = record.partition_key.as_bytes();
    let mut value = Vec::with_capacity(HEAD + key.len() + record.line.len());
    value.extend(time.to_be_bytes());
    value.extend(u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
    value.extend(key);
    value.extend(&record.line);
    value
}

fn decode(key: &[u8], value: &[u8]) -> Result<(u64, i64, Record), SpoolError> {
    let parts = || {
        let sequence = u64::from_be_bytes(key.try_into().ok()?);
        let (time, rest) = value.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (partition_key, line) = rest.split_at_checked(length)?;
        let record = Record {
            line: line.to_vec(),
            partition_key: Arc::from(str::from_utf8(partition_key).ok()?),
            owner: Owner::Spool(Sequence(sequence)),
        };
        Some((sequence, i64::from_be_bytes(*time), record))
    };
    parts().ok_or(SpoolError::Corrupt)
}

#[cfg(test)]
#[path = "spool/tests.rs"]
pub(crate) mod tests;
