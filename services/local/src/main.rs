//! `local`: the whole pipeline on one machine, and commands beside it. See the library's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    local::command::run(std::env::args_os())
        .unwrap_or_else(|| service_runtime::program::main::<local::Settings, _, _>(local::serve))
}
