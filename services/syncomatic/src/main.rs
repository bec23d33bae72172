//! The `syncomatic` program: the service, and commands beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    syncomatic::command::run(std::env::args_os())
        .unwrap_or_else(|| service_runtime::program::main::<syncomatic::Settings, _, _>(syncomatic::serve))
}
