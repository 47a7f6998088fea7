//! Parses arguments, hands over the environment, maps the result to an exit code; nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use agent_session_exporter::{cli::Cli, commands};
use clap::Parser;

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn main() -> ExitCode {
    commands::run(Cli::parse(), &|name| std::env::var(name).ok())
}
