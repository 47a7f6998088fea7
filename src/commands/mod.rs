//! What each command does: the only code besides `main` that speaks to the terminal.

mod check;
mod compact;
mod demo;
mod export;
mod healthcheck;
mod inspect;
mod manual;
mod query;
mod serve;
mod shipped;
mod simulate;
mod store_place;
mod table;
mod verify;

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command, LogArgs, LogFormat, LogLevel};
use crate::journal::{Journal, JournalError};
use crate::projection::LabelPolicy;

/// Failed while running.
const FAILED: u8 = 1;
/// Nothing was started: the command line or the configuration is wrong.
const WRONG: u8 = 2;

/// How a command failed: what to print and with which code to exit.
struct Failed {
    message: String,
    code: u8,
}

impl Failed {
    fn running(error: impl std::fmt::Display) -> Self {
        Self { message: error.to_string(), code: FAILED }
    }

    fn wrong(error: impl std::fmt::Display) -> Self {
        Self { message: error.to_string(), code: WRONG }
    }

    fn told(self) -> ExitCode {
        eprintln!("error: {}", self.message);
        ExitCode::from(self.code)
    }

    /// The same, where 1 is the answer that something differs.
    fn unchecked(self) -> Self {
        Self { code: WRONG, ..self }
    }
}

/// The only way to the environment.
pub type Env<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// Runs what was typed.
pub fn run(cli: Cli, env: Env<'_>) -> ExitCode {
    crate::telemetry::keep_panics_discreet();
    let mut sockets = None;
    if let Command::Serve(args) = &cli.command {
        sockets = match serve::inherited(args) {
            Ok(sockets) => sockets,
            Err(failed) => return failed.told(),
        };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the async runtime: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => serve::run(args, sockets, env).await,
            Command::Check(args) => check::run(args, env).await,
            Command::Demo(args) => demo::run(args, env).await,
            Command::Simulate(args) => simulate::run(args).await,
            Command::Sessions(args) => query::sessions(args).await,
            Command::Show(args) => query::show(args).await,
            Command::Rules(args) => shipped::rules(&args),
            Command::Dashboards(args) => shipped::dashboards(&args),
            Command::Healthcheck(args) => healthcheck::run(args).await,
            Command::Completions(args) => manual::completions(&args),
            Command::Man(args) => manual::man(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Compact(args) => compact::run(&args),
            Command::Export(args) => export::export(&args),
            Command::Import(args) => export::import(&args),
            Command::Verify(args) => verify::run(args, env).await,
        }
    });
    // A blocking look-up that is still under way must not hold up the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failed.told(),
    }
}

/// Writes an answer. Who stops reading it, as `head` does, has read enough.
fn say(text: impl std::fmt::Display) -> Result<(), Failed> {
    match write!(std::io::stdout(), "{text}").and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failed::running(format!("cannot write the answer: {error}")))
        }
        _ => Ok(()),
    }
}

/// The store in this folder, which stays as it is.
fn open_to_read(folder: &Path) -> Result<Journal, Failed> {
    Journal::read_only(folder, LabelPolicy::default()).map_err(unusable)
}

/// Why a command cannot have a store to itself.
fn unusable(error: JournalError) -> Failed {
    match error {
        JournalError::InUse { path } => Failed::running(format!(
            "{} is in use, probably by a running exporter: stop that one and try again; when it is started again it goes \
             on where it stopped",
            path.display()
        )),
        error => Failed::running(told(error)),
    }
}

/// Why a store cannot be used. Of a file in place of its directory the system says only that something exists.
fn told(error: JournalError) -> String {
    if let JournalError::Folder { path, source } | JournalError::Disk { path, source } = &error
        && matches!(source.kind(), ErrorKind::AlreadyExists | ErrorKind::NotADirectory)
        && let Some(file) = path.ancestors().find(|it| it.is_file())
    {
        return format!(
            "storage path: {} is a file, not a directory; give a directory with --storage.path",
            file.display()
        );
    }
    error.to_string()
}

fn start_logs(args: LogArgs) -> Result<(), Failed> {
    let level = match args.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let format = match args.format {
        LogFormat::Text => crate::telemetry::LogFormat::Text,
        LogFormat::Json => crate::telemetry::LogFormat::Json,
    };
    crate::telemetry::init(level, format).map_err(Failed::wrong)
}

/// Cancelled by SIGINT or SIGTERM.
fn until_signal() -> Result<CancellationToken, Failed> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failed::running)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failed::running)?;
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(token)
}
