//! The `syncomatic` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_runtime::program::main::<syncomatic::Settings, _, _>(syncomatic::serve)
}
