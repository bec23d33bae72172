//! TLS in front of the emulated clouds: a process of its own beside the load, so that of TLS only the
//! measured program's half is counted.

use std::{net::SocketAddr, path::Path, path::PathBuf};

use clap::Args;
use tls_front::{Authority, Front};

use crate::{Failure, program::Program};

/// What it prints before each URL, in the order of what it was told to stand before.
const LISTENING: &str = "listening: ";
/// What the certificates are for: the host of the URLs.
const ADDRESS: &str = "127.0.0.1";
/// Where a program that is measured finds whom to trust.
const TRUST: &str = "SSL_CERT_FILE";

/// What the process stands before.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// Where the certificate of its authority is to be written.
    #[arg(long)]
    ca_file: PathBuf,
    /// A port without TLS.
    #[arg(long, required = true)]
    to: Vec<SocketAddr>,
}

/// Stands before the ports until it is ended.
///
/// # Errors
/// When it cannot listen, or the file cannot be written.
#[expect(clippy::print_stdout, reason = "its output is read by the bench")]
pub async fn serve(plan: Plan) -> Result<(), Failure> {
    let authority = Authority::new().map_err(|error| Failure::NotMeasured(error.to_string()))?;
    std::fs::write(&plan.ca_file, authority.pem()).map_err(Failure::system("cannot write a certificate"))?;
    let mut fronts = Vec::new();
    for to in plan.to {
        let front = Front::start(&authority, ADDRESS, to).await;
        let front = front.map_err(Failure::system("no TLS"))?;
        println!("{LISTENING}{}", front.url());
        fronts.push(front);
    }
    std::future::pending().await
}

/// The running process.
pub(crate) struct Tls {
    /// Where the plain URLs are reached over TLS, in their order.
    pub(crate) urls: Vec<String>,
    ca_file: String,
    _program: Program,
}

impl Tls {
    /// Starts it before these URLs. Files lie in `folder`.
    pub(crate) async fn start(folder: &Path, plain: &[&str]) -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(Failure::system("cannot find this program"))?;
        let ca_file = folder.join("ca.pem").display().to_string();
        let mut arguments = vec!["tls-front", "--ca-file", &ca_file];
        for url in plain {
            arguments.extend(["--to", url.strip_prefix("http://").unwrap_or(url)]);
        }
        let mut program = Program::start("tls-front", &own, arguments, &[], folder, None)?;
        let mut urls: Vec<String> = Vec::new();
        while urls.len() < plain.len() {
            let next = |line: &str| {
                let url = line.strip_prefix(LISTENING)?;
                (!urls.iter().any(|known| known == url)).then(|| url.to_owned())
            };
            let url = program.logged(next).await?;
            urls.push(url);
        }
        Ok(Self {
            urls,
            ca_file,
            _program: program,
        })
    }

    /// For the environment of a program that is to trust it.
    pub(crate) fn trust(&self) -> (&'static str, String) {
        (TRUST, self.ca_file.clone())
    }
}
