//! Configuration: a YAML file, a few flags and the environment become one checked [`Config`].
//!
//! The way is `document` (YAML as a tree with lines) to `reader` (keys taken out one by one, every
//! problem noted) to the types below, which cannot hold anything invalid. [`load`] walks it. Three
//! promises are kept on the way: all problems are reported at once, each with its place and remedy;
//! no message and no `Debug` output contains a key; and nowhere else are files and environment read and commands run.

mod agents;
mod base_url;
mod command;
mod document;
mod duration;
mod exposure;
mod http_file;
mod interpolate;
mod listen;
mod load;
mod otlp;
mod problem;
mod reader;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod trust;
mod web_file;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use agents::AgentFilter;
pub use base_url::BaseUrl;
pub use duration::parse_duration;
pub use http_file::HttpFile;
pub use listen::ListenAddress;
pub use load::{judge, load};
pub use otlp::{Histograms, OtlpConfig, OtlpDestination, OtlpMetrics, OtlpProtocol, OtlpTraces, Temporality};
pub use problem::{ConfigError, Place, Problem, Problems};
pub use settings::{LabelsConfig, StorageConfig, WebConfig};
pub use source::{SourceConfig, Start};
pub use web_file::{RateLimit, WebConfigFile, WebFile};

/// Everything the exporter needs to know to start; valid by construction.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is watched; never empty, names and accounts are unique.
    pub sources: Vec<SourceConfig>,
    /// What is kept on disk.
    pub storage: StorageConfig,
    /// What is served.
    pub web: WebConfig,
    /// Limits on labels.
    pub labels: LabelsConfig,
    /// What is sent to OpenTelemetry collectors, if anything.
    pub otlp: Option<OtlpConfig>,
    /// Every file that it was read from: the configuration itself, keys, certificates.
    pub files: BTreeSet<PathBuf>,
    /// What works and should not stay so, for the operator to read.
    pub remarks: Vec<Problem>,
}

/// What the command line says over the file; empty and `None` mean that it says nothing.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--web.listen-address`, as typed.
    pub listen_addresses: Vec<String>,
    /// `--web.telemetry-path`, as typed.
    pub telemetry_path: Option<String>,
    /// `--web.config.file`.
    pub web_config_file: Option<PathBuf>,
    /// `--storage.path`.
    pub storage_path: Option<PathBuf>,
    /// `--offline`: no command is run, and what only a command knows stays empty.
    pub without_commands: bool,
}
