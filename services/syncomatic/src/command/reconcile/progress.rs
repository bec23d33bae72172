//! How far a reconcile is, shown on standard error while it runs: numbers and routes, never a key.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::reconcile::{Report, Tally};

/// Between looks where a person watches.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(250);
/// Between lines where they go to a file.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// What is shown. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    total: Tally,
    route: String,
}

impl Progress {
    /// The report has grown.
    pub(super) fn reached(&self, report: &Report, route: &str) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.total = report.total();
        if shown.route != route {
            route.clone_into(&mut shown.route);
        }
    }

    /// Shows how far `work` is until it is done: on a terminal always, elsewhere if `is_wanted`.
    pub(super) async fn show<T>(&self, is_wanted: bool, work: impl Future<Output = T>) -> T {
        let is_terminal = std::io::stderr().is_terminal();
        if !is_terminal && !is_wanted {
            return work.await;
        }
        let interval = if is_terminal {
            TERMINAL_INTERVAL
        } else {
            LINE_INTERVAL
        };
        let started = Instant::now();
        let mut looks = tokio::time::interval_at(started + interval, interval);
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = looks.tick() => self.write(started.elapsed(), is_terminal, false),
            }
        };
        self.write(started.elapsed(), is_terminal, true);
        done
    }

    /// Nobody can be told when standard error is gone.
    fn write(&self, elapsed: Duration, is_terminal: bool, is_last: bool) {
        let line = self.line(elapsed);
        let mut stderr = std::io::stderr().lock();
        let _written = match (is_terminal, is_last) {
            (true, false) => write!(stderr, "\r{line}\x1b[K").and_then(|()| stderr.flush()),
            (true, true) => writeln!(stderr, "\r{line}\x1b[K"),
            (false, _) => writeln!(stderr, "{line}"),
        };
    }

    fn line(&self, elapsed: Duration) -> String {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Shown { total, route } = &*shown;
        let (objects, rate) = (total.objects(), rate(total.objects(), elapsed));
        let (missing, different) = (total.missing, total.different());
        let (extra, pending, repaired) = (total.extra, total.pending, total.repaired);
        format!(
            "{objects} objects, {rate}/s: {missing} missing, {different} different, {extra} extra, \
             {pending} pending, {repaired} repaired; {route}"
        )
    }
}

/// Objects a second.
pub(super) fn rate(objects: u64, elapsed: Duration) -> u64 {
    (objects as f64 / elapsed.as_secs_f64().max(0.001)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_what_was_found() {
        let progress = Progress::default();
        let tally = Tally {
            equal: 97,
            missing: 3,
            ..Tally::default()
        };
        let report = Report {
            routes: vec![("a/=>b/:verbatim".to_owned(), tally)],
        };
        progress.reached(&report, "a/=>b/:verbatim");
        assert_eq!(
            progress.line(Duration::from_secs(2)),
            "100 objects, 50/s: 3 missing, 0 different, 0 extra, 0 pending, 0 repaired; a/=>b/:verbatim"
        );
    }
}
