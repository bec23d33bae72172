//! Supervised tasks: each has a name, and none can fail unseen.
//!
//! A task that fails or panics requests shutdown, so that its peers drain rather than carry on
//! without it, and its failure is what the program reports. Once shutdown is requested the tasks
//! have until the drain deadline; what is still running then is aborted and named.

use std::collections::HashMap;
use std::fmt::{Display, Formatter};

use tokio::task::{Id, JoinError, JoinSet};

use crate::{BoxError, Shutdown};

/// A group of tasks that live and end together. Dropping it aborts them.
#[derive(Debug)]
pub struct Tasks {
    shutdown: Shutdown,
    set: JoinSet<Result<(), BoxError>>,
    names: HashMap<Id, String>,
}

/// Why a group of tasks did not end well.
#[derive(Debug, thiserror::Error)]
pub enum TaskFailure {
    /// A task returned an error.
    #[error("{name} failed")]
    Failed {
        /// The task's name.
        name: String,
        /// What it returned.
        source: BoxError,
    },
    /// A task panicked. The panic's text is left out: it can quote the data that caused it.
    #[error("{name} panicked")]
    Panicked {
        /// The task's name.
        name: String,
    },
    /// The drain deadline passed with tasks still at work; they were aborted.
    #[error("not drained within the deadline: {0}")]
    NotDrained(Names),
}

/// Task names as a list that reads well in a log line.
#[derive(Debug)]
pub struct Names(pub Vec<String>);

impl Display for Names {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl Tasks {
    /// An empty group, which drains when `shutdown` is requested.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            set: JoinSet::new(),
            names: HashMap::new(),
        }
    }

    /// Starts a task.
    pub fn spawn<E: Into<BoxError>>(
        &mut self,
        name: impl Into<String>,
        future: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let handle = self.set.spawn(async move { future.await.map_err(Into::into) });
        self.names.insert(handle.id(), name.into());
    }

    /// How many tasks have not ended yet.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether every task has ended.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Waits for the next task to end; `None` when none is left. For a group whose members come and
    /// go: a failure is the caller's to act on. Safe to drop and call again.
    pub async fn join_next(&mut self) -> Option<(String, Result<(), TaskFailure>)> {
        let ended = self.set.join_next_with_id().await?;
        Some(self.outcome(ended))
    }

    /// Waits for all tasks, as the module describes, and returns the first failure.
    pub async fn join(mut self) -> Result<(), TaskFailure> {
        let mut first_failure = None;
        let shutdown = self.shutdown.clone();
        let drain_deadline = async {
            shutdown.requested().await;
            tokio::time::sleep(shutdown.drain_deadline()).await;
        };
        tokio::pin!(drain_deadline);
        loop {
            let ended = tokio::select! {
                ended = self.join_next() => ended,
                () = &mut drain_deadline => {
                    let undrained = self.abort().await;
                    first_failure.get_or_insert(TaskFailure::NotDrained(undrained));
                    None
                }
            };
            match ended {
                Some((_, Ok(()))) => {}
                Some((name, Err(failure))) => {
                    tracing::error!(
                        task = name,
                        error = &failure as &dyn std::error::Error,
                        "task failed: draining"
                    );
                    self.shutdown.request();
                    first_failure.get_or_insert(failure);
                }
                None => return first_failure.map_or(Ok(()), Err),
            }
        }
    }

    fn outcome(
        &mut self,
        ended: Result<(Id, Result<(), BoxError>), JoinError>,
    ) -> (String, Result<(), TaskFailure>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        let result = match ended {
            Ok((_, Ok(()))) => Ok(()),
            Ok((_, Err(source))) => Err(TaskFailure::Failed {
                name: name.clone(),
                source,
            }),
            Err(_) => Err(TaskFailure::Panicked { name: name.clone() }),
        };
        (name, result)
    }

    async fn abort(&mut self) -> Names {
        let mut names: Vec<String> = self.names.drain().map(|(_, name)| name).collect();
        names.sort();
        self.set.shutdown().await;
        Names(names)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io;
    use std::time::Duration;

    use super::*;

    fn tasks() -> (Shutdown, Tasks) {
        let shutdown = Shutdown::new(Duration::from_secs(5));
        (shutdown.clone(), Tasks::new(shutdown))
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_task_drains_its_peers_and_is_reported() {
        let (shutdown, mut tasks) = tasks();
        tasks.spawn("reader", async { Err(io::Error::other("shard is gone")) });
        tasks.spawn("writer", async move {
            shutdown.requested().await;
            Ok::<_, BoxError>(())
        });
        let failure = tasks.join().await.expect_err("the reader failed");
        assert!(
            matches!(failure, TaskFailure::Failed { ref name, .. } if name == "reader"),
            "{failure}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_named_without_its_text() {
        let (_, mut tasks) = tasks();
        tasks.spawn("parser", async {
            panic!("personal data") as Result<(), BoxError>
        });
        let failure = tasks.join().await.expect_err("the parser panicked");
        assert_eq!(failure.to_string(), "parser panicked");
    }

    #[tokio::test(start_paused = true)]
    async fn what_outlives_the_drain_deadline_is_aborted_and_named() {
        let (shutdown, mut tasks) = tasks();
        tasks.spawn("stuck", pending::<Result<(), BoxError>>());
        tasks.spawn("prompt", async { Ok::<_, BoxError>(()) });
        shutdown.request();
        let failure = tasks.join().await.expect_err("one task never ends");
        assert_eq!(failure.to_string(), "not drained within the deadline: stuck");
    }

    #[tokio::test]
    async fn tasks_that_end_well_ask_for_nothing() {
        let (shutdown, mut tasks) = tasks();
        tasks.spawn("once", async { Ok::<_, BoxError>(()) });
        tasks.join().await.expect("nothing failed");
        assert!(!shutdown.is_requested());
    }
}
