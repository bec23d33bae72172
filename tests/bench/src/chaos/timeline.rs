//! What was done to the pipeline, and when: one JSON object a line.

use std::{collections::BTreeMap, fs::File, io::Write, path::Path, sync::Mutex, time::Instant};

use serde_json::{Value, json};

use crate::{Failure, load::lock};

/// The lines so far; a few a second.
#[derive(Debug)]
pub(super) struct Timeline {
    started: Instant,
    file: Option<Mutex<File>>,
    lines: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Timeline {
    /// Begins now; with a path, lines are written there as they come.
    pub(super) fn begin(path: Option<&Path>) -> Result<Self, Failure> {
        let file = path.map(|path| {
            File::create(path).map_err(Failure::system(format!("cannot write {}", path.display())))
        });
        Ok(Self {
            started: Instant::now(),
            file: file.transpose()?.map(Mutex::new),
            lines: Mutex::default(),
            counts: Mutex::default(),
        })
    }

    /// A fault, which counts.
    pub(super) fn fault(&self, kind: &str, details: Value) {
        *lock(&self.counts).entry(kind.to_owned()).or_default() += 1;
        self.note(kind, details);
    }

    /// Anything else that belongs in between.
    pub(super) fn note(&self, kind: &str, details: Value) {
        let seconds = (self.started.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        let mut line = json!({ "seconds": seconds, "what": kind });
        line["details"] = details;
        let line = line.to_string();
        if let Some(file) = &self.file {
            // The lines are kept here too: a full disk takes nothing from the verdict.
            writeln!(lock(file), "{line}").unwrap_or_default();
        }
        lock(&self.lines).push(line);
    }

    /// How many faults there were, by kind.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        lock(&self.counts).clone()
    }

    /// Every line.
    pub(super) fn lines(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }
}
