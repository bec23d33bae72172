//! The command line.

mod load;

use std::{net::SocketAddr, process::ExitCode};

use clap::{Parser, Subcommand};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Failure, chaos, compare, cores::Cores, events, handler, hoard, report::Output, scale, syncomatic, tls,
};

/// The command line is wrong (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;

/// Measures what the project claims, and sends load.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures `events` beside its floors, and says which targets are reached.
    Events {
        #[command(flatten)]
        plan: events::Plan,
        #[command(flatten)]
        output: Output,
    },
    /// Measures `syncomatic` beside the SDK alone, and says which targets are reached.
    Syncomatic {
        #[command(flatten)]
        plan: syncomatic::Plan,
        #[command(flatten)]
        output: Output,
    },
    /// Copies with the SDK alone, for `syncomatic` to be compared with.
    #[command(hide = true)]
    SyncomaticFloor(syncomatic::FloorPlan),
    /// Runs the whole pipeline under load, kills, pauses, outages, resharding and clock jumps, and proves that
    /// nothing is lost and nothing doubled.
    Chaos(chaos::Plan),
    /// Gives the same work to anything: another collector, another archiver, another copier.
    #[command(subcommand)]
    Compare(compare::Compare),
    /// Measures what growing state costs while the work stays the same.
    #[command(subcommand)]
    Scale(scale::Scale),
    /// Measures `hoard` beside its floors, and says which targets are reached.
    Hoard {
        #[command(flatten)]
        plan: hoard::Plan,
        #[command(flatten)]
        output: Output,
    },
    /// Reads a stream and drops it: the floor of `hoard`.
    #[command(hide = true)]
    ReadStream(hoard::ReadStream),
    /// Sends load to any installation of `events`, each request at its time, and shows how long answers take.
    Load(load::Load),
    /// Stands before an emulated cloud and speaks TLS.
    #[command(hide = true)]
    TlsFront(tls::Plan),
    /// Serves the bare handler that `events` is compared with.
    #[command(hide = true)]
    Handler {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

/// Does what the command line asks for.
#[expect(clippy::print_stderr, reason = "where a person waits")]
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let printed = error.print();
            return if error.use_stderr() || printed.is_err() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match carry_out(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<(), Failure> {
    match command {
        Command::Events { plan, output } => {
            // Before there is any thread, so that all of them keep off the measured core.
            let cores = Cores::part();
            let report = run_async(events::measure(&plan, &cores))??;
            report.show(&output)
        }
        Command::Syncomatic { plan, output } => {
            let cores = Cores::part();
            let report = run_async(syncomatic::measure(&plan, &cores))??;
            report.show(&output)
        }
        Command::SyncomaticFloor(plan) => run_async(syncomatic::floor(plan))?,
        Command::Chaos(plan) => {
            let own = std::env::current_exe().map_err(Failure::system("cannot find this program"))?;
            run_async(unless_ended(chaos::run(&plan, &own)))?.map(|_| ())
        }
        Command::Compare(compare) => run_async(unless_ended(compare.run()))?,
        Command::Scale(scale) => run_async(unless_ended(scale.run()))?,
        Command::Hoard { plan, output } => {
            let cores = Cores::part();
            let report = run_async(hoard::measure(&plan, &cores))??;
            report.show(&output)
        }
        Command::ReadStream(asked) => run_async(hoard::read_stream(asked))?,
        Command::Load(load) => run_async(load.run())?,
        Command::TlsFront(plan) => run_async(tls::serve(plan))?,
        Command::Handler { listen } => run_async(handler::serve(listen))?,
    }
}

/// Gives up on SIGTERM and SIGINT, so that the programs that it started end too.
async fn unless_ended<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let caught = |kind| signal(kind).map_err(Failure::system("signals cannot be received"));
    let (mut terminate, mut interrupt) = (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?);
    tokio::select! {
        done = Box::pin(work) => done,
        _ = terminate.recv() => Err(Failure::NotMeasured("ended by a signal".to_owned())),
        _ = interrupt.recv() => Err(Failure::NotMeasured("ended by a signal".to_owned())),
    }
}

fn run_async<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    Ok(runtime.map_err(Failure::system("no runtime"))?.block_on(work))
}
