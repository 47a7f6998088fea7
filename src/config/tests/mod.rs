//! The configuration from the outside: files in, a [`Config`] or all of its problems out.

mod document;
mod keys;
mod otlp;
mod platforms;
mod problems;
mod secrets;
mod web_file;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;
use crate::ingest::platforms::{PLATFORMS, SettingKind};

/// One directory with `exporter.yaml` in it, and the environment to read it with.
struct Case {
    directory: TempDir,
    variables: Vec<(&'static str, String)>,
    overrides: Overrides,
}

impl Case {
    fn new(text: &str) -> Self {
        let case = Self {
            directory: TempDir::new().expect("temporary directory"),
            variables: Vec::new(),
            overrides: Overrides::default(),
        };
        case.file("exporter.yaml", text)
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.directory.path().join(name), text).expect("file written");
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn load(&self) -> Result<Config, ConfigError> {
        let file = self.directory.path().join("exporter.yaml");
        load(Some(&file), &self.overrides, &|name| {
            // So that key files can be named in fixtures.
            if name == "DIR" {
                return Some(self.directory.path().display().to_string());
            }
            lookup(&self.variables, name)
        })
    }

    fn config(&self) -> Config {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The error text, with the temporary directory taken out.
    fn error(&self) -> String {
        let error = self.load().expect_err("problems").to_string();
        error.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn lookup(variables: &[(&'static str, String)], name: &str) -> Option<String> {
    let found = variables.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| value.clone())
}

fn from_environment(variables: &[(&'static str, &str)]) -> Result<Config, ConfigError> {
    let owned: Vec<_> = variables.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
    load(None, &Overrides::default(), &|name| lookup(&owned, name))
}

const MINIMAL: &str = "sources:\n  - platform: hcompany\n    api_key: ${HAI_API_KEY}\n";

fn key(config: &Config, index: usize) -> &str {
    config.sources[index].api_key.expose_secret()
}

#[test]
fn the_example_is_valid_and_says_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/exporter.yaml");
    let env = |name: &str| (name == "HAI_API_KEY").then(|| "hk-1".to_owned());
    let mut example = load(Some(&path), &Overrides::default(), &env).expect("the example");
    assert_eq!(example.files, BTreeSet::from([path]));
    let mut defaults = Case::new(MINIMAL).with("HAI_API_KEY", "hk-1").config();
    example.files.clear();
    defaults.files.clear();
    // The one thing the example changes, so that it has something to show.
    defaults.sources[0].name = "prod-eu".to_owned();
    assert_eq!(format!("{example:#?}"), format!("{defaults:#?}"));
    assert_eq!(key(&example, 0), "hk-1");
    insta::assert_debug_snapshot!("the_example", example);
}

#[test]
fn every_key_reaches_its_field() {
    let case = Case::new(
        "sources:\n\
         - name: a\n  platform: hcompany\n  base_url: http://127.0.0.1:9/h/\n  api_key_file: ${DIR}/key\n\
         \x20 owner: me\n  agents: {allow: ['x*'], deny: xy}\n  poll_interval: 1m\n\
         \x20 requests_per_second: 0.5\n  start: 2026-01-31T00:00:00Z\n  concurrency: 2\n\
         \x20 request_timeout: 5s\n  sweep_interval: 2h\n\
         - {name: b, platform: hcompany, api_key: 007, start: beginning, owner: me-or-organization}\n\
         storage: {path: /var/lib/x, retention: 1w}\n\
         web: {listen_address: '127.0.0.1:0', telemetry_path: /m, new_series_hold: 0}\n\
         labels: {max_series_per_metric: 5, max_length: 20}\n",
    )
    .file("key", "hk-from-file\n");
    let config = case.config();
    let [first, second] = &config.sources[..] else {
        panic!("two sources");
    };
    assert_eq!(key(&config, 0), "hk-from-file");
    assert_eq!(first.base_url.as_str(), "http://127.0.0.1:9/h");
    assert_eq!((&*first.settings["owner"], &*second.settings["owner"]), ("me", "me-or-organization"));
    assert!(first.agents.admits("xz") && !first.agents.admits("xy") && !first.agents.admits("a"));
    assert_eq!(first.poll_interval, Duration::from_secs(60));
    assert!((first.requests_per_second - 0.5).abs() < f64::EPSILON);
    let date = "2026-01-31T00:00:00Z".parse().expect("a time");
    assert_eq!((first.start, second.start), (Start::At(date), Start::Beginning));
    assert_eq!(first.concurrency, 2);
    assert_eq!(first.request_timeout, Duration::from_secs(5));
    assert_eq!(first.sweep_interval, Duration::from_secs(7200));
    assert_eq!(key(&config, 1), "007");
    assert_eq!(config.storage.path, Path::new("/var/lib/x"));
    assert_eq!(config.storage.retention, Duration::from_secs(7 * 86_400));
    assert_eq!(config.web.listen_addresses.len(), 1);
    assert_eq!(config.web.telemetry_path, "/m");
    assert_eq!(config.web.new_series_hold, Duration::ZERO);
    assert_eq!(config.labels.max_series_per_metric, 5);
    assert_eq!(config.labels.max_length, 20);
}

#[test]
fn anchors_and_merge_keys_share_settings() {
    let config = Case::new(
        "sources:\n\
         - &eu {name: eu, platform: hcompany, api_key: one, poll_interval: 1m}\n\
         - {<<: *eu, name: us, api_key: two, base_url: https://agp.hcompany.ai}\n",
    )
    .config();
    assert_eq!(config.sources[1].poll_interval, Duration::from_secs(60));
    assert_eq!(key(&config, 1), "two");
}

#[test]
fn a_key_in_the_environment_is_enough() {
    let config = from_environment(&[("HAI_API_KEY", "hk-1\n")]).expect("config");
    assert_eq!(key(&config, 0), "hk-1");
    assert_eq!(config.sources[0].name, "hcompany");
    assert_eq!(config.sources[0].base_url.as_str(), "https://agp.eu.hcompany.ai");

    let config =
        from_environment(&[("H_API_KEY", "hk-2"), ("HAI_API_KEY", ""), ("HAI_API_BASE_URL", "http://localhost:1/")])
            .expect("config");
    assert_eq!(key(&config, 0), "hk-2");
    assert_eq!(config.sources[0].base_url.as_str(), "http://localhost:1");
}

#[test]
fn a_file_without_sources_takes_the_key_from_the_environment() {
    let case = Case::new("web: {telemetry_path: /m}\n").with("H_API_KEY", "hk-1");
    assert_eq!(key(&case.config(), 0), "hk-1");
    assert_eq!(case.config().web.telemetry_path, "/m");
}

#[test]
fn sources_in_a_file_do_not_listen_to_the_environment_unasked() {
    let config = Case::new("sources:\n- {platform: hcompany, api_key: from-file}\n")
        .with("HAI_API_KEY", "from-env")
        .with("HAI_API_BASE_URL", "http://elsewhere")
        .config();
    assert_eq!(key(&config, 0), "from-file");
    assert_eq!(config.sources[0].base_url.as_str(), "https://agp.eu.hcompany.ai");
}

#[test]
fn flags_win_over_the_file() {
    let mut case =
        Case::new(&format!("{MINIMAL}web: {{listen_address: ':1', telemetry_path: /file}}\nstorage: {{path: file}}\n"))
            .with("HAI_API_KEY", "hk-1");
    case.overrides = Overrides {
        listen_addresses: vec!["127.0.0.1:2".into(), "[::1]:2".into()],
        telemetry_path: Some("/flag".into()),
        web_config_file: None,
        storage_path: Some("flag".into()),
        ..Overrides::default()
    };
    let config = case.config();
    let addresses: Vec<String> = config.web.listen_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1:2", "[::1]:2"]);
    assert_eq!(config.web.telemetry_path, "/flag");
    assert_eq!(config.storage.path, Path::new("flag"));
}

#[test]
fn what_platforms_say_of_themselves_is_valid() {
    for platform in PLATFORMS {
        assert!(BaseUrl::parse(platform.base_url).is_ok(), "{platform:?}");
        assert_eq!(platform.name, platform.capabilities.platform);
        for setting in platform.settings.iter().filter(|setting| !setting.default.is_empty()) {
            let default = match setting.kind {
                SettingKind::Duration(..) => format!("{}s", setting.default),
                _ => setting.default.to_owned(),
            };
            assert_eq!(source::checked_setting(&default, &setting.kind).as_deref(), Ok(setting.default));
        }
    }
}
