//! A part of the exporter that panics with content and a key at hand: its source starts over, and nothing of it is told.

use std::process::{Command, Stdio};
use std::sync::Arc;

use agent_session_exporter::config::{Overrides, load};
use agent_session_exporter::domain::{Due, SessionId, Timestamp};
use agent_session_exporter::ingest::platforms::{Account, Check, Descriptor, Platform, Walked, hcompany};
use agent_session_exporter::ingest::{Input, Inquiry, Job, Output};
use agent_session_exporter::runtime::{Manner, Runtime};
use agent_session_exporter::simulator;
use agent_session_exporter::telemetry::{LogFormat, init, keep_panics_discreet};
use tokio_util::sync::CancellationToken;

use crate::secrets::assert_nowhere;
use crate::support::{Folder, simulate};

const KEY: &str = "hk-planted-5ecret-key";

/// H's platform with a bug in how it reads sessions.
struct Buggy(Arc<dyn Platform>);

impl Platform for Buggy {
    fn headers(&self) -> Vec<(&'static str, String)> {
        self.0.headers()
    }

    fn discover(&self, walked: Walked<'_>, now: Timestamp) -> Box<dyn Job> {
        self.0.discover(walked, now)
    }

    fn read(&self, due: &Due) -> Box<dyn Job> {
        Box::new(BuggyJob(self.0.read(due)))
    }

    fn sweep(&self) -> Box<dyn Job> {
        self.0.sweep()
    }

    fn limits(&self) -> Option<Box<dyn Job>> {
        self.0.limits()
    }

    fn recognise(&self, known: &[SessionId]) -> Box<dyn Job> {
        self.0.recognise(known)
    }

    fn inquire(&self, id: &SessionId, agent: &str) -> Box<dyn Inquiry> {
        self.0.inquire(id, agent)
    }

    fn checks(&self, now: Timestamp) -> Vec<Check> {
        self.0.checks(now)
    }
}

struct BuggyJob(Box<dyn Job>);

impl Job for BuggyJob {
    fn next(&mut self, input: Input) -> Output {
        if let Input::Response(response) = &input {
            let text = String::from_utf8_lossy(&response.body);
            understood(&text).expect("a document is understood");
        }
        self.0.next(input)
    }

    fn stage(&self) -> &'static str {
        self.0.stage()
    }
}

/// As a library does that was handed what it did not expect.
fn understood(text: &str) -> Result<(), String> {
    match text.find(simulator::PRIVATE) {
        Some(place) => Err(format!("{KEY} {}", &text[place..])),
        None => Ok(()),
    }
}

fn buggy(account: Account) -> Arc<dyn Platform> {
    Arc::new(Buggy((hcompany::DESCRIPTOR.connect)(account)))
}

const FILE: &str = "BUGGY_EXPORTER";

/// Not a test by itself: the process that the test below looks at.
#[test]
#[ignore = "run by another test, as a process of its own"]
#[expect(clippy::disallowed_methods, reason = "how one process of a test is told where its configuration is")]
fn a_buggy_exporter() {
    let file = std::env::var(FILE).expect("it is started by the test below");
    keep_panics_discreet();
    init("trace", LogFormat::Text).expect("first in this process");
    let of_h = &hcompany::DESCRIPTOR;
    let descriptor = Box::leak(Box::new(Descriptor {
        name: of_h.name,
        product: of_h.product,
        base_url: of_h.base_url,
        key_variables: of_h.key_variables,
        base_url_variable: of_h.base_url_variable,
        settings: of_h.settings,
        endpoints: of_h.endpoints,
        capabilities: of_h.capabilities,
        connect: buggy,
    }));
    let mut config = load(Some(file.as_ref()), &Overrides::default(), &|_| None).expect("a configuration");
    config.sources[0].platform = descriptor;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let exporter =
            Runtime::prepare(config, Manner { once: true, simulated: false }, None).await.expect("it can run");
        exporter.run(CancellationToken::new(), None).await
    });
    eprintln!("how it ended: {outcome:?}");
}

#[test]
fn a_panic_says_where_it_was_and_nothing_of_what_was_at_hand() {
    let platform = simulate(&["--history=20", "--sessions=0", "--rate=0.001", "--api-key", KEY]);
    let folder = Folder::new();
    let file = folder.write(
        "exporter.yaml",
        &format!(
            "sources:\n- name: sim\n  platform: hcompany\n  base_url: {}\n  api_key: {KEY}\n  start: beginning\nstorage: \
             {{ path: {} }}\n",
            platform.url,
            folder.join("data")
        ),
    );
    for backtrace in ["0", "1", "full"] {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "panics::a_buggy_exporter", "--ignored", "--nocapture"])
            .env(FILE, &file)
            .env("RUST_BACKTRACE", backtrace)
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for part in ["tests/suite/panics.rs:", "not repeated", "polling broke off by a bug", "Incomplete(\"sim\")"] {
            assert!(said.contains(part), "{part} is not said: {said}");
        }
        assert_eq!(said.contains("std::panicking"), backtrace != "0", "{said}");
        let mut seen = vec![(format!("RUST_BACKTRACE={backtrace}"), output.stderr), ("output".into(), output.stdout)];
        for entry in std::fs::read_dir(folder.path().join("data")).expect("the store is there") {
            let path = entry.expect("an entry").path();
            seen.push((path.display().to_string(), std::fs::read(path).expect("a file")));
        }
        assert!(seen.len() > 2, "there is a store to look into");
        assert_nowhere(&seen, &[simulator::PRIVATE, "5ecret"]);
    }
}
