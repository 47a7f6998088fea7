//! The web configuration: what its keys come to, every way in which it can be wrong, and when it is read again.

use std::collections::BTreeSet;

use tempfile::TempDir;

use super::*;
use crate::config::exposure::Open;

const HASH: &str = "$2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze";

/// One directory with `web.yml`, a certificate, its key and an authority in it.
struct Web(TempDir);

impl Web {
    fn new(text: &str) -> Self {
        let web = Self(TempDir::new().expect("temporary directory"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        web.write("server.pem", &made.cert.pem());
        web.write("server.key", &made.signing_key.serialize_pem());
        web.write("other.key", &other.signing_key.serialize_pem());
        web.write("ca.pem", &other.cert.pem());
        web.write("empty.pem", "");
        web.write("web.yml", text);
        web
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("file written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).expect("it is there")
    }

    fn open(&self) -> Result<(WebConfigFile, WebFile), ConfigError> {
        WebConfigFile::open(&self.0.path().join("web.yml"))
    }

    fn file(&self) -> WebFile {
        self.open().unwrap_or_else(|error| panic!("{error}")).1
    }

    /// The error text, with the temporary directory taken out.
    fn error(&self) -> String {
        let error = self.open().expect_err("problems").to_string();
        let folder = self.0.path().display().to_string();
        error.replace(&format!("{folder}/"), "").replace(&folder, "FOLDER")
    }
}

/// With a certificate, and this below it.
fn secured(more: &str) -> String {
    format!("tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n{more}")
}

#[test]
fn an_empty_file_changes_nothing() {
    for text in ["", "# nothing yet\n", "basic_auth_users: {}\n", "http_server_config: {http2: false}\n"] {
        let file = Web::new(text).file();
        assert!(file.tls.is_none() && file.users.is_empty() && file.headers.is_empty() && file.rate_limit.is_none());
    }
}

#[test]
fn the_example_is_valid_once_its_files_are_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/web.example.yml");
    let text = fs::read_to_string(path).expect("the example");
    assert!(Web::new(&text).file().tls.is_none(), "as it is shipped it changes nothing");
    // Every line that shows a key, in use; the first paragraph is about the file.
    let (_, shown) = text.split_once("\n\n").expect("paragraphs");
    let used: String = shown
        .lines()
        .map(|line| match line.strip_prefix("# ").filter(|rest| rest.starts_with("  ") || rest.ends_with(':')) {
            Some(rest) => format!("{rest}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let web = Web::new(&used);
    let file = web.file();
    assert!(file.tls.is_some() && file.rate_limit.is_some());
    assert_eq!((file.users.len(), file.headers.len()), (1, 5));
    let (_, hash) = &file.users[0];
    assert!(bcrypt::verify("secret", hash.expose_secret()).expect("a hash"), "it says that this is the password");
    for key in accepted() {
        let key = key.rsplit('.').next().expect("a last part");
        let starts = format!("{key}:");
        let is_shown = text.lines().any(|line| line.trim_start_matches(['#', ' ']).starts_with(&starts));
        assert!(is_shown || text.contains(&format!("`{key}`")), "config/web.example.yml has no {key}");
    }
}

#[test]
fn the_page_names_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = fs::read_to_string(path).expect("the page");
    let rows = |heading: &str| -> BTreeSet<String> {
        let (_, section) = page.split_once(&format!("\n{heading}\n")).expect("a section");
        let table = section.split("\n\n").find(|paragraph| paragraph.starts_with("| Key")).expect("a table");
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| row.split('`').next().expect("a first part").to_owned()).collect()
    };
    assert_eq!(rows("## Web configuration"), accepted());
    let nobody = Web::new("nobody: 1\nbasic_auth: {nobody: 1}\ntls_config: {nobody: 1}\n");
    let error = HttpFile::read(&nobody.0.path().join("web.yml")).expect_err("problems").to_string();
    let mut keys = super::document::allowed_in(&error);
    keys.retain(|key| key.contains('.'));
    assert_eq!(rows("### Asking behind it"), keys);
}

/// All keys that are accepted, by the refusals of one that is not.
pub(super) fn accepted() -> BTreeSet<String> {
    let nobody = "nobody: 1\ntls_server_config: {nobody: 1}\nrate_limit: {nobody: 1}\n\
                  http_server_config: {nobody: 1, headers: {nobody: 1}}\n";
    let error = Web::new(nobody).error();
    super::document::allowed_in(&error)
}

#[test]
fn every_key_reaches_its_field() {
    let web = Web::new(&format!(
        "{}http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: sameorigin\n    X-XSS-Protection: 1\n    \
         X-Content-Type-Options: nosniff\n    Strict-Transport-Security: ''\n    \
         Content-Security-Policy: \"default-src 'self' *.test.example.net\"\n\
         basic_auth_users:\n  alice: {HASH}\n  bob.2: {}\nrate_limit: {{interval: 500ms, burst: 3}}\n",
        secured(
            "  min_version: TLS13\n  max_version: TLS13\n  prefer_server_cipher_suites: false\n  \
             cipher_suites: [TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]\n  curve_preferences: CurveP384\n  \
             client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: [a, b]\n"
        ),
        HASH.replace("$2y$10", "$2a$04")
    ));
    let file = web.file();
    let tls = file.tls.expect("it is secured");
    assert_eq!(tls.alpn_protocols, [b"http/1.1"]);
    assert!(!tls.ignore_client_order);
    let provider = tls.crypto_provider();
    let suites: Vec<_> =
        provider.cipher_suites.iter().map(|suite| suite.suite().as_str().unwrap_or_default()).collect();
    assert_eq!(suites, ["TLS13_AES_256_GCM_SHA384", "TLS13_AES_128_GCM_SHA256"]);
    let groups: Vec<_> = provider.kx_groups.iter().map(|group| format!("{:?}", group.name())).collect();
    assert_eq!(groups, ["secp384r1"]);
    assert!(file.valid_until.is_some_and(|until| until > 1_800_000_000));
    let headers: Vec<_> = file.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(
        headers,
        [
            ("content-security-policy", "default-src 'self' *.test.example.net"),
            ("x-frame-options", "sameorigin"),
            ("x-content-type-options", "nosniff"),
            ("x-xss-protection", "1"),
        ]
    );
    let users: Vec<_> = file.users.iter().map(|(name, hash)| (name.as_str(), hash.expose_secret())).collect();
    assert_eq!(users, [("alice", HASH), ("bob.2", "$2a$04$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze")]);
    assert_eq!(file.rate_limit, Some(RateLimit { interval: Duration::from_millis(500), burst: 3 }));
}

#[test]
fn by_default_everything_sound_is_offered() {
    let tls = Web::new(&secured("")).file().tls.expect("it is secured");
    assert_eq!(tls.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
    assert!(tls.ignore_client_order);
    assert_eq!(tls.crypto_provider().cipher_suites.len(), 9);
    assert_eq!(tls.crypto_provider().kx_groups.len(), 3);
}

#[test]
fn certificates_and_keys_may_stand_in_the_file() {
    let web = Web::new("");
    let indented = |name: &str| web.read(name).replace('\n', "\n    ").trim_end().to_owned();
    web.write(
        "web.yml",
        &format!(
            "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n  client_ca: |\n    {}\n  \
             client_auth_type: VerifyClientCertIfGiven\n",
            indented("server.pem"),
            indented("server.key"),
            indented("ca.pem")
        ),
    );
    assert!(web.file().tls.is_some());
}

#[test]
fn suites_of_tls_1_2_alone_leave_those_of_1_3() {
    let web = Web::new(&secured("  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n"));
    let suites = &web.file().tls.expect("it is secured").crypto_provider().cipher_suites.clone();
    assert_eq!(suites.len(), 4, "{suites:?}");
}

/// What one file says, below the lines that are wrong in it.
#[test]
fn everything_that_can_be_wrong_says_what_to_write() {
    let hash = |version: &str, cost: &str| {
        format!("basic_auth_users:\n  a: {}\n", HASH.replace("$2y$10", &format!("${version}${cost}")))
    };
    let mut said = String::new();
    for text in [
        "tls_server_confg: {}\n".to_owned(),
        "tls_server_config:\n  cert_filse: server.pem\n".to_owned(),
        "tls_server_config:\n".to_owned(),
        "tls_server_config: {}\n".to_owned(),
        "tls_server_config:\n  cert_file: server.pem\n".to_owned(),
        "tls_server_config:\n  cert_file: nowhere.pem\n  key_file: ./nowhere.key\n".to_owned(),
        "tls_server_config:\n  cert_file: empty.pem\n  key_file: server.key\n".to_owned(),
        "tls_server_config:\n  cert_file: server.pem\n  key_file: ./empty.pem\n".to_owned(),
        "tls_server_config:\n  cert_file: server.pem\n  key_file: other.key\n".to_owned(),
        "tls_server_config:\n  cert_file: server.key\n  key_file: server.pem\n".to_owned(),
        "tls_server_config:\n  cert_file: ''\n  key_file: server.key\n".to_owned(),
        "tls_server_config:\n  cert: nonsense\n  key: nonsense\n".to_owned(),
        secured("  cert: x\n"),
        secured("  min_version: TLS11\n"),
        secured("  min_version: TLS111\n"),
        secured("  min_version: TLS13\n  max_version: TLS12\n"),
        secured("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\n"),
        secured("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"),
        secured("  curve_preferences: [X25519, CurveP521]\n"),
        secured("  prefer_server_cipher_suites: maybe\n"),
        secured("  client_auth_type: RequireAndVerifyClientCrt\n"),
        secured("  client_auth_type: RequireAndVerifyClientCert\n"),
        secured("  client_auth_type: VerifyClientCertIfGiven\n"),
        secured("  client_ca_file: ca.pem\n"),
        secured("  client_auth_type: RequireAnyClientCert\n  client_ca_file: ca.pem\n"),
        secured("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: empty.pem\n"),
        secured("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: server.key\n"),
        secured("  client_allowed_sans: [a]\n"),
        secured("  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n  client_allowed_sans: [a]\n"),
        secured("  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: []\n"),
        "http_server_config:\n  headers:\n    Content-Type: foo\n".to_owned(),
        "http_server_config:\n  headers:\n    X-Frame-Options: DENY\n".to_owned(),
        "http_server_config:\n  headers:\n    X-Content-Type-Options: ''\n".to_owned(),
        "http_server_config:\n  headers:\n    Content-Security-Policy: \"a\\nb\"\n".to_owned(),
        "http_server_config:\n  http2: 1\n".to_owned(),
        "basic_auth_users:\n  john: doe\n".to_owned(),
        "basic_auth_users: [john]\n".to_owned(),
        "basic_auth_users:\n  '': x\n  'a:b': x\n".to_owned(),
        "basic_auth_users:\n  a: x\n  a: y\n".to_owned(),
        hash("2x", "10"),
        hash("2y", "03"),
        hash("2y", "19"),
        hash("2y", "24"),
        hash("2y", "31"),
        "rate_limit:\n  interval: 1s\n".to_owned(),
        "rate_limit:\n  interval: 1\n  burst: -1\n".to_owned(),
        "a:b\nc: 2\n".to_owned(),
    ] {
        let error = Web::new(&text).error();
        said.push_str(&format!("{}\n=> {error}\n\n", text.trim_end()));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn what_ends_well_is_not_refused() {
    for text in [
        "rate_limit: {interval: 0, burst: 0}\n".to_owned(),
        secured("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  min_version: TLS13\n"),
        secured("  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n  max_version: TLS12\n"),
        secured("  cipher_suites: []\n  curve_preferences: []\n"),
        secured("  client_auth_type: RequestClientCert\n"),
        secured("  client_auth_type: RequireClientCert\n  client_allowed_sans: [x]\n"),
        secured("  client_auth_type: NoClientCert\n"),
        secured("  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n"),
        format!("basic_auth_users:\n  a: {}\n", HASH.replace("$10$", "$18$")),
    ] {
        drop(Web::new(&text).file());
    }
}

#[test]
fn nothing_comes_from_the_environment_and_no_message_repeats_a_value() {
    let file = Web::new("http_server_config: {headers: {Content-Security-Policy: '${HOME}'}}\n").file();
    assert_eq!(file.headers[0].1, "${HOME}");
    for text in [
        "basic_auth_users:\n  prom5ecret: 5ecret\n  5ecret: x\n",
        "tls_server_config:\n  cert_file: 5ecret\n  key_file: 5ecret\n  key: 5ecret\n  5ecret: 5ecret\n",
        "tls_server_config:\n  cert: 5ecret\n  key: 5ecret\n  client_allowed_sans: 5ecret\n  min_version: 5ecret\n",
        "http_server_config: {headers: {5ecret: 5ecret, X-Frame-Options: 5ecret}}\n",
        "rate_limit: {interval: 5ecret, burst: 5ecret}\n",
    ] {
        let error = Web::new(text).open().expect_err("problems");
        assert!(!format!("{error} {error:?}").contains("5ecret"), "{error}");
    }
    let shown = format!("{:?}", Web::new(&format!("{}basic_auth_users: {{a: {HASH}}}\n", secured(""))).file());
    assert!(!shown.contains(HASH) && shown.contains("REDACTED"), "{shown}");
}

#[test]
fn files_with_secrets_that_everybody_may_read_are_remarked_on() {
    let hashes = format!("basic_auth_users: {{prom: {HASH}}}\n");
    let web = Web::new(&secured(&hashes));
    let path = web.0.path().join("web.yml");
    let files = |path: &Path| fs::read_to_string(path);
    let remarks = |open: Option<Open>| {
        let read = crate::config::web_file::read(&path, &files, &|_: &Path| open).expect("it can be used");
        let folder = format!("{}/", web.0.path().display());
        read.read_remarks.iter().map(|it| it.to_string().replace(&folder, "")).collect::<Vec<_>>()
    };
    assert_eq!(remarks(None), [""; 0]);
    let says = |place: &str, file: &str| {
        format!(
            "{place}: {file} holds a secret, and every user of this machine can read it (mode 0644): make the \
             exporter's user or group its owner, then chmod o-rwx {file}"
        )
    };
    assert_eq!(
        remarks(Some(Open::with_mode(0o644))),
        [
            says("web.yml:3: tls_server_config.key_file", "server.key"),
            says("web.yml:4: basic_auth_users.prom", "web.yml")
        ]
    );
    let inline = "rate_limit: {interval: 1s, burst: 9}\n";
    web.write("web.yml", inline);
    assert_eq!(remarks(Some(Open::with_mode(0o644))), [""; 0], "nothing in it is a secret");
}

#[test]
fn it_is_read_again_when_a_change_has_come_to_rest() {
    let web = Web::new(&secured(""));
    let (mut file, first) = web.open().expect("it is valid");
    assert!(file.look_again().is_none() && file.look_again().is_none(), "nothing has changed");

    // In the middle of a change nothing is read.
    let (certificate, key) = (web.read("ca.pem"), web.read("other.key"));
    web.write("server.pem", &certificate);
    assert!(file.look_again().is_none());
    web.write("server.key", &key);
    assert!(file.look_again().is_none(), "it is still being changed");
    let second = file.look_again().expect("it is at rest").expect("it is valid");
    assert_ne!(first.valid_until.zip(first.tls.map(|it| Arc::as_ptr(&it) as usize)), None);
    assert!(second.tls.is_some());
    assert!(file.look_again().is_none() && file.look_again().is_none());

    // What is broken is told once, and read again when it is mended.
    web.write("web.yml", "tls_server_config: [\n");
    assert!(file.look_again().is_none());
    assert!(file.look_again().expect("it is at rest").is_err());
    assert!(file.look_again().is_none() && file.look_again().is_none(), "it was told");
    fs::remove_file(web.0.path().join("web.yml")).expect("it is ours");
    assert!(file.look_again().is_none());
    assert!(
        file.look_again().expect("it is at rest").is_err_and(|error| error.to_string().contains("--web.config.file"))
    );
    web.write("web.yml", &secured("basic_auth_users: {}\n"));
    assert!(file.look_again().is_none());
    assert!(file.look_again().expect("it is at rest").is_ok());

    // A file that is named can be missing and come back.
    fs::remove_file(web.0.path().join("server.key")).expect("it is ours");
    assert!(file.look_again().is_none());
    assert!(file.look_again().expect("it is at rest").is_err());
    web.write("server.key", &key);
    assert!(file.look_again().is_none());
    assert!(file.look_again().expect("it is at rest").is_ok());
}

#[test]
fn a_link_that_points_elsewhere_is_a_change() {
    let web = Web::new("");
    let path = |name: &str| web.0.path().join(name);
    for (folder, burst) in [("first", 1), ("second", 2)] {
        fs::create_dir(path(folder)).expect("a folder");
        web.write(&format!("{folder}/web.yml"), &format!("rate_limit: {{interval: 1s, burst: {burst}}}\n"));
    }
    // As Kubernetes mounts a secret.
    std::os::unix::fs::symlink("first", path("data")).expect("a link");
    fs::remove_file(path("web.yml")).expect("it is ours");
    std::os::unix::fs::symlink("data/web.yml", path("web.yml")).expect("a link");
    let (mut file, before) = web.open().expect("it is valid");
    std::os::unix::fs::symlink("second", path("next")).expect("a link");
    fs::rename(path("next"), path("data")).expect("it is ours");
    assert!(file.look_again().is_none());
    let after = file.look_again().expect("it is at rest").expect("it is valid");
    assert_eq!([before, after].map(|file| file.rate_limit.expect("a limit").burst), [1, 2]);
}
