//! `simulate`: a simulated platform alone.

use std::io::Write;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::cli::SimulateArgs;
use crate::domain::Clock;
use crate::simulator::{Platform, Simulator, Site, serve};
use crate::telemetry::WallClock;

use super::{Failed, start_logs, until_signal};

pub(super) async fn run(args: SimulateArgs) -> Result<(), Failed> {
    start_logs(args.log)?;
    let mut options = args.options;
    let key = args.api_key.unwrap_or_else(|| args.platform.default_key().to_owned());
    options.api_key.clone_from(&key);
    let now = WallClock.now().micros();
    match args.platform {
        Platform::HCompany => play(Simulator::new(options, now).map_err(Failed::wrong)?, &args.listen, &key).await,
        Platform::Everruns => play(Simulator::everruns(options, now).map_err(Failed::wrong)?, &args.listen, &key).await,
    }
}

async fn play<W: Site>(simulator: Simulator<W>, listen: &str, key: &str) -> Result<(), Failed> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| Failed::wrong(format!("cannot listen on {listen}: {error}; give a free IP:PORT")))?;
    let address = listener.local_addr().map_err(Failed::running)?;
    let shutdown = until_signal()?;
    println!("listening on http://{address}");
    println!("simulated sessions, nobody's: the key is {key}, its own account is at http://{address}/_truth");
    // Whoever started us waits for these lines; a closed pipe only means that nobody does.
    let _ = std::io::stdout().flush();
    serve(listener, Arc::new(simulator), shutdown).await.map_err(Failed::running)
}
