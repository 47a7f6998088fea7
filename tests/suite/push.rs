//! Metrics that are pushed: to a strict collector, number for number what is scraped, and whatever it answers.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, metric::Data, number_data_point::Value};
use prost::Message;

use crate::support::{Exporter, simulate_platform, truth};

/// Samples by name and labels, as a page has them.
type Samples = BTreeMap<String, f64>;

#[derive(Default)]
struct Received {
    samples: Samples,
    /// When they were told: those of an earlier time are over.
    time: u64,
    resource: BTreeMap<String, String>,
    authorization: Option<String>,
    messages: u64,
}

/// A collector that takes nothing that breaks a rule, after it has answered so many times with an error.
struct Collector {
    url: String,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    fn start(first_answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let received = Arc::new(Mutex::new(Received::default()));
        let shelf = Arc::clone(&received);
        std::thread::spawn(move || {
            let mut answers = first_answers.iter();
            for socket in listener.incoming().map_while(Result::ok) {
                serve(&socket, &shelf, &mut answers);
            }
        });
        Self { url, received }
    }
}

/// One connection, one message: the answer closes it.
fn serve<'a>(socket: &TcpStream, shelf: &Mutex<Received>, answers: &mut impl Iterator<Item = &'a &'static str>) {
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request");
    assert!(line.starts_with("POST /v1/metrics "), "{line}");
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("headers");
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length: usize = headers["content-length"].parse().expect("a number");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a whole body");
    let answer = match answers.next() {
        Some(error) => (*error).to_owned(),
        None => {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).expect("gzip");
                body = plain;
            }
            let message = ExportMetricsServiceRequest::decode(&*body).expect("a message");
            let mut received = shelf.lock().expect("no check has failed");
            received.authorization = headers.get("authorization").cloned();
            received.messages += 1;
            take(&mut received, &message);
            "HTTP/1.1 200 OK\r\ncontent-length: 0".to_owned()
        }
    };
    let mut socket = socket;
    let _ = socket.write_all(format!("{answer}\r\nconnection: close\r\n\r\n").as_bytes());
}

fn take(received: &mut Received, message: &ExportMetricsServiceRequest) {
    for of_resource in &message.resource_metrics {
        received.resource = text(&of_resource.resource.as_ref().expect("a resource").attributes);
        let metrics = || of_resource.scope_metrics.iter().flat_map(|scope| &scope.metrics);
        let time = metrics().find_map(time).expect("a message has points");
        if time > received.time {
            received.samples.clear();
            received.time = time;
        }
        let mut points = HashSet::new();
        for metric in metrics() {
            for (name, value) in samples(metric) {
                assert!(points.insert(name.clone()), "a point comes twice: {name}");
                received.samples.insert(name, value);
            }
        }
    }
}

fn time(metric: &Metric) -> Option<u64> {
    match metric.data.as_ref()? {
        Data::Sum(sum) => sum.data_points.first().map(|point| point.time_unix_nano),
        Data::Gauge(gauge) => gauge.data_points.first().map(|point| point.time_unix_nano),
        Data::Histogram(histogram) => histogram.data_points.first().map(|point| point.time_unix_nano),
        _ => None,
    }
}

fn text(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), value(pair))).collect()
}

fn key(name: &str, labels: &BTreeMap<String, String>) -> String {
    format!("{name}{labels:?}")
}

/// A metric's points under the names that the official translation gives them; breaks every rule that is broken.
fn samples(metric: &Metric) -> Vec<(String, f64)> {
    let base: String = metric.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let unit = match metric.unit.as_str() {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    let name = if base.ends_with(unit) { base } else { format!("{base}{unit}") };
    assert!(!metric.description.is_empty());
    let times = |start: u64, time: u64| assert!(start <= time && time > 0, "{name} begins after its end");
    let number = |value: &Option<Value>| match value {
        Some(Value::AsInt(value)) => *value as f64,
        Some(Value::AsDouble(value)) => *value,
        None => panic!("{name} has no value"),
    };
    let cumulative = AggregationTemporality::Cumulative as i32;
    match metric.data.as_ref().expect("data") {
        Data::Sum(sum) => {
            assert!(sum.is_monotonic && sum.aggregation_temporality == cumulative && !sum.data_points.is_empty());
            let points = sum.data_points.iter().map(|point| {
                times(point.start_time_unix_nano, point.time_unix_nano);
                (key(&format!("{name}_total"), &text(&point.attributes)), number(&point.value))
            });
            points.collect()
        }
        Data::Gauge(gauge) => {
            let points = gauge.data_points.iter();
            points.map(|point| (key(&name, &text(&point.attributes)), number(&point.value))).collect()
        }
        Data::Histogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality, cumulative);
            let mut samples = Vec::new();
            for point in &histogram.data_points {
                times(point.start_time_unix_nano, point.time_unix_nano);
                assert!(point.explicit_bounds.is_sorted_by(|a, b| a < b), "{name}: bounds ascend");
                assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1, "{name}");
                assert_eq!(point.count, point.bucket_counts.iter().sum::<u64>(), "{name}");
                let labels = text(&point.attributes);
                let mut below = 0;
                for (count, bound) in
                    point.bucket_counts.iter().zip(point.explicit_bounds.iter().chain([&f64::INFINITY]))
                {
                    below += count;
                    let mut labels = labels.clone();
                    labels.insert("le".to_owned(), format!("{bound:?}").replace("inf", "+Inf"));
                    samples.push((key(&format!("{name}_bucket"), &labels), below as f64));
                }
                samples.push((key(&format!("{name}_count"), &labels), point.count as f64));
                samples.push((key(&format!("{name}_sum"), &labels), point.sum.expect("a sum")));
            }
            samples
        }
        other => panic!("{other:?}"),
    }
}

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

#[test]
fn what_is_pushed_is_what_is_scraped() {
    let platform =
        simulate_platform("everruns", &["--sessions=20", "--history=10", "--rate=8", "--speed=60", "--seed=5"]);
    // It is busy at first, and says when to come back.
    let collector =
        Collector::start(&["HTTP/1.1 503 Service Unavailable\r\nretry-after: 0", "HTTP/1.1 429 No\r\nretry-after: 0"]);
    let source = format!(
        "  - {{name: one, platform: everruns, base_url: \"{}\", api_key: evr_pat_simulated, poll_interval: 1s, \
         requests_per_second: 500, start: beginning}}\notlp:\n  endpoint: {}\n  interval: 1s\n  compression: gzip\n  \
         headers: [\"authorization=Bearer planted-token\"]\n  resource_attributes: [\"deployment.environment=test\"]\n",
        platform.url, collector.url
    );
    let exporter = Exporter::start(&source);
    let page = exporter.metrics_until(|page| {
        if truth(&platform.url)["settled"] != true {
            return Err("the simulation did not come to its end".into());
        }
        let pushed = folded(&collector.received.lock().expect("no check has failed").samples);
        let differences = differences(&pushed, &folded(&scraped(page)));
        if differences.is_empty() { Ok(()) } else { Err(format!("{differences:#?}")) }
    });
    let received = collector.received.lock().expect("no check has failed");
    assert!(folded(&received.samples).len() > 500 && received.messages > 1);
    assert_eq!(received.resource["service.name"], "agent-session-exporter");
    assert_eq!(received.resource["deployment.environment"], "test");
    assert_eq!(received.authorization.as_deref(), Some("Bearer planted-token"));
    // The exporter's own metrics are pushed under their names, too.
    let names = |samples: &Samples| -> HashSet<String> {
        samples.keys().map(|key| key.split('{').next().expect("a name").to_owned()).collect()
    };
    let told = scraped(&page);
    let (gen_ai, rest): (Samples, Samples) =
        received.samples.clone().into_iter().partition(|(name, _)| name.starts_with("gen_ai_"));
    assert_eq!(names(&rest), names(&told));
    // The GenAI instruments are pushed only, and tell of the same calls.
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
        let (pushed, shown) = (sum(&gen_ai, theirs, with), sum(&told, ours, ""));
        assert!(pushed > 0.0 && pushed == shown, "{theirs} {with}: {pushed}, {ours}: {shown}");
    }
    let failures = |reason: &str| {
        told.iter().find(|(name, _)| name.starts_with("agent_session_exporter_otlp_failures") && name.contains(reason))
    };
    assert_eq!(
        (failures("unavailable").map(|it| *it.1), failures("throttled").map(|it| *it.1)),
        (Some(1.0), Some(1.0))
    );
    assert!(!page.contains("planted-token"));
    drop(received);
    let log = exporter.log();
    assert!(!log.contains("planted-token"), "the log does not know the token");
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
