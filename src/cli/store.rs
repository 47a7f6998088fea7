//! The commands that look after a store: what they take, and the texts that teach them.

use std::path::PathBuf;

use clap::Args;

const INSPECT_EXAMPLES: &str = "\
Examples:
  agent-session-exporter inspect --storage.path /var/lib/agent-sessions
  agent-session-exporter inspect --json

Counts and times only: no content, no names of agents, no ids of sessions. The store is only read.

Exit codes:
  0  shown
  1  the store could not be read, or an exporter is running on it
  2  the command line is wrong";

const VERIFY_EXAMPLES: &str = "\
Examples:
  agent-session-exporter verify --storage.path /var/lib/agent-sessions
  agent-session-exporter verify --config.file exporter.yaml --against-platform
  agent-session-exporter verify --config.file exporter.yaml --against-platform --all --source eu
  agent-session-exporter verify --json

Every page's checksum is compared, every fact in the log is folded again from nothing, and what
comes out is compared with the stored totals, series and sessions. What retention took away cannot
be folded again: it is told how much of each total is only carried on. The store is only read.

With --against-platform sessions that have come to rest are asked for, within the source's request
budget, and what the platform says of each is compared with the store. Sessions that go on or have
moved since they were last read are left out, and counted.

Exit codes:
  0  everything that was compared is equal
  1  something differs
  2  nothing differs, but not everything could be compared: there is no store, an exporter is
     running on it, the configuration is wrong, a platform did not answer, or no session had come
     to rest";

const COMPACT_EXAMPLES: &str = "\
Examples:
  agent-session-exporter compact --storage.path /var/lib/agent-sessions

What retention takes away leaves room in the file, which the exporter fills again by itself. This makes
the file as small as it can be. It may be interrupted: the store says the same all the time.

Exit codes:
  0  done, also when there was nothing to give back
  1  the store could not be read or written, or an exporter is running on it
  2  the command line is wrong";

const EXPORT_EXAMPLES: &str = "\
Examples:
  agent-session-exporter export --storage.path /var/lib/agent-sessions --out store.jsonl
  agent-session-exporter export | jq -c 'select(.session) | .session.record | {id, status, steps}'

One JSON object per line: a header with the versions, all that is stored in a fixed order, and a
trailer with a checksum. There is no content and no key in it, as there is none in the store; ids
of sessions and names of agents, models and tools are. The store is only read.

Exit codes:
  0  everything was written
  1  the store could not be read, an exporter is running on it, or FILE could not be written
  2  the command line is wrong";

const IMPORT_EXAMPLES: &str = "\
Examples:
  agent-session-exporter import store.jsonl --storage.path /var/lib/agent-sessions
  ssh old agent-session-exporter export | agent-session-exporter import - --storage.path ./data

The new store says what the old one said, and an exporter that is started on it goes on where the
old one was stopped. Give it the same sources, and never let both run. All is imported or nothing:
an export that was cut off or changed is refused, and so is a folder whose store is not empty.

Exit codes:
  0  everything was imported
  1  nothing was imported: see the message
  2  the command line is wrong";

/// Which store is meant.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Directory of the store; only while no exporter is running on it
    #[arg(
        long = "storage.path",
        value_name = "DIR",
        default_value = "./data",
        env = "ASE_STORAGE_PATH",
        hide_env_values = true
    )]
    pub storage_path: PathBuf,
}

/// `inspect`.
#[derive(Debug, Args)]
#[command(after_help = INSPECT_EXAMPLES)]
pub struct InspectArgs {
    /// JSON instead of tables
    #[arg(long)]
    pub json: bool,

    /// Which store.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `verify`.
#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct VerifyArgs {
    /// Then ask the platforms for sessions, and compare
    #[arg(long)]
    pub against_platform: bool,

    /// So many sessions of each source, drawn at random
    #[arg(long, value_name = "COUNT", default_value_t = 20, requires = "against_platform", conflicts_with = "all")]
    pub sample: usize,

    /// All sessions that have come to rest, not a sample of them
    #[arg(long, requires = "against_platform")]
    pub all: bool,

    /// Only sessions of this source, by its name in the configuration, repeatable [default: every source]
    #[arg(long, value_name = "SOURCE", requires = "against_platform")]
    pub source: Vec<String>,

    /// JSON instead of tables
    #[arg(long)]
    pub json: bool,

    /// Configuration file (YAML), as for serve: how to reach the platforms, and where the store is
    #[arg(long = "config.file", value_name = "FILE", env = "ASE_CONFIG_FILE", hide_env_values = true)]
    pub config_file: Option<PathBuf>,

    /// Directory of the store; only while no exporter is running on it [default: the file's, else ./data]
    #[arg(long = "storage.path", value_name = "DIR", env = "ASE_STORAGE_PATH", hide_env_values = true)]
    pub storage_path: Option<PathBuf>,
}

/// `compact`.
#[derive(Debug, Args)]
#[command(after_help = COMPACT_EXAMPLES)]
pub struct CompactArgs {
    /// Which store.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `export`.
#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub struct ExportArgs {
    /// File to write, which must not be there yet [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Which store.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `import`.
#[derive(Debug, Args)]
#[command(after_help = IMPORT_EXAMPLES)]
pub struct ImportArgs {
    /// What export has written; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Directory of the new store, created if missing
    #[arg(
        long = "storage.path",
        value_name = "DIR",
        default_value = "./data",
        env = "ASE_STORAGE_PATH",
        hide_env_values = true
    )]
    pub storage_path: PathBuf,
}
