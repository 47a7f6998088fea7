//! The command line: clap types and the texts that teach it, nothing that acts.
//!
//! A flag that can also stand in the configuration file has no default here: "not given" must stay
//! distinguishable, or a default would win over the file. Its help text names the default instead,
//! and a test compares the two.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::BaseUrl;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::parse_duration;

pub mod manual;
mod store;

pub use manual::{CompletionsArgs, ManArgs};
pub use store::{CompactArgs, ExportArgs, ImportArgs, InspectArgs, StoreArgs, VerifyArgs};

const EXAMPLES: &str = "\
Examples:
  HAI_API_KEY=hk-... agent-session-exporter serve            watch H's EU platform, no file needed
  EVERRUNS_API_KEY=evr_pat_... agent-session-exporter serve  watch Everruns; with both keys both
  agent-session-exporter serve --config.file exporter.yaml
  agent-session-exporter check --config.file exporter.yaml
  agent-session-exporter demo                                no account: http://localhost:17377/
  agent-session-exporter sessions --status failed --since 1h

Exit codes:
  0  done, or stopped by SIGINT or SIGTERM
  1  failed while running; for --once: at least one source failed
  2  nothing was started: the command line or the configuration is wrong";

const SERVE_EXAMPLES: &str = "\
Examples:
  HAI_API_KEY=hk-... agent-session-exporter serve
  EVERRUNS_API_KEY=evr_pat_... agent-session-exporter serve
  agent-session-exporter serve --config.file exporter.yaml --storage.path /var/lib/agent-sessions
  agent-session-exporter serve --web.listen-address 127.0.0.1:17377 --web.listen-address [::1]:17377
  agent-session-exporter serve --once --log.format json

Environment:
  HAI_API_KEY        without `sources` in a file: the key for H's platform (also H_API_KEY)
  HAI_API_BASE_URL   with it: another address [default: https://agp.eu.hcompany.ai]
  EVERRUNS_API_KEY   without `sources` in a file: the key for Everruns (or both keys)
  EVERRUNS_API_URL   with it: another address [default: https://app.everruns.com/api]
  EVERRUNS_ORG_ID    with it: which organization, where the key's user is in several
  In the file, ${NAME} and ${NAME:-default} take any value from the environment.

Flags win over their environment variables, those over the file, the file over the defaults.

Exit codes:
  0  stopped by SIGINT or SIGTERM; for --once: every source was read completely
  1  failed while running; for --once: at least one source failed
  2  nothing was started: the command line or the configuration is wrong";

const CHECK_EXAMPLES: &str = "\
Examples:
  agent-session-exporter check --config.file exporter.yaml

All problems are listed at once, each as `file:line: key: what to change`. Keys and variables are
resolved, so run it with the environment of the exporter. Then each source is asked: is it reachable,
is the key accepted, what does it see, how far is its clock off, which filters does it honour.
What works and should not stay so (a key file that everybody can read) is a warning.
Whether the exporter could write to its store is looked at without making anything; run it as the
exporter's user, and with the same --storage.path as serve. With --offline it is not looked at.

Exit codes:
  0  the file can be used, and every source will work
  1  a source will not work, or the store cannot be written to
  2  the file cannot be used, see the list";

const DEMO_EXAMPLES: &str = "\
Examples:
  agent-session-exporter demo
  agent-session-exporter demo --web.listen-address 127.0.0.1:0 --seed 7

Then open http://localhost:17377/ or point Prometheus at it.

Exit codes:
  0  stopped by SIGINT or SIGTERM
  1  failed while running
  2  the command line is wrong";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  agent-session-exporter simulate --platform hcompany --listen 127.0.0.1:18080
  agent-session-exporter simulate --platform everruns --dialect d3 --listen 127.0.0.1:18081
  HAI_API_KEY=hk-simulated HAI_API_BASE_URL=http://127.0.0.1:18080 agent-session-exporter serve

Exit codes:
  0  stopped by SIGINT or SIGTERM
  1  failed while running
  2  the command line is wrong";

const SESSIONS_EXAMPLES: &str = "\
Examples:
  agent-session-exporter sessions
  agent-session-exporter sessions --status failed --status timed_out --since 1h
  agent-session-exporter sessions --agent checkout --source prod-eu --limit 5 --json
  agent-session-exporter sessions --storage.path ./data      also when no exporter runs

Exit codes:
  0  listed, also when nothing matched
  1  the exporter did not answer, or the directory could not be read
  2  the command line is wrong";

const SHOW_EXAMPLES: &str = "\
Examples:
  agent-session-exporter show 3f0c2a9e-6a51-4c53-9a58-0d2f6a1b7c44
  agent-session-exporter show 3f0c2a9e-6a51-4c53-9a58-0d2f6a1b7c44 --json

Exit codes:
  0  shown
  1  no such session, the exporter did not answer, or the directory could not be read
  2  the command line is wrong";

const RULES_EXAMPLES: &str = "\
Examples:
  agent-session-exporter rules --out /etc/prometheus
  agent-session-exporter rules --out . --runbooks-url https://git.example/ops/blob/main \
    --grafana-url https://grafana.example

Then name agent-sessions.rules.yml under rule_files in prometheus.yml, and change the thresholds at
its top to yours. The runbooks go to docs/runbooks, where the alerts say they are.

Exit codes:
  0  written, or there already
  1  a file could not be written, or is there with other content
  2  the command line is wrong";

const DASHBOARDS_EXAMPLES: &str = "\
Examples:
  agent-session-exporter dashboards --out /var/lib/grafana/dashboards

Then name the directory in a dashboard provider of Grafana's provisioning, or import the files by
hand. They ask for a data source that is a Prometheus.

Exit codes:
  0  written, or there already
  1  a file could not be written, or is there with other content
  2  the command line is wrong";

const HEALTHCHECK_EXAMPLES: &str = "\
Examples:
  agent-session-exporter healthcheck
  agent-session-exporter healthcheck --web.url http://127.0.0.1:9400
  agent-session-exporter healthcheck --web.url https://localhost:17377 --http.config.file http.yml --ready

It asks /-/healthy, and prints nothing when all is well. An exporter on this machine is asked
directly, whatever proxy the environment names.

Exit codes:
  0  the exporter answers
  1  it does not
  2  the command line is wrong";

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    name = "agent-session-exporter",
    version,
    about = "Watches AI-agent sessions on managed platforms and exposes them as Prometheus metrics",
    after_help = EXAMPLES,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the configured sources and serve their metrics
    Serve(ServeArgs),
    /// Check a configuration file, then ask each source whether it will work
    Check(CheckArgs),
    /// Try the exporter against a simulated platform, without an account
    Demo(DemoArgs),
    /// Run a simulated platform alone, for tests and development
    Simulate(SimulateArgs),
    /// List the sessions the exporter knows
    Sessions(SessionsArgs),
    /// Show one session: its life, its turns, its numbers
    Show(ShowArgs),
    /// Write the alerts for Prometheus, and a runbook for each, to a directory
    Rules(RulesArgs),
    /// Write the dashboards for Grafana to a directory
    Dashboards(DashboardsArgs),
    /// Ask a running exporter whether it answers, as a container's health check
    Healthcheck(HealthcheckArgs),
    /// Print what a shell needs to complete the commands and their flags
    Completions(CompletionsArgs),
    /// Print the page for man, or write one for each command to a directory
    Man(ManArgs),
    /// Show what is in a store: sizes, sessions, how far everything was read
    Inspect(InspectArgs),
    /// Fold everything in a store again and compare it with what is stored
    Verify(VerifyArgs),
    /// Give back the space that a store's file holds for nothing
    Compact(CompactArgs),
    /// Write everything in a store as lines of JSON
    Export(ExportArgs),
    /// Make a store out of what another one was exported to
    Import(ImportArgs),
}

/// `serve`.
#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub struct ServeArgs {
    /// Configuration file (YAML) [default: none, see Environment below]
    #[arg(long = "config.file", value_name = "FILE", env = "ASE_CONFIG_FILE", hide_env_values = true)]
    pub config_file: Option<PathBuf>,

    /// Follow the configuration file, and files that it names: when one has changed, read it again
    #[arg(long = "config.watch", requires = "config_file")]
    pub config_watch: bool,

    /// Address to serve on, repeatable; :PORT means all interfaces [default: :17377]
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS",
        env = "ASE_WEB_LISTEN_ADDRESS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub listen_addresses: Vec<String>,

    /// Serve on the sockets that systemd hands over, instead of listening on addresses
    #[arg(long = "web.systemd-socket", conflicts_with = "listen_addresses")]
    pub systemd_socket: bool,

    /// Path of the metrics [default: /metrics]
    #[arg(long = "web.telemetry-path", value_name = "PATH", env = "ASE_WEB_TELEMETRY_PATH", hide_env_values = true)]
    pub telemetry_path: Option<String>,

    /// Let POST /-/reload read the configuration again; SIGHUP always does
    #[arg(long = "web.enable-lifecycle")]
    pub enable_lifecycle: bool,

    /// File (YAML) about TLS, users and headers, as Prometheus' exporters take it [default: none, plain HTTP for
    /// everybody]
    #[arg(long = "web.config.file", value_name = "FILE", env = "ASE_WEB_CONFIG_FILE", hide_env_values = true)]
    pub web_config_file: Option<PathBuf>,

    /// Directory that keeps totals over restarts, created if missing [default: ./data]
    #[arg(long = "storage.path", value_name = "DIR", env = "ASE_STORAGE_PATH", hide_env_values = true)]
    pub storage_path: Option<PathBuf>,

    /// Read every source once, completely, and exit instead of serving
    #[arg(long)]
    pub once: bool,

    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogArgs,
}

/// `check`.
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub struct CheckArgs {
    /// Configuration file (YAML) to check
    #[arg(long = "config.file", value_name = "FILE", env = "ASE_CONFIG_FILE", hide_env_values = true)]
    pub config_file: PathBuf,

    /// File about TLS, users and headers to check as well
    #[arg(long = "web.config.file", value_name = "FILE", env = "ASE_WEB_CONFIG_FILE", hide_env_values = true)]
    pub web_config_file: Option<PathBuf>,

    /// Directory of the store, as serve is given it [default: the file's, else ./data]
    #[arg(long = "storage.path", value_name = "DIR", env = "ASE_STORAGE_PATH", hide_env_values = true)]
    pub storage_path: Option<PathBuf>,

    /// Look at the files only: ask no source, run no api_key_command
    #[arg(long)]
    pub offline: bool,
}

/// `demo`.
#[derive(Debug, Args)]
#[command(after_help = DEMO_EXAMPLES)]
pub struct DemoArgs {
    /// Address to serve on, repeatable; :PORT means all interfaces [default: :17377]
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_delimiter = ',')]
    pub listen_addresses: Vec<String>,

    /// The same number plays the same sessions
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogArgs,
}

/// `simulate`.
#[derive(Debug, Args)]
#[command(after_help = SIMULATE_EXAMPLES)]
pub struct SimulateArgs {
    /// Which platform's API to speak
    #[arg(long, value_enum)]
    pub platform: crate::simulator::Platform,

    /// Address to serve on, IP:PORT; port 0 picks a free one and prints it
    #[arg(long, value_name = "ADDR")]
    pub listen: String,

    /// The key that callers must send [default: hk-simulated for hcompany, evr_pat_simulated for everruns]
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,

    /// What happens there.
    #[command(flatten)]
    pub options: crate::simulator::SimulateOptions,

    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogArgs,
}

/// `sessions`.
#[derive(Debug, Args)]
#[command(after_help = SESSIONS_EXAMPLES)]
pub struct SessionsArgs {
    /// Only sessions with this status, repeatable; failed also finds those at rest whose last turn failed [default: every
    /// status]
    #[arg(long, value_name = "STATUS")]
    pub status: Vec<String>,

    /// Only sessions of this agent [default: every agent]
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,

    /// Only sessions of this source, by its name in the configuration [default: every source]
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<String>,

    /// Only sessions active within this time: ms, s, m, h, d or w, e.g. 1h [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub since: Option<Duration>,

    /// At most this many sessions, the last found first; more than 1000 are never given
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    pub limit: usize,

    /// One JSON object per line instead of a table
    #[arg(long)]
    pub json: bool,

    /// Who is asked.
    #[command(flatten)]
    pub from: QueryArgs,
}

/// `show`.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub struct ShowArgs {
    /// The session, by the id its platform gave it
    #[arg(value_name = "SESSION_ID")]
    pub session_id: String,

    /// JSON instead of text
    #[arg(long)]
    pub json: bool,

    /// Who is asked.
    #[command(flatten)]
    pub from: QueryArgs,
}

/// Where `sessions` and `show` get their answers.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// Running exporter to ask [default: http://127.0.0.1:17377, unless --storage.path is given]
    #[arg(long = "web.url", value_name = "URL")]
    pub web_url: Option<String>,

    /// File (YAML) with `basic_auth` and `tls_config` for asking it, as Prometheus' http_config [default: none]
    #[arg(long = "http.config.file", value_name = "FILE")]
    pub http_config_file: Option<PathBuf>,

    /// Directory of a store instead: the exporter that runs on it is asked, and without one the directory is read
    // All without `env`: a variable meant for `serve` must not redirect every query.
    #[arg(long = "storage.path", value_name = "DIR", conflicts_with = "web_url")]
    pub storage_path: Option<PathBuf>,
}

/// Logs go to standard error.
#[derive(Debug, Clone, Copy, Args)]
pub struct LogArgs {
    /// Least serious message to log
    #[arg(
        long = "log.level",
        value_enum,
        value_name = "LEVEL",
        default_value_t = LogLevel::Info,
        env = "ASE_LOG_LEVEL",
        hide_env_values = true
    )]
    pub level: LogLevel,

    /// How log lines are written
    #[arg(
        long = "log.format",
        value_enum,
        value_name = "FORMAT",
        default_value_t = LogFormat::Text,
        env = "ASE_LOG_FORMAT",
        hide_env_values = true
    )]
    pub format: LogFormat,
}

/// How serious a message must be to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Failures to look at: the store, a refused reload, a bug.
    Error,
    /// Surprising, but nothing is lost.
    Warn,
    /// Start, stop and changes of state.
    Info,
    /// Every page read.
    Debug,
    /// Every event.
    Trace,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// `rules`.
#[derive(Debug, Args)]
#[command(after_help = RULES_EXAMPLES)]
pub struct RulesArgs {
    /// Where to write.
    #[command(flatten)]
    pub shipped: ShippedArgs,

    /// Address under which you publish docs/runbooks, for the links in the alerts
    #[arg(long, value_name = "URL", value_parser = web_address)]
    pub runbooks_url: Option<String>,

    /// Address of your Grafana, for the links in the alerts
    #[arg(long, value_name = "URL", value_parser = web_address)]
    pub grafana_url: Option<String>,
}

/// `dashboards`.
#[derive(Debug, Args)]
#[command(after_help = DASHBOARDS_EXAMPLES)]
pub struct DashboardsArgs {
    /// Where to write.
    #[command(flatten)]
    pub shipped: ShippedArgs,
}

/// How files that are part of the program are written.
#[derive(Debug, Args)]
pub struct ShippedArgs {
    /// Directory to write to, created if missing; files that were changed there are left alone
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Overwrite files that were changed, or are of another version
    #[arg(long)]
    pub force: bool,
}

/// What links can begin with, and YAML can hold as it is.
fn web_address(text: &str) -> Result<String, String> {
    match BaseUrl::parse(text) {
        Ok(url) if !url.as_str().contains(['{', '}', '"', '\'', '\\']) => Ok(url.to_string()),
        _ => Err("not what links can begin with, use e.g. https://grafana.example".into()),
    }
}

/// `healthcheck`.
#[derive(Debug, Args)]
#[command(after_help = HEALTHCHECK_EXAMPLES)]
pub struct HealthcheckArgs {
    /// Exporter to ask [default: http://127.0.0.1:17377]
    #[arg(long = "web.url", value_name = "URL")]
    pub web_url: Option<String>,

    /// File (YAML) with `basic_auth` and `tls_config` for asking it, as Prometheus' http_config [default: none]
    #[arg(long = "http.config.file", value_name = "FILE")]
    pub http_config_file: Option<PathBuf>,

    /// Ask /-/ready: whether its numbers are there yet, not only whether it answers
    #[arg(long)]
    pub ready: bool,
}

#[cfg(test)]
mod tests;
