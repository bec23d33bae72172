//! The spool at work beside the publisher: one piece of work at a time, where it may block, and
//! what operators see of it.
//!
//! Records that come while the disk is busy are written together afterwards: one fsync for all.
//!
//! Readiness: a spool that fills is what a spool is for, and stays ready. One that is full, or whose
//! disk fails, takes nothing in, and says so.

use std::sync::Arc;

use jiff::Timestamp;
use service_runtime::Latch;
use tokio::task::{JoinError, JoinSet};

use crate::{
    backlog::{Done, Work},
    metrics::Metrics,
    spool::{Spool, SpoolError},
};

pub(crate) struct Spooling {
    /// The spool, while it is not at work.
    idle: Option<Spool>,
    working: JoinSet<Worked>,
    latch: Latch,
    metrics: Arc<Metrics>,
    oldest: Option<Timestamp>,
    failed: bool,
    full: bool,
}

/// The spool after its work.
struct Worked {
    spool: Spool,
    done: Done,
    oldest: Option<Timestamp>,
    error: Option<SpoolError>,
}

impl Spooling {
    pub(crate) fn new(mut spool: Spool, latch: Latch, metrics: &Arc<Metrics>) -> Result<Self, SpoolError> {
        let oldest = spool.oldest()?;
        let to_i64 = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        metrics.spool_limit_bytes.set(to_i64(spool.limit()));
        let mut spooling = Self {
            idle: None,
            working: JoinSet::new(),
            latch,
            metrics: Arc::clone(metrics),
            oldest,
            failed: false,
            full: false,
        };
        spooling.show(&spool);
        spooling.latch.open();
        spooling.idle = Some(spool);
        Ok(spooling)
    }

    /// Whether it can be given work. After an error, [`Self::has_failed`] says when to try again.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle.is_some() && !self.failed
    }

    /// Whether work is being done.
    pub(crate) fn is_working(&self) -> bool {
        !self.working.is_empty()
    }

    /// Whether the disk has failed and was not tried again yet.
    pub(crate) fn has_failed(&self) -> bool {
        self.idle.is_some() && self.failed
    }

    /// Begins with the work; after an error it opens the store again first.
    pub(crate) fn start(&mut self, work: Work) {
        let failed = self.failed;
        if let Some(spool) = self.idle.take() {
            self.working
                .spawn_blocking(move || Worked::of(spool, work, failed));
        }
    }

    /// What the work came to; none while there is none.
    ///
    /// # Errors
    /// When it panicked.
    pub(crate) async fn ended(&mut self) -> Option<Result<Done, JoinError>> {
        let worked = self.working.join_next().await?;
        Some(worked.map(|worked| self.take_in(worked)))
    }

    /// Once a second: ages do not wait for work.
    pub(crate) fn tick(&self) {
        let age = self.oldest.map_or(0.0, |oldest| {
            Timestamp::now().duration_since(oldest).as_secs_f64().max(0.0)
        });
        self.metrics.spool_oldest_age_seconds.set(age);
    }

    fn take_in(&mut self, worked: Worked) -> Done {
        let Worked {
            spool,
            done,
            oldest,
            error,
        } = worked;
        self.oldest = oldest;
        self.metrics.spool_drained.inc_by(done.removed.len() as u64);
        self.metrics.spool_buried.inc_by(done.buried.len() as u64);
        if !done.buried.is_empty() {
            tracing::error!(
                events = done.buried.len(),
                dead = spool.dead(),
                "Kinesis calls spooled events invalid: they are put aside, see `events spool --help`"
            );
        }
        match &error {
            Some(error) => {
                self.metrics.spool_errors.inc();
                tracing::error!(
                    error = describe(error),
                    "the spool failed: nothing is accepted into it"
                );
                self.latch.close("the spool cannot be read or written");
            }
            None => self.follow_fill(&spool, !done.not_kept.is_empty()),
        }
        self.failed = error.is_some();
        self.show(&spool);
        self.idle = Some(spool);
        done
    }

    fn follow_fill(&mut self, spool: &Spool, left_out: bool) {
        if left_out {
            if !self.full {
                tracing::warn!(bytes = spool.bytes(), limit = spool.limit(), "the spool is full");
            }
            self.full = true;
        } else if spool.bytes() <= spool.limit() / 10 * 9 {
            self.full = false;
        }
        if self.full {
            self.latch.close("the spool is full");
        } else {
            self.latch.open();
        }
    }

    fn show(&self, spool: &Spool) {
        let to_i64 = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.spool_bytes.set(to_i64(spool.bytes()));
        self.metrics.spool_records.set(to_i64(spool.records()));
        self.metrics.spool_dead_records.set(to_i64(spool.dead()));
        self.tick();
    }
}

impl Worked {
    fn of(mut spool: Spool, work: Work, recover: bool) -> Self {
        let mut done = Done::default();
        let mut error = recover.then(|| spool.recover()).and_then(Result::err);
        if !work.remove.is_empty() {
            match spool.remove(&work.remove) {
                Ok(()) => done.removed = work.remove,
                Err(failed) => {
                    done.not_removed = work.remove;
                    error.get_or_insert(failed);
                }
            }
        }
        if !work.bury.is_empty() {
            match spool.bury(&work.bury) {
                Ok(()) => done.buried = work.bury,
                Err(failed) => {
                    done.not_buried = work.bury;
                    error.get_or_insert(failed);
                }
            }
        }
        let kept = if work.append.is_empty() {
            Vec::new()
        } else {
            spool.append(&work.append).unwrap_or_else(|failed| {
                error.get_or_insert(failed);
                Vec::new()
            })
        };
        for (index, record) in work.append.into_iter().enumerate() {
            // A record without a verdict is not kept.
            if kept.get(index) == Some(&true) {
                done.kept.push(record);
            } else {
                done.not_kept.push(record);
            }
        }
        if error.is_none() && work.read.0 > 0 {
            match spool.read(work.read.0, work.read.1) {
                Ok(read) => done.read = read,
                Err(failed) => error = Some(failed),
            }
        }
        let oldest = spool.oldest().unwrap_or_else(|failed| {
            error.get_or_insert(failed);
            None
        });
        Self {
            spool,
            done,
            oldest,
            error,
        }
    }
}

/// The error and its causes in one line.
fn describe(error: &SpoolError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use service_runtime::Runtime;

    use super::*;
    use crate::spool::tests::{lose_store, records};

    #[tokio::test]
    async fn a_disk_that_fails_accepts_nothing_and_is_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = Runtime::new("events");
        let metrics = Arc::new(Metrics::register(&runtime.registry).expect("a new registry"));
        let spool = Spool::open(folder.path(), 1 << 20, |_| ()).expect("it opens");
        let latch = runtime.readiness.latch("spool");
        let mut spooling = Spooling::new(spool, latch, &metrics).expect("readable");
        assert!(runtime.readiness.is_ready());

        spooling.idle = spooling.idle.take().map(lose_store);
        let work = |line| Work {
            append: records(&[("a", line)]),
            ..Work::default()
        };
        spooling.start(work("1"));
        let done = spooling.ended().await.expect("work").expect("no panic");
        assert_eq!((done.kept.len(), done.not_kept.len()), (0, 1));
        assert!(spooling.has_failed() && !spooling.is_idle());
        let reasons = runtime.readiness.reasons();
        assert_eq!(reasons, ["spool: the spool cannot be read or written"]);
        assert_eq!((metrics.spool_errors.get(), metrics.spool_records.get()), (1, 0));

        spooling.start(work("2"));
        let done = spooling.ended().await.expect("work").expect("no panic");
        assert_eq!((done.kept.len(), done.not_kept.len()), (1, 0));
        assert!(spooling.is_idle() && runtime.readiness.is_ready());
        assert_eq!(metrics.spool_records.get(), 1);
    }
}
