//! The `hoard` program: the service, and commands beside it.

fn main() -> std::process::ExitCode {
    hoard::command::run(std::env::args_os())
        .unwrap_or_else(|| service_runtime::program::main::<hoard::Settings, _, _>(hoard::serve))
}
