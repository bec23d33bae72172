//! Both sides behind TLS, as production has them.

use std::net::SocketAddr;
use std::path::PathBuf;

use local::aws::Aws;
use tempfile::TempDir;
use tls_front::{Authority, Front, Heads};

/// A front for each side, and the file with what programs trust.
#[derive(Debug)]
pub struct Tls {
    source: Front,
    destination: Front,
    /// What is asked of the destination.
    to_destination: Heads,
    trusted: PathBuf,
    _folder: TempDir,
}

impl Tls {
    /// Fronts whose certificates are signed by `authority` for the host `name`, for programs that trust
    /// `trusted` and nobody else.
    pub async fn start(aws: &Aws, authority: &Authority, name: &str, trusted: &Authority) -> Self {
        let plain = [&aws.source, &aws.destination].map(|side| side.cloud.endpoint_url());
        let [source, destination] = plain.map(|url| address(&url));
        let to_destination = Heads::default();
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, trusted.pem()).expect("the temporary folder can be written");
        let source = Front::start(authority, name, source).await;
        let destination = Front::hearing(authority, name, destination, &to_destination).await;
        Self {
            source: source.expect("a free port"),
            destination: destination.expect("a free port"),
            to_destination,
            trusted: file,
            _folder: folder,
        }
    }

    /// Every request that comes to the destination.
    pub fn to_destination(&self) -> Heads {
        self.to_destination.clone()
    }

    /// Source, destination.
    pub(crate) fn endpoint_urls(&self) -> [String; 2] {
        [self.source.url(), self.destination.url()]
    }

    /// The variable by which a program finds whom to trust in place of the system's authorities.
    pub(crate) fn trust(&self) -> (&'static str, String) {
        ("SSL_CERT_FILE", self.trusted.display().to_string())
    }
}

fn address(url: &str) -> SocketAddr {
    let address = url.strip_prefix("http://").expect("ours");
    address.parse().expect("an address and a port")
}
