//! Where metrics are pushed to: the file, the standard variables, and which of them counts.

use super::*;

fn otlp(config: &Config) -> &OtlpConfig {
    config.otlp.as_ref().expect("an endpoint was given")
}

#[test]
fn nothing_is_pushed_unless_an_endpoint_is_given() {
    let case = Case::new(MINIMAL).with("HAI_API_KEY", "hk-1").with("OTEL_SERVICE_NAME", "agents");
    assert!(case.config().otlp.is_none());
    let error = Case::new(&format!("{MINIMAL}otlp: {{interval: 5s}}\n")).with("HAI_API_KEY", "hk-1").error();
    assert!(error.contains("exporter.yaml:4: otlp: without an endpoint nothing is sent"), "{error}");
}

#[test]
fn the_file_wins_over_the_variables_and_they_over_the_defaults() {
    let variables = [
        ("HAI_API_KEY", "hk-1"),
        ("TOKEN", "t-0123456789"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=7, authorization=Basic abc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_SERVICE_NAME", "agents"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment=prod"),
    ];
    let of = |text: &str| variables.iter().fold(Case::new(text), |case, (name, value)| case.with(name, value)).config();
    let config = of(MINIMAL);
    let environment = otlp(&config);
    assert_eq!(environment.metrics_url, "http://collector:4318/v1/metrics");
    assert_eq!(environment.timeout, Duration::from_millis(2500));
    assert_eq!((environment.interval, environment.gzip), (Duration::from_secs(60), true));
    let headers: Vec<_> =
        environment.headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
    assert_eq!(headers, [("x-tenant", "7"), ("authorization", "Basic abc")]);
    let attributes: Vec<_> =
        environment.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(attributes, [("service.name", "agents"), ("deployment.environment", "prod")]);

    let config = of(&format!(
        "{MINIMAL}otlp:\n  endpoint: https://otlp.example/otlp\n  interval: 30s\n  compression: none\n  \
         service_name: here\n  headers: \"authorization=Bearer ${{TOKEN}}\"\n"
    ));
    let file = otlp(&config);
    assert_eq!(file.metrics_url, "https://otlp.example/otlp/v1/metrics");
    assert_eq!((file.interval, file.gzip), (Duration::from_secs(30), false));
    assert_eq!(file.attributes[0].1, "here");
    assert_eq!(file.headers[0].1.expose_secret(), "Bearer t-0123456789");
    assert!(!format!("{config:?}").contains("t-0123456789"), "a secret stays one");
}

#[test]
fn the_url_of_the_signal_is_taken_as_it_is() {
    let case = Case::new(MINIMAL).with("HAI_API_KEY", "hk-1").with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1");
    let config = case.with("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://b:2/in").config();
    assert_eq!(otlp(&config).metrics_url, "http://b:2/in");
}

#[test]
fn what_cannot_be_sent_is_said() {
    let wrong = format!(
        "{MINIMAL}otlp:\n  endpoint: localhost:4318\n  protocol: grpc\n  headers: [\"Bearer planted\"]\n  timeout: 0s\n"
    );
    let error = Case::new(&wrong).with("HAI_API_KEY", "hk-1").error();
    insta::assert_snapshot!(error);
    let grpc = Case::new(MINIMAL)
        .with("HAI_API_KEY", "hk-1")
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1")
        .with("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    assert!(grpc.error().contains("OTEL_EXPORTER_OTLP_PROTOCOL: unknown word (allowed: `http/protobuf`)"));
}
