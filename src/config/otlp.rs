//! Where metrics are pushed to over OTLP: from the file, else from the standard OpenTelemetry variables.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::base_url::BaseUrl;
use super::duration::duration_between;
use super::problem::Place;
use super::reader::{Reader, Setting, Table, choice};

/// OpenTelemetry's own default.
const INTERVAL: Duration = Duration::from_secs(60);
/// OpenTelemetry's own default.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where metrics are taken below an endpoint for all signals.
const METRICS_PATH: &str = "/v1/metrics";

/// What is pushed where.
#[derive(Debug, Clone)]
pub struct OtlpConfig {
    /// The URL that metrics are sent to.
    pub metrics_url: String,
    /// Headers that go with every message; their values may be secrets.
    pub headers: Vec<(String, SecretString)>,
    /// How often.
    pub interval: Duration,
    /// When a message counts as failed.
    pub timeout: Duration,
    /// Whether messages are compressed with gzip.
    pub gzip: bool,
    /// Attributes of the resource, `service.name` among them.
    pub attributes: Vec<(String, String)>,
}

/// Reads `otlp`, and the variables for what it does not say. `None` without an endpoint: then nothing is sent.
pub(super) fn read_otlp(root: Option<&mut Table<'_>>, reader: &mut Reader<'_>) -> Option<OtlpConfig> {
    let mut otlp = Draft::default();
    if let Some(mut table) = root.and_then(|root| root.table("otlp", reader)) {
        let place = table.place(reader);
        otlp.endpoint = table.value("endpoint", reader, endpoint).map(|url| below(&url));
        // There is only one: the key is for those who have it written in their files.
        let _only_one = table.value("protocol", reader, |text| choice(text, &PROTOCOLS));
        otlp.headers = table.list("headers", reader).map(|headers| pairs(headers, reader));
        otlp.interval = table.value("interval", reader, |text| duration_between(text, "1s", "1h"));
        otlp.timeout = table.value("timeout", reader, |text| duration_between(text, "1s", "5m"));
        otlp.gzip = table.value("compression", reader, |text| choice(text, &COMPRESSIONS));
        otlp.service_name = table.value("service_name", reader, |text| Ok(text.to_owned()));
        otlp.attributes = table.list("resource_attributes", reader).map(|settings| {
            settings.iter().for_each(|setting| reader.publish(setting));
            pairs(settings, reader)
        });
        table.close(reader);
        if otlp.endpoint.is_none() && reader.problems.is_empty() {
            reader.refuse(place, "without an endpoint nothing is sent, write e.g. endpoint: http://localhost:4318");
        }
    }
    otlp.complete_from_environment(reader);
    otlp.finished()
}

const PROTOCOLS: [(&str, ()); 1] = [("http/protobuf", ())];
const COMPRESSIONS: [(&str, bool); 2] = [("gzip", true), ("none", false)];

/// What was said so far.
#[derive(Default)]
struct Draft {
    endpoint: Option<String>,
    headers: Option<Vec<(String, SecretString)>>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    gzip: Option<bool>,
    service_name: Option<String>,
    attributes: Option<Vec<(String, SecretString)>>,
}

impl Draft {
    fn complete_from_environment(&mut self, reader: &mut Reader<'_>) {
        let variable = |name: &'static str| -> Option<Setting> {
            let value = (reader.env)(name).filter(|value| !value.trim().is_empty())?;
            Some(Setting::outside(name, value.trim()))
        };
        let of_metrics = variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
        let of_all = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
        let protocol = variable("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL").or(variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let headers = variable("OTEL_EXPORTER_OTLP_METRICS_HEADERS").or(variable("OTEL_EXPORTER_OTLP_HEADERS"));
        let timeout = variable("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT").or(variable("OTEL_EXPORTER_OTLP_TIMEOUT"));
        let interval = variable("OTEL_METRIC_EXPORT_INTERVAL");
        let compression =
            variable("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION").or(variable("OTEL_EXPORTER_OTLP_COMPRESSION"));
        let service_name = variable("OTEL_SERVICE_NAME");
        let attributes = variable("OTEL_RESOURCE_ATTRIBUTES");
        if self.endpoint.is_none() {
            // That of one signal is taken as it is, that of all has the signal's path appended.
            let given = of_metrics.map(|it| (it, false)).or(of_all.map(|it| (it, true)));
            if let Some((setting, is_for_all)) = given {
                self.endpoint = checked(setting, reader, endpoint)
                    .map(|url| if is_for_all { below(&url) } else { url.as_str().to_owned() });
            }
        }
        if self.endpoint.is_none() {
            return;
        }
        if let Some(protocol) = protocol {
            // Somebody else's gRPC on this machine must not keep us from starting without a word.
            checked(protocol, reader, |text| choice(text, &PROTOCOLS));
        }
        if self.headers.is_none() {
            self.headers = headers.map(|setting| pairs(split(&setting), reader));
        }
        if self.attributes.is_none() {
            self.attributes = attributes.map(|setting| pairs(split(&setting), reader));
        }
        self.service_name = self.service_name.take().or(service_name.map(|setting| setting.value));
        let milliseconds = |text: &str| match text.parse::<u64>() {
            Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
            _ => Err("not a number of milliseconds, write e.g. 10000".to_owned()),
        };
        self.timeout = self.timeout.or(timeout.and_then(|setting| checked(setting, reader, milliseconds)));
        self.interval = self.interval.or(interval.and_then(|setting| checked(setting, reader, milliseconds)));
        self.gzip =
            self.gzip.or(compression.and_then(|setting| checked(setting, reader, |text| choice(text, &COMPRESSIONS))));
    }

    fn finished(self) -> Option<OtlpConfig> {
        let mut attributes: Vec<(String, String)> = self
            .attributes
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name, value.expose_secret().to_owned()))
            .collect();
        let named = self.service_name.or_else(|| {
            let given = attributes.iter().find(|(name, _)| name == "service.name");
            given.map(|(_, value)| value.clone())
        });
        attributes.retain(|(name, _)| name != "service.name");
        attributes.insert(0, ("service.name".to_owned(), named.unwrap_or_else(|| "agent-session-exporter".to_owned())));
        Some(OtlpConfig {
            metrics_url: self.endpoint?,
            headers: self.headers.unwrap_or_default(),
            interval: self.interval.unwrap_or(INTERVAL),
            timeout: self.timeout.unwrap_or(TIMEOUT),
            gzip: self.gzip.unwrap_or(false),
            attributes,
        })
    }
}

fn endpoint(text: &str) -> Result<BaseUrl, String> {
    BaseUrl::parse(text).map_err(|_| "not an http or https URL, use e.g. http://localhost:4318".to_owned())
}

fn below(url: &BaseUrl) -> String {
    format!("{}{METRICS_PATH}", url.as_str())
}

fn checked<T>(setting: Setting, reader: &mut Reader<'_>, convert: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
    match convert(&setting.value) {
        Ok(value) => Some(value),
        Err(message) => {
            reader.refuse(setting.place, message);
            None
        }
    }
}

/// A variable's list: `name=value,name=value`.
fn split(setting: &Setting) -> Vec<Setting> {
    let Place::Outside(variable) = setting.place else { return Vec::new() };
    setting
        .value
        .split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| Setting::outside(variable, pair))
        .collect()
}

/// Pairs as OpenTelemetry writes them, `name=value`; values are not repeated in messages.
fn pairs(settings: Vec<Setting>, reader: &mut Reader<'_>) -> Vec<(String, SecretString)> {
    let mut pairs = Vec::new();
    for setting in settings {
        let is_printable = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        match setting.value.split_once('=') {
            Some((name, value)) if is_printable(name.trim()) && is_printable(value.trim()) => {
                pairs.push((name.trim().to_owned(), SecretString::from(value.trim().to_owned())));
            }
            _ => reader.refuse(setting.place, "expected name=value, e.g. \"authorization=Bearer ${TOKEN}\""),
        }
    }
    pairs
}
