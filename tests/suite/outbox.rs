//! Spans from end to end: whatever is killed, away or in between, each arrives, the same each time, and together they
//! tell what the simulated platforms' own accounts tell.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::support::deeds::{Name, assert_whole, comparable, differing, distinct, expected, text, told};
use crate::support::{Behave, Collector, Exporter, Program, simulate_platform, truth};

fn settled(platforms: &[Program]) -> bool {
    platforms.iter().all(|platform| truth(&platform.url)["settled"] == true)
}

fn watching(platforms: &[(&str, &Program)], collector: &Collector, more: &str) -> Exporter {
    let source = |(platform, program): &(&str, &Program)| {
        let key = if *platform == "hcompany" { "hk-simulated" } else { "evr_pat_simulated" };
        format!(
            "  - {{name: {platform}, platform: {platform}, base_url: \"{}\", api_key: {key}, poll_interval: 1s, \
             requests_per_second: 500, start: beginning}}\n",
            program.url
        )
    };
    let sources: String = platforms.iter().map(source).collect();
    Exporter::start(&format!(
        "{sources}otlp: {{endpoint: \"{}\", metrics: {{enabled: false}}, traces: {{batch: 50}}{more}}}\n",
        collector.url
    ))
}

/// Waits until what arrived is what the platforms tell, or says what is missing.
fn until_told(exporter: &Exporter, collector: &Collector, platforms: &[(&str, &Program)]) -> HashMap<Name, Span> {
    exporter.metrics_until(|_| {
        if !platforms.iter().all(|(_, program)| truth(&program.url)["settled"] == true) {
            return Err("the simulation did not come to its end".into());
        }
        let told = told(&collector.received(|received| distinct(&received.spans)));
        let mut wanted = BTreeMap::new();
        let mut got = BTreeMap::new();
        for (platform, program) in platforms {
            let expected = expected(&truth(&program.url));
            let of_it = told.iter().filter(|(id, _)| id.starts_with("session_") == (*platform == "everruns"));
            let of_it = of_it.map(|(id, deeds)| (id.clone(), deeds.clone())).collect();
            wanted.extend(comparable(platform, expected));
            got.extend(comparable(platform, of_it));
        }
        let differences = differing(&got, &wanted);
        if differences.is_empty() { Ok(()) } else { Err(format!("{differences:#?}")) }
    });
    collector.received(|received| distinct(&received.spans))
}

fn both() -> [Program; 2] {
    const OPTIONS: [&str; 5] = ["--sessions=15", "--history=10", "--rate=6", "--speed=40", "--children-share=0.4"];
    ["hcompany", "everruns"].map(|platform| simulate_platform(platform, &OPTIONS))
}

#[test]
fn kills_and_a_collector_that_is_away_lose_no_span() {
    let platforms = both();
    let named = [("hcompany", &platforms[0]), ("everruns", &platforms[1])];
    // Away at first; then it takes, and sometimes its answers are lost or it has no time.
    let away_until = Instant::now() + Duration::from_secs(6);
    let mut random = 7u32;
    let collector = Collector::start(move |_| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match random >> 29 {
            _ if Instant::now() < away_until => Behave::Busy(0),
            0 | 1 => Behave::TakeAndDeny,
            2 => Behave::Full(0),
            _ => Behave::Take,
        }
    });
    let mut exporter = watching(&named, &collector, "");
    for asked in [1, 4, 9, 16] {
        exporter.metrics_until(|_| {
            if collector.asked() > asked || settled(&platforms) { Ok(()) } else { Err("it is not sending".into()) }
        });
        exporter.kill();
        exporter.restart();
    }
    let spans = until_told(&exporter, &collector, &named);
    assert!(spans.len() > 500, "{}", spans.len());
    assert_whole(&spans);
    let page = exporter.metrics_until(|page| {
        let is_empty = page.lines().any(|line| line == "agent_session_exporter_otlp_outbox_spans 0");
        if is_empty { Ok(()) } else { Err("spans are left in the outbox".into()) }
    });
    assert!(page.contains("otlp_dropped_total{reason=\"refused\",signal=\"traces\"} 0"), "{page}");
    assert_eq!(exporter.stop(), Some(0));
    // A store that knows nothing of all that, and reads in another order, tells the same spans.
    let again = Collector::start(|_| Behave::Take);
    let mut fresh = watching(&named, &again, "");
    let told_again = until_told(&fresh, &again, &named);
    assert_eq!(fresh.stop(), Some(0));
    let told_again: HashMap<Name, Span> =
        again.received(|received| distinct(&received.spans)).into_iter().chain(told_again).collect();
    for (name, span) in &spans {
        let other = told_again.get(name).unwrap_or_else(|| panic!("only the first told {span:?}"));
        // Which of two readings saw the parent in time is the one thing that may differ, and only on Everruns.
        let links = if text(span, "platform") == "everruns" { &[][..] } else { &span.links[..] };
        let of_other = Span { links: if links.is_empty() { Vec::new() } else { other.links.clone() }, ..other.clone() };
        assert_eq!(of_other, Span { links: links.to_vec(), ..span.clone() });
    }
    // Children of H stand in their parents' traces, or lead to them; those of Everruns have traces of their own.
    let under = |span: &&Span| text(span, "gen_ai.operation.name") == "invoke_agent" && !span.parent_span_id.is_empty();
    let roots: Vec<&Span> = spans.values().filter(under).collect();
    assert!(!roots.is_empty() && roots.iter().all(|span| text(span, "platform") == "hcompany"));
    let parents = truth(&platforms[0].url)["traces"]["sessions"].clone();
    for root in roots {
        let of_it = |session: &&serde_json::Value| session["id"] == text(root, "gen_ai.conversation.id");
        let child = parents.as_array().and_then(|all| all.iter().find(of_it)).expect("it is in the account");
        let parent = &spans[&(root.trace_id.clone(), root.parent_span_id.clone())];
        assert_eq!(child["parent"], text(parent, "gen_ai.conversation.id"));
    }
}

#[test]
fn over_grpc_and_with_refusals_nothing_is_held_up() {
    let platform = simulate_platform("everruns", &["--sessions=6", "--history=20", "--rate=20", "--speed=200"]);
    let collector = Collector::start(|asked| match asked {
        1 => Behave::Refuse,
        2 => Behave::TakeAllBut(3),
        _ => Behave::Take,
    });
    let mut exporter = watching(&[("everruns", &platform)], &collector, ", protocol: grpc, compression: gzip");
    let sample = |page: &str, name: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("agent_session_exporter_{name} ")));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    };
    let page = exporter.metrics_until(|page| {
        let is_over = truth(&platform.url)["settled"] == true && sample(page, "otlp_outbox_spans") == 0.0;
        let has_come = sample(page, "otlp_exported_total{signal=\"traces\"}") > 100.0;
        if is_over && has_come { Ok(()) } else { Err(format!("not over: {page}")) }
    });
    assert_eq!(sample(&page, "otlp_rejected_total{signal=\"traces\"}"), 3.0);
    let dropped = sample(&page, "otlp_dropped_total{reason=\"refused\",signal=\"traces\"}");
    assert_eq!(dropped, 50.0, "one message, and no other");
    assert_eq!(sample(&page, "otlp_failures_total{reason=\"refused\",signal=\"traces\"}"), 1.0);
    // Every turn was told or dropped.
    let spans = collector.received(|received| distinct(&received.spans));
    let expected: u64 = expected(&truth(&platform.url)).values().flat_map(|deeds| deeds.turns.values()).sum();
    let told = spans.values().filter(|span| text(span, "gen_ai.operation.name") == "invoke_agent").count() as u64;
    assert!(told <= expected && told + 50 >= expected, "{told} of {expected}");
    assert_eq!(exporter.stop(), Some(0));
    assert!(!exporter.log().contains("planted"), "what collectors say stays unsaid");
}

#[test]
fn an_outbox_that_is_full_drops_its_oldest_and_says_so() {
    let platform = simulate_platform("everruns", &["--sessions=1", "--history=60", "--rate=50", "--speed=500"]);
    let collector = Collector::start(|_| Behave::Busy(1));
    let exporter = Exporter::start(&format!(
        "  - {{name: one, platform: everruns, base_url: \"{}\", api_key: evr_pat_simulated, poll_interval: 1s, \
         requests_per_second: 500, start: beginning}}\notlp: {{endpoint: \"{}\", metrics: {{enabled: false}}, traces: {{outbox_limit: 1000}}}}\n",
        platform.url, collector.url
    ));
    exporter.metrics_until(|page| {
        let value = |name: &str| -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(&format!("agent_session_exporter_otlp_{name} ")));
            line.map_or(0.0, |value| value.parse().expect("a number"))
        };
        let (waiting, dropped) =
            (value("outbox_spans"), value("dropped_total{reason=\"outbox full\",signal=\"traces\"}"));
        assert!(waiting <= 1000.0, "{waiting}");
        if waiting == 1000.0 && dropped > 0.0 { Ok(()) } else { Err(format!("{waiting} wait, {dropped} dropped")) }
    });
}
