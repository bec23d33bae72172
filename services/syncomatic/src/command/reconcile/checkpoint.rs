//! How far a reconcile is, in a file, so that one that was stopped can be run again and goes on.
//!
//! What was found before is in the file too, and with it in the summary at the end. A file of other buckets,
//! another policy or another mode is refused: going on with it would leave something out.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::reconcile::{Mode, Position, Report};

const INTERVAL: Duration = Duration::from_secs(10);

/// The file.
pub(super) struct CheckpointFile(PathBuf);

/// What it holds.
#[derive(Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Buckets and policy.
    subject: String,
    mode: Mode,
    pub(super) position: Position,
    pub(super) report: Report,
}

/// The file as it is written by one reconcile.
pub(super) struct Checkpoints {
    file: CheckpointFile,
    subject: String,
    mode: Mode,
    /// The newest that is known, and whether the file has it.
    position: Option<Position>,
    written: Instant,
}

impl CheckpointFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where to go on, if the file is there.
    pub(super) fn read(&self, subject: &str, mode: Mode) -> Result<Option<Checkpoint>, String> {
        let path = self.0.display();
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("--checkpoint-file: cannot read {path}: {error}")),
        };
        let checkpoint: Checkpoint = serde_json::from_slice(&text)
            .map_err(|_| format!("--checkpoint-file: {path} is not a checkpoint; remove it to begin anew"))?;
        if checkpoint.subject != subject || checkpoint.mode != mode {
            return Err(format!(
                "--checkpoint-file: {path} is of other buckets, routes or flags; remove it to begin anew"
            ));
        }
        Ok(Some(checkpoint))
    }

    pub(super) fn of(self, subject: String, mode: Mode) -> Checkpoints {
        Checkpoints {
            file: self,
            subject,
            mode,
            position: None,
            written: Instant::now(),
        }
    }
}

impl Checkpoints {
    /// Written now and then.
    pub(super) fn reached(&mut self, report: &Report, position: &Position) -> io::Result<()> {
        self.position = Some(position.clone());
        if self.written.elapsed() < INTERVAL {
            return Ok(());
        }
        self.write(report)
    }

    /// The file is as new as the report, or gone when all is done.
    pub(super) fn ended(&mut self, report: &Report, is_complete: bool) -> io::Result<()> {
        if !is_complete {
            return self.write(report);
        }
        match fs::remove_file(&self.file.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whole or not at all, also through a crash.
    fn write(&mut self, report: &Report) -> io::Result<()> {
        let Some(position) = self.position.clone() else {
            return Ok(());
        };
        let checkpoint = Checkpoint {
            subject: self.subject.clone(),
            mode: self.mode,
            position,
            report: report.clone(),
        };
        let beside = self.file.0.with_extension("new");
        let mut file = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&serde_json::to_vec(&checkpoint)?)?;
        file.sync_all()?;
        fs::rename(&beside, &self.file.0)?;
        self.written = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODE: Mode = Mode {
        is_deep: false,
        repairs: false,
    };

    #[test]
    fn a_reconcile_goes_on_where_it_was_and_only_that_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        let file = || CheckpointFile::new(path.clone());
        assert!(file().read("a", MODE).expect("no file").is_none());

        let position = Position {
            route: "=>:verbatim".to_owned(),
            after: "k".to_owned(),
        };
        let mut report = Report::default();
        report.routes.push((position.route.clone(), Default::default()));
        let mut checkpoints = file().of("a".to_owned(), MODE);
        checkpoints.reached(&report, &position).expect("kept");
        assert!(!path.exists(), "not at once");
        checkpoints.ended(&report, false).expect("written");
        let read = file().read("a", MODE).expect("readable").expect("there");
        assert_eq!((read.position, read.report), (position, report.clone()));
        let mode = fs::metadata(&path).expect("there");
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
            0o600
        );

        let other = Mode {
            repairs: true,
            ..MODE
        };
        assert!(
            file()
                .read("b", MODE)
                .is_err_and(|error| error.contains("other buckets"))
        );
        assert!(file().read("a", other).is_err());
        checkpoints.ended(&report, true).expect("removed");
        assert!(!path.exists());
        fs::write(&path, "{").expect("written");
        assert!(
            file()
                .read("a", MODE)
                .is_err_and(|error| error.contains("not a checkpoint"))
        );
    }
}
