//! Certificates, users and headers are changed while the exporter runs, well and badly.

use agent_session_exporter::tls::Trust;
use reqwest::StatusCode;

use crate::support::{Authority, Exporter, Folder, simulate, source};
use crate::web::client;

const IN_USE: &str = "the web configuration has changed and is in use";
const REFUSED: &str = "the web configuration has changed and cannot be used; the old one stays";

fn identity(folder: &Folder, authority: &Authority, name: &str) {
    let (certificate, key) = authority.issue_with("localhost", |params| {
        params.subject_alt_names.push(rcgen::SanType::IpAddress([127, 0, 0, 1].into()));
    });
    folder.write(&format!("{name}.pem"), &certificate);
    folder.write(&format!("{name}.key"), &key);
}

/// The web configuration with this password and header.
fn text(password: &str, header: &str) -> String {
    let hash = bcrypt::hash(password, 4).expect("a hash");
    format!(
        "tls_server_config: {{cert_file: server.pem, key_file: server.key}}\nbasic_auth_users: {{prom: {hash}}}\n\
         http_server_config: {{headers: {{X-Frame-Options: {header}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_used_and_what_is_broken_is_not() {
    let platform = simulate(&["--sessions=0", "--history=1", "--rate=0.001"]);
    let (folder, first, second) = (Folder::new(), Authority::new(), Authority::new());
    identity(&folder, &first, "server");
    folder.write("web.yml", &text("one", "deny"));
    let exporter = Exporter::behind(folder, "web.yml", &source(&platform.url));
    let (folder, url) = (&exporter.folder, format!("{}/-/healthy", exporter.url()));
    let trusting = |authority: &Authority| {
        client(&Trust::default().only(&authority.pem()).expect("an authority"), &[b"h2", b"http/1.1"])
    };
    let open = trusting(&first);
    let ask = async |client: &reqwest::Client, password: &str| {
        let answer = client.get(&url).basic_auth("prom", Some(password)).send().await;
        let answer = answer.map_err(|error| error.is_connect())?;
        let header = answer.headers()["x-frame-options"].to_str().expect("text").to_owned();
        Ok::<_, bool>((answer.status(), header))
    };
    let told = async |client: &reqwest::Client, password: &str| {
        let request = client.get(format!("{}/metrics", exporter.url())).basic_auth("prom", Some(password));
        let page = request.send().await.expect("it answers").text().await.expect("text");
        let line =
            page.lines().find_map(|it| it.strip_prefix("agent_session_exporter_web_config_last_reload_successful "));
        line.map(str::to_owned)
    };
    let ok = |header: &str| Ok((StatusCode::OK, header.to_owned()));
    let refused = |header: &str| Ok((StatusCode::UNAUTHORIZED, header.to_owned()));
    assert_eq!(ask(&open, "one").await, ok("deny"));

    // Users and headers: also on connections that are open.
    folder.write("web.yml", &text("two", "sameorigin"));
    exporter.log_until(IN_USE, 1);
    assert_eq!(ask(&open, "one").await, refused("sameorigin"));
    assert_eq!(ask(&open, "two").await, ok("sameorigin"));

    // A certificate of another authority, in place of the first: for new connections.
    identity(folder, &second, "next");
    for ending in ["pem", "key"] {
        std::fs::rename(folder.join(&format!("next.{ending}")), folder.join(&format!("server.{ending}")))
            .expect("ours");
    }
    exporter.log_until(IN_USE, 2);
    assert_eq!(ask(&open, "two").await, ok("sameorigin"), "what is open goes on");
    assert_eq!(ask(&trusting(&first), "two").await, Err(true), "new connections show the new certificate");
    assert_eq!(ask(&trusting(&second), "two").await, ok("sameorigin"));

    // Nothing of this may open the door or shut it, and each is told once.
    let key = std::fs::read_to_string(folder.join("server.key")).expect("it is there");
    let without_users = text("two", "deny").replace("basic_auth_users", "# ");
    let without_tls = text("two", "deny").replace("tls_server_config", "# ");
    for (times, name, broken, says) in [
        (1, "web.yml", "basic_auth_users: [\n", "web.yml:"),
        (2, "web.yml", "", "tls_server_config came or went"),
        (3, "web.yml", &without_users, "basic_auth_users is gone"),
        (4, "web.yml", &without_tls, "tls_server_config came or went"),
        (5, "web.yml", "basic_auth_users: {prom: 5ecret}\n", "not a bcrypt hash"),
    ] {
        folder.write(name, broken);
        let log = exporter.log_until(REFUSED, times);
        let line = log.lines().rfind(|line| line.contains(REFUSED)).expect("it is there");
        assert!(line.contains(says) && line.contains("WARN") && !line.contains("5ecret"), "{line}");
        assert_eq!(ask(&trusting(&second), "two").await, ok("sameorigin"), "the old one stays: {broken}");
        assert_eq!(told(&trusting(&second), "two").await.as_deref(), Some("0"));
    }
    folder.write("web.yml", &text("two", "deny"));
    exporter.log_until(IN_USE, 3);
    folder.write("server.key", "-----BEGIN PRIVATE KEY-----\n");
    let log = exporter.log_until(REFUSED, 6);
    assert!(log.contains("tls_server_config.key_file: no private key in it"), "{log}");
    assert_eq!(ask(&trusting(&second), "two").await, ok("deny"));
    folder.write("server.key", &key);
    let log = exporter.log_until(IN_USE, 4);
    assert_eq!(log.matches(REFUSED).count(), 6, "each is told once");
    assert_eq!(told(&trusting(&second), "two").await.as_deref(), Some("1"));
    assert_eq!(ask(&trusting(&second), "two").await, ok("deny"));
}
