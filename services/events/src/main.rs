//! The `events` program.

fn main() -> std::process::ExitCode {
    service_runtime::program::main::<events::Settings, _, _>(events::serve)
}
