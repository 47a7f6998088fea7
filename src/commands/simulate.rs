//! `simulate`: a simulated platform alone.

use std::io::Write;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::cli::{PlatformName, SimulateArgs};
use crate::domain::Clock;
use crate::simulator::{Simulator, serve};
use crate::telemetry::WallClock;

use super::{Failed, start_logs, until_signal};

pub(super) async fn run(args: SimulateArgs) -> Result<(), Failed> {
    start_logs(args.log)?;
    let PlatformName::HCompany = args.platform;
    let key = args.options.api_key.clone();
    let simulator = Simulator::new(args.options, WallClock.now().micros()).map_err(Failed::wrong)?;
    let listener = TcpListener::bind(&args.listen)
        .await
        .map_err(|error| Failed::wrong(format!("cannot listen on {}: {error}; give a free IP:PORT", args.listen)))?;
    let address = listener.local_addr().map_err(Failed::running)?;
    let shutdown = until_signal()?;
    println!("listening on http://{address}");
    println!("simulated sessions, nobody's: the key is {key}, its own account is at http://{address}/_truth");
    // Whoever started us waits for these lines; a closed pipe only means that nobody does.
    let _ = std::io::stdout().flush();
    serve(listener, Arc::new(simulator), shutdown).await.map_err(Failed::running)
}
