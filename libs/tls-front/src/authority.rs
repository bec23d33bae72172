//! Who signs the certificates of fronts.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// An authority of its own, with a new key. Clones are the same authority.
#[derive(Clone)]
pub struct Authority(Arc<CertifiedIssuer<'static, KeyPair>>);

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("no certificate: {0}")]
pub struct AuthorityError(String);

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(…)")
    }
}

fn failed(error: impl std::fmt::Display) -> AuthorityError {
    AuthorityError(error.to_string())
}

impl Authority {
    /// Makes a key and signs it with itself.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn new() -> Result<Self, AuthorityError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().map_err(failed)?;
        // By its name a client looks for it among those it trusts: no two may have the same.
        let name = format!("tls-front {:x?}", params.key_identifier(&key));
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(failed)?;
        Ok(Self(Arc::new(issuer)))
    }

    /// Its certificate, as a file of trusted ones holds it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Ends TLS under this name: of a host, or an address.
    pub(crate) fn acceptor(&self, name: &str) -> Result<TlsAcceptor, AuthorityError> {
        let key = KeyPair::generate().map_err(failed)?;
        let params = CertificateParams::new([name.to_owned()]).map_err(failed)?;
        let certificate = params.signed_by(&key, &*self.0).map_err(failed)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(failed)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
