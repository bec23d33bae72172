//! The program: see the library.

fn main() -> std::process::ExitCode {
    service_runtime::program::main::<hoard::Settings, _, _>(hoard::serve)
}
