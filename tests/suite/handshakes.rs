//! Handshakes with the exporter's own port, without a port: who is let in by which terms, and what is agreed on.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use agent_session_exporter::tls::Trust;
use agent_session_exporter::tls::incoming::{ClientAuth, GROUPS, Terms, Version, suites};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::Authority;

/// What a handshake came to: version, suite and protocol, or what each side says.
#[derive(Debug)]
struct Agreed {
    version: rustls::ProtocolVersion,
    suite: String,
    protocol: Option<Vec<u8>>,
}

async fn shake(server: Arc<rustls::ServerConfig>, client: ClientConfig) -> Result<Agreed, String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(async move {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        // As of TLS 1.3 a client only learns with the first bytes whether it was let in.
        stream.write_all(b"x").await?;
        stream.flush().await
    });
    let connector = TlsConnector::from(Arc::new(client));
    let stream = connector.connect(ServerName::try_from("localhost").expect("a name"), near).await;
    let mut stream = stream.map_err(|error| error.to_string())?;
    let mut first = [0];
    stream.read_exact(&mut first).await.map_err(|error| error.to_string())?;
    serving.await.expect("no panic").map_err(|error| error.to_string())?;
    let (_, connection) = stream.get_ref();
    Ok(Agreed {
        version: connection.protocol_version().expect("it is agreed on"),
        suite: format!("{:?}", connection.negotiated_cipher_suite().expect("it is agreed on").suite()),
        protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
    })
}

/// A server with these terms and a client that trusts it.
struct Pair {
    authority: Authority,
    server: (String, String),
}

impl Pair {
    fn new() -> Self {
        let authority = Authority::new();
        let server = authority.issue("localhost");
        Self { authority, server }
    }

    fn terms(&self, clients: ClientAuth) -> Terms {
        let authorities = clients.verifies().then(|| self.authority.pem());
        Terms { clients, authorities, ..Terms::default() }
    }

    fn client(&self, identity: Option<&(String, String)>) -> ClientConfig {
        let mut trust = Trust::default().only(&self.authority.pem()).expect("an authority");
        if let Some((certificate, key)) = identity {
            trust = trust.identified_by(certificate, key).expect("they belong together");
        }
        let mut config = trust.client_config().expect("a client");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    async fn shake(&self, terms: &Terms, client: ClientConfig) -> Result<Agreed, String> {
        shake(terms.with_identity(&self.server.0, &self.server.1).expect("a server"), client).await
    }
}

#[tokio::test]
async fn every_kind_of_client_meets_every_kind_of_door() {
    let pair = Pair::new();
    let stranger = Authority::new().issue("localhost");
    let known = pair.authority.issue("client");
    let expired = pair.authority.issue_expired("client");
    let for_servers = pair.authority.issue_with("client", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (clients, admits) in [
        // nobody, a stranger, one that is known, expired, not meant for clients
        (ClientAuth::None, [true, true, true, true, true]),
        (ClientAuth::Request, [true, true, true, true, true]),
        (ClientAuth::RequireAny, [false, true, true, true, true]),
        (ClientAuth::VerifyIfGiven, [true, false, true, false, false]),
        (ClientAuth::RequireAndVerify, [false, false, true, false, false]),
    ] {
        let shown = [None, Some(&stranger), Some(&known), Some(&expired), Some(&for_servers)];
        for (number, (identity, admitted)) in shown.into_iter().zip(admits).enumerate() {
            for newest in [Version::Tls12, Version::Tls13] {
                let terms = Terms { newest, ..pair.terms(clients) };
                let shaken = pair.shake(&terms, pair.client(identity)).await;
                assert_eq!(shaken.is_ok(), admitted, "{clients:?}, client {number}, {newest:?}: {shaken:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_stolen_certificate_is_no_use_without_its_key() {
    let pair = Pair::new();
    // The key of another one; the pair is put together behind the back of what would notice.
    let (certificate, _) = pair.authority.issue("client");
    let (_, key) = pair.authority.issue("client");
    let provider = rustls::crypto::ring::default_provider();
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let key = provider.key_provider.load_private_key(key).expect("a key");
    let certified = rustls::sign::CertifiedKey::new(vec![certificate], key);
    let mut client = pair.client(None);
    client.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    for clients in [ClientAuth::Request, ClientAuth::RequireAny, ClientAuth::RequireAndVerify] {
        for newest in [Version::Tls12, Version::Tls13] {
            let terms = Terms { newest, ..pair.terms(clients) };
            assert!(pair.shake(&terms, client.clone()).await.is_err(), "{clients:?}");
        }
    }
}

#[tokio::test]
async fn names_are_compared_as_they_are_written() {
    let pair = Pair::new();
    let named = pair.authority.issue_with("prom.example", |params| {
        let text = |text: &str| text.try_into().expect("ASCII");
        params.subject_alt_names.extend([
            SanType::Rfc822Name(text("ops@example.org")),
            SanType::URI(text("spiffe://x/prom")),
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
            SanType::IpAddress("2001:db8::7".parse().expect("an address")),
        ]);
    });
    let nameless = pair.authority.issue_with("x", |params| params.subject_alt_names.clear());
    for (allowed, admitted) in [
        ("prom.example", true),
        ("ops@example.org", true),
        ("spiffe://x/prom", true),
        ("192.0.2.7", true),
        ("2001:db8::7", true),
        ("2001:DB8:0::7", true),
        ("PROM.example", false),
        ("example", false),
        ("*.example", false),
        ("192.0.2.8", false),
        ("x", false),
    ] {
        for clients in [ClientAuth::RequireAndVerify, ClientAuth::RequireAny] {
            let names = Some(vec!["another".to_owned(), allowed.to_owned()]);
            let terms = Terms { names, ..pair.terms(clients) };
            let shaken = pair.shake(&terms, pair.client(Some(&named))).await;
            assert_eq!(shaken.is_ok(), admitted, "{allowed}: {shaken:?}");
            assert!(pair.shake(&terms, pair.client(Some(&nameless))).await.is_err());
            assert!(pair.shake(&terms, pair.client(None)).await.is_err());
        }
    }
    // The right name from the wrong authority.
    let forged = Authority::new().issue("prom.example");
    let names = Some(vec!["prom.example".to_owned()]);
    let terms = Terms { names, ..pair.terms(ClientAuth::RequireAndVerify) };
    assert!(pair.shake(&terms, pair.client(Some(&forged))).await.is_err());
}

#[tokio::test]
async fn versions_suites_and_protocols_are_those_that_were_chosen() {
    let pair = Pair::new();
    let agreed = pair.shake(&Terms::default(), pair.client(None)).await.expect("they agree");
    assert_eq!(agreed.version, rustls::ProtocolVersion::TLSv1_3);
    assert_eq!(agreed.protocol.as_deref(), Some(&b"h2"[..]));

    let old = Terms { newest: Version::Tls12, http2: false, ..Terms::default() };
    let agreed = pair.shake(&old, pair.client(None)).await.expect("they agree");
    assert_eq!(agreed.version, rustls::ProtocolVersion::TLSv1_2);
    assert_eq!(agreed.protocol.as_deref(), Some(&b"http/1.1"[..]));

    let only_new = Terms { oldest: Version::Tls13, ..Terms::default() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    roots.add(CertificateDer::from_pem_slice(pair.authority.pem().as_bytes()).expect("PEM")).expect("an authority");
    let old_client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    assert!(pair.shake(&Terms::default(), old_client.clone()).await.is_ok());
    let error = pair.shake(&only_new, old_client.clone()).await.expect_err("nothing in common");
    assert!(error.contains("ProtocolVersion"), "{error}");

    // The client would take another one, and says so; the order is ours unless it is given away.
    let suite = |name: &str| suites().find(|(known, _)| known == name).expect("it is known").1;
    let (ours, last) = (suite("TLS_CHACHA20_POLY1305_SHA256"), suite("TLS_AES_256_GCM_SHA384"));
    for (our_order, expected) in [(true, "TLS13_CHACHA20_POLY1305_SHA256"), (false, "TLS13_AES_256_GCM_SHA384")] {
        let terms = Terms { suites: Some(vec![ours, last]), our_order, oldest: Version::Tls13, ..Terms::default() };
        let agreed = pair.shake(&terms, pair.client(None)).await.expect("they agree");
        assert_eq!(agreed.suite, expected);
    }

    let groups = Some(vec![GROUPS[2].1]);
    let terms = Terms { groups, ..Terms::default() };
    let mut client = pair.client(None);
    let mut provider = rustls::crypto::CryptoProvider::clone(client.crypto_provider());
    assert!(pair.shake(&terms, client.clone()).await.is_ok());
    provider.kx_groups = vec![GROUPS[0].1];
    client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let error = pair.shake(&terms, client).await.expect_err("nothing in common");
    assert!(error.contains("HandshakeFailure"), "{error}");
}
