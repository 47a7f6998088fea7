//! Who is let in, what is on every answer, and how connections are secured.

use std::net::Ipv4Addr;

use http::header::{CONTENT_SECURITY_POLICY, X_FRAME_OPTIONS};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use secrecy::SecretString;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::tls::Trust;
use crate::tls::incoming::Terms;

/// `prom` with the password `secret`.
pub(super) const BASIC: &str = "Authorization: Basic cHJvbTpzZWNyZXQ=\r\n";

/// A user whose password is `secret`.
pub(super) fn user(name: &str, cost: u32) -> (String, SecretString) {
    (name.to_owned(), bcrypt::hash("secret", cost).unwrap().into())
}

/// What trusts one server.
pub(super) struct Client(TlsConnector);

impl Client {
    pub(super) async fn connect(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        self.0.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }
}

/// A door with a certificate of its own, and a client that trusts it.
pub(super) fn secured() -> (Door, Client) {
    let (door, [client]) = secured_for([&[]]);
    (door, client)
}

/// The same, and clients that each speak these protocols.
pub(super) fn secured_for<const N: usize>(protocols: [&[&[u8]]; N]) -> (Door, [Client; N]) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let door = Door::default().secured(Terms::default().with_identity(&certificate, &key).unwrap());
    assert!(CertificateDer::from_pem_slice(certificate.as_bytes()).is_ok());
    let client = Trust::default().only(&certificate).unwrap().client_config().unwrap();
    let speaking = |protocols: &[&[u8]]| {
        let mut client = client.clone();
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Client(TlsConnector::from(Arc::new(client)))
    };
    (door, protocols.map(speaking))
}

#[tokio::test]
async fn without_the_password_nothing_is_told() {
    let server = Server::behind(Door::default().known_to(vec![user("prom", 4), user("ann", 5)])).await;
    for path in ["/metrics", "/", "/-/healthy", "/-/ready", "/api/v1/sessions", "/nowhere", "/healthz"] {
        for (credentials, what) in [
            ("X: y\r\n", "nothing"),
            ("Authorization: Basic cHJvbTp3cm9uZw==\r\n", "prom:wrong"),
            ("Authorization: Basic bm9ib2R5OnNlY3JldA==\r\n", "nobody:secret"),
            ("Authorization: Basic cHJvbQ==\r\n", "no colon"),
            ("Authorization: Basic %%%\r\n", "no base64"),
            ("Authorization: Basic cHJvbTo=\r\n", "prom:"),
            ("Authorization: Bearer cHJvbTpzZWNyZXQ=\r\n", "another scheme"),
            ("Authorization: Basic\r\n", "no credentials"),
        ] {
            let reply = server.send(&format!("GET {path} HTTP/1.1\r\n{}", credentials.trim_end())).await;
            assert_eq!(reply.status(), "401", "{path} with {what}");
            let challenge = reply.header("www-authenticate");
            assert_eq!(challenge, Some("Basic realm=\"agent-session-exporter\", charset=\"UTF-8\""));
            assert_eq!(reply.text(), "a user name and password are needed\n");
        }
    }
    let with = |line: &str| format!("{line} HTTP/1.1\r\n{}", BASIC.trim_end());
    assert_eq!(server.send(&with("GET /-/healthy")).await.status(), "200");
    assert_eq!(server.send(&with("GET /nowhere")).await.status(), "404");
    let basic = "authorization: basic YW5uOnNlY3JldA==";
    assert_eq!(server.send(&format!("GET /metrics HTTP/1.1\r\n{basic}")).await.status(), "200", "the other user");
}

#[tokio::test]
async fn a_password_that_was_right_is_not_right_for_ever() {
    let server = Server::behind(Door::default().known_to(vec![user("prom", 4)])).await;
    let head = format!("GET /-/healthy HTTP/1.1\r\n{}", BASIC.trim_end());
    for _ in 0..2 {
        assert_eq!(server.send(&head).await.status(), "200");
    }
    let other = ("prom".to_owned(), SecretString::from(bcrypt::hash("another", 4).unwrap()));
    server.app.door.store(Arc::new(Door::default().known_to(vec![other])));
    assert_eq!(server.send(&head).await.status(), "401");
}

#[tokio::test]
async fn configured_headers_are_on_every_answer_in_place_of_ours() {
    let headers = vec![
        (CONTENT_SECURITY_POLICY, "frame-ancestors 'self'".parse().unwrap()),
        (X_FRAME_OPTIONS, "deny".parse().unwrap()),
    ];
    let door = Door::default().known_to(vec![user("prom", 4)]).with_headers(headers);
    let server = Server::behind(door).await;
    for credentials in ["X: y", BASIC.trim_end()] {
        let reply = server.send(&format!("GET / HTTP/1.1\r\n{credentials}")).await;
        let policies: Vec<_> = reply.head.lines().filter(|line| line.starts_with("content-security-policy")).collect();
        assert_eq!(policies, ["content-security-policy: frame-ancestors 'self'"]);
        assert_eq!(reply.header("x-frame-options"), Some("deny"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "ours, as it was not configured");
    }
}

#[tokio::test]
async fn past_the_limit_nobody_is_answered_for_a_while() {
    let server = Server::behind(Door::default().limited(Duration::from_secs(3600), 2)).await;
    let mut statuses = Vec::new();
    for path in ["/-/healthy", "/metrics", "/-/healthy", "/"] {
        statuses.push(server.get(path).await.status().to_owned());
    }
    assert_eq!(statuses, ["200", "200", "429", "429"]);
}

#[tokio::test]
async fn who_speaks_plain_http_to_a_secured_port_is_told() {
    let (door, client) = secured();
    let server = Server::behind(door).await;
    let reply = server.get("/metrics").await;
    assert_eq!(reply.status(), "400");
    assert_eq!(reply.text(), "this port speaks HTTPS; use https:// (in Prometheus: scheme: https)\n");
    let stream = client.connect(TcpStream::connect((Ipv4Addr::LOCALHOST, server.address.port())).await.unwrap()).await;
    assert_eq!(Server::send_over(stream, "GET /metrics HTTP/1.1").await.status(), "200");
}

#[tokio::test]
async fn a_head_request_gets_the_length_and_no_body() {
    let server = Server::start().await;
    let reply = server.send("HEAD /-/healthy HTTP/1.1").await;
    assert_eq!((reply.status(), reply.header("content-length"), reply.body.len()), ("200", Some("8"), 0));
}

#[tokio::test]
async fn shutdown_does_not_wait_for_handshakes() {
    let (door, _) = secured();
    let server = Server::behind(door).await;
    let mut waiting = TcpStream::connect(server.address).await.unwrap();
    waiting.write_all(b"\x16\x03\x01").await.unwrap();
    // Lets the server accept it before it is told to stop.
    assert_eq!(server.get("/").await.status(), "400");
    server.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(2), server.task).await.unwrap().unwrap();
}
