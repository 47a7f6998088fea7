//! Keys and content go nowhere: what is planted on the platform and in the configuration is looked for everywhere.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agent_session_exporter::simulator;

use crate::support::{Behave, Collector, Exporter, Folder, get, run, scraped, simulate_platform};

/// Part of the keys, which are planted too: a mark that nothing else contains.
const KEY: &str = "5ecret";

#[test]
fn planted_secrets_show_nowhere() {
    nothing_shows("hcompany", "hk-planted-5ecret-key", Given::InTheFile, &[], &[simulator::PRIVATE]);
}

#[test]
fn what_is_planted_in_everruns_shows_nowhere() {
    nothing_shows("everruns", "evr_pat_planted5ecretkey", Given::InAFile, &[], &simulator::everruns::PRIVATE);
}

#[test]
fn what_is_planted_in_the_oldest_everruns_shows_nowhere() {
    let oldest = ["--dialect=d0"];
    nothing_shows("everruns", "evr_pat_planted5ecretkey", Given::ByACommand, &oldest, &simulator::everruns::PRIVATE);
}

/// How the exporter gets its key.
enum Given {
    InTheFile,
    InAFile,
    ByACommand,
}

/// What was seen in a place.
pub type Seen = (String, Vec<u8>);

/// Fails if any of the secrets is in any of the places.
pub fn assert_nowhere(seen: &[Seen], planted: &[&str]) {
    for (place, bytes) in seen {
        for secret in planted {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret:?} shows in {place}");
        }
    }
}

/// Every file below a folder, whatever it is.
pub fn files(folder: &Path) -> Vec<Seen> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push((path.display().to_string(), std::fs::read(&path).expect("a readable file"))),
        }
    }
    found
}

/// How a process was called, as everybody on the machine can see it.
fn command_line(pid: u32) -> Seen {
    ("the command line".into(), std::fs::read(format!("/proc/{pid}/cmdline")).expect("it is running"))
}

/// Folder and files are the exporter's user's alone.
fn assert_own(data: &Path) {
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(data), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(data).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        // Where it listens is no secret.
        assert!(name == "exporter.url" || mode(&path) == 0o600, "{name}: {:o}", mode(&path));
        names.push(name);
    }
    for name in ["journal.redb", "instance.id", "otlp.delta", "exporter.url"] {
        assert!(names.iter().any(|it| it == name), "{name} is not looked at: {names:?}");
    }
}

fn nothing_shows(name: &str, key: &str, given: Given, options: &[&str], private: &[&str]) {
    let mut args = vec!["--history=60", "--sessions=0", "--rate=0.001", "--api-key", key];
    args.extend(["--fault-rate-5xx=0.1", "--seed=3"]);
    args.extend(options);
    let platform = simulate_platform(name, &args);
    let collector = Collector::start(|_| Behave::Take);
    let kept = Folder::new();
    let kept_key = kept.write("key", key);
    let key_line = match given {
        Given::InTheFile => format!("api_key: {key}"),
        Given::InAFile => format!("api_key_file: {kept_key}"),
        // There is no PATH to look it up in.
        Given::ByACommand => format!("api_key_command: [/bin/cat, {kept_key}]"),
    };
    let source = |key_line: &str| {
        format!(
            "  - name: sim\n    platform: {name}\n    base_url: {}\n    {key_line}\n    poll_interval: 1s\n    \
             requests_per_second: 500\n    start: beginning\n",
            platform.url
        )
    };
    let mut exporter = Exporter::start(&format!(
        "{}otlp: {{endpoint: \"{}\", interval: 1s, self_traces: true, metrics: {{temporality: delta}}, headers: \
         [\"authorization=Bearer {KEY}-token\"]}}\n",
        source(&key_line),
        collector.url
    ));
    exporter.metrics_until(|page| {
        let told = scraped(page);
        let all = told.get("sessions").is_some_and(|sessions| *sessions >= 60);
        let idle = page.contains("agent_session_exporter_source_backlog_sessions{source=\"sim\"} 0");
        let sent = page.contains("agent_session_exporter_otlp_outbox_spans 0\n");
        if all && idle && sent { Ok(()) } else { Err(format!("{told:?}")) }
    });
    let url = exporter.url().to_owned();
    let data = exporter.folder.path().join("data");
    let mut seen: Vec<Seen> = vec![command_line(exporter.pid())];
    for path in ["/", "/metrics", "/api/v1/sessions?limit=1000"] {
        seen.push((path.to_owned(), get(&format!("{url}{path}")).expect("it answers").into_bytes()));
    }
    let listed = run(&["sessions", "--web.url", &url, "--limit", "500", "--json"], &[]).stdout;
    let mut shows = 0;
    for line in String::from_utf8(listed).expect("UTF-8").lines() {
        let session: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let id = session["id"].as_str().expect("an id").to_owned();
        let shown = get(&format!("{url}/api/v1/sessions/{id}")).expect("it is known");
        seen.push((format!("session {id}"), shown.into_bytes()));
        if shows < 8 {
            shows += 1;
            let shown = run(&["show", &id, "--web.url", &url], &[]).stdout;
            assert!(String::from_utf8_lossy(&shown).contains(&id), "it is known");
            seen.push((format!("show {id}"), shown));
        }
    }
    // While it runs there is one file more, and differences are written down when they are sent.
    exporter.metrics_until(|_| if data.join("otlp.delta").exists() { Ok(()) } else { Err("no differences".into()) });
    assert_own(&data);
    seen.extend(files(&data));
    let wrong = kept.write("check.yaml", &format!("sources:\n{}", source(&format!("api_key: {key}x"))));
    for (what, file, code) in [("check", &exporter.config, 0), ("check of a wrong key", &wrong, 1)] {
        let output = run(&["check", "--config.file", file], &[]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // A platform that fails now and then may do so just now.
        assert!(output.status.code() == Some(code) || said.contains("HTTP 5"), "{what}: {said}");
        seen.push((what.to_owned(), output.stdout));
        seen.push((format!("{what}, errors"), output.stderr));
    }
    assert_eq!(exporter.stop(), Some(0));
    let log = exporter.log();
    // Whatever is told at trace level: neither we nor what we use tells more than this.
    assert!(log.contains(" DEBUG "), "the log is as talkative as it gets");
    seen.push(("log at trace level".into(), log.into_bytes()));
    let (spans, samples) = collector.received(|received| {
        assert!(received.spans.len() > 300 && received.samples.len() > 300 && received.scopes.len() == 2);
        (format!("{:?}", received.spans), format!("{:?} {:?}", received.samples, received.resource))
    });
    seen.push(("spans".into(), spans.into_bytes()));
    seen.push(("pushed metrics".into(), samples.into_bytes()));
    let folder = exporter.folder.join("data");
    for command in [&["inspect"][..], &["inspect", "--json"], &["verify"], &["verify", "--json"], &["export"]] {
        let output = run(&[command, &["--storage.path", &folder]].concat(), &[]);
        assert!(output.status.success() && output.stdout.len() > 500, "{command:?} answers");
        seen.push((command.join(" "), [output.stdout, output.stderr].concat()));
    }
    let config = exporter.folder.join("exporter.yaml");
    let asked = run(&["verify", "--config.file", &config, "--against-platform", "--all"], &[]);
    assert!(String::from_utf8_lossy(&asked.stdout).contains("source       sim:"), "the platform is asked");
    seen.push(("verify --against-platform".into(), [asked.stdout, asked.stderr].concat()));
    let left = files(&data);
    assert!(left.iter().any(|(place, bytes)| place.ends_with("journal.redb") && bytes.len() > 100_000));
    seen.extend(left);

    // The platform does hand them out: the search would find something if anything were kept.
    let first = format!("{}/_simulator", platform.url);
    assert!(get(&first).is_some(), "the platform is still there to ask");
    assert_nowhere(&seen, &private.iter().copied().chain([key, KEY]).collect::<Vec<_>>());
    for (place, bytes) in &seen {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains(&collector.url), "the collector's address shows in {place}");
        if ["spans", "pushed metrics"].contains(&place.as_str()) {
            assert!(!text.contains("http://"), "an address shows in {place}");
        }
    }
}

#[test]
fn the_demo_keeps_to_itself_what_its_platforms_hand_out() {
    let temporary = Folder::new();
    let said = temporary.write("said", "");
    let log = || std::fs::OpenOptions::new().append(true).open(&said).expect("the folder is ours");
    let mut child = Command::new(env!("CARGO_BIN_EXE_agent-session-exporter"))
        .args(["demo", "--web.listen-address", "127.0.0.1:0", "--log.level", "trace"])
        .env_clear()
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log())
        .spawn()
        .expect("the program starts");
    let mut seen = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let printed: Vec<String> =
        lines.by_ref().map_while(Result::ok).take_while(|line| !line.starts_with("Ctrl-C")).collect();
    let metrics = printed.iter().find_map(|line| line.strip_prefix("metrics")).expect("it says where").trim();
    let deadline = Instant::now() + Duration::from_secs(60);
    // Everything that both had before the exporter came, and some of what came since.
    let page = loop {
        let page = get(metrics).expect("metrics always answer");
        if scraped(&page).get("sessions").is_some_and(|sessions| *sessions > 120) {
            break page;
        }
        assert!(Instant::now() < deadline, "nothing moves: {page}");
        std::thread::sleep(Duration::from_millis(100));
    };
    seen.push(("metrics".to_owned(), page.into_bytes()));
    let landing = get(metrics.trim_end_matches("metrics")).expect("the landing page answers");
    seen.push(("the landing page".to_owned(), landing.into_bytes()));
    seen.push(command_line(child.id()));
    let kept = files(temporary.path());
    assert!(kept.iter().any(|(place, bytes)| place.ends_with("journal.redb") && bytes.len() > 100_000));
    seen.extend(kept);
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is everywhere");
    assert_eq!(child.wait().expect("it is our child").code(), Some(0));
    let log = std::fs::read(&said).expect("the folder is ours");
    assert!(String::from_utf8_lossy(&log).contains(" DEBUG "), "the log is as talkative as it gets");
    seen.push(("the log".to_owned(), log));
    seen.push(("what it printed".to_owned(), printed.join("\n").into_bytes()));
    assert_eq!(files(temporary.path()).len(), 1, "nothing is left but what the test made");
    let keys = ["hk-simulated", "evr_pat_simulated"];
    let planted = [simulator::PRIVATE].into_iter().chain(simulator::everruns::PRIVATE).chain(keys);
    assert_nowhere(&seen, &planted.collect::<Vec<_>>());
}
