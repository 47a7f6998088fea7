//! The program as its users meet it: as processes over HTTP, killed, misconfigured, and asked for sessions.

use std::time::Duration;

use crate::support::{Exporter, Folder, Gate, compare, get, run, scraped, simulate, truth};

const FAULTS: [&str; 8] = [
    "--fault-rate-429=0.03",
    "--fault-rate-5xx=0.03",
    "--fault-rate-cut=0.03",
    "--fault-rate-slow=0.03",
    "--slow-ms=300",
    "--evict-after=9",
    "--page-drift",
    "--usage-resets-on-restart",
];

fn until_equal(exporter: &Exporter, platform: &str) -> String {
    exporter.metrics_until(|page| {
        let truth = truth(platform);
        if truth["settled"] != true {
            return Err("the simulation did not come to its end".into());
        }
        let differences = compare(&scraped(page), &truth, &["turn_failures["]);
        if differences.is_empty() { Ok(()) } else { Err(format!("{differences:#?}")) }
    })
}

#[test]
fn with_faults_and_kills_the_metrics_equal_the_truth() {
    let mut options = vec!["--sessions=40", "--history=30", "--rate=4", "--speed=20", "--seed=11"];
    options.extend(FAULTS);
    let platform = simulate(&options);
    let mut exporter = Exporter::watching(&platform.url);
    let mut before = Default::default();
    for round in 0..8 {
        std::thread::sleep(Duration::from_millis(300 + 370 * round));
        let now = scraped(&exporter.metrics());
        assert_never_fell(&before, &now);
        before = now;
        exporter.kill();
        exporter.restart();
    }
    assert_never_fell(&before, &scraped(&until_equal(&exporter, &platform.url)));
    assert_eq!(exporter.stop(), Some(0));
    // And what is in the store says the same.
    exporter.restart();
    until_equal(&exporter, &platform.url);
}

fn assert_never_fell(before: &std::collections::BTreeMap<String, u64>, now: &std::collections::BTreeMap<String, u64>) {
    for (name, value) in before.iter().filter(|(name, _)| !name.starts_with("active")) {
        assert!(now.get(name).is_some_and(|now| now >= value), "{name} fell from {value} to {:?}", now.get(name));
    }
}

#[test]
fn a_platform_that_is_away_shows_and_comes_back_without_loss() {
    let platform = simulate(&["--sessions=20", "--history=5", "--rate=2", "--speed=20"]);
    let gate = Gate::before(&platform.url);
    let exporter = Exporter::watching(&gate.url);
    let source_is = |up: &str| {
        exporter.metrics_until(|page| {
            let line = page.lines().find(|line| line.starts_with("agent_session_exporter_source_up{"));
            let line = line.unwrap_or("no source_up");
            if line.ends_with(up) { Ok(()) } else { Err(line.to_owned()) }
        })
    };
    source_is(" 1");
    gate.shut();
    let page = source_is(" 0");
    assert!(scraped(&page)["sessions"] > 0, "what is known is still told");
    assert!(get(&format!("{}/-/healthy", exporter.url())).is_some());
    let landing = get(&format!("{}/", exporter.url())).expect("the page answers");
    let reasons = ["cannot connect", "connection lost", "cut off"];
    assert!(reasons.iter().any(|reason| landing.contains(reason)), "the page says why: {landing}");
    assert!(!exporter.log().contains("the platform answers again"));
    gate.open();
    source_is(" 1");
    until_equal(&exporter, &platform.url);
    assert!(exporter.log().contains("the platform answers again"), "{}", exporter.log());
}

#[test]
fn the_demo_runs_with_nothing_configured_and_ends_when_asked() {
    use std::io::{BufRead, BufReader};
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_agent-session-exporter"))
        .args(["demo", "--web.listen-address", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let said: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.starts_with("Ctrl-C")).collect();
    assert!(said[0].contains("simulated data"), "{said:?}");
    let metrics = said.iter().find_map(|line| line.strip_prefix("metrics")).expect("it says where").trim().to_owned();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let told = scraped(&get(&metrics).expect("metrics always answer"));
        let lively = told.keys().any(|name| name.starts_with("active["))
            && told.keys().any(|name| name.starts_with("finished["))
            && told.iter().any(|(name, value)| name.starts_with("input[") && *value > 0);
        if lively {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "nothing moves: {told:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let page = get(metrics.trim_end_matches("metrics")).expect("the landing page answers");
    assert!(page.contains("simulated"), "the page says that nothing of it is real");
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is everywhere");
    assert_eq!(child.wait().expect("it is our child").code(), Some(0));
}

#[test]
fn a_health_check_asks_the_exporter_and_no_proxy() {
    let platform = simulate(&["--history=1", "--sessions=0"]);
    let mut exporter = Exporter::watching(&platform.url);
    let url = exporter.url().to_owned();
    let check = |url: &str| {
        // Nobody listens there.
        let output = run(&["healthcheck", "--web.url", url], &[("HTTP_PROXY", "http://127.0.0.1:1")]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(&url), (Some(0), String::new(), String::new()));
    // Alive from the start; ready when every source was listed, which this one, where nobody listens, never is.
    let waiting = Exporter::watching("http://127.0.0.1:1");
    assert_eq!(check(waiting.url()), (Some(0), String::new(), String::new()));
    let output = run(&["healthcheck", "--ready", "--web.url", waiting.url()], &[]);
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && why.contains("HTTP 503: not ready: "), "{why}");
    assert!(!why.contains("or not an agent-session-exporter"), "the exporter's own reason: {why}");
    let (code, said, why) = check(&platform.url);
    assert!(code == Some(1) && said.is_empty() && why.contains("HTTP 4"), "{code:?} {said} {why}");
    exporter.stop();
    let (code, said, why) = check(&url);
    assert!(code == Some(1) && said.is_empty() && why.contains("cannot connect"), "{code:?} {said} {why}");
}

#[test]
fn failed_sessions_can_be_named_while_it_runs_and_after() {
    let platform = simulate(&["--sessions=0", "--history=80", "--rate=0.001", "--restart-share=0"]);
    let mut exporter = Exporter::watching(&platform.url);
    exporter.metrics_until(|page| {
        let differences = compare(&scraped(page), &truth(&platform.url), &["turn_failures["]);
        if differences.is_empty() { Ok(()) } else { Err(format!("{differences:#?}")) }
    });
    let data = exporter.folder.join("data");
    let text = |args: &[&str]| {
        let output = run(args, &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let url = exporter.url().to_owned();
    let over_http = text(&["sessions", "--status", "failed", "--web.url", &url, "--json"]);
    let by_folder = text(&["sessions", "--status", "failed", "--storage.path", &data, "--json"]);
    assert_eq!(over_http, by_folder, "the folder of a running exporter leads to that exporter");
    let first: serde_json::Value = serde_json::from_str(over_http.lines().next().expect("some failed")).expect("JSON");
    assert_eq!(first["status"], "failed");
    let id = first["id"].as_str().expect("an id");
    let shown = text(&["show", id, "--web.url", &url]);
    assert!(shown.contains(id) && shown.contains("ended as failed"), "{shown}");

    assert_eq!(exporter.stop(), Some(0));
    assert_eq!(text(&["sessions", "--status", "failed", "--storage.path", &data, "--json"]), over_http);
    let table = text(&["sessions", "--storage.path", &data, "--limit", "3", "--since", "365d"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert_eq!(text(&["sessions", "--storage.path", &data, "--agent", "nobody"]), "no session matches\n");
    let missing = run(&["show", "nobody", "--storage.path", &data], &[]);
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn one_pass_ends_by_itself_and_says_whether_it_was_whole() {
    let platform = simulate(&["--sessions=0", "--history=20", "--rate=0.001"]);
    let folder = Folder::new();
    let once = |key: &str, url: &str| {
        let output = run(
            &["serve", "--once", "--storage.path", &folder.join("data")],
            &[("HAI_API_KEY", key), ("HAI_API_BASE_URL", url)],
        );
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(once("hk-simulated", &platform.url).0, Some(0));
    let (code, said) = once("hk-wrong", &platform.url);
    assert_eq!(code, Some(1));
    assert!(said.contains("key not accepted") && said.contains("hcompany"), "{said}");
}

#[test]
fn whatever_is_wrong_at_the_start_is_said_with_what_to_do() {
    let platform = simulate(&["--history=1"]);
    let folder = Folder::new();
    let data = folder.join("data");
    let fails = |args: &[&str], env: &[(&str, &str)], code: i32, says: &[&str]| {
        let output = run(args, env);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        for part in says {
            assert!(said.contains(part), "{args:?} does not say {part:?}: {said}");
        }
    };
    fails(&["serve", "--storage.path", &data], &[], 2, &["HAI_API_KEY", "EVERRUNS_API_KEY", "demo"]);
    let bad =
        folder.write("bad.yaml", "sources:\n  - platform: hcompany\n    pol_interval: 5s\n    api_key: ${NOPE}\n");
    fails(&["serve", "--config.file", &bad], &[], 2, &["bad.yaml:3", "pol_interval", "poll_interval", "NOPE"]);
    fails(&["check", "--config.file", &bad], &[], 2, &["bad.yaml:3", "NOPE"]);
    let key = [("HAI_API_KEY", "hk-simulated"), ("HAI_API_BASE_URL", platform.url.as_str())];
    let busy = platform.url.trim_start_matches("http://");
    fails(
        &["serve", "--storage.path", &data, "--web.listen-address", busy],
        &key,
        2,
        &["in use", "--web.listen-address"],
    );
    let under_a_file = folder.join("bad.yaml/data");
    let anywhere = ["--web.listen-address", "127.0.0.1:0"];
    for place in [&bad, &under_a_file] {
        let is_file = ["bad.yaml is a file", "--storage.path"];
        fails(&["serve", "--storage.path", place, anywhere[0], anywhere[1]], &key, 2, &is_file);
        fails(&["sessions", "--storage.path", place], &[], 1, &is_file);
        fails(&["inspect", "--storage.path", place], &[], 1, &is_file);
        fails(&["import", "-", "--storage.path", place], &[], 1, &is_file);
    }
    let empty = folder.write("empty.yaml", "sources:\n  - platform: hcompany\n    api_key: ${NONE}\n");
    fails(&["check", "--config.file", &empty], &[("NONE", "")], 2, &["api_key: ${NONE}: the API key is empty"]);
    let exporter = Exporter::watching(&platform.url);
    let taken = exporter.folder.join("data");
    fails(&["serve", "--storage.path", &taken, anywhere[0], anywhere[1]], &key, 2, &["in use", "--storage.path"]);
    // The one that was there first is not disturbed, and counts on.
    let before = scraped(&exporter.metrics()).get("events").copied();
    exporter.metrics_until(|page| {
        if scraped(page).get("events").copied() > before { Ok(()) } else { Err("it stands still".into()) }
    });
}

#[test]
fn check_tells_what_a_source_will_be_able_to_do() {
    let platform = simulate(&["--history=7", "--sessions=0", "--rate=0.001"]);
    let folder = Folder::new();
    let file = |key: &str| {
        folder.write(
            "check.yaml",
            &format!("sources:\n  - platform: hcompany\n    base_url: {}\n    api_key: {key}\n", platform.url),
        )
    };
    let output = run(&["check", "--config.file", &file("hk-simulated")], &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    for part in ["reachable", "key accepted", "sessions", "clock skew", "finished_after", "session limit"] {
        assert!(said.contains(part), "no {part}: {said}");
    }
    let output = run(&["check", "--config.file", &file("hk-wrong")], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("key not accepted"));
}

#[test]
fn check_says_whether_the_store_could_be_written_to_and_makes_nothing() {
    let platform = simulate(&["--history=1", "--sessions=0", "--rate=0.001"]);
    let folder = Folder::new();
    let source = format!("sources: [{{platform: hcompany, base_url: \"{}\", api_key: hk-simulated}}]\n", platform.url);
    let config = folder.write("exporter.yaml", &source);
    let check = |args: &[&str], env: &[(&str, &str)]| {
        let output = run(&[&["check", "--config.file", &config], args].concat(), env);
        let [said, complained] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned());
        (output.status.code(), said, complained)
    };
    let good = folder.join("data/below");
    let (code, said, _) = check(&["--storage.path", &good], &[]);
    assert!(code == Some(0) && said.contains(&format!("storage {good}\n  ok    directory ")), "{code:?} {said}");
    assert!(!folder.path().join("data").exists(), "nothing was begun");
    let bad = folder.join("exporter.yaml/data");
    for (args, env) in [(&["--storage.path", bad.as_str()][..], &[][..]), (&[], &[("ASE_STORAGE_PATH", bad.as_str())])]
    {
        let (code, said, complained) = check(args, env);
        assert!(code == Some(1) && said.contains("  FAIL  directory "), "{code:?} {said}");
        assert!(said.contains("exporter.yaml is not a directory"), "{said}");
        assert!(complained.contains("will not work: the store"), "{complained}");
    }
    folder.write("exporter.yaml", &format!("{source}storage: {{path: {bad}}}\n"));
    assert_eq!(check(&[], &[]).0, Some(1));
    assert_eq!(check(&["--storage.path", &good], &[]).0, Some(0), "what serve is given counts");
    // A file may be judged elsewhere than where it is used.
    let (code, said, _) = check(&["--offline"], &[]);
    assert!(code == Some(0) && !said.contains("directory"), "{said}");
}

#[test]
fn a_key_of_another_account_is_refused_and_a_new_key_of_the_same_is_not() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
    let url = format!("http://127.0.0.1:{port}");
    let folder = Folder::new();
    let text = format!(
        "sources:\n  - platform: hcompany\n    base_url: {url}\n    api_key: ${{KEY}}\n    start: beginning\n\
         storage: {{ path: {} }}\n",
        folder.join("data")
    );
    let config = folder.write("exporter.yaml", &text);
    let once = |key: &str| {
        let output = run(&["serve", "--once", "--config.file", &config], &[("KEY", key)]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let listen = format!("--listen=127.0.0.1:{port}");
    let account =
        |seed: &str, key: &str| simulate(&[&listen, "--rate=0.001", "--history=9", "--seed", seed, "--api-key", key]);

    let platform = account("1", "hk-first");
    assert_eq!(once("hk-first").0, Some(0));
    drop(platform);

    // The same sessions under a new key: somebody has changed the key.
    let platform = account("1", "hk-rotated");
    assert_eq!(once("hk-rotated").0, Some(0));
    drop(platform);

    let _platform = account("2", "hk-foreign");
    let (code, said) = once("hk-foreign");
    assert_eq!(code, Some(1));
    assert!(said.contains("another account") && said.contains("--storage.path"), "{said}");
}

#[test]
fn a_wrong_address_can_be_corrected_until_something_was_read_under_it() {
    let (platform, other) = (simulate(&["--history=5"]), simulate(&["--history=5"]));
    let dead = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
    let folder = Folder::new();
    let once = |url: &str| {
        let output = run(
            &["serve", "--once", "--storage.path", &folder.join("data")],
            &[("HAI_API_KEY", "hk-simulated"), ("HAI_API_BASE_URL", url)],
        );
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = once(&format!("http://{dead}"));
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = once(&platform.url);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = once(&other.url);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("was another account before"), "{said}");
}

#[test]
fn a_socket_that_systemd_hands_over_is_served_on() {
    use std::process::{Command, Stdio};
    let platform = simulate(&["--history=1", "--sessions=0", "--rate=0.001"]);
    let folder = Folder::new();
    let data = folder.join("data");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let program = env!("CARGO_BIN_EXE_agent-session-exporter");
    // As systemd does it: the socket is descriptor 3, and two variables say so.
    let hand_over = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null";
    let mut child = Command::new("/bin/sh")
        .args(["-c", hand_over, program, "serve", "--web.systemd-socket", "--storage.path", &data])
        .env_clear()
        .envs([("HAI_API_KEY", "hk-simulated"), ("HAI_API_BASE_URL", &platform.url)])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .stderr(Stdio::null())
        .spawn()
        .expect("there is a shell");
    // The socket was there before the exporter, so this waits and needs no second try.
    let answer = get(&format!("{url}/-/healthy"));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is everywhere");
    assert_eq!(child.wait().expect("it is our child").code(), Some(0));
    assert_eq!(answer.as_deref(), Some("healthy\n"));

    for (env, says) in [
        (&[][..], "handed over no socket"),
        // Descriptor 3 is not there, or is none that listens.
        (&[("LISTEN_FDS", "1")], "socket 1 that systemd has handed over cannot be used"),
    ] {
        let output = run(&["serve", "--web.systemd-socket", "--storage.path", &data], env);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
