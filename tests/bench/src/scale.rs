//! What growing state costs while the work stays the same: shards for `hoard`, clients for `events`.
//!
//! | `bench scale` | grows | the work, which stays the same |
//! |---|---|---|
//! | `hoard` | shards | none at all, then so many events a second |
//! | `events` | clients, each with a credential and a connection of its own; ten of them a partner | so many requests |
//!
//! What there is to reconcile grows in `syncomatic`'s own benchmark.

mod clients;
mod shards;

use std::{path::Path, time::Duration};

use clap::{Args, Subcommand};

use crate::{
    Failure, program,
    report::{Output, Table, provenance},
};

/// What grows.
#[derive(Debug, Subcommand)]
pub enum Scale {
    /// Shards of a stream that hoard archives.
    Hoard(Shards),
    /// Clients of events.
    Events(Clients),
}

/// Shards, and how long each number of them is watched.
#[derive(Args, Clone, Debug)]
pub struct Shards {
    /// Numbers of shards.
    #[arg(long, value_delimiter = ',', default_value = "1,10,50,200", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    shards: Vec<u16>,

    /// Events a second, spread over the shards.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,

    /// How long each is watched, at rest and at work.
    #[arg(long, default_value = "20s", value_parser = humantime::parse_duration)]
    duration: Duration,

    /// How long hoard gathers before it writes an object.
    #[arg(long, default_value = "10s")]
    flush_interval: String,

    #[command(flatten)]
    output: Output,
}

/// Clients, and how much they send.
#[derive(Args, Clone, Debug)]
pub struct Clients {
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    clients: Vec<u32>,

    /// Requests of one event that all of them send together, each the same share.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    requests: u32,

    #[command(flatten)]
    output: Output,
}

impl Scale {
    /// Measures the release build, and shows the table.
    ///
    /// # Errors
    /// When something cannot be measured.
    pub async fn run(&self) -> Result<(), Failure> {
        let (name, output) = match self {
            Self::Hoard(plan) => ("hoard", &plan.output),
            Self::Events(plan) => ("events", &plan.output),
        };
        for program in program::built(&[name]).await? {
            let mut table = self.measure(&program).await?;
            table.facts = provenance();
            table.show(output)?;
        }
        Ok(())
    }

    /// The table of one program.
    ///
    /// # Errors
    /// When something cannot be measured.
    pub async fn measure(&self, program: &Path) -> Result<Table, Failure> {
        match self {
            Self::Hoard(plan) => Box::pin(shards::measure(plan, program)).await,
            Self::Events(plan) => Box::pin(clients::measure(plan, program)).await,
        }
    }
}

#[expect(clippy::print_stderr, reason = "a person waits for it")]
fn say(what: &str) {
    eprintln!("{what}");
}
