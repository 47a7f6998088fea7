//! How connections to the exporter's own port are secured: its certificate, whom it lets in, and which ciphers it speaks.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring::{ALL_CIPHER_SUITES, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{TlsError, provider, roots};

/// Whether a client has to show a certificate, and what is asked of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nobody is asked.
    #[default]
    None,
    /// It is asked for, and may be any or none.
    Request,
    /// It must be there, and may be any.
    RequireAny,
    /// If there is one it must come from a known authority.
    VerifyIfGiven,
    /// It must be there and come from a known authority.
    RequireAndVerify,
}

impl ClientAuth {
    /// Whether certificates are held against authorities.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    /// Whether nobody gets in without one.
    pub fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

/// Everything about a handshake but the exporter's own certificate.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The oldest version that is spoken.
    pub oldest: Version,
    /// The newest version that is spoken.
    pub newest: Version,
    /// Cipher suites in our order; `None` for all of them.
    pub suites: Option<Vec<SupportedCipherSuite>>,
    /// Whether our order of suites counts, or the client's.
    pub our_order: bool,
    /// Groups for the exchange of keys; `None` for all of them.
    pub groups: Option<Vec<&'static dyn SupportedKxGroup>>,
    /// Whether clients are asked who they are.
    pub clients: ClientAuth,
    /// PEM of the authorities that clients' certificates must come from.
    pub authorities: Option<String>,
    /// A client's certificate must have one of these as a subject alternative name.
    pub names: Option<Vec<String>>,
    /// Whether HTTP/2 is offered beside HTTP/1.1.
    pub http2: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            oldest: Version::Tls12,
            newest: Version::Tls13,
            suites: None,
            our_order: true,
            groups: None,
            clients: ClientAuth::None,
            authorities: None,
            names: None,
            http2: true,
        }
    }
}

impl Terms {
    /// Whether any suite that was chosen can be used with a version that is spoken.
    pub fn has_suite_for(&self, version: Version) -> bool {
        let wanted = protocol(version).version;
        self.suites.as_ref().is_none_or(|suites| suites.iter().any(|suite| suite.version().version == wanted))
    }

    /// With the certificate and key in these PEM texts.
    ///
    /// # Errors
    ///
    /// [`TlsError::is_about_the_key`] tells which of the texts is to blame; those about authorities are found by
    /// [`Terms::check_authorities`] before.
    pub fn with_identity(&self, chain: &str, key: &str) -> Result<Arc<ServerConfig>, TlsError> {
        let identity = super::identity(chain, key)?;
        let mut provider = CryptoProvider::clone(&provider());
        if let Some(suites) = &self.suites {
            provider.cipher_suites.clone_from(suites);
        }
        if let Some(groups) = &self.groups {
            provider.kx_groups.clone_from(groups);
        }
        let versions: Vec<&'static SupportedProtocolVersion> = [Version::Tls12, Version::Tls13]
            .into_iter()
            .filter(|version| (self.oldest..=self.newest).contains(version))
            .map(protocol)
            .collect();
        let verifier = self.verifier()?;
        let builder = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)
            .map_err(TlsError::System)?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(identity);
        config.ignore_client_order = self.our_order;
        config.alpn_protocols = match self.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        Ok(Arc::new(config))
    }

    /// Whether the authorities can be used.
    pub fn check_authorities(&self) -> Result<(), TlsError> {
        self.verifier().map(drop)
    }

    fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let inner: Arc<dyn ClientCertVerifier> = match self.clients {
            ClientAuth::None => return Ok(None),
            ClientAuth::Request | ClientAuth::RequireAny => {
                Arc::new(AnyCertificate { mandatory: self.clients.requires(), provider: provider() })
            }
            ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
                let roots = roots(self.authorities.as_deref().unwrap_or_default())?;
                let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                let builder = match self.clients.requires() {
                    true => builder,
                    false => builder.allow_unauthenticated(),
                };
                // It can only fail without authorities, and there is one at least.
                builder.build().map_err(|_| TlsError::NoCertificate)?
            }
        };
        Ok(Some(match &self.names {
            Some(names) => Arc::new(Named { inner, names: names.clone() }),
            None => inner,
        }))
    }
}

fn protocol(version: Version) -> &'static SupportedProtocolVersion {
    match version {
        Version::Tls12 => &TLS12,
        Version::Tls13 => &TLS13,
    }
}

/// All suites by the names that IANA gave them, the best first.
pub fn suites() -> impl Iterator<Item = (String, SupportedCipherSuite)> {
    ALL_CIPHER_SUITES.iter().map(|suite| {
        let name = suite.suite().as_str().unwrap_or_default();
        (name.replacen("TLS13_", "TLS_", 1), *suite)
    })
}

/// All groups, by the names that Go gave them.
pub const GROUPS: [(&str, &'static dyn SupportedKxGroup); 3] =
    [("X25519", kx_group::X25519), ("CurveP256", kx_group::SECP256R1), ("CurveP384", kx_group::SECP384R1)];

/// When the first certificate of a PEM text ends to be valid, in seconds since 1970.
pub fn valid_until(chain: &str) -> Option<i64> {
    let chain = super::certificates(chain).ok()?;
    let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Lets in whoever has the key to the certificate that he shows, whatever that is.
#[derive(Debug)]
struct AnyCertificate {
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Lets in what another one lets in, if it has one of the names.
#[derive(Debug)]
struct Named {
    inner: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl Named {
    fn has_a_name(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
        let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return false };
        alternatives.value.general_names.iter().any(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                self.names.iter().any(|allowed| allowed == name)
            }
            GeneralName::IPAddress(bytes) => {
                let address = address(bytes);
                address.is_some() && self.names.iter().any(|allowed| allowed.parse().ok() == address)
            }
            _ => false,
        })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

impl ClientCertVerifier for Named {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(certificate, intermediates, now)?;
        match self.has_a_name(certificate) {
            true => Ok(verified),
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
