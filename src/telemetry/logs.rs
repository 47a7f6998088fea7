//! Logs: to standard error, as text for people or as JSON for machines.

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::str::FromStr;

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as lines};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logs could not be started.
#[derive(Debug, Error)]
pub enum LogError {
    /// Not a level.
    #[error(
        "unknown log level {0:?}: use error, warn, info, debug, trace or off, or levels per part such as \
         info,agent_session_exporter::ingest=debug"
    )]
    Level(String),
    /// Not a format.
    #[error("unknown log format {0:?}: use text or json")]
    Format(String),
    /// Started twice in one process.
    #[error("logs are already started")]
    Started,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogError::Format(text.to_owned())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Starts logs, once per process.
pub fn init(level: &str, format: LogFormat) -> Result<(), LogError> {
    let filter = filter(level)?;
    let layer = match format {
        LogFormat::Text => {
            let layer = lines::layer().with_writer(stderr);
            // On a terminal the layer decides for itself, as it knows NO_COLOR.
            if stderr().is_terminal() { layer.boxed() } else { layer.with_ansi(false).boxed() }
        }
        LogFormat::Json => lines::layer().json().flatten_event(true).with_writer(stderr).boxed(),
    };
    tracing_subscriber::registry()
        .with(super::own::layer())
        .with(layer.with_filter(filter))
        .try_init()
        .map_err(|_| LogError::Started)
}

/// A single level is meant for the exporter: the libraries below it stay at warnings, or at less where less is asked
/// for. A list of targets is taken as it stands.
fn filter(level: &str) -> Result<Targets, LogError> {
    let level = level.trim();
    let error = || LogError::Level(level.to_owned());
    if level.contains(['=', ',']) {
        return level.parse().map_err(|_| error());
    }
    let wanted: LevelFilter = match level.to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return Err(error()),
    };
    Ok(Targets::new().with_default(wanted.min(LevelFilter::WARN)).with_target("agent_session_exporter", wanted))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_is_for_the_exporter_and_libraries_stay_quiet() {
        let debug = filter("Debug").unwrap();
        assert!(debug.would_enable("agent_session_exporter::engine", &Level::DEBUG));
        assert!(!debug.would_enable("hyper::proto", &Level::INFO));
        assert!(debug.would_enable("hyper::proto", &Level::WARN));
        let error = filter("error").unwrap();
        assert!(!error.would_enable("hyper::proto", &Level::WARN));
        let off = filter("off").unwrap();
        assert!(!off.would_enable("agent_session_exporter", &Level::ERROR));
    }

    #[test]
    fn targets_are_taken_as_they_stand() {
        let filter = filter("info,agent_session_exporter::ingest=trace").unwrap();
        assert!(filter.would_enable("hyper", &Level::INFO));
        assert!(filter.would_enable("agent_session_exporter::ingest::poller", &Level::TRACE));
        assert!(!filter.would_enable("agent_session_exporter::engine", &Level::DEBUG));
    }

    #[test]
    fn a_wrong_level_says_which_are_right() {
        for wrong in ["", "verbose", "5", "a=loud"] {
            let error = filter(wrong).unwrap_err().to_string();
            assert!(error.contains("use error, warn, info"), "{error}");
        }
        assert!("xml".parse::<LogFormat>().unwrap_err().to_string().contains("text or json"));
        assert_eq!("json".parse::<LogFormat>().unwrap().to_string(), "json");
    }
}
