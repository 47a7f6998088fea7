//! `demo`: the exporter against a simulated platform, over real HTTP, with nothing to configure.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::cli::DemoArgs;
use crate::config::{Overrides, load};
use crate::domain::Clock;
use crate::runtime::{Manner, Runtime};
use crate::simulator::{SimulateOptions, Simulator, serve};
use crate::telemetry::WallClock;

use super::serve::failed_to_start;
use super::{Failed, start_logs, until_signal};

/// A busy little platform: sessions of a few seconds to half a minute, a fault now and then, and never more memory.
fn options(seed: u64) -> SimulateOptions {
    SimulateOptions {
        seed,
        history: 60,
        rate: 1.0,
        speed: 5.0,
        delete_after: 1800.0,
        fault_rate_429: 0.01,
        fault_rate_5xx: 0.01,
        fault_rate_slow: 0.01,
        slow_ms: 500,
        ..SimulateOptions::default()
    }
}

pub(super) async fn run(args: DemoArgs) -> Result<(), Failed> {
    start_logs(args.log)?;
    let shutdown = until_signal()?;
    let options = options(args.seed);
    let key = options.api_key.clone();
    let simulator = Simulator::new(options, WallClock.now().micros()).map_err(Failed::wrong)?;
    let platform = TcpListener::bind("127.0.0.1:0").await.map_err(Failed::running)?;
    let platform_url = format!("http://{}", platform.local_addr().map_err(Failed::running)?);

    let folder = Folder::new()?;
    let overrides = Overrides {
        listen_addresses: args.listen_addresses,
        telemetry_path: None,
        storage_path: Some(folder.path.clone()),
    };
    let file = folder.path.join("demo.yaml");
    let text = format!(
        "sources:\n  - name: demo\n    platform: hcompany\n    base_url: {platform_url}\n    api_key: ${{HAI_API_KEY}}\n    \
         poll_interval: 2s\n    requests_per_second: 50\n    start: beginning\nweb: {{ new_series_hold: 5s }}\n"
    );
    std::fs::write(&file, text).map_err(Failed::running)?;
    let config =
        load(Some(&file), &overrides, &|name| (name == "HAI_API_KEY").then(|| key.clone())).map_err(Failed::running)?;
    let runtime = Runtime::prepare(config, Manner { once: false, simulated: true }).await.map_err(failed_to_start)?;

    println!("simulated data: these sessions are made up by a platform simulated at {platform_url}");
    for url in runtime.urls() {
        println!("metrics       {url}/metrics");
        println!("landing page  {url}/");
        println!("sessions      agent-session-exporter sessions --web.url {url} --status failed");
    }
    println!("Ctrl-C ends it; nothing is kept");
    // A closed pipe only means that nobody reads.
    let _ = std::io::stdout().flush();

    let platform = tokio::spawn(serve(platform, Arc::new(simulator), shutdown.clone()));
    let outcome = runtime.run(shutdown.clone()).await.map_err(Failed::running);
    shutdown.cancel();
    // It ends by itself once told to; how is of no interest any more.
    let _ = platform.await;
    outcome
}

/// A folder of our own that goes when we go.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Result<Self, Failed> {
        let path = std::env::temp_dir().join(format!("agent-session-exporter-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|error| Failed::running(format!("cannot make {}: {error}; set TMPDIR", path.display())))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is the temporary folder's to clean.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
