//! One message to a collector, over either protocol: what comes of it, and how the connection is secured.

use std::time::Duration;

use agent_session_exporter::push::{Client, Destination, Outcome, Protocol, Signal};
use agent_session_exporter::tls::Trust;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
    number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use crate::support::{Authority, Behave, Collector};

const BOTH: [Protocol; 2] = [Protocol::Http, Protocol::Grpc];

fn destination(url: &str, protocol: Protocol, signal: Signal, trust: Trust) -> Destination {
    let url = match protocol {
        Protocol::Http => format!("{url}/v1/{}", signal.name()),
        Protocol::Grpc => url.to_owned(),
    };
    let headers = vec![("x-tenant".to_owned(), "7".to_owned().into())];
    Destination { url, protocol, headers, timeout: Duration::from_secs(5), gzip: true, trust }
}

fn numbers() -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        value: Some(Value::AsInt(3)),
        ..NumberDataPoint::default()
    };
    let sum = Sum {
        data_points: vec![point],
        aggregation_temporality: AggregationTemporality::Cumulative as i32,
        is_monotonic: true,
    };
    let metric =
        Metric { name: "a.b".into(), description: "c".into(), data: Some(Data::Sum(sum)), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource = Some(Resource::default());
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn spans() -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "turn".into(),
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        ..Span::default()
    };
    let scope = Some(InstrumentationScope::default());
    let scope_spans = vec![ScopeSpans { scope, spans: vec![span], ..ScopeSpans::default() }];
    let resource = Some(Resource::default());
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
    }
}

/// What comes of a message of either signal.
async fn sent(url: &str, protocol: Protocol, trust: Trust) -> [Outcome; 2] {
    let client = |signal| Client::new(&destination(url, protocol, signal, trust.clone()), signal).expect("a client");
    [client(Signal::Metrics).send_metrics(&numbers()).await, client(Signal::Traces).send_traces(&spans()).await]
}

fn reasons(outcomes: [Outcome; 2]) -> [&'static str; 2] {
    outcomes.map(|outcome| match outcome {
        Outcome::Retry { after: None, reason } => reason,
        other => panic!("{other:?}"),
    })
}

#[tokio::test]
async fn every_answer_means_the_same_over_both_protocols() {
    let taken = Outcome::Accepted { rejected: 0, warned: false };
    let retry = |seconds, reason| Outcome::Retry { after: Some(Duration::from_secs(seconds)), reason };
    for protocol in BOTH {
        for (behave, expected) in [
            (Behave::Take, taken),
            (Behave::TakeAllBut(2), Outcome::Accepted { rejected: 2, warned: true }),
            (Behave::TakeAndDeny, Outcome::Retry { after: None, reason: "unavailable" }),
            (Behave::Busy(3), retry(3, "unavailable")),
            (Behave::Full(4), retry(4, "throttled")),
            (Behave::Refuse, Outcome::Refused { reason: "refused" }),
        ] {
            let collector = Collector::start(move |_| behave);
            assert_eq!(
                sent(&collector.url, protocol, Trust::default()).await,
                [expected; 2],
                "{protocol:?} {behave:?}"
            );
            collector.received(|received| {
                assert_eq!(received.headers["x-tenant"], "7");
                let takes = matches!(behave, Behave::Take | Behave::TakeAllBut(_) | Behave::TakeAndDeny);
                assert_eq!((received.samples.len(), received.spans.len()), (takes.into(), takes.into()));
            });
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let collector = Collector::start(|asked| {
        assert_eq!(asked, 0, "it is followed");
        Behave::Redirect("/v1/metrics")
    });
    let to = destination(&collector.url, Protocol::Http, Signal::Metrics, Trust::default());
    let outcome = Client::new(&to, Signal::Metrics).expect("a client").send_metrics(&numbers()).await;
    assert_eq!(outcome, Outcome::Refused { reason: "redirected" });
    assert_eq!(collector.asked(), 1);
}

#[tokio::test]
async fn an_authority_and_a_certificate_of_our_own_are_used() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("client");
    let trust = Trust::default().only(&authority.pem()).expect("an authority");
    let trust = trust.identified_by(&certificate, &key).expect("a certificate");
    let collector = Collector::secured(authority.server(), |_| Behave::Take);
    for protocol in BOTH {
        let outcomes = sent(&collector.url, protocol, trust.clone()).await;
        assert_eq!(outcomes, [Outcome::Accepted { rejected: 0, warned: false }; 2], "{protocol:?}");
    }
    assert_eq!(collector.asked(), 4);
}

#[tokio::test]
async fn whoever_is_not_known_is_not_spoken_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.issue("client");
    let collector = Collector::secured(authority.server(), |_| Behave::Take);
    let elsewhere = collector.url.replace("localhost", "127.0.0.1");
    let ours = |trust: Trust| trust.identified_by(&certificate, &key).expect("a certificate");
    let known = || Trust::default().only(&authority.pem()).expect("an authority");
    let unknown = || Trust::default().only(&other.pem()).expect("an authority");
    for protocol in BOTH {
        let untrusted = ["certificate not trusted"; 2];
        assert_eq!(reasons(sent(&collector.url, protocol, ours(unknown())).await), untrusted, "another authority");
        assert_eq!(reasons(sent(&collector.url, protocol, ours(Trust::default())).await), untrusted, "the system's");
        assert_eq!(reasons(sent(&elsewhere, protocol, ours(known())).await), ["certificate of another name"; 2]);
        // The server ends it after the handshake, from the client's point of view: what is seen of it is a matter of time.
        for reason in reasons(sent(&collector.url, protocol, known()).await) {
            assert!(
                ["client certificate wanted", "refused by TLS", "connection lost", "cannot connect"].contains(&reason),
                "{reason}"
            );
        }
        let plain = collector.url.replace("https", "http");
        for reason in reasons(sent(&plain, protocol, known()).await) {
            assert!(["connection lost", "cannot connect", "no TLS"].contains(&reason), "{reason}");
        }
    }
    assert_eq!(collector.asked(), 0);
}

#[tokio::test]
async fn a_collector_that_was_away_is_found_again() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound").port();
    let away = format!("http://127.0.0.1:{port}");
    for protocol in BOTH {
        assert_eq!(reasons(sent(&away, protocol, Trust::default()).await), ["cannot connect"; 2], "{protocol:?}");
    }
}

#[tokio::test]
async fn a_collector_that_does_not_answer_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("it is bound"));
    for protocol in BOTH {
        let mut to = destination(&url, protocol, Signal::Metrics, Trust::default());
        to.timeout = Duration::from_millis(100);
        let client = Client::new(&to, Signal::Metrics).expect("a client");
        for _ in 0..2 {
            let outcome = client.send_metrics(&numbers()).await;
            assert_eq!(outcome, Outcome::Retry { after: None, reason: "timed out" }, "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn what_no_request_can_carry_is_refused_at_once() {
    for protocol in BOTH {
        let mut to = destination("http://127.0.0.1:1", protocol, Signal::Metrics, Trust::default());
        to.headers = vec![("x-tenant".to_owned(), "planted\n".to_owned().into())];
        let error = Client::new(&to, Signal::Metrics).err().expect("refused").to_string();
        assert_eq!(error, "otlp: the header x-tenant cannot be sent");
        to.headers.clear();
        to.url = "http://pla nted".into();
        let error = Client::new(&to, Signal::Metrics).err().expect("refused").to_string();
        assert_eq!(error, "otlp: the endpoint for metrics is not a URL");
    }
}
