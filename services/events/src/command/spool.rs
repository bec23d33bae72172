//! `events spool`: looks after the dead events of a spool, those that Kinesis calls invalid.
//!
//! The service has the folder to itself while it runs, so it is stopped first.

use std::{
    fs::OpenOptions,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::Error;
use crate::spool::Spool;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists the dead events: number, time of arrival, bytes. Nothing of what is in them.
    List {
        #[command(flatten)]
        folder: Folder,
    },
    /// Writes the dead events to a new file, one a line. They stay in the spool.
    Export {
        #[command(flatten)]
        folder: Folder,
        /// The file; it must not exist.
        #[arg(long)]
        to: PathBuf,
    },
    /// Puts the dead events behind all others, to be sent again when the service starts.
    Revive {
        #[command(flatten)]
        folder: Folder,
    },
    /// Deletes the dead events.
    Discard {
        #[command(flatten)]
        folder: Folder,
    },
}

#[derive(Debug, Args)]
pub(super) struct Folder {
    /// The folder of the spool.
    #[arg(long, env = "EVENTS_SPOOL_FOLDER")]
    spool_folder: PathBuf,
}

impl Folder {
    /// Only what is there: a wrong folder must not become a spool.
    fn open(&self) -> Result<Spool, Error> {
        let folder = &self.spool_folder;
        if !folder.is_dir() {
            return Err(Error::NoSpool(folder.clone()));
        }
        Ok(Spool::open(folder, u64::MAX, |_| ())?)
    }
}

impl Command {
    pub(super) fn run(self, out: &mut impl Write) -> Result<(), Error> {
        match self {
            Self::List { folder } => list(&folder.open()?, out),
            Self::Export { folder, to } => {
                let written = export(&folder.open()?, &to)?;
                Ok(writeln!(out, "{written} events are in {}", to.display())?)
            }
            Self::Revive { folder } => {
                let revived = folder.open()?.revive()?;
                Ok(writeln!(out, "{revived} events will be sent again")?)
            }
            Self::Discard { folder } => {
                let discarded = folder.open()?.discard()?;
                Ok(writeln!(out, "{discarded} events are deleted")?)
            }
        }
    }
}

fn list(spool: &Spool, out: &mut impl Write) -> Result<(), Error> {
    let (dead, waiting) = (spool.dead(), spool.records());
    writeln!(out, "{dead} dead events, and {waiting} that wait to be sent")?;
    for dead in spool.dead_records()? {
        let dead = dead?;
        let time = dead.time.map_or_else(String::new, |time| format!("{time:.3}"));
        writeln!(
            out,
            "{:>12}  {time}  {} bytes",
            dead.sequence,
            dead.record.bytes()
        )?;
    }
    Ok(())
}

/// Events are personal data: only the owner may read the file.
fn export(spool: &Spool, to: &Path) -> Result<u64, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let failed = |source| Error::Export {
        file: to.to_owned(),
        source,
    };
    let mut file = BufWriter::new(options.open(to).map_err(failed)?);
    let mut written = 0;
    for dead in spool.dead_records()? {
        file.write_all(&dead?.record.line)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(failed)?;
        written += 1;
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(written)
}
