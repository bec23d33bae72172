//! What is read from files is read again when they change: credentials, schemas, the country database.
//!
//! Files are looked at rather than waited for: a Kubernetes secret changes by a swap of symbolic
//! links, a network file system tells nobody, and a look is a few system calls. A value is replaced
//! whole; requests in flight keep the one they began with. Files that cannot be used change nothing:
//! the last good value stays, the log and a metric say so, and each further look tries again.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use service_runtime::Shutdown;
use tokio::task::{JoinError, spawn_blocking};

use crate::metrics::ReloadMetrics;

/// Where a value comes from.
pub trait Source: Send + Sync + 'static {
    /// What it is, for the log.
    const WHAT: &'static str;
    /// The value.
    type Value: Send + Sync + 'static;
    /// Why it cannot be read. It is logged: nothing secret.
    type Error: std::error::Error;

    /// The files and folders whose change may change the value.
    fn files(&self) -> Vec<PathBuf>;

    /// Reads the value.
    ///
    /// # Errors
    /// When the files cannot be read or used.
    fn read(&self) -> Result<Self::Value, Self::Error>;
}

/// A value that follows its files.
#[derive(Debug)]
pub struct Reloadable<S: Source> {
    source: S,
    current: RwLock<Arc<S::Value>>,
    /// What the files looked like when the current value was read from them; `None` when the files
    /// could not be used since.
    seen: Mutex<Option<Vec<Look>>>,
}

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    Replaced,
    /// The files cannot be used: why.
    Failed(String),
}

impl<S: Source> Reloadable<S> {
    /// Reads the value for the first time.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn read(source: S) -> Result<Self, S::Error> {
        // The look comes first: what changes between the two is seen by the next look.
        let seen = look(&source.files());
        let current = RwLock::new(Arc::new(source.read()?));
        Ok(Self {
            source,
            current,
            seen: Mutex::new(Some(seen)),
        })
    }

    /// The value as it is now. Hold it for as long as one request lasts.
    #[must_use]
    pub fn current(&self) -> Arc<S::Value> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files and, when they changed or could not be used before, reads them.
    pub(crate) fn refresh(&self) -> Change {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = look(&self.source.files());
        if seen.as_ref() == Some(&found) {
            return Change::Nothing;
        }
        match self.source.read() {
            // In the middle of a change, two files may not belong together: the next look decides.
            _ if look(&self.source.files()) != found => Change::Nothing,
            Ok(value) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                *seen = Some(found);
                Change::Replaced
            }
            Err(error) => {
                *seen = None;
                Change::Failed(error.to_string())
            }
        }
    }
}

/// Follows the files until shutdown is requested.
pub(crate) async fn watch<S: Source>(
    value: Arc<Reloadable<S>>,
    interval: Duration,
    metrics: ReloadMetrics,
    shutdown: Shutdown,
) -> Result<(), JoinError> {
    metrics.loaded();
    let mut problem = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shutdown.requested() => return Ok(()),
        }
        let value = Arc::clone(&value);
        let change = tokio::select! {
            change = spawn_blocking(move || value.refresh()) => change?,
            () = shutdown.requested() => return Ok(()),
        };
        match change {
            Change::Nothing => {}
            Change::Replaced => {
                metrics.loaded();
                problem = None;
                tracing::info!(what = S::WHAT, "read again");
            }
            Change::Failed(reason) => {
                metrics.failed();
                if problem.as_ref() != Some(&reason) {
                    tracing::error!(what = S::WHAT, reason, "cannot be used: the last good ones stay");
                    problem = Some(reason);
                }
            }
        }
    }
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    path: PathBuf,
    state: Result<State, io::ErrorKind>,
}

#[derive(Debug, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

fn look(files: &[PathBuf]) -> Vec<Look> {
    let look = |path: &PathBuf| Look {
        path: path.clone(),
        state: state(path),
    };
    files.iter().map(look).collect()
}

/// Of what a symbolic link points at, not of the link.
fn state(path: &Path) -> Result<State, io::ErrorKind> {
    let metadata = fs::metadata(path).map_err(|error| error.kind())?;
    Ok(State {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
#[path = "reload/tests.rs"]
mod tests;
