//! Platforms that take only so many requests, and the exporter, as processes over HTTP: it finds out what they take, the
//! totals are the platform's own, and a storm of refusals ends by itself.

use crate::support::gatekeeper::{Gatekeeper, Verdict};
use crate::support::{Exporter, compare, scraped_of, simulate, simulate_platform, truth};

/// Asked ten times as fast as any of them takes it.
fn source(name: &str, platform: &str, url: &str) -> String {
    let key = if platform == "hcompany" { "hk-simulated" } else { "evr_pat_simulated" };
    format!(
        "  - name: {name}\n    platform: {platform}\n    base_url: {url}\n    api_key: {key}\n    poll_interval: 1s\n    \
         requests_per_second: 200\n    start: beginning\n"
    )
}

const LIVES: [&str; 5] = ["--sessions=6", "--history=12", "--rate=4", "--speed=40", "--steps=4"];

/// The value of a series of a source.
fn value(page: &str, metric: &str, source: &str) -> Option<f64> {
    let series = format!("agent_session_exporter_{metric}{{source=\"{source}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
}

/// Requests that ended with this code, or with any.
fn requests(page: &str, source: &str, code: &str) -> f64 {
    let is_meant = |line: &&str| {
        line.starts_with("agent_session_exporter_api_requests_total{")
            && line.contains(&format!("source=\"{source}\""))
            && line.contains(&format!("code=\"{code}"))
    };
    page.lines().filter(is_meant).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn until_equal(exporter: &Exporter, sources: &[(&str, &str)]) -> String {
    exporter.metrics_until(|page| {
        for (source, platform) in sources {
            let truth = truth(platform);
            let differences = compare(&scraped_of(page, source), &truth, &["turn_failures["]);
            if truth["settled"] != true || !differences.is_empty() {
                return Err(format!("{source}: {differences:#?}"));
            }
        }
        Ok(())
    })
}

#[test]
fn what_platforms_take_is_found_and_the_totals_are_theirs() {
    let limited = |platform, limits: &[&str]| simulate_platform(platform, &[&LIVES[..], limits].concat());
    let asks = limited("hcompany", &["--rate-limit=20", "--rate-limit-burst=5"]);
    let silence = ["--seed=2", "--rate-limit=20", "--rate-limit-burst=5", "--fault-429-without-retry-after"];
    let silent = limited("hcompany", &silence);
    let windows = limited("everruns", &["--rate-limit=3", "--rate-limit-window=10"]);
    let platforms = [("asks", "hcompany", &asks), ("silent", "hcompany", &silent), ("windows", "everruns", &windows)];
    let config: String = platforms.iter().map(|(name, platform, it)| source(name, platform, &it.url)).collect();
    let exporter = Exporter::start(&config);
    let page = until_equal(&exporter, &platforms.map(|(name, _, it)| (name, it.url.as_str())));
    for (name, ..) in platforms {
        let (refused, all) = (requests(&page, name, "429"), requests(&page, name, ""));
        println!("{name}: {refused} of {all} refused, pace {:?}", value(&page, "source_request_pace_per_second", name));
        assert_eq!(value(&page, "api_throttled_total", name), Some(refused));
        assert!(refused > 0.0, "{name}: the limit was met");
        assert!(refused < all / 4.0, "{name}: {refused} of {all} refused");
        assert!(value(&page, "source_paused_until_timestamp_seconds", name) > Some(0.0), "{name}");
        assert_eq!(value(&page, "source_request_budget_per_second", name), Some(200.0));
        let pace = value(&page, "source_request_pace_per_second", name);
        assert!(pace < Some(200.0), "{name}: {pace:?}");
    }
}

#[test]
fn a_storm_of_refusals_over_http_ends_by_itself() {
    let simulated = simulate(&LIVES);
    let gate = Gatekeeper::before(&simulated.url);
    gate.decide(|_| Verdict::Status(429));
    let exporter = Exporter::start(&source("one", "hcompany", &gate.url));
    let page = exporter.metrics_until(|page| match requests(page, "one", "429") {
        refused if refused >= 3.0 => Ok(()),
        refused => Err(format!("{refused} refused")),
    });
    // Discovery and limits ask at the same time once; after that one request goes first.
    assert!(requests(&page, "one", "429") <= 5.0, "{page}");
    gate.decide(|_| Verdict::Pass);
    let page = until_equal(&exporter, &[("one", &simulated.url)]);
    assert!(requests(&page, "one", "429") <= 6.0, "{page}");
    let oldest = value(&page, "source_oldest_unread_timestamp_seconds", "one");
    assert_eq!(oldest, None, "everything is read");
}
