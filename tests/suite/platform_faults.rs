//! What an operator sees when a platform fails in each of the ways that platforms fail in, and that it is over when the
//! platform is back. The table in docs/reliability.md is about these.

use std::net::TcpListener;
use std::sync::Arc;

use crate::support::gatekeeper::{Gatekeeper, Verdict};
use crate::support::{
    Authority, Exporter, Folder, compare, get, run, scraped, scraped_of, simulate, simulate_platform, truth,
};

fn source(name: &str, platform: &str, url: &str) -> String {
    let key = if platform == "hcompany" { "hk-simulated" } else { "evr_pat_simulated" };
    format!(
        "  - name: {name}\n    platform: {platform}\n    base_url: {url}\n    api_key: {key}\n    poll_interval: 1s\n    \
         requests_per_second: 500\n    request_timeout: 1s\n    start: beginning\n"
    )
}

/// The value of a series, by how its line begins.
fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.rsplit(' ').next()?.parse().ok())
}

fn up(page: &str) -> Option<f64> {
    value(page, "agent_session_exporter_source_up{")
}

/// What a page says of polling, for messages.
fn about(page: &str) -> String {
    let of_polling =
        |line: &&str| ["source_", "api_requests"].iter().any(|it| line.contains(&format!("exporter_{it}")));
    page.lines().filter(|line| !line.starts_with('#')).filter(of_polling).collect::<Vec<_>>().join("\n")
}

fn landing(exporter: &Exporter) -> String {
    get(&format!("{}/", exporter.url())).expect("the page answers")
}

/// Waits until the metrics equal the platform's account.
fn until_equal(exporter: &Exporter, platform: &str) {
    exporter.metrics_until(|page| {
        let truth = truth(platform);
        let differences = compare(&scraped(page), &truth, &["turn_failures["]);
        if truth["settled"] == true && differences.is_empty() { Ok(()) } else { Err(format!("{differences:#?}")) }
    });
}

const LIVES: [&str; 4] = ["--sessions=8", "--history=8", "--rate=4", "--speed=40"];

/// Everything of a page that is about one source.
fn of(page: &str, source: &str) -> String {
    let label = format!("source=\"{source}\"");
    page.lines().filter(|line| line.contains(&label)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_platform_whose_lists_answer_and_whose_events_fail_shows_a_backlog_and_loses_nothing() {
    let halves = [("hcompany", "changes"), ("everruns", "events")].map(|(platform, endpoint)| {
        let simulated = simulate_platform(platform, &LIVES);
        let gate = Gatekeeper::before(&simulated.url);
        let part = format!("/{endpoint}");
        gate.decide(move |path| if path.contains(&part) { Verdict::Status(503) } else { Verdict::Pass });
        (platform, endpoint, simulated, gate)
    });
    let sources: String = halves.iter().map(|(platform, _, _, gate)| source(platform, platform, &gate.url)).collect();
    let exporter = Exporter::start(&sources);
    exporter.metrics_until(|page| {
        for (platform, endpoint, ..) in &halves {
            let page = of(page, platform);
            let failures =
                format!(r#"agent_session_exporter_api_requests_total{{code="503",endpoint="{endpoint}",source="#);
            let sees = up(&page) == Some(1.0)
                && value(&page, "agent_session_exporter_source_backlog_sessions{") > Some(0.0)
                && value(&page, &failures) > Some(3.0);
            if !sees || landing(&exporter).matches("sessions cannot be read: server error").count() < 2 {
                return Err(about(&page));
            }
            assert!(!page.contains(r#"stage="events""#), "no session was read: {page}");
            assert!(value(&page, "agent_sessions_created_total{") > Some(0.0), "that they are there is known: {page}");
        }
        Ok(())
    });
    assert!(exporter.log().contains("the platform answered HTTP 503"));
    halves.iter().for_each(|(_, _, _, gate)| gate.decide(|_| Verdict::Pass));
    exporter.metrics_until(|page| {
        for (platform, _, simulated, _) in &halves {
            let truth = truth(&simulated.url);
            let differences = compare(&scraped_of(page, platform), &truth, &["turn_failures["]);
            if truth["settled"] != true || !differences.is_empty() {
                return Err(format!("{platform}: {differences:#?}"));
            }
        }
        Ok(())
    });
    assert!(!landing(&exporter).contains("cannot be read"));
}

/// A source that is down for this reason, and that this is said on the page and in the log.
fn is_down(exporter: &Exporter, reason: &str) -> String {
    exporter.metrics_until(|page| {
        let landing = landing(exporter);
        let sees = up(page) == Some(0.0) && landing.contains("✗ down") && landing.contains(reason);
        if sees && exporter.log().contains(reason) { Ok(()) } else { Err(format!("{}\n{landing}", about(page))) }
    })
}

#[test]
fn a_platform_that_answers_a_byte_at_a_time_is_given_up_each_time() {
    let simulated = simulate(&LIVES);
    let gate = Gatekeeper::before(&simulated.url);
    gate.decide(|_| Verdict::Drip);
    let exporter = Exporter::start(&source("one", "hcompany", &gate.url));
    let page = is_down(&exporter, "timed out");
    let requests = r#"agent_session_exporter_api_requests_total{code="error",endpoint="sessions",source="one"}"#;
    assert!(value(&page, requests) > Some(0.0), "{}", about(&page));
    gate.decide(|_| Verdict::Pass);
    until_equal(&exporter, &simulated.url);
}

#[test]
fn a_name_without_an_address_is_named_as_the_reason() {
    let exporter = Exporter::start(&source("one", "hcompany", "http://platform.invalid"));
    is_down(&exporter, "host not found");
    let config = "sources:\n  - {platform: hcompany, base_url: \"http://platform.invalid\", api_key: hk-x}\n";
    let folder = Folder::new();
    let output = run(&["check", "--config.file", &folder.write("check.yaml", config)], &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("host not found: is base_url right, and can this machine resolve names?"), "{said}");
}

/// A platform behind TLS: takes connections, and passes on what comes once it is decrypted.
fn secured(authority: &Authority, platform: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("it is bound").port());
    let (tls, server) = (Arc::new(authority.open_server()), platform.trim_start_matches("http://").to_owned());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            listener.set_nonblocking(true).expect("a socket of ours");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listening socket");
            let acceptor = tokio_rustls::TlsAcceptor::from(tls);
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                tokio::spawn(async move {
                    let mut client = acceptor.accept(client).await?;
                    let mut server = tokio::net::TcpStream::connect(server).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
    });
    url
}

#[test]
fn a_certificate_that_is_not_trusted_is_named_as_the_reason_until_its_authority_is() {
    let simulated = simulate(&LIVES);
    let authority = Authority::new();
    let url = secured(&authority, &simulated.url);
    let mut exporter = Exporter::start(&source("one", "hcompany", &url));
    is_down(&exporter, "certificate not trusted");
    assert!(!scraped(&exporter.metrics()).contains_key("sessions"), "nothing is believed");
    assert_eq!(exporter.stop(), Some(0));
    let ours = exporter.folder.write("authority.pem", &authority.pem());
    exporter.restart_in(&[("SSL_CERT_FILE", &ours)]);
    until_equal(&exporter, &simulated.url);
}

#[test]
fn a_platform_that_does_not_speak_tls_is_named_as_the_reason() {
    let simulated = simulate(&["--history=1"]);
    let exporter = Exporter::start(&source("one", "hcompany", &simulated.url.replace("http://", "https://")));
    is_down(&exporter, "no TLS");
}
