//! The parts of the configuration that are not a source: storage, web and labels.

use std::path::PathBuf;
use std::time::Duration;

use super::Overrides;
use super::duration::duration_between;
use super::listen::ListenAddress;
use super::problem::Place;
use super::reader::{Reader, Setting, Table, number_between};

/// Finished sessions older than this are forgotten; totals stay.
const RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// Per metric; what comes later shares one overflow series, so totals stay right.
const MAX_SERIES_PER_METRIC: usize = 2000;
/// Characters; longer label values are cut, agents and tools choose them freely.
const MAX_LABEL_LENGTH: usize = 100;
/// Two scrapes at the usual interval, so that one of them certainly sees the 0.
const NEW_SERIES_HOLD: Duration = Duration::from_secs(30);

/// Where totals are kept over restarts, and for how long details are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// The directory; relative to the working directory.
    pub path: PathBuf,
    /// How long finished sessions are remembered.
    pub retention: Duration,
}

/// What is served where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebConfig {
    /// At least one; no two claim the same port.
    pub listen_addresses: Vec<ListenAddress>,
    /// The path of the metrics.
    pub telemetry_path: String,
    /// How long a series that appears after the start is shown as 0, so that Prometheus'
    /// `increase()` sees its first increment.
    pub new_series_hold: Duration,
    /// The file about TLS and passwords, if there is one.
    pub config_file: Option<PathBuf>,
}

/// Limits on what platforms and their users can put into labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelsConfig {
    /// Series of one metric before the overflow series takes the rest.
    pub max_series_per_metric: usize,
    /// Characters of a label value.
    pub max_length: usize,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { path: PathBuf::from("./data"), retention: RETENTION }
    }
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            listen_addresses: vec![ListenAddress::AllInterfaces { port: 17377 }],
            telemetry_path: "/metrics".to_owned(),
            new_series_hold: NEW_SERIES_HOLD,
            config_file: None,
        }
    }
}

impl Default for LabelsConfig {
    fn default() -> Self {
        Self { max_series_per_metric: MAX_SERIES_PER_METRIC, max_length: MAX_LABEL_LENGTH }
    }
}

pub(super) fn read_storage(root: &mut Table<'_>, reader: &mut Reader<'_>) -> StorageConfig {
    let mut storage = StorageConfig::default();
    let Some(mut table) = root.table("storage", reader) else {
        return storage;
    };
    if let Some(path) = table.value("path", reader, parse_path) {
        storage.path = path;
    }
    let retention = |text: &str| duration_between(text, "1d", "3650d");
    if let Some(retention) = table.value("retention", reader, retention) {
        storage.retention = retention;
    }
    table.close(reader);
    storage
}

pub(super) fn read_web(root: &mut Table<'_>, reader: &mut Reader<'_>) -> WebConfig {
    let mut web = WebConfig::default();
    let Some(mut table) = root.table("web", reader) else {
        return web;
    };
    let place = table.place_of("listen_address", reader);
    if let Some(addresses) = table.list("listen_address", reader) {
        web.listen_addresses = listen_addresses(place, addresses, reader);
    }
    if let Some(path) = table.value("telemetry_path", reader, parse_telemetry_path) {
        web.telemetry_path = path;
    }
    let hold = |text: &str| duration_between(text, "0s", "10m");
    if let Some(hold) = table.value("new_series_hold", reader, hold) {
        web.new_series_hold = hold;
    }
    table.close(reader);
    web
}

pub(super) fn read_labels(root: &mut Table<'_>, reader: &mut Reader<'_>) -> LabelsConfig {
    let mut labels = LabelsConfig::default();
    let Some(mut table) = root.table("labels", reader) else {
        return labels;
    };
    let series = |text: &str| number_between(text, 1, 1_000_000);
    if let Some(series) = table.value("max_series_per_metric", reader, series) {
        labels.max_series_per_metric = series;
    }
    // Shorter, and different agents would too often be cut to the same name.
    let length = |text: &str| number_between(text, 8, 1000);
    if let Some(length) = table.value("max_length", reader, length) {
        labels.max_length = length;
    }
    table.close(reader);
    labels
}

/// Puts flags, which are checked like everything else, over what the file said.
pub(super) fn apply(overrides: &Overrides, storage: &mut StorageConfig, web: &mut WebConfig, reader: &mut Reader<'_>) {
    if let Some(path) = &overrides.storage_path {
        if path.as_os_str().is_empty() {
            reader.refuse(Place::Outside("--storage.path"), "empty, name a directory");
        }
        storage.path.clone_from(path);
    }
    if let Some(path) = &overrides.telemetry_path {
        match parse_telemetry_path(path) {
            Ok(path) => web.telemetry_path = path,
            Err(message) => reader.refuse(Place::Outside("--web.telemetry-path"), message),
        }
    }
    web.config_file.clone_from(&overrides.web_config_file);
    if !overrides.listen_addresses.is_empty() {
        const FLAG: &str = "--web.listen-address";
        let given = overrides.listen_addresses.iter();
        let given = given.map(|address| Setting::outside(FLAG, address));
        web.listen_addresses = listen_addresses(Place::Outside(FLAG), given.collect(), reader);
    }
}

fn listen_addresses(place: Place, given: Vec<Setting>, reader: &mut Reader<'_>) -> Vec<ListenAddress> {
    if given.is_empty() {
        reader.refuse(place, "no address to listen on, write e.g. [\":17377\"]");
    }
    let mut addresses: Vec<ListenAddress> = Vec::with_capacity(given.len());
    for setting in given {
        let address = match ListenAddress::parse(&setting.value) {
            Ok(address) => address,
            Err(message) => {
                reader.refuse(setting.place, message);
                continue;
            }
        };
        if addresses.iter().any(|other| other.collides_with(&address)) {
            reader.refuse(setting.place, "this port is already claimed by an address before it");
            continue;
        }
        addresses.push(address);
    }
    addresses
}

fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("empty, name a directory, e.g. ./data".into());
    }
    Ok(PathBuf::from(text))
}

fn parse_telemetry_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("must start with a slash, e.g. /metrics".into());
    }
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | '~'));
    if !is_plain {
        return Err("use letters, digits and `/`, `_`, `-`, `.`, `~` only, e.g. /metrics".into());
    }
    let mut segments = text[1..].split('/');
    if segments.clone().any(str::is_empty) {
        return Err("is the landing page or has an empty part, use e.g. /metrics".into());
    }
    if matches!(segments.next(), Some("-" | "api")) {
        return Err("/-/ and /api/ belong to the exporter itself, use e.g. /metrics".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_paths() {
        for good in ["/metrics", "/agents/metrics", "/apis", "/-metrics"] {
            assert!(parse_telemetry_path(good).is_ok(), "{good}");
        }
        for bad in ["", "metrics", "/", "//", "/m/", "/-/ready", "/-", "/api", "/api/v1", "/m?x", "/m m"] {
            assert!(parse_telemetry_path(bad).is_err(), "{bad}");
        }
    }
}
