//! The exporter behind its web configuration, as a process: scraped and asked with certificates and passwords, and with
//! wrong ones.

use std::time::Duration;

use agent_session_exporter::tls::Trust;
use reqwest::StatusCode;

use crate::support::{Authority, Exporter, Folder, run, simulate, source};

/// A mark that nothing else contains.
const PASSWORD: &str = "5ecret-password";

/// Everything that it takes to be let in.
struct Keys {
    authority: Authority,
    client: (String, String),
}

/// A folder with a whole web configuration, `web.yml`.
fn secured(more: &str) -> (Folder, Keys) {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (certificate, key) = authority.issue_with("localhost", |params| {
        params.subject_alt_names.push(rcgen::SanType::IpAddress([127, 0, 0, 1].into()));
    });
    let client = authority.issue("prom.example");
    for (name, text) in [
        ("server.pem", &certificate),
        ("server.key", &key),
        ("ca.pem", &authority.pem()),
        ("client.pem", &client.0),
        ("client.key", &client.1),
        ("password", &format!("{PASSWORD}\n")),
    ] {
        folder.write(name, text);
    }
    folder.write(
        "web.yml",
        &format!(
            "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  \
             client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n{more}\
             basic_auth_users:\n  prom: {}\n",
            bcrypt::hash(PASSWORD, 5).expect("a hash")
        ),
    );
    (folder, Keys { authority, client })
}

pub fn client(trust: &Trust, protocols: &[&[u8]]) -> reqwest::Client {
    let mut config = trust.client_config().expect("a client");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // Without decompression, which hides lengths.
    let client = reqwest::Client::builder().tls_backend_preconfigured(config).no_gzip();
    client.timeout(Duration::from_secs(30)).build().expect("a client")
}

impl Keys {
    fn trust(&self) -> Trust {
        let (certificate, key) = &self.client;
        let trust = Trust::default().only(&self.authority.pem()).expect("an authority");
        trust.identified_by(certificate, key).expect("they belong together")
    }

    fn shown(&self, (certificate, key): &(String, String)) -> Trust {
        let trust = Trust::default().only(&self.authority.pem()).expect("an authority");
        trust.identified_by(certificate, key).expect("they belong together")
    }
}

/// The whole of what went wrong, as a scraper would log it.
fn chain(error: &reqwest::Error) -> String {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        said.push_str(&format!(": {error}"));
        source = error.source();
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_certificate_and_the_password_gets_in_and_nobody_else() {
    let platform = simulate(&["--sessions=0", "--history=20", "--rate=0.001"]);
    let (folder, keys) = secured("  client_allowed_sans: [prom.example]\n");
    let mut exporter = Exporter::behind(folder, "web.yml", &source(&platform.url));
    let url = exporter.url().to_owned();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let metrics = format!("{url}/metrics");

    for (protocols, version) in
        [(&[&b"h2"[..], b"http/1.1"][..], reqwest::Version::HTTP_2), (&[b"http/1.1"], reqwest::Version::HTTP_11)]
    {
        let client = client(&keys.trust(), protocols);
        let answer = client.get(&metrics).basic_auth("prom", Some(PASSWORD)).send().await.expect("it answers");
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
        let length = answer.content_length();
        let page = answer.text().await.expect("a whole page");
        assert!(page.contains("agent_session_exporter_build_info"), "{page}");
        assert_eq!(length, Some(page.len() as u64));
        let head = client.head(&metrics).basic_auth("prom", Some(PASSWORD)).send().await.expect("it answers");
        assert_eq!(head.status(), StatusCode::OK);
        assert!(
            head.headers()["content-length"].to_str().expect("a number").parse::<usize>().expect("a number") > 1000
        );
        assert!(head.bytes().await.expect("nothing").is_empty());
        for (user, password) in [("prom", "wrong-5ecret"), ("nobody", PASSWORD)] {
            for path in ["/metrics", "/-/healthy", "/"] {
                let asked = client.get(format!("{url}{path}")).basic_auth(user, Some(password));
                let answer = asked.send().await.expect("it answers");
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
                assert!(answer.headers()["www-authenticate"].to_str().expect("text").starts_with("Basic realm="));
            }
        }
        let answer = client.get(&metrics).send().await.expect("it answers");
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "without a name");
    }

    let stranger = Authority::new();
    for (what, trust, says) in [
        ("no certificate", Trust::default().only(&keys.authority.pem()).expect("it"), "CertificateRequired"),
        ("of a stranger", keys.shown(&stranger.issue("prom.example")), "received fatal alert"),
        ("expired", keys.shown(&keys.authority.issue_expired("prom.example")), "CertificateExpired"),
        ("another name", keys.shown(&keys.authority.issue("other.example")), "AccessDenied"),
        ("not trusting us", Trust::default().only(&stranger.pem()).expect("it"), "invalid peer certificate"),
    ] {
        let mut error = String::new();
        for _ in 0..10 {
            let asked = client(&trust, &[b"http/1.1"]).get(&metrics).basic_auth("prom", Some(PASSWORD));
            error = chain(&asked.send().await.expect_err(what));
            // The client has not looked yet at what came, and only knows that the connection is gone.
            if !error.contains("connection was not ready") {
                break;
            }
        }
        assert!(error.contains(says), "{what}: {error}");
    }

    assert_eq!(exporter.stop(), Some(0));
    // What was in files, headers and requests is in neither log nor store.
    let log = exporter.log();
    assert!(log.contains("a TLS handshake failed"), "{log}");
    let store = std::fs::read(exporter.folder.path().join("data/journal.redb")).expect("the store is there");
    let key = std::fs::read_to_string(exporter.folder.join("server.key")).expect("it is there");
    let hash = std::fs::read_to_string(exporter.folder.join("web.yml")).expect("it is there");
    let hash = hash.lines().find_map(|line| line.strip_prefix("  prom: ")).expect("a hash");
    for secret in ["5ecret", hash, key.lines().nth(1).expect("the first line of the key"), "cHJvbT"] {
        assert!(!log.contains(secret), "{secret} is in the log");
        assert!(!store.windows(secret.len()).any(|it| it == secret.as_bytes()), "{secret} is in the store");
    }
}

#[test]
fn sessions_are_asked_for_behind_it() {
    let platform = simulate(&["--sessions=0", "--history=20", "--rate=0.001"]);
    let (folder, _) = secured("");
    let exporter = Exporter::behind(folder, "web.yml", &source(&platform.url));
    let folder = &exporter.folder;
    let (url, data) = (exporter.url().to_owned(), folder.join("data"));
    let tls = "tls_config: {ca_file: ca.pem, cert_file: client.pem, key_file: client.key}\n";
    let http = folder.write("http.yml", &format!("basic_auth: {{username: prom, password_file: password}}\n{tls}"));
    let ask = |args: &[&str]| {
        let output = run(&[&["sessions", "--json"], args].concat(), &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), said)
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let listed = loop {
        let (code, listed, said) = ask(&["--web.url", &url, "--http.config.file", &http]);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{said}");
        let (code, by_folder, said) = ask(&["--storage.path", &data, "--http.config.file", &http]);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{said}");
        // The folder leads to the exporter; both are asked until nothing moves any more.
        if listed.lines().count() >= 20 && listed == by_folder {
            break listed;
        }
        assert!(std::time::Instant::now() < deadline, "{listed}\n{by_folder}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let id: serde_json::Value = serde_json::from_str(listed.lines().next().expect("a session")).expect("JSON");
    let id = id["id"].as_str().expect("an id");
    for more in [&[][..], &["--ready"]] {
        let healthy = run(&[&["healthcheck", "--web.url", &url, "--http.config.file", &http], more].concat(), &[]);
        assert!(healthy.status.success(), "{more:?}: {}", String::from_utf8_lossy(&healthy.stderr));
    }
    let shown = run(&["show", id, "--web.url", &url, "--http.config.file", &http], &[]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains(id));

    let file = |name: &str, text: &str| folder.write(name, text);
    let wrong_password = file("wrong.yml", &format!("basic_auth: {{username: prom, password: 5ecret}}\n{tls}"));
    let no_password = file("none.yml", tls);
    let no_certificate = file("bare.yml", "tls_config: {ca_file: ca.pem}\n");
    let broken =
        file("broken.yml", "basic_auth: {username: prom, pasword: 5ecret}\ntls_config: {cert_file: client.pem}\n");
    let plain = url.replace("https://", "http://");
    for (args, code, says) in [
        (&["--web.url", &url][..], 1, &["certificate not trusted", "ca_file"][..]),
        (&["--web.url", &url, "--http.config.file", &no_certificate], 1, &["client certificate wanted", "cert_file"]),
        (&["--web.url", &url, "--http.config.file", &no_password], 1, &["HTTP 401", "basic_auth"]),
        (&["--web.url", &url, "--http.config.file", &wrong_password], 1, &["HTTP 401"]),
        (&["--web.url", &plain, "--http.config.file", &http], 1, &["HTTP 400", "https://"]),
        (&["--web.url", &url, "--http.config.file", "/nowhere"], 2, &["/nowhere", "--http.config.file"]),
        (
            &["--web.url", &url, "--http.config.file", &broken],
            2,
            &["broken.yml:1: basic_auth.pasword: unknown key, did you mean `password`", "broken.yml:1", "private key"],
        ),
    ] {
        let (exit, listed, said) = ask(args);
        assert_eq!((exit, listed.as_str()), (Some(code), ""), "{args:?}: {said}");
        // A health check says the same of what stands in its way.
        let healthy = run(&[&["healthcheck"], args].concat(), &[]);
        let healthy = (healthy.status.code(), String::from_utf8_lossy(&healthy.stderr).into_owned());
        assert_eq!(healthy.0, Some(code), "{args:?}: {}", healthy.1);
        for part in says {
            assert!(said.contains(part), "{args:?} does not say {part:?}: {said}");
            assert!(healthy.1.contains(part), "{args:?} does not say {part:?}: {}", healthy.1);
        }
        assert!(!said.contains("5ecret"), "{said}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_told_before_anything_runs() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, keys) = secured("");
    let data = folder.join("data");
    let config = folder.write("exporter.yaml", "sources: [{platform: hcompany, api_key: x}]\n");
    let tls = |key: &str| format!("tls_server_config: {{cert_file: server.pem, key_file: {key}}}\n");
    folder.write("other.key", &keys.authority.issue("localhost").1);
    let unreadable = folder.write("unreadable.key", "");
    std::fs::set_permissions(&unreadable, std::fs::Permissions::from_mode(0o000)).expect("it is ours");
    for (text, says) in [
        ("tls_server_confg: {}\n".to_owned(), "bad.yml:1: tls_server_confg: unknown key, did you mean"),
        (tls("other.key"), "bad.yml:1: tls_server_config.key_file: the certificate and the private key do not belong"),
        (tls("unreadable.key"), "bad.yml:1: tls_server_config.key_file: "),
        (
            "basic_auth_users: {a: $2y$31$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze}\n".into(),
            "would take days",
        ),
    ] {
        let bad = folder.write("bad.yml", &text);
        let served = ["serve", "--config.file", &config, "--web.config.file", &bad, "--storage.path", &data];
        let checked = ["check", "--offline", "--config.file", &config, "--web.config.file", &bad];
        for args in [&served[..], &checked] {
            let output = run(args, &[]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{text}: {said}");
            assert!(said.contains(says), "{text}: {said}");
        }
        assert!(!folder.path().join("data").exists(), "nothing was begun");
    }
    let good = folder.join("web.yml");
    let output = run(&["check", "--offline", "--config.file", &config, "--web.config.file", &good], &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("web.yml: can be used, HTTPS, 1 user(s)\n"), "{said}");
    assert!(said.contains("a cost of 5, which is quick to guess"), "{said}");
}
