//! Metrics that are pushed: to a strict collector over either protocol, number for number what is scraped, and whatever
//! it answers.

use std::collections::{BTreeMap, HashSet};
use std::net::TcpListener;

use crate::support::received::{Samples, key};
use crate::support::{Authority, Behave, Collector, Exporter, Folder, simulate_platform, truth};

/// A page's samples in the same words.
fn scraped(page: &str) -> Samples {
    let mut samples = Samples::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
        let mut labels = BTreeMap::new();
        let mut chars = rest.chars().peekable();
        while chars.peek().is_some_and(|c| *c != '}') {
            let label: String = chars.by_ref().take_while(|c| *c != '=').collect();
            chars.next();
            let mut value = String::new();
            while let Some(c) = chars.next().filter(|c| *c != '"') {
                value.push(match c {
                    '\\' => match chars.next().expect("an escape has two characters") {
                        'n' => '\n',
                        other => other,
                    },
                    other => other,
                });
            }
            labels.insert(label.trim_start_matches(',').to_owned(), value);
        }
        samples.insert(key(name, &labels), value.parse().expect("a number"));
    }
    samples
}

/// What is folded; the rest moves while it is asked for.
fn folded(samples: &Samples) -> Samples {
    let is_folded = |name: &str| name.starts_with("agent_") && !name.starts_with("agent_session_exporter_");
    samples.iter().filter(|(name, _)| is_folded(name)).map(|(name, value)| (name.clone(), *value)).collect()
}

fn differences(pushed: &Samples, scraped: &Samples) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = pushed.keys().chain(scraped.keys()).collect();
    let same = |a: Option<&f64>, b: Option<&f64>| matches!((a, b), (Some(a), Some(b)) if (a - b).abs() <= 1e-9 * a.abs().max(1.0));
    let differing = names.into_iter().filter(|name| !same(pushed.get(*name), scraped.get(*name)));
    differing.map(|name| format!("{name}: pushed {:?}, scraped {:?}", pushed.get(name), scraped.get(name))).collect()
}

/// What a page says about messages that were not taken.
fn failures(page: &Samples, reason: &str) -> f64 {
    let of = page.iter().filter(|(name, _)| name.starts_with("agent_session_exporter_otlp_failures"));
    of.filter(|(name, _)| name.contains(reason)).map(|(_, value)| value).sum()
}

/// Watches a simulation to its end and compares what arrives with what is scraped.
fn what_is_pushed_is_what_is_scraped(collector: &Collector, otlp: &str) {
    let platform =
        simulate_platform("everruns", &["--sessions=20", "--history=10", "--rate=8", "--speed=60", "--seed=5"]);
    let source = format!(
        "  - {{name: one, platform: everruns, base_url: \"{}\", api_key: evr_pat_simulated, poll_interval: 1s, \
         requests_per_second: 500, start: beginning}}\notlp:\n  endpoint: {}\n  traces: {{enabled: false}}\n  interval: \
         1s\n  compression: gzip\n  headers: [\"authorization=Bearer planted-token\"]\n  resource_attributes: \
         [\"deployment.environment=test\"]\n{otlp}",
        platform.url, collector.url
    );
    let mut exporter = Exporter::start(&source);
    let page = exporter.metrics_until(|page| {
        if truth(&platform.url)["settled"] != true {
            return Err("the simulation did not come to its end".into());
        }
        let pushed = collector.received(|received| folded(&received.samples));
        let differences = differences(&pushed, &folded(&scraped(page)));
        if differences.is_empty() { Ok(()) } else { Err(format!("{differences:#?}")) }
    });
    let told = scraped(&page);
    let instance = collector.received(|received| {
        assert!(folded(&received.samples).len() > 500 && received.messages > 1);
        assert_eq!(received.resource["service.name"], "agent-session-exporter");
        assert_eq!(received.resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(received.resource["deployment.environment"], "test");
        assert_eq!(received.headers["authorization"], "Bearer planted-token");
        // The exporter's own metrics are pushed under their names, too.
        let names = |samples: &Samples| -> HashSet<String> {
            samples.keys().map(|key| key.split('{').next().expect("a name").to_owned()).collect()
        };
        let (gen_ai, rest): (Samples, Samples) =
            received.samples.clone().into_iter().partition(|(name, _)| name.starts_with("gen_ai_"));
        assert_eq!(names(&rest), names(&told));
        the_same_calls(&gen_ai, &told);
        received.resource["service.instance.id"].clone()
    });
    assert_eq!((failures(&told, "unavailable"), failures(&told, "throttled")), (1.0, 1.0));
    assert!(!page.contains("planted"));
    let kept = std::fs::read_to_string(exporter.folder.path().join("data/instance.id")).expect("it is kept");
    assert_eq!(kept.trim(), instance);
    assert_eq!(exporter.stop(), Some(0));
    let log = exporter.log();
    assert!(!log.contains("planted") && !log.contains(&collector.url), "the log knows neither token nor address");
}

/// The GenAI instruments are pushed only, and tell of the same calls.
fn the_same_calls(gen_ai: &Samples, told: &Samples) {
    let sum = |samples: &Samples, name: &str, with: &str| -> f64 {
        let all = samples.iter().filter(|(key, _)| key.starts_with(&format!("{name}{{")) && key.contains(with));
        all.map(|(_, value)| value).sum()
    };
    for (theirs, with, ours) in [
        ("gen_ai_client_token_usage_sum", "\"input\"", "agent_input_tokens_total"),
        ("gen_ai_client_token_usage_sum", "\"output\"", "agent_output_tokens_total"),
        ("gen_ai_client_operation_duration_seconds_count", "", "agent_model_call_duration_seconds_count"),
        ("gen_ai_client_operation_duration_seconds_count", "\"_OTHER\"", "agent_model_call_failures_total"),
    ] {
        let (pushed, shown) = (sum(gen_ai, theirs, with), sum(told, ours, ""));
        assert!(pushed > 0.0 && pushed == shown, "{theirs} {with}: {pushed}, {ours}: {shown}");
    }
}

/// It is busy at first, and says when to come back.
fn busy_at_first(asked: usize) -> Behave {
    *[Behave::Busy(0), Behave::Full(0)].get(asked).unwrap_or(&Behave::Take)
}

#[test]
fn over_http_it_is_what_is_scraped() {
    what_is_pushed_is_what_is_scraped(&Collector::start(busy_at_first), "");
}

#[test]
fn over_grpc_and_tls_it_is_what_is_scraped() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let (certificate, key) = authority.issue("client");
    let tls = format!(
        "  protocol: grpc\n  tls: {{ca_file: {}, cert_file: {}, key_file: {}}}\n",
        folder.write("ca.pem", &authority.pem()),
        folder.write("client.pem", &certificate),
        folder.write("client.key", &key)
    );
    what_is_pushed_is_what_is_scraped(&Collector::secured(authority.server(), busy_at_first), &tls);
}

#[test]
fn differences_add_up_to_what_is_scraped() {
    differences_add_up("explicit");
}

#[test]
fn differences_of_exponential_buckets_add_up_too() {
    differences_add_up("exponential");
}

/// The collector loses answers, refuses, and is busy, and the exporter is stopped and started in between.
fn differences_add_up(histograms: &str) {
    let platform =
        simulate_platform("everruns", &["--sessions=20", "--history=10", "--rate=8", "--speed=60", "--seed=6"]);
    let mut random = 1u32;
    let collector = Collector::start(move |_| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match random >> 28 {
            0..4 => Behave::TakeAndDeny,
            4..6 => Behave::Full(0),
            6..8 => Behave::Refuse,
            _ => Behave::Take,
        }
    });
    let source = format!(
        "  - {{name: one, platform: everruns, base_url: \"{}\", api_key: evr_pat_simulated, poll_interval: 1s, \
         requests_per_second: 500, start: beginning}}\notlp: {{endpoint: \"{}\", interval: 1s, metrics: {{temporality: \
         delta, histograms: {histograms}}}, traces: {{enabled: false}}}}\n",
        platform.url, collector.url
    );
    let mut exporter = Exporter::start(&source);
    exporter.metrics_until(|_| if collector.asked() > 6 { Ok(()) } else { Err("it is not sending".into()) });
    assert_eq!(exporter.stop(), Some(0));
    exporter.restart();
    exporter.metrics_until(|page| {
        if truth(&platform.url)["settled"] != true {
            return Err("the simulation did not come to its end".into());
        }
        let mut pushed = collector.received(|received| folded(&received.samples));
        let mut told = folded(&scraped(page));
        // Exponential buckets are others than the page's; counts and sums are the same.
        told.retain(|name, _| histograms == "explicit" || !name.contains("_bucket{"));
        // Gauges of the process before, which this one never showed, nobody ends: a store forgets them after a while.
        pushed.retain(|name, _| !name.contains("_oldest_") || told.contains_key(name));
        let differences = differences(&pushed, &told);
        if differences.is_empty() { Ok(()) } else { Err(format!("{differences:#?}")) }
    });
    collector.received(|received| {
        assert!(folded(&received.samples).len() > 200 && received.repeated > 100, "{}", received.repeated);
    });
}

#[test]
fn a_collector_that_is_away_or_refuses_holds_up_nothing() {
    let platform = simulate_platform("everruns", &["--sessions=3", "--history=5", "--rate=50", "--speed=500"]);
    // It takes the connection and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let source = format!(
        "  - {{name: one, platform: everruns, base_url: \"{}\", api_key: evr_pat_simulated, poll_interval: 1s, start: \
         beginning}}\notlp: {{endpoint: \"http://{}\", interval: 1s, timeout: 1s}}\n",
        platform.url,
        silent.local_addr().expect("it is bound")
    );
    let mut exporter = Exporter::start(&source);
    exporter.metrics_until(|page| {
        let told = scraped(page);
        let failed = told
            .iter()
            .any(|(name, value)| name.contains("otlp_failures") && name.contains("timed out") && *value > 0.0);
        let lively = told.iter().any(|(name, value)| name.starts_with("agent_turns_finished") && *value > 0.0);
        if failed && lively { Ok(()) } else { Err("nothing yet".into()) }
    });
    assert_eq!(exporter.stop(), Some(0), "it ends all the same");
}

#[test]
fn the_exporter_traces_its_own_work_where_that_is_wanted() {
    let platform =
        simulate_platform("everruns", &["--sessions=5", "--history=5", "--rate=50", "--speed=500", "--seed=7"]);
    for protocol in ["http/protobuf", "grpc"] {
        let collector = Collector::start(busy_at_first);
        let source = format!(
            "  - {{name: one, platform: everruns, base_url: \"{}\", api_key: evr_pat_simulated, poll_interval: 1s, \
             start: beginning, traces: false}}\notlp: {{endpoint: \"{}\", protocol: {protocol}, headers: [\"x-key=planted\"], \
             self_traces: true, metrics: {{enabled: false}}}}\n",
            platform.url, collector.url
        );
        let mut exporter = Exporter::start(&source);
        exporter.metrics_until(|page| match scraped(page).keys().any(|name| name.starts_with("agent_turns_started")) {
            true => Ok(()),
            false => Err("nothing was read yet".into()),
        });
        assert_eq!(exporter.stop(), Some(0), "it sends what is left at its end");
        collector.received(|received| {
            let own = |name: &str| {
                received.spans.iter().filter(|span| span.name == name).map(|span| span.span_id.clone()).collect()
            };
            let (polls, requests, commits): (HashSet<_>, HashSet<_>, HashSet<_>) =
                (own("poll"), own("request"), own("commit"));
            assert!(!polls.is_empty() && !requests.is_empty() && !commits.is_empty());
            assert_eq!(polls.len() + requests.len() + commits.len(), received.spans.len(), "each once, and no others");
            assert!(received.scopes.contains("agent-session-exporter.self"));
            assert_eq!(received.resource["service.name"], "agent-session-exporter");
            let mut parents = received.spans.iter().filter(|span| span.name == "request");
            assert!(parents.any(|span| polls.contains(&span.parent_span_id)), "requests are parts of polls");
            let told = format!("{:?}", received.spans);
            assert!(told.contains("IntValue(200)") && told.contains("\"stage\"") && told.contains("\"endpoint\""));
            for secret in ["http://", "evr_pat", "planted", "/v1/"] {
                assert!(!told.contains(secret), "{secret} is in {told}");
            }
        });
    }
}
