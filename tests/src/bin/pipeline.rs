//! Every program of the pipeline in one binary, chosen by the name it is called with, so that tests
//! can start, stop and kill the real programs: a test sees only the binaries of its own package.

use std::path::Path;
use std::process::ExitCode;

use service_runtime::program;

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("events") => program::main::<events::Settings, _, _>(events::serve),
        Some("hoard") => hoard::command::run(std::env::args_os())
            .unwrap_or_else(|| program::main::<hoard::Settings, _, _>(hoard::serve)),
        Some("syncomatic") => program::main::<syncomatic::Settings, _, _>(syncomatic::serve),
        Some("local") => local::command::run(std::env::args_os())
            .unwrap_or_else(|| program::main::<local::Settings, _, _>(local::serve)),
        _ => ExitCode::from(127),
    }
}
