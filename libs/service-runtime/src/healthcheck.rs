//! `PROGRAM healthcheck`: asks the admin port of the program that runs beside it. Container images hold no
//! HTTP client, and need one for their health checks.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, value_parser};

use crate::program;
use crate::settings::Settings;

/// For the connection, and again for each piece of the answer: shorter than any health check's own.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than any answer of `/livez` and `/readyz`.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Does what the arguments ask for; `None` when they ask for something else.
pub(crate) fn run<S: Settings>(arguments: &[OsString]) -> Option<ExitCode> {
    if arguments.get(1)? != "healthcheck" {
        return None;
    }
    let matches = match command::<S>().try_get_matches_from(&arguments[1..]) {
        Ok(matches) => matches,
        Err(error) => return Some(program::refuse(&error)),
    };
    let address = *matches
        .get_one::<SocketAddr>("admin_listen")
        .expect("it has a default");
    let path = if matches.get_flag("ready") {
        "/readyz"
    } else {
        "/livez"
    };
    Some(match ask(address, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => report(S::NAME, &problem),
    })
}

fn command<S: Settings>() -> Command {
    let admin_listen = Arg::new("admin_listen")
        .long("admin-listen")
        .env(format!("{}ADMIN_LISTEN", S::ENV_PREFIX))
        .default_value(S::ADMIN_LISTEN)
        .value_parser(value_parser!(SocketAddr))
        .help("Where the program listens; an unspecified address is asked on this machine");
    let ready = Arg::new("ready")
        .long("ready")
        .action(ArgAction::SetTrue)
        .help("Ask whether it is ready, and not only whether it lives");
    Command::new("healthcheck")
        .about(
            "Asks the program that runs on this machine how it is: exit code 0 for well, 1 for anything else",
        )
        .args([admin_listen, ready])
}

/// Whether the admin port answers 200.
fn ask(address: SocketAddr, path: &str) -> Result<(), String> {
    let address = reachable(address);
    let failed = |error: io::Error| format!("http://{address}{path}: {error}");
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    connection.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    connection.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    let read = connection.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
    read.map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    let body = answer
        .split_once("\r\n\r\n")
        .map_or("no answer", |(_, body)| body);
    Err(format!("http://{address}{path}: {}", body.trim()))
}

/// What is bound on every address is reached on the loopback one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[expect(clippy::print_stderr, reason = "the container engine shows it")]
fn report(program: &str, problem: &str) -> ExitCode {
    eprintln!("{program}: {problem}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener as Silent;

    use tokio::net::TcpListener;
    use tokio::task::spawn_blocking;

    use super::*;
    use crate::tasks::Tasks;
    use crate::{BoxError, Runtime, admin};

    #[tokio::test]
    async fn it_says_what_the_admin_port_says() -> Result<(), BoxError> {
        let runtime = Runtime::new("sample");
        let latch = runtime.readiness.latch("stream");
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let address = listener.local_addr()?;
        let mut tasks = Tasks::new(runtime.shutdown.clone());
        tasks.spawn("admin", admin::serve(listener, runtime.clone()));

        assert_eq!(spawn_blocking(move || ask(address, "/livez")).await?, Ok(()));
        let refused = spawn_blocking(move || ask(address, "/readyz")).await?;
        assert!(
            refused.is_err_and(|problem| problem.ends_with("/readyz: stream: starting")),
            "the reason is said"
        );
        latch.open();
        assert_eq!(spawn_blocking(move || ask(address, "/readyz")).await?, Ok(()));
        Ok(())
    }

    #[test]
    fn a_program_that_is_gone_or_hangs_is_not_well() -> Result<(), BoxError> {
        let silent = Silent::bind("127.0.0.1:0")?;
        let address = silent.local_addr()?;
        assert!(ask(address, "/livez").is_err(), "it accepts, and says nothing");
        drop(silent);
        assert!(ask(address, "/livez").is_err(), "nobody is there");
        Ok(())
    }
}
