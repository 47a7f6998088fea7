//! The one place that decides how connections are secured: those to platforms and collectors, and in [`incoming`] those
//! of whoever asks the exporter.
//!
//! rustls with ring, handed on and never installed for the process. A server's certificate is always verified: there is
//! no way to leave that out.

pub mod incoming;

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Why a connection cannot be secured as wanted. Holds nothing of what stood in a file.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The system has nothing to trust.
    #[error("cannot set up TLS: {0}; are CA certificates installed (package ca-certificates)?")]
    System(#[from] rustls::Error),
    /// No certificate in a file that should have one.
    #[error("no certificate in it, a PEM file has a line `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// A certificate that nothing can be done with.
    #[error("a certificate in it cannot be used: {0}")]
    Certificate(rustls::Error),
    /// No key in a file that should have one.
    #[error("no private key in it, a PEM file has a line `-----BEGIN PRIVATE KEY-----`")]
    NoKey,
    /// A key that nothing can be done with.
    #[error("the private key cannot be used: {0}")]
    Key(rustls::Error),
    /// The certificate is not the key's.
    #[error("the certificate and the private key do not belong together")]
    Strangers,
}

impl TlsError {
    /// Whether it is the private key that has to be looked at, not the certificate.
    pub fn is_about_the_key(&self) -> bool {
        matches!(self, Self::NoKey | Self::Key(_) | Self::Strangers)
    }
}

/// Whom a connection trusts and who it says it is; by default what the system trusts, and nobody.
#[derive(Clone, Default)]
pub struct Trust {
    authorities: Option<Arc<RootCertStore>>,
    identity: Option<Arc<SingleCertAndKey>>,
    /// A fingerprint of what it was made from.
    print: u64,
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorities = self.authorities.as_ref().map(|store| store.len());
        let identity = self.identity.as_ref().map(|_| "[REDACTED]");
        f.debug_struct("Trust").field("authorities", &authorities).field("identity", &identity).finish()
    }
}

impl Trust {
    /// Trusts the authorities in this PEM text, and no longer what the system trusts.
    pub fn only(self, authorities: &str) -> Result<Self, TlsError> {
        let print = self.print_with(&[authorities]);
        Ok(Self { authorities: Some(Arc::new(roots(authorities)?)), print, ..self })
    }

    /// Shows this certificate (with what leads to its authority) when asked who it is.
    pub fn identified_by(self, chain: &str, key: &str) -> Result<Self, TlsError> {
        let print = self.print_with(&[chain, key]);
        Ok(Self { identity: Some(identity(chain, key)?), print, ..self })
    }

    fn print_with(&self, texts: &[&str]) -> u64 {
        texts.iter().fold(self.print, |print, text| xxh3_64_with_seed(text.as_bytes(), print.wrapping_add(1)))
    }

    /// What a client is made with.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match &self.authorities {
            Some(authorities) => builder.with_root_certificates(Arc::clone(authorities)),
            None => builder.with_platform_verifier()?,
        };
        Ok(match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::clone(identity) as _),
            None => builder.with_no_client_auth(),
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate).map_err(TlsError::Certificate)?;
    }
    Ok(store)
}

/// A certificate (with what leads to its authority) and the key that belongs to it.
fn identity(chain: &str, key: &str) -> Result<Arc<SingleCertAndKey>, TlsError> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsError::NoKey)?;
    let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Strangers,
        other => TlsError::Key(other),
    })?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(TlsError::NoCertificate)
}
