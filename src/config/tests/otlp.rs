//! What is sent to collectors: the file, the standard variables, and which of them counts.

use super::*;

fn otlp(config: &Config) -> &OtlpConfig {
    config.otlp.as_ref().expect("an endpoint was given")
}

fn metrics(config: &Config) -> &OtlpMetrics {
    otlp(config).metrics.as_ref().expect("metrics are sent")
}

fn traces(config: &Config) -> &OtlpTraces {
    otlp(config).traces.as_ref().expect("traces are sent")
}

fn headers(destination: &OtlpDestination) -> Vec<(&str, &str)> {
    destination.headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect()
}

fn case(otlp: &str, variables: &[(&'static str, &str)]) -> Case {
    let case = Case::new(&format!("{MINIMAL}{otlp}")).with("HAI_API_KEY", "hk-1");
    variables.iter().fold(case, |case, (name, value)| case.with(name, value))
}

#[test]
fn nothing_is_sent_unless_an_endpoint_is_given() {
    assert!(case("", &[("OTEL_SERVICE_NAME", "agents")]).config().otlp.is_none());
    let error = case("otlp: {interval: 5s}\n", &[]).error();
    assert!(error.contains("exporter.yaml:4: otlp: without an endpoint nothing is sent"), "{error}");
    let error = case("otlp: {self_traces: true, metrics: {endpoint: 'http://a:1'}}\n", &[]).error();
    assert!(error.contains("otlp.self_traces: without an endpoint for traces"), "{error}");
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1")];
    assert_eq!(metrics(&case("otlp: {interval: 5s}\n", &endpoint).config()).interval, Duration::from_secs(5));
}

#[test]
fn the_file_wins_over_the_variables_and_they_over_the_defaults() {
    let variables = [
        ("TOKEN", "t-0123456789"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=7, authorization=Basic%20abc=="),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_SERVICE_NAME", "agents"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment=a%2Cb"),
    ];
    let config = case("", &variables).config();
    let environment = metrics(&config);
    let to = &environment.destination;
    assert_eq!((to.url.as_str(), to.protocol), ("http://collector:4318/v1/metrics", OtlpProtocol::Http));
    assert_eq!(traces(&config).destination.url, "http://collector:4318/v1/traces");
    assert_eq!((to.timeout, to.gzip), (Duration::from_millis(2500), true));
    assert_eq!(environment.interval, Duration::from_secs(60));
    assert_eq!((environment.temporality, environment.histograms), (Temporality::Cumulative, Histograms::Explicit));
    assert_eq!((traces(&config).outbox_limit, traces(&config).batch), (100_000, 512));
    assert_eq!(headers(to), [("x-tenant", "7"), ("authorization", "Basic abc==")]);
    let attributes: Vec<_> =
        otlp(&config).attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        attributes,
        [("service.name", "agents"), ("service.version", version), ("deployment.environment", "a,b")]
    );

    let file = "otlp:\n  endpoint: https://otlp.example/otlp\n  interval: 30s\n  compression: none\n  service_name: \
                here\n  headers: \"authorization=Bearer ${TOKEN}\"\n";
    let config = case(file, &variables).config();
    let file = metrics(&config);
    assert_eq!(file.destination.url, "https://otlp.example/otlp/v1/metrics");
    assert_eq!((file.interval, file.destination.gzip), (Duration::from_secs(30), false));
    assert_eq!(otlp(&config).attributes[0].1, "here");
    assert_eq!(headers(&file.destination), [("authorization", "Bearer t-0123456789")]);
    assert!(!format!("{config:?}").contains("t-0123456789"), "a secret stays one");
}

/// Every setting in all four places: each place that is taken away lets the next one through.
#[test]
fn one_order_holds_for_every_setting() {
    let signal_file = "  metrics: {endpoint: 'http://signal-file:1/x', timeout: 1s, headers: from=signal-file}\n";
    let general_file = "  endpoint: http://general-file:1\n  timeout: 2s\n  headers: from=general-file\n";
    let signal = [
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://signal-variable:1/x"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "3000"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "from=signal-variable"),
    ];
    let general = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general-variable:1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "4000"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "from=general-variable"),
    ];
    let both = [signal, general].concat();
    for (file, variables, from, seconds) in [
        (format!("otlp:\n{general_file}{signal_file}"), &both[..], "signal-file", 1),
        (format!("otlp:\n{general_file}"), &both[..], "general-file", 2),
        (String::new(), &both[..], "signal-variable", 3),
        (String::new(), &general[..], "general-variable", 4),
    ] {
        let config = case(&file, variables).config();
        let to = &metrics(&config).destination;
        // The signal's own endpoint is taken as it is.
        let path = if from.starts_with("signal") { "x" } else { "v1/metrics" };
        assert_eq!(to.url, format!("http://{from}:1/{path}"));
        assert_eq!(to.timeout, Duration::from_secs(seconds), "{from}");
        assert_eq!(headers(to), [("from", from)]);
        let of_traces = &traces(&config).destination.url;
        assert!(of_traces.starts_with("http://general-") && of_traces.ends_with("/v1/traces"), "{of_traces}");
    }
}

#[test]
fn each_signal_has_its_own_way() {
    let file = "otlp:\n  metrics: {enabled: false}\n  traces:\n    endpoint: 'collector:4317'\n    protocol: grpc\n    \
                outbox_limit: 5000\n    batch: 100\n    headers_file: ${DIR}/headers\n  self_traces: true\n";
    let config = case(file, &[]).file("headers", "\nauthorization=Bearer hidden-1\nx-tenant = 7\n").config();
    assert!(otlp(&config).metrics.is_none() && otlp(&config).self_traces);
    let it = traces(&config);
    assert_eq!((it.outbox_limit, it.batch), (5000, 100));
    assert_eq!((it.destination.url.as_str(), it.destination.protocol), ("https://collector:4317", OtlpProtocol::Grpc));
    assert_eq!(headers(&it.destination), [("authorization", "Bearer hidden-1"), ("x-tenant", "7")]);
    assert!(!format!("{config:?}").contains("hidden-1"));

    let metrics_only = [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://b:2/in")];
    let config = case("", &metrics_only).config();
    assert_eq!(metrics(&config).destination.url, "http://b:2/in");
    assert!(otlp(&config).traces.is_none());
}

#[test]
fn variables_of_metrics_and_of_grpc() {
    let config = case(
        "",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "TRUE"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"),
            ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1500"),
        ],
    )
    .config();
    assert_eq!(metrics(&config).destination.url, "https://collector:4317", "no scheme means secured");
    assert_eq!(traces(&config).destination.url, "http://collector:4317");
    assert_eq!(metrics(&config).temporality, Temporality::Delta);
    assert_eq!(metrics(&config).histograms, Histograms::Exponential);
    assert_eq!(metrics(&config).interval, Duration::from_millis(1500));
    // The file says that it is secured, and a variable that was meant for somebody else does not change that.
    let file = "otlp: {endpoint: 'collector:4317', protocol: grpc}\n";
    let insecure = [("OTEL_EXPORTER_OTLP_INSECURE", "true"), ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "true")];
    let config = case(file, &insecure).config();
    assert_eq!(metrics(&config).destination.url, "https://collector:4317");
    assert_eq!(traces(&config).destination.url, "https://collector:4317");
    let low = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "lowmemory"),
    ];
    assert_eq!(metrics(&case("", &low).config()).temporality, Temporality::Cumulative);
}

#[test]
fn signals_are_turned_off() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1");
    let sent = |file: &str, variables: &[(&'static str, &str)]| {
        let config = case(file, variables).config();
        let of = |otlp: &OtlpConfig| (otlp.metrics.is_some(), otlp.traces.is_some());
        config.otlp.as_ref().map_or((false, false), of)
    };
    assert_eq!(sent("", &[endpoint]), (true, true));
    assert_eq!(sent("", &[endpoint, ("OTEL_METRICS_EXPORTER", "none")]), (false, true));
    assert_eq!(sent("", &[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), (true, false));
    assert_eq!(sent("", &[endpoint, ("OTEL_METRICS_EXPORTER", "prometheus, OTLP")]), (true, true));
    assert_eq!(sent("", &[endpoint, ("OTEL_SDK_DISABLED", "True")]), (false, false));
    assert_eq!(sent("", &[endpoint, ("OTEL_SDK_DISABLED", "True"), ("OTEL_METRICS_EXPORTER", "otlp")]), (false, false));
    let on = "otlp: {metrics: {enabled: true}, traces: {enabled: false}}\n";
    assert_eq!(sent(on, &[endpoint, ("OTEL_SDK_DISABLED", "true")]), (true, false));
    let off = "otlp: {endpoint: 'http://a:1', metrics: {enabled: false}, traces: {enabled: false}}\n";
    assert_eq!(sent(off, &[]), (false, false));
}

#[test]
fn what_cannot_be_used_is_said_once_and_all_of_it() {
    let wrong = "otlp:\n  endpoint: localhost:4318\n  protocol: jaeger\n  headers: [\"Bearer planted\", x=1, X=2]\n  \
                 timeout: 0s\n  interval: 2h\n  tls: {ca_file: '${DIR}/empty', cert_file: /none, key: x}\n  metrics: \
                 {temporality: half, histograms: native, protocol: grpc, endpoint: 'http://a/b'}\n  traces: {batch: \
                 0, outbox_limit: 5, enabled: maybe, interval: 1s}\n  resource_attributes: planted\n";
    insta::assert_snapshot!("what_cannot_be_sent_is_said", case(wrong, &[]).file("empty", "").error());
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "planted"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=100%"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "planted"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "planted"),
        ("OTEL_SDK_DISABLED", "planted"),
    ];
    insta::assert_snapshot!("variables_that_cannot_be_used", case("", &variables).error());
    let binary = "otlp: {endpoint: 'http://a:1', protocol: grpc, headers: x-bin=1}\n";
    assert!(case(binary, &[]).error().contains("otlp.headers: over gRPC no header's name may end in -bin"));
    // What is overruled is not looked at.
    let overruled = "otlp: {endpoint: 'http://a:1', timeout: 1s, protocol: grpc}\n";
    let variables = [("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "x")];
    assert!(case(overruled, &variables).config().otlp.is_some());
}

#[test]
fn certificates_are_read_and_checked() {
    let made = rcgen::generate_simple_self_signed(vec!["collector".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(vec!["collector".to_owned()]).expect("a certificate");
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let with = |otlp: &str, variables: &[(&'static str, &str)]| {
        let case = case(otlp, variables).file("ca.pem", &pem).file("cert.pem", &pem).file("key.pem", &key);
        case.file("other.pem", &other.signing_key.serialize_pem())
    };
    let tls = "otlp:\n  endpoint: https://a:1\n  tls:\n    ca_file: ${DIR}/ca.pem\n    cert_file: ${DIR}/cert.pem\n    \
               key_file: ${DIR}/";
    let config = with(&format!("{tls}key.pem\n"), &[]).config();
    let printed = format!("{config:?}");
    assert!(printed.contains("Trust { authorities: Some(1), identity: Some(\"[REDACTED]\") }"), "{printed}");
    let error = with(&format!("{tls}other.pem\n"), &[]).error();
    assert!(
        error.contains("exporter.yaml:9: otlp.tls.key_file: the certificate and the private key do not"),
        "{error}"
    );
    let error = with(&format!("{tls}cert.pem\n"), &[]).error();
    assert!(error.contains("otlp.tls.key_file: no private key in it"), "{error}");
    let error = with("otlp: {endpoint: 'https://a:1', traces: {tls: {cert_file: '${DIR}/cert.pem'}}}\n", &[]).error();
    assert!(error.contains("otlp.traces.tls.cert_file: a certificate without its private key"), "{error}");
}

#[test]
fn an_api_key_in_the_resource_is_refused() {
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"), ("OTEL_RESOURCE_ATTRIBUTES", "k=hk%2D0123456789")];
    let case = Case::new(MINIMAL).with("HAI_API_KEY", "hk-0123456789");
    let error = variables.iter().fold(case, |case, (name, value)| case.with(name, value)).error();
    assert_eq!(error, "OTEL_RESOURCE_ATTRIBUTES: contains an API key, which would be published; remove it here");
}
