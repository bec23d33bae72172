//! The `events` program: the service, and commands beside it.

fn main() -> std::process::ExitCode {
    events::command::run(std::env::args_os())
        .unwrap_or_else(|| service_runtime::program::main::<events::Settings, _, _>(events::serve))
}
