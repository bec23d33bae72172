//! The `bench` program. See the library for what it measures.
//!
//! Called by the name of a program of the pipeline, it is that program: what runs under `bench chaos` is
//! so always what is checked out, and needs no build of its own.

use std::path::Path;
use std::process::ExitCode;

use service_runtime::program;

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("events") => events::command::run(std::env::args_os())
            .unwrap_or_else(|| program::main::<events::Settings, _, _>(events::serve)),
        Some("hoard") => hoard::command::run(std::env::args_os())
            .unwrap_or_else(|| program::main::<hoard::Settings, _, _>(hoard::serve)),
        Some("syncomatic") => syncomatic::command::run(std::env::args_os())
            .unwrap_or_else(|| program::main::<syncomatic::Settings, _, _>(syncomatic::serve)),
        _ => bench::command::run(),
    }
}
