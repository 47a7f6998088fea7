//! `serve`: watch the configured sources and serve their metrics.

use std::net::TcpListener;

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::ServeArgs;
use crate::config::{Overrides, load};
use crate::runtime::{Manner, ReloadHandle, Reloads, Runtime, RuntimeError};
use crate::server::inherited as inherited_sockets;

use super::{Env, Failed, start_logs, told, until_signal};

/// The sockets to serve on, if systemd is to hand them over.
pub(super) fn inherited(args: &ServeArgs) -> Result<Option<Vec<TcpListener>>, Failed> {
    args.systemd_socket.then(inherited_sockets).transpose().map_err(Failed::wrong)
}

pub(super) async fn run(args: ServeArgs, sockets: Option<Vec<TcpListener>>, env: Env<'_>) -> Result<(), Failed> {
    start_logs(args.log)?;
    let overrides = Overrides {
        listen_addresses: args.listen_addresses,
        telemetry_path: args.telemetry_path,
        web_config_file: args.web_config_file,
        storage_path: args.storage_path,
        ..Overrides::default()
    };
    let read = || load(args.config_file.as_deref(), &overrides, env);
    let config = read().map_err(Failed::wrong)?;
    let shutdown = until_signal()?;
    let mut reloads = Reloads::new(&read);
    reloads.tell(&config.remarks);
    if args.config_watch {
        reloads = reloads.watching(&config.files);
    }
    if args.enable_lifecycle {
        reloads = reloads.served();
    }
    on_hangup(reloads.handle())?;
    let telemetry_path = config.web.telemetry_path.clone();
    let sources = config.sources.len();
    let manner = Manner { once: args.once, simulated: false };
    let runtime = Runtime::prepare(config, manner, sockets).await.map_err(failed_to_start)?;
    for url in runtime.urls() {
        tracing::info!(%url, metrics = format!("{url}{telemetry_path}"), sources, "serving");
    }
    runtime.run(shutdown, Some(reloads)).await.map_err(failed_to_start)?;
    tracing::info!("stopped; everything read is in the store");
    Ok(())
}

/// SIGHUP asks for the configuration to be read again.
fn on_hangup(reload: ReloadHandle) -> Result<(), Failed> {
    let mut hangup = signal(SignalKind::hangup()).map_err(Failed::running)?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            reload.ask("SIGHUP");
        }
    });
    Ok(())
}

/// What is wrong before anything runs is for the operator to mend.
pub(super) fn failed_to_start(error: RuntimeError) -> Failed {
    match error {
        RuntimeError::Journal(error) => Failed::wrong(told(error)),
        RuntimeError::Listen(_) | RuntimeError::Web(_) | RuntimeError::Push(_) | RuntimeError::OtherAccount { .. } => {
            Failed::wrong(error)
        }
        other => Failed::running(other),
    }
}
