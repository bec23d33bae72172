//! `local`: the whole pipeline on one machine. See the library's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_runtime::program::main::<local::Settings, _, _>(local::serve)
}
