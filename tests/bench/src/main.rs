//! The `bench` program. See the library for what it measures.

use std::process::ExitCode;

fn main() -> ExitCode {
    bench::command::run()
}
