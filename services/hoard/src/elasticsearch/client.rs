//! HTTP to the cluster: one request at a time, bounded in time and in what is read of its answer.
//!
//! TLS is rustls on ring, as towards AWS. Neither the credential nor an answer's text gets into a log or
//! an error: a cluster quotes documents in what it says about them.

use std::fmt::{Debug, Formatter};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::elasticsearch::settings::Elasticsearch;

/// Of each item, status and kind of error are all that is wanted.
const QUERY: &str = "filter_path=errors,items.*.status,items.*.error.type";
/// An answer is some 60 bytes an item.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Sends requests. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    bulk: Uri,
    credential: Credential,
    timeout: Duration,
}

/// Why a request as a whole did not go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFailure {
    /// No connection, or it broke.
    Connection,
    /// No answer in time.
    Timeout,
    /// 429: later.
    Throttled,
    /// 401 or 403.
    Denied,
    /// 413: the body is too large.
    TooLarge,
    /// Any other status, or an answer that is none.
    Answer,
}

impl RequestFailure {
    /// All of them, for metrics that exist before the first one happens.
    pub const ALL: [Self; 6] = [
        Self::Connection,
        Self::Timeout,
        Self::Throttled,
        Self::Denied,
        Self::TooLarge,
        Self::Answer,
    ];

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::TooLarge => "too_large",
            Self::Answer => "answer",
        }
    }
}

/// A request that did not go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRequest {
    /// Why.
    pub failure: RequestFailure,
    /// Why there is no connection, for the log: an unknown name, a refused certificate. Nothing else has
    /// words of its own.
    pub detail: Option<String>,
}

impl From<RequestFailure> for FailedRequest {
    fn from(failure: RequestFailure) -> Self {
        Self {
            failure,
            detail: None,
        }
    }
}

impl Client {
    /// A client of the cluster that `settings` name.
    pub fn new(settings: &Elasticsearch) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(settings.trust.0.as_ref().clone())
            .https_or_http()
            .enable_http1()
            .build();
        let bulk = format!("{}/_bulk?{QUERY}", settings.url.to_string().trim_end_matches('/'));
        Self {
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
            // A checked URL and a path make a URL.
            bulk: bulk.parse().unwrap_or_else(|_| settings.url.clone()),
            credential: settings.credential.clone(),
            timeout: settings.timeout,
        }
    }

    /// Sends a body; returns the answer's.
    pub async fn bulk(&self, body: Bytes) -> Result<Bytes, FailedRequest> {
        let Ok(outcome) = tokio::time::timeout(self.timeout, self.send(body)).await else {
            return Err(RequestFailure::Timeout.into());
        };
        if outcome
            .as_ref()
            .is_err_and(|failed| failed.failure == RequestFailure::Denied)
        {
            self.credential.read_again();
        }
        outcome
    }

    async fn send(&self, body: Bytes) -> Result<Bytes, FailedRequest> {
        let mut request = Request::post(&self.bulk).header(CONTENT_TYPE, "application/x-ndjson");
        if let Some(value) = self.credential.header() {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|_| RequestFailure::Connection)?;
        let answer = self.http.request(request).await.map_err(|error| FailedRequest {
            failure: RequestFailure::Connection,
            // Of what breaks later a cause could quote.
            detail: error.is_connect().then(|| aws_clients::with_causes(&error)),
        })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| RequestFailure::Connection)?.to_bytes();
        match status {
            StatusCode::OK => Ok(body),
            StatusCode::TOO_MANY_REQUESTS => Err(RequestFailure::Throttled.into()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RequestFailure::Denied.into()),
            StatusCode::PAYLOAD_TOO_LARGE => Err(RequestFailure::TooLarge.into()),
            _ => Err(RequestFailure::Answer.into()),
        }
    }
}

/// Who we are to the cluster. Clones share it.
#[derive(Clone)]
pub struct Credential(Arc<FileCredential>);

struct FileCredential {
    path: Option<PathBuf>,
    header: RwLock<Option<HeaderValue>>,
}

impl Credential {
    /// From a file, or none.
    pub fn from_file(path: Option<PathBuf>) -> Result<Self, String> {
        let header = path.as_deref().map(read_header).transpose()?;
        Ok(Self(Arc::new(FileCredential {
            path,
            header: RwLock::new(header),
        })))
    }

    fn header(&self) -> Option<HeaderValue> {
        self.0
            .header
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes what the file holds now; what cannot be used leaves what there was.
    fn read_again(&self) {
        let Some(path) = self.0.path.as_deref() else {
            return;
        };
        match read_header(path) {
            Ok(header) => *self.0.header.write().unwrap_or_else(PoisonError::into_inner) = Some(header),
            Err(problem) => tracing::warn!(problem, "the credential for elasticsearch cannot be read again"),
        }
    }
}

impl Debug for Credential {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}

fn read_header(path: &Path) -> Result<HeaderValue, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let text = text.trim();
    let value = match text.strip_prefix("ApiKey ") {
        Some(key) => format!("ApiKey {}", key.trim()),
        None if text.contains(':') => format!("Basic {}", STANDARD.encode(text)),
        None => {
            return Err(format!(
                "{} must hold user:password, or ApiKey and a key",
                path.display()
            ));
        }
    };
    let mut value = HeaderValue::from_str(&value)
        .map_err(|_| format!("{} holds what cannot stand in a header", path.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whose certificates are believed.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The system's, or those in a file alone.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let roots = match ca_file {
            Some(path) => {
                roots_of(path).map_err(|error| format!("cannot use {}: {error}", path.display()))?
            }
            None => {
                let mut roots = RootCertStore::empty();
                // Certificates of the system that cannot be read are left out, as every client does.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

fn roots_of(path: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let text = std::fs::read(path)?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(io::Error::other("there is no certificate in it"));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_basic_or_an_api_key_and_is_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |text: &str| {
            let path = folder.path().join("auth");
            std::fs::write(&path, text).expect("written");
            Credential::from_file(Some(path))
        };
        let basic = file("me:secret\n").expect("valid");
        assert_eq!(basic.header().expect("some"), "Basic bWU6c2VjcmV0");
        assert!(!format!("{basic:?} {:?}", basic.header()).contains("bWU6"));
        let key = file("ApiKey abc==\n").expect("valid");
        assert_eq!(key.header().expect("some"), "ApiKey abc==");
        let error = file("secret").expect_err("neither");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_credential_that_is_replaced_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("auth");
        std::fs::write(&path, "ApiKey old").expect("written");
        let credential = Credential::from_file(Some(path.clone())).expect("valid");
        std::fs::write(&path, "nonsense").expect("written");
        credential.read_again();
        assert_eq!(credential.header().expect("kept"), "ApiKey old");
        std::fs::write(&path, "ApiKey new").expect("written");
        credential.read_again();
        assert_eq!(credential.header().expect("new"), "ApiKey new");
    }
}
