//! Measures what the project claims, and sends load.
//!
//! | command | measures |
//! |---|---|
//! | `bench events` | the real `events` program beside its floors: parsing and validating alone, a bare handler |
//! | `bench chaos` | nothing: it proves that no event is lost or doubled, whatever is done to the pipeline |
//! | `bench syncomatic` | the real `syncomatic` program beside the calls of a copy made by the SDK alone |
//! | `bench compare` | the same work given to anything: an HTTP endpoint, a command that drains a stream or copies a bucket |
//! | `bench scale` | what more shards and more clients cost |
//! | `bench hoard` | the real `hoard` program beside its floors: reading the stream, compression; memory; freshness |
//! | `bench load` | nothing of ours: any `events` installation, under as much load as is asked for |
//!
//! What is measured and what it is compared with run in one go, in turn, several rounds of both, so
//! that a machine that others use disturbs both alike. What is measured is a process of its own on a
//! core of its own, and what counts is the processor time that this process took: wall clock on a
//! shared machine says more about the others.
//!
//! | module | is for |
//! |---|---|
//! | [`population`] | devices and what they send, the same for the same seed |
//! | [`load`] | sending it: closed loop for processor time, open loop for latency |
//! | [`program`] | programs as processes: their core, processor time, memory |
//! | [`report`] | figures of several rounds, targets, the table and its JSON |
//! | [`chaos`] | faults of every kind, and the ledger of what became of each event |
//! | [`syncomatic`] | the lines about `syncomatic` |
//! | [`tls`] | TLS in front of the emulated clouds, for `--tls` |
//! | [`compare`], [`scale`] | what their commands measure |
//! | [`events`] | the lines about `events`; other services get a module beside it |

pub mod chaos;
pub mod command;
pub mod compare;
pub mod cores;
pub mod events;
pub mod handler;
pub mod hoard;
pub mod load;
pub mod population;
pub mod program;
pub mod report;
pub mod scale;
pub mod syncomatic;
pub mod tls;

/// Why a measurement has no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something of the operating system's failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A program did not do what it should.
    #[error("{program}: {problem}")]
    Program {
        /// Its name.
        program: String,
        /// What went wrong, with the end of its log.
        problem: String,
    },
    /// Load could not be sent.
    #[error(transparent)]
    Load(#[from] load::LoadError),
    /// The service did not do what the figure is about.
    #[error("no figure: {0}")]
    NotMeasured(String),
}

impl Failure {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
