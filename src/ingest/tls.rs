//! The one place that decides how outgoing connections are secured.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;
use thiserror::Error;

/// Why no TLS client could be made.
#[derive(Debug, Error)]
#[error("cannot set up TLS: {0}; are CA certificates installed (package ca-certificates)?")]
pub struct TlsError(#[from] rustls::Error);

/// A TLS client that trusts what the system trusts. The provider is passed on, never installed for the process.
pub fn client_config() -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(config)
}
