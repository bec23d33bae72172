//! The same work given to anything: another collector beside `events`, another program that drains a stream
//! beside `hoard`, another that copies a bucket beside `syncomatic`.
//!
//! | `bench compare` | gives | to |
//! |---|---|---|
//! | `http` | the events of the load generator, in whatever form it takes them | a URL |
//! | `drain` | a stream that is full of events, and an empty bucket | a command |
//! | `copy` | a bucket that is full of objects, and an empty one | a command |
//!
//! A command finds in its environment where AWS is and what its stream and buckets are called. It is done
//! when the bucket holds everything, or when it ends. What is measured is what the kernel counted for it
//! and for those of its children that it waited for.

mod copy;
mod drain;
mod endpoint;
mod running;

use clap::{Args, Subcommand};

use crate::{
    Failure,
    population::Mix,
    report::{self, Report, provenance},
};

pub use self::{copy::Copy, drain::Drain, endpoint::Endpoint};

/// What is compared.
#[derive(Debug, Subcommand)]
pub enum Compare {
    /// Sends the same events to any HTTP endpoint: first as fast as it answers, then at half of that.
    Http(Endpoint),
    /// Has a command bring a stream into a bucket. It finds AWS by `AWS_ENDPOINT_URL`, `AWS_REGION`,
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and `STREAM` and `BUCKET`.
    Drain(Drain),
    /// Has a command copy a bucket. It finds both sides by `SOURCE_…` and `DESTINATION_…`, each with
    /// `ENDPOINT_URL`, `REGION`, `ACCESS_KEY_ID`, `SECRET_ACCESS_KEY` and `BUCKET`, the queue of the source's
    /// notifications by `SOURCE_QUEUE_URL`.
    Copy(Copy),
}

/// What every comparison takes.
#[derive(Args, Clone, Debug)]
pub struct Work {
    /// Rounds; a figure is the median of them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,

    /// Decides devices and events.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Devices that send.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    devices: u32,

    /// What it is called in the table; the command's or the host's name unless set.
    #[arg(long)]
    name: Option<String>,

    #[command(flatten)]
    files: report::Output,
}

impl Work {
    /// What is sent.
    fn mix(&self) -> Mix {
        Mix {
            seed: self.seed,
            devices: usize::try_from(self.devices).unwrap_or(usize::MAX),
            ..Mix::default()
        }
    }

    fn report(&self, what: &str, default_name: &str) -> Report {
        let name = self.name.as_deref().unwrap_or(default_name);
        Report {
            title: format!("{name}: {what}"),
            facts: provenance(),
            lines: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl Compare {
    /// Measures, and shows the table.
    ///
    /// # Errors
    /// When there is no figure: the endpoint is not there, the command does not do its work.
    pub async fn run(&self) -> Result<(), Failure> {
        let (report, work) = match self {
            Self::Http(endpoint) => (endpoint.measure().await?, &endpoint.work),
            Self::Drain(drain) => (Box::pin(drain.measure()).await?, &drain.work),
            Self::Copy(copy) => (Box::pin(copy.measure()).await?, &copy.work),
        };
        report.show(&work.files)
    }
}
