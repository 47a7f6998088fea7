//! Several sources in one process: none is held up by another, and none counts what another counts.

use std::time::Duration;

use agent_session_exporter::domain::{SourceIx, Status};
use agent_session_exporter::engine::EngineError;
use agent_session_exporter::journal::Journal;
use agent_session_exporter::projection::LabelPolicy;

use crate::support::disk::Disk;
use crate::support::running::{Running, page, report, row};
use crate::support::{Exporter, Folder, compare, get, run, scraped_of, simulate, simulate_platform, truth};

const LIVES: [&str; 4] = ["--sessions=25", "--history=10", "--rate=8", "--speed=60"];
const FAULTS: [&str; 5] = [
    "--fault-rate-429=0.03",
    "--fault-rate-5xx=0.03",
    "--fault-rate-cut=0.03",
    "--fault-rate-slow=0.05",
    "--slow-ms=200",
];

fn source(name: &str, platform: &str, url: &str, key: &str) -> String {
    format!(
        "  - name: {name}\n    platform: {platform}\n    base_url: {url}\n    api_key: {key}\n    poll_interval: 1s\n    \
         requests_per_second: 500\n    sweep_interval: 60s\n    request_timeout: 5s\n    start: beginning\n"
    )
}

fn is_up(page: &str, source: &str) -> Option<bool> {
    let label = format!("source=\"{source}\"");
    let mut lines = page.lines().filter(|line| line.starts_with("agent_session_exporter_source_up{"));
    let line = lines.find(|line| line.contains(&label))?;
    Some(line.ends_with(" 1"))
}

#[test]
fn dead_and_silent_sources_hold_up_no_other_and_kills_change_nothing() {
    let h = simulate(&[&LIVES[..], &FAULTS[..]].concat());
    let everruns = simulate_platform("everruns", &[&LIVES[..], &FAULTS[..], &["--late-rate=0.1"]].concat());
    // One that takes connections and never says a word, and one that does not even do that.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut exporter = Exporter::start(
        &[
            source("silent", "everruns", &format!("http://{}", silent.local_addr().unwrap()), "evr_pat_silent"),
            source("dead", "hcompany", &format!("http://{dead}"), "hk-dead"),
            source("h", "hcompany", &h.url, "hk-simulated"),
            source("everruns", "everruns", &everruns.url, "evr_pat_simulated"),
        ]
        .concat(),
    );
    for round in 0..4 {
        std::thread::sleep(Duration::from_millis(400 + 310 * round));
        exporter.kill();
        exporter.restart();
    }
    let page = exporter.metrics_until(|page| {
        for (name, url) in [("h", &h.url), ("everruns", &everruns.url)] {
            let truth = truth(url);
            if truth["settled"] != true {
                return Err("the simulation did not come to its end".into());
            }
            let differences = compare(&scraped_of(page, name), &truth, &["turn_failures["]);
            if !differences.is_empty() {
                return Err(format!("{name}: {differences:#?}"));
            }
        }
        Ok(())
    });
    assert_eq!(["h", "everruns", "dead"].map(|name| is_up(&page, name)), [Some(true), Some(true), Some(false)]);
    assert_ne!(is_up(&page, "silent"), Some(true));
}

#[test]
fn two_ways_to_one_account_are_found_out() {
    let everruns = simulate_platform("everruns", &LIVES);
    // The configuration cannot know that both names are one host.
    let other_name = everruns.url.replace("127.0.0.1", "localhost");
    let exporter = Exporter::start(
        &[
            source("one", "everruns", &everruns.url, "evr_pat_simulated"),
            source("two", "everruns", &format!("{other_name}/api"), "evr_pat_simulated"),
        ]
        .concat(),
    );
    let page = exporter.metrics_until(|page| {
        let ups = ["one", "two"].map(|name| is_up(page, name));
        let landing = get(&format!("{}/", exporter.url())).unwrap_or_default();
        let says_why = landing.contains("another source watches the same account");
        if ups.contains(&Some(true)) && says_why { Ok(()) } else { Err(format!("{ups:?}")) }
    });
    let counted = ["one", "two"].map(|name| scraped_of(&page, name).get("sessions").copied().unwrap_or(0));
    assert!(counted.contains(&0) && counted != [0, 0], "{counted:?}");
}

#[tokio::test]
async fn a_report_with_sessions_of_another_source_is_refused_whole() {
    let disk = Disk::default();
    let journal = Journal::with_backend(move || disk.clone(), LabelPolicy::default()).unwrap();
    let running = Running::start(journal, None);
    let (one, two) = (running.attach("one").await.ix, running.attach("two").await.ix);
    running.handle.report(report(one, 0, vec![row(1, 0, Status::Running, 1), page(1, 0)])).await.unwrap();
    let twice = vec![row(2, 0, Status::Running, 1), row(1, 0, Status::Running, 1)];
    let refused = running.handle.report(report(two, 10, twice)).await.unwrap_err();
    assert!(matches!(&refused, EngineError::CountedTwice(other) if other == "one"), "{refused}");
    running.handle.report(report(two, 20, vec![row(3, 0, Status::Running, 1)])).await.unwrap();
    let shown = running.stop();
    let tracked: Vec<usize> = shown.sources.iter().map(|source| source.active).collect();
    assert_eq!((one, two, tracked), (SourceIx(0), SourceIx(1), vec![1, 1]));
}

#[test]
fn keys_in_the_environment_are_enough_for_both_platforms() {
    let options = ["--sessions=5000", "--history=5", "--rate=20", "--speed=1000"];
    let (h, everruns) = (simulate(&options), simulate_platform("everruns", &options));
    let folder = Folder::new();
    let data = folder.join("data");
    let organization = get(&format!("{}/_simulator", everruns.url)).expect("it describes itself");
    let organization: serde_json::Value = serde_json::from_str(&organization).unwrap();
    let env = [
        ("HAI_API_KEY", "hk-simulated"),
        ("HAI_API_BASE_URL", &h.url),
        ("EVERRUNS_API_KEY", "evr_pat_simulated"),
        ("EVERRUNS_API_URL", &format!("{}/api", everruns.url)),
        ("EVERRUNS_ORG_ID", organization["organization"].as_str().expect("it has one")),
    ];
    let listed = |source: &str| {
        let args = ["sessions", "--storage.path", &data, "--source", source, "--json"];
        String::from_utf8(run(&args, &[]).stdout).expect("UTF-8").lines().count()
    };
    // Counting begins with the first pass: sessions that are told came after it, or were going on then.
    let has_read = |_| {
        let output = run(&["serve", "--once", "--storage.path", &data], &env);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        listed("hcompany") > 0 && listed("everruns") > 0
    };
    assert!((0..20).any(has_read), "twenty passes over platforms on which sessions come all the time");

    // The wrong organization is another account: it is said, and nothing is counted.
    let other = ("EVERRUNS_ORG_ID", "org_elsewhere");
    let output = run(&["serve", "--once", "--storage.path", &folder.join("other")], &[env[2], env[3], other]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("403") && said.contains("everruns"), "{said}");
}
