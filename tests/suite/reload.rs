//! A new configuration while the exporter runs: sources come, go and change, and no count is lost by it.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::counters::{Lasting, lasting};
use crate::support::{Exporter, Gate, compare, get, scraped_of, simulate, simulate_platform, truth};

const LIVES: [&str; 4] = ["--sessions=25", "--history=10", "--rate=8", "--speed=60"];

fn source(name: &str, platform: &str, url: &str, key: &str) -> String {
    format!(
        "  - name: {name}\n    platform: {platform}\n    base_url: {url}\n    {key}\n    poll_interval: 1s\n    \
         requests_per_second: 500\n    start: beginning\n"
    )
}

/// Puts other sources into the file, and leaves the rest as it is.
fn rewrite(exporter: &Exporter, sources: &str) {
    let text = std::fs::read_to_string(&exporter.config).expect("the file is ours");
    let (_, rest) = text.split_once("storage:").expect("it says where the store is");
    std::fs::write(&exporter.config, format!("sources:\n{sources}\nstorage:{rest}")).expect("the file is ours");
}

fn value(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn reloads(page: &str) -> (f64, f64) {
    let value = |name: &str| {
        value(page, &format!("agent_session_exporter_config_last_reload_{name}")).expect("it is always told")
    };
    (value("successful"), value("success_timestamp_seconds"))
}

/// Until a configuration was taken over after the one that runs on this page.
fn reloaded_since(exporter: &Exporter, before: &str) -> String {
    let before = reloads(before).1;
    exporter.metrics_until(|page| match reloads(page) {
        (worked, at) if worked > 0.0 && at > before => Ok(()),
        other => Err(format!("{other:?}: {}", exporter.log())),
    })
}

fn until_equal(exporter: &Exporter, sources: &[(&str, &str)]) -> String {
    exporter.metrics_until(|page| {
        for (name, url) in sources {
            let truth = truth(url);
            let differences = compare(&scraped_of(page, name), &truth, &["turn_failures["]);
            if truth["settled"] != true || !differences.is_empty() {
                return Err(format!("{name}: {differences:#?}"));
            }
        }
        Ok(())
    })
}

fn post(exporter: &Exporter, path: &str) -> (u16, String) {
    let host = exporter.url().strip_prefix("http://").expect("plain HTTP");
    let mut socket = TcpStream::connect(host).expect("it listens");
    write!(socket, "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"), body.to_owned())
}

#[test]
fn sources_come_go_and_change_and_every_total_goes_on() {
    let h = simulate(&LIVES);
    let everruns = simulate_platform("everruns", &LIVES);
    let of_h = source("h", "hcompany", &h.url, "api_key: hk-simulated");
    let of_everruns = source("everruns", "everruns", &everruns.url, "api_key: evr_pat_simulated");
    let exporter = Exporter::start(&of_h);
    let first = exporter.metrics();
    assert!(reloads(&first).0 > 0.0);

    // One comes while the other's pace is changed in the middle of its sessions.
    rewrite(&exporter, &[of_h.replace("500", "400").as_str(), &of_everruns].concat());
    exporter.hang_up();
    let both = reloaded_since(&exporter, &first);
    assert_eq!(value(&both, "agent_session_exporter_source_request_budget_per_second{source=\"h\"}"), Some(400.0));
    assert!(exporter.log().contains(r#"added=["everruns"] changed=["h"] removed=[]"#), "{}", exporter.log());
    until_equal(&exporter, &[("h", &h.url), ("everruns", &everruns.url)]);

    // A file that is wrong, and one that wants what only a restart gives: what runs goes on.
    let sound = std::fs::read_to_string(&exporter.config).unwrap();
    for (wrong, said) in [
        (format!("{sound}\nsauces: []\n"), "unknown key"),
        (
            sound.replace("storage: {", "storage: { retention: 9d, "),
            "storage cannot be changed while the exporter runs",
        ),
    ] {
        std::fs::write(&exporter.config, wrong).unwrap();
        exporter.hang_up();
        exporter.metrics_until(|_| {
            let log = exporter.log();
            if log.contains(said) { Ok(()) } else { Err(format!("not said: {said}: {log}")) }
        });
        let page = until_equal(&exporter, &[("h", &h.url), ("everruns", &everruns.url)]);
        assert!(reloads(&page).0 < 1.0, "{said}");
    }

    std::fs::write(&exporter.config, &sound).unwrap();

    // One goes: nothing is told of it any more, and the other is not disturbed.
    let before = exporter.metrics();
    rewrite(&exporter, &of_everruns);
    exporter.hang_up();
    reloaded_since(&exporter, &before);
    let left = until_equal(&exporter, &[("everruns", &everruns.url)]);
    let of_the_gone: Vec<_> = left.lines().filter(|line| line.contains("source=\"h\"")).collect();
    assert_eq!(of_the_gone, [""; 0]);

    // It comes back, and its totals are where they were.
    rewrite(&exporter, &[of_h.as_str(), &of_everruns].concat());
    exporter.hang_up();
    reloaded_since(&exporter, &left);
    until_equal(&exporter, &[("h", &h.url), ("everruns", &everruns.url)]);
}

#[test]
fn who_asks_over_http_is_told_what_came_of_it() {
    let h = simulate(&LIVES);
    let of_h = source("h", "hcompany", &h.url, "api_key: hk-simulated");
    let mut exporter = Exporter::start(&of_h);
    let (status, said) = post(&exporter, "/-/reload");
    assert_eq!(status, 403);
    assert!(said.contains("--web.enable-lifecycle"), "{said}");
    exporter.restart_with(&["--web.enable-lifecycle"]);
    assert_eq!(post(&exporter, "/-/reload").0, 200);
    // Two names would count one account twice, and one name cannot be two accounts.
    for (sources, expected) in [
        (of_h.replace("name: h", "name: \"\""), "not a name"),
        ([of_h.as_str(), &of_h.replace("name: h", "name: twin")].concat(), "watches the same account"),
        (of_h.replace("127.0.0.1", "localhost"), "source h was another account before"),
    ] {
        rewrite(&exporter, &sources);
        let (status, said) = post(&exporter, "/-/reload");
        assert_eq!(status, 500, "{said}");
        assert!(said.starts_with("the configuration from before goes on") && said.contains(expected), "{said}");
        assert!(!said.contains("hk-simulated"), "{said}");
    }
    until_equal(&exporter, &[("h", &h.url)]);
}

/// As Kubernetes does it: the file is behind a link to a directory that is exchanged as a whole.
#[test]
fn a_key_that_changes_with_the_directory_of_its_file_is_followed() {
    let h = simulate(&[&LIVES[..], &["--api-key=hk-new"]].concat());
    let exporter_folder = crate::support::Folder::new();
    let mount = exporter_folder.path();
    for (version, key) in [("v1", "hk-old"), ("v2", "hk-new")] {
        std::fs::create_dir(mount.join(version)).unwrap();
        std::fs::write(mount.join(version).join("key"), key).unwrap();
    }
    std::os::unix::fs::symlink("v1", mount.join("data")).unwrap();
    std::os::unix::fs::symlink("data/key", mount.join("key")).unwrap();
    let key = format!("api_key_file: {}", exporter_folder.join("key"));
    let mut exporter = Exporter::start(&source("h", "hcompany", &h.url, &key));
    exporter.restart_with(&["--config.watch"]);
    exporter.metrics_until(|page| {
        let refused = page.lines().any(|line| line.contains("api_requests_total{") && line.contains("401"));
        if refused { Ok(()) } else { Err("the old key is not refused".into()) }
    });
    std::os::unix::fs::symlink("v2", mount.join("data.new")).unwrap();
    std::fs::rename(mount.join("data.new"), mount.join("data")).unwrap();
    until_equal(&exporter, &[("h", &h.url)]);
    assert!(exporter.log().contains("a changed file"), "{}", exporter.log());
}

/// Whoever changes the key of a running exporter for one of another account is told, and loses nothing.
#[test]
fn a_key_of_another_account_while_it_runs_adds_nothing_and_the_old_one_goes_on() {
    let account = |seed: &str, key: &str| {
        simulate(&["--history=9", "--sessions=9", "--speed=60", "--seed", seed, "--api-key", key])
    };
    let (ours, foreign) = (account("1", "hk-ours"), account("2", "hk-foreign"));
    let gate = Gate::before(&ours.url);
    let of_h = source("h", "hcompany", &gate.url, "api_key: hk-ours");
    let exporter = Exporter::start(&of_h);
    let before = lasting(&until_equal(&exporter, &[("h", &ours.url)]));

    gate.lead_to(&foreign.url);
    rewrite(&exporter, &of_h.replace("hk-ours", "hk-foreign"));
    exporter.hang_up();
    let page = exporter.metrics_until(|page| {
        let said = exporter.log().contains("it belongs to another account");
        if said && !is_up(page) { Ok(()) } else { Err(exporter.log()) }
    });
    let totals = |samples: &Lasting| -> Lasting {
        samples.iter().filter(|(name, _)| name.starts_with("agent_") && !name.contains("exporter")).map(own).collect()
    };
    assert_eq!(totals(&lasting(&page)), totals(&before), "nothing of the other account is counted");
    let told = get(exporter.url()).expect("a page");
    assert!(told.contains("the key belongs to another account than the store"), "{told}");

    gate.lead_to(&ours.url);
    rewrite(&exporter, &of_h);
    exporter.hang_up();
    let after = exporter.metrics_until(|page| if is_up(page) { Ok(()) } else { Err("it is down".into()) });
    assert_eq!(totals(&lasting(&after)), totals(&before));
    until_equal(&exporter, &[("h", &ours.url)]);
}

fn is_up(page: &str) -> bool {
    page.lines().any(|line| line.starts_with("agent_session_exporter_source_up{") && line.ends_with(" 1"))
}

fn own((name, value): (&String, &f64)) -> (String, f64) {
    (name.clone(), *value)
}
