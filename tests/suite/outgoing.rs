//! Where keys go: to the configured address and nowhere else, over TLS only to whom its certificate says, and whatever
//! redirects, settings or variables there are.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_session_exporter::ingest::Request;
use agent_session_exporter::ingest::transport::{Http, Transport};
use agent_session_exporter::push::{Client, Destination, Outcome, Protocol, Signal};
use agent_session_exporter::tls::Trust;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{Authority, Folder, run};

const KEY: &str = "hk-planted-5ecret-key";
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// With this a client begins TLS, and no request.
const HANDSHAKE: u8 = 22;

/// A server that answers everything alike, and keeps what it was told.
struct Server {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: String) -> Self {
        Self::with(answer, None)
    }

    fn with(answer: String, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket of ours");
                match &tls {
                    None => talk(socket, &kept, &answer),
                    Some(tls) => {
                        let session = rustls::ServerConnection::new(Arc::clone(tls)).expect("a configuration");
                        talk(rustls::StreamOwned::new(session, socket), &kept, &answer);
                    }
                }
            }
        });
        Self { port, heads }
    }

    /// One that is somebody else and must not hear of anything.
    fn stranger() -> Self {
        Self::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}".to_owned())
    }

    fn redirecting(status: u16, location: &str) -> Self {
        Self::start(format!(
            "HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ))
    }

    /// Everything that it was told so far, a connection each; empty where a connection said nothing.
    fn heard(&self) -> Vec<String> {
        self.heads.lock().expect("no test has failed").clone()
    }
}

/// Reads one request, keeps its head, and answers.
fn talk(mut stream: impl Read + Write, kept: &Mutex<Vec<String>>, answer: &str) {
    let keep = |head: &[u8]| {
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        kept.lock().expect("no test has failed").push(head.clone());
        head
    };
    let mut told = Vec::new();
    let mut piece = [0; 1024];
    let end = loop {
        if let Some(end) = told.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => {
                keep(&told);
                return;
            }
            Ok(count) => told.extend_from_slice(&piece[..count]),
        }
        if told[0] == HANDSHAKE {
            keep(&told);
            let _ = stream.write_all(answer.as_bytes());
            return;
        }
    };
    let head = keep(&told[..end]);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let mut left = length.unwrap_or(0).saturating_sub(told.len() - end);
    while left > 0 {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => left = left.saturating_sub(count),
        }
    }
    // Whoever has gone does not want it.
    let _ = stream.write_all(answer.as_bytes());
}

/// Everywhere that a redirect may lead, given where a stranger listens.
fn elsewhere(stranger: u16) -> [String; 5] {
    [
        format!("http://localhost:{stranger}/other-host"),
        format!("http://127.0.0.1:{stranger}/same-host-other-port"),
        format!("https://127.0.0.1:{stranger}/other-scheme"),
        format!("//localhost:{stranger}/no-scheme"),
        "/same-server".to_owned(),
    ]
}

#[tokio::test]
async fn a_platform_that_redirects_leads_the_key_nowhere() {
    for status in REDIRECTS {
        let stranger = Server::stranger();
        for location in elsewhere(stranger.port) {
            let platform = Server::redirecting(status, &location);
            let url = format!("http://127.0.0.1:{}", platform.port);
            let http = Http::new(&url, KEY.into(), &[], Duration::from_secs(20)).expect("a client");
            let request = Request::new("sessions", "/api/v2/sessions".to_owned(), Vec::new());
            let answer = http.get(&request).await.expect("an answer");
            assert_eq!(answer.status, status, "{location}");
            let [head] = &platform.heard()[..] else { panic!("{status} to {location}: {:?}", platform.heard()) };
            assert!(
                head.contains(&format!("authorization: bearer {KEY}")),
                "it is what must not be carried on: {head}"
            );
        }
        assert_eq!(stranger.heard(), [""; 0], "{status}");
    }
}

#[tokio::test]
async fn a_collector_that_redirects_leads_the_headers_nowhere() {
    for status in REDIRECTS {
        let stranger = Server::stranger();
        for location in elsewhere(stranger.port) {
            for signal in [Signal::Metrics, Signal::Traces] {
                let collector = Server::redirecting(status, &location);
                let destination = Destination {
                    url: format!("http://127.0.0.1:{}/v1/{}", collector.port, signal.name()),
                    protocol: Protocol::Http,
                    headers: vec![("authorization".to_owned(), KEY.into())],
                    timeout: Duration::from_secs(20),
                    gzip: false,
                    trust: Trust::default(),
                };
                let client = Client::new(&destination, signal).expect("a client");
                let outcome = match signal {
                    Signal::Metrics => client.send_metrics(&ExportMetricsServiceRequest::default()).await,
                    Signal::Traces => client.send_traces(&ExportTraceServiceRequest::default()).await,
                };
                assert_eq!(outcome, Outcome::Refused { reason: "redirected" }, "{status} to {location}");
                let [head] = &collector.heard()[..] else { panic!("{status} to {location}") };
                assert!(head.contains(&format!("authorization: {KEY}")), "it is what must not be carried on: {head}");
            }
        }
        assert_eq!(stranger.heard(), [""; 0], "{status}");
    }
}

#[test]
fn the_program_says_that_it_was_redirected_and_stays() {
    let (stranger, folder) = (Server::stranger(), Folder::new());
    let platform = Server::redirecting(308, &format!("http://localhost:{}/", stranger.port));
    let file = folder.write(
        "exporter.yaml",
        &format!(
            "sources:\n- platform: hcompany\n  base_url: http://127.0.0.1:{}\n  api_key: {KEY}\nstorage: {{ path: {} }}\n",
            platform.port,
            folder.join("data")
        ),
    );
    for args in [["check", "--config.file", &file, "--"], ["serve", "--once", "--config.file", &file]] {
        let args: Vec<&str> = args.into_iter().filter(|word| *word != "--").collect();
        let output = run(&args, &[]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("redirect") || said.contains("308"), "{said}");
        assert!(!said.contains(KEY));
    }
    assert!(platform.heard().len() >= 2, "it was asked both times");
    assert_eq!(stranger.heard(), [""; 0]);
}

/// A server's side of TLS, with a certificate of this authority for this name; it asks nobody for one.
fn secured(authority: &Authority, name: &str) -> Arc<rustls::ServerConfig> {
    let (certificate, key) = authority.issue(name);
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    Arc::new(config.expect("they belong together"))
}

/// What turns verification off elsewhere, or says that it is not wanted.
const TURNING_OFF: [(&str, &str); 14] = [
    ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
    ("NODE_TLS_REJECT_UNAUTHORIZED", "0"),
    ("PYTHONHTTPSVERIFY", "0"),
    ("GIT_SSL_NO_VERIFY", "true"),
    ("CURL_INSECURE", "1"),
    ("CURL_CA_BUNDLE", ""),
    ("REQUESTS_CA_BUNDLE", ""),
    ("SSL_VERIFY", "false"),
    ("VAULT_SKIP_VERIFY", "true"),
    ("GODEBUG", "x509ignoreCN=0"),
    ("CARGO_HTTP_CHECK_REVOKE", "false"),
    ("ASE_INSECURE", "true"),
    ("ASE_TLS_SKIP_VERIFY", "true"),
    ("INSECURE", "true"),
];

#[test]
fn nothing_makes_the_program_speak_to_whom_it_cannot_verify() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let (authority, folder) = (Authority::new(), Folder::new());
    let trusted = folder.write("authority.pem", &authority.pem());
    let right = Server::with(answer.to_owned(), Some(secured(&authority, "localhost")));
    let wrong = Server::with(answer.to_owned(), Some(secured(&authority, "elsewhere.example")));
    let plain = Server::stranger();
    let check = |port: u16, env: &[(&str, &str)]| {
        let url = format!("https://localhost:{port}");
        let text = format!("sources:\n- platform: hcompany\n  base_url: {url}\n  api_key: {KEY}\n");
        let output = run(&["check", "--config.file", &folder.write("exporter.yaml", &text)], env);
        assert_eq!(output.status.code(), Some(1), "none of them is a platform");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = |server: &Server| server.heard().into_iter().filter(|head| head.contains("authorization")).count();

    // Whom the system does not know, whatever the environment says.
    let said = check(right.port, &TURNING_OFF);
    assert!(said.contains("certificate not trusted"), "{said}");
    for pair in TURNING_OFF {
        check(right.port, &[pair]);
    }
    assert_eq!((told(&right), right.heard().len() > TURNING_OFF.len()), (0, true), "it was called, and told nothing");
    // With another name, and without TLS: also when the authority is known.
    let known = [&TURNING_OFF[..], &[("SSL_CERT_FILE", trusted.as_str())]].concat();
    assert!(check(wrong.port, &known).contains("certificate of another name"));
    assert!(check(plain.port, &known).contains("no TLS"));
    assert_eq!((told(&wrong), told(&plain)), (0, 0));
    // Whom it knows is told the key: that is what the others were not.
    let said = check(right.port, &known);
    assert!(said.contains("reachable"), "{said}");
    assert!(told(&right) > 0);
}

#[test]
fn a_key_in_the_clear_is_warned_of_once_and_sent_all_the_same() {
    let folder = Folder::new();
    // A proxy is asked for names that this machine cannot look up; it is the only one that is spoken to.
    let proxy = Server::stranger();
    let at = format!("http://127.0.0.1:{}", proxy.port);
    let env = [("HTTP_PROXY", at.as_str()), ("KEY", KEY)];
    let text = format!(
        "sources:\n- platform: hcompany\n  api_key: ${{KEY}}\n  base_url: http://platform.invalid\nstorage: {{ path: {} }}\n",
        folder.join("data")
    );
    let file = folder.write("exporter.yaml", &text);
    let warning = "exporter.yaml:4: sources[0].base_url: over http:// the key goes to another machine in the clear";
    for args in [vec!["check", "--config.file", &file], vec!["serve", "--once", "--config.file", &file]] {
        let output = run(&args, &env);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.matches(warning).count(), 1, "{said}");
    }
    assert!(proxy.heard().iter().any(|head| head.contains(&format!("bearer {KEY}"))), "{:?}", proxy.heard());
    let said = run(&["check", "--offline", "--config.file", &file], &env);
    assert!(said.status.success());
    assert!(String::from_utf8_lossy(&said.stdout).contains(warning));
}

#[test]
fn a_file_that_is_only_judged_runs_nothing() {
    let folder = Folder::new();
    let text = format!("sources:\n- platform: hcompany\n  api_key_command: [touch, {}]\n", folder.join("ran"));
    let file = folder.write("exporter.yaml", &text);
    let path = [("PATH", "/usr/bin:/bin")];
    assert!(run(&["check", "--offline", "--config.file", &file], &path).status.success());
    assert!(!folder.path().join("ran").exists());
    let output = run(&["check", "--config.file", &file], &path);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("exporter.yaml:3: sources[0].api_key_command: touch: in what the command printed"), "{said}");
    assert!(folder.path().join("ran").exists());
}
