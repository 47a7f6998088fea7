//! Keys and content go nowhere: what is planted on the platform and in the configuration is looked for everywhere.

use agent_session_exporter::simulator;

use crate::support::{Behave, Collector, Exporter, get, run, scraped, simulate_platform};

/// Part of the keys, which are planted too: a mark that nothing else contains.
const KEY: &str = "5ecret";

#[test]
fn planted_secrets_show_nowhere() {
    nothing_shows("hcompany", "hk-planted-5ecret-key", &[], &[simulator::PRIVATE]);
}

#[test]
fn what_is_planted_in_everruns_shows_nowhere() {
    nothing_shows("everruns", "evr_pat_planted5ecretkey", &[], &simulator::everruns::PRIVATE);
}

#[test]
fn what_is_planted_in_the_oldest_everruns_shows_nowhere() {
    nothing_shows("everruns", "evr_pat_planted5ecretkey", &["--dialect=d0"], &simulator::everruns::PRIVATE);
}

fn nothing_shows(name: &str, key: &str, options: &[&str], private: &[&str]) {
    let mut args = vec!["--history=60", "--sessions=0", "--rate=0.001", "--api-key", key];
    args.extend(["--fault-rate-5xx=0.1", "--seed=3"]);
    args.extend(options);
    let platform = simulate_platform(name, &args);
    let collector = Collector::start(|_| Behave::Take);
    let mut exporter = Exporter::start(&format!(
        "  - name: sim\n    platform: {name}\n    base_url: {}\n    api_key: {key}\n    poll_interval: 1s\n    \
         requests_per_second: 500\n    start: beginning\notlp: {{endpoint: \"{}\", interval: 1s, self_traces: true, \
         headers: [\"authorization=Bearer {KEY}-token\"]}}\n",
        platform.url, collector.url
    ));
    exporter.metrics_until(|page| {
        let told = scraped(page);
        let all = told.get("sessions").is_some_and(|sessions| *sessions >= 60);
        let idle = page.contains("agent_session_exporter_source_backlog_sessions{source=\"sim\"} 0");
        let sent = page.contains("agent_session_exporter_otlp_outbox_spans 0\n");
        if all && idle && sent { Ok(()) } else { Err(format!("{told:?}")) }
    });
    let url = exporter.url().to_owned();
    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    for path in ["/", "/metrics", "/api/v1/sessions?limit=1000"] {
        seen.push((path.to_owned(), get(&format!("{url}{path}")).expect("it answers").into_bytes()));
    }
    let listed = run(&["sessions", "--web.url", &url, "--limit", "500", "--json"], &[]).stdout;
    for line in String::from_utf8(listed).expect("UTF-8").lines() {
        let session: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let id = session["id"].as_str().expect("an id").to_owned();
        let shown = get(&format!("{url}/api/v1/sessions/{id}")).expect("it is known");
        seen.push((format!("session {id}"), shown.into_bytes()));
        if seen.len() < 20 {
            let shown = run(&["show", &id, "--web.url", &url], &[]).stdout;
            assert!(String::from_utf8_lossy(&shown).contains(&id), "it is known");
            seen.push((format!("show {id}"), shown));
        }
    }
    assert_eq!(exporter.stop(), Some(0));
    let log = exporter.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is as talkative as it gets");
    seen.push(("log at trace level".into(), log.into_bytes()));
    let (spans, samples) = collector.received(|received| {
        assert!(received.spans.len() > 300 && received.samples.len() > 300 && received.scopes.len() == 2);
        (format!("{:?}", received.spans), format!("{:?} {:?}", received.samples, received.resource))
    });
    seen.push(("spans".into(), spans.into_bytes()));
    seen.push(("pushed metrics".into(), samples.into_bytes()));
    let data = exporter.folder.join("data");
    for command in [&["inspect"][..], &["inspect", "--json"], &["verify"], &["verify", "--json"], &["export"]] {
        let output = run(&[command, &["--storage.path", &data]].concat(), &[]);
        assert!(output.status.success() && output.stdout.len() > 500, "{command:?} answers");
        seen.push((command.join(" "), [output.stdout, output.stderr].concat()));
    }
    let config = exporter.folder.join("exporter.yaml");
    let asked = run(&["verify", "--config.file", &config, "--against-platform", "--all"], &[]);
    assert!(String::from_utf8_lossy(&asked.stdout).contains("source       sim:"), "the platform is asked");
    seen.push(("verify --against-platform".into(), [asked.stdout, asked.stderr].concat()));
    let store = std::fs::read(exporter.folder.path().join("data/journal.redb")).expect("the store is there");
    assert!(store.len() > 100_000);
    seen.push(("store".into(), store));

    let planted: Vec<&str> = private.iter().copied().chain([key, KEY]).collect();
    // The platform does hand them out: the search would find something if anything were kept.
    let first = format!("{}/_simulator", platform.url);
    assert!(get(&first).is_some(), "the platform is still there to ask");
    for (place, bytes) in &seen {
        for secret in &planted {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret:?} shows in {place}");
        }
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains(&collector.url), "the collector's address shows in {place}");
        if ["spans", "pushed metrics"].contains(&place.as_str()) {
            assert!(!text.contains("http://"), "an address shows in {place}");
        }
    }
}
