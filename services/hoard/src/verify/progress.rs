//! How far a verification is, shown on standard error while it runs.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytesize::ByteSize;
use tokio::time::Instant;

/// Between looks where a person watches.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(250);
/// Between lines where they go to a file.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Counts. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    expected: AtomicU64,
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// So many more objects will be read.
    pub fn expect(&self, objects: u64) {
        self.0.expected.fetch_add(objects, Ordering::Relaxed);
    }

    /// An object is done.
    pub fn object(&self) {
        self.0.objects.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes were read, as they are stored.
    pub fn bytes(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Shows how far `work` is until it is done: on a terminal always, elsewhere if `is_wanted`.
    pub async fn show<T>(&self, is_wanted: bool, work: impl Future<Output = T>) -> T {
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
        let counts = &self.0;
        let (objects, expected) = (
            counts.objects.load(Ordering::Relaxed),
            counts.expected.load(Ordering::Relaxed),
        );
        let bytes = counts.bytes.load(Ordering::Relaxed);
        let rate = (bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
        format!(
            "{objects} of {expected} objects, {} read, {}/s",
            ByteSize(bytes),
            ByteSize(rate)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let progress = Progress::default();
        progress.expect(3);
        progress.object();
        progress.bytes(2 * 1024 * 1024);
        assert_eq!(
            progress.line(Duration::from_secs(2)),
            "1 of 3 objects, 2.0 MiB read, 1.0 MiB/s"
        );
    }
}
