//! What every long-running program of the pipeline shares, and nothing of what any of them does:
//!
//! | module | gives |
//! |---|---|
//! | [`program`] | `main`: settings, logs, admin port, signals, the service, exit code; `config`, which prints the settings; `healthcheck`, for containers |
//! | [`settings`] | flags and environment variables, checked before anything is bound |
//! | [`shutdown`] | one request to drain, seen by every task, and the deadline that bounds it |
//! | [`readiness`] | latches: the program is ready when each part has said so |
//! | [`tasks`] | supervised tasks: a failure is named and ends the program in order |
//! | [`admin`] | `/livez`, `/readyz`, `/metrics`, and what a program adds |
//! | [`logs`] | JSON lines on a pipe, text on a terminal |
//! | [`backoff`] | jittered, capped exponential delays |
//! | [`concurrency`] | how many calls may be out, by how they end |
//! | [`units`] | durations and sizes as people write them |
//!
//! A service's library takes a [`Runtime`], so that a test or another program can run several
//! services in one process: nothing here is global but the log subscriber, which only
//! [`program::main`] installs.

pub mod admin;
pub mod backoff;
pub mod concurrency;
mod explain;
mod healthcheck;
pub mod logs;
pub mod program;
pub mod readiness;
pub mod settings;
pub mod shutdown;
pub mod tasks;
pub mod units;

use std::time::Duration;

pub use admin::AdminPort;
pub use readiness::{Latch, Readiness};
pub use shutdown::Shutdown;

/// An error of any kind, on its way to the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The handles a service needs from the program that hosts it. Clones share their state.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Asks the service to drain, and bounds how long that may take.
    pub shutdown: Shutdown,
    /// What `/readyz` answers.
    pub readiness: Readiness,
    /// What `/metrics` shows; one a service, so that several can share a process.
    pub registry: prometheus::Registry,
    /// The admin port, for a program that serves more there.
    pub admin: AdminPort,
}

impl Runtime {
    /// A runtime for the service `name`, which must be usable as a metric prefix (`hoard`).
    pub fn new(name: &str) -> Self {
        Self::with_drain_deadline(name, shutdown::DEFAULT_DRAIN_DEADLINE)
    }

    /// The same with a drain deadline other than the default.
    pub fn with_drain_deadline(name: &str, drain_deadline: Duration) -> Self {
        let shutdown = Shutdown::new(drain_deadline);
        let registry = prometheus::Registry::new();
        let readiness = Readiness::new(shutdown.clone());
        admin::register_standard_metrics(name, &registry, &readiness);
        Self {
            shutdown,
            readiness,
            registry,
            admin: AdminPort::default(),
        }
    }
}
