//! `demo`: the exporter against two simulated platforms, over real HTTP, with nothing to configure.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::DemoArgs;
use crate::config::{Overrides, load};
use crate::domain::Clock;
use crate::runtime::{Manner, Runtime};
use crate::simulator::{Platform, SimulateOptions, Simulator, Site, serve};
use crate::telemetry::WallClock;

use super::{Env, serve::failed_to_start};
use super::{Failed, start_logs, until_signal};

/// A busy little platform: sessions of a few seconds to half a minute, a fault now and then, and never more memory.
fn options(platform: Platform, seed: u64) -> SimulateOptions {
    SimulateOptions {
        seed,
        history: 60,
        rate: 1.0,
        speed: 5.0,
        delete_after: 1800.0,
        fault_rate_429: 0.005,
        fault_rate_5xx: 0.01,
        fault_rate_slow: 0.01,
        slow_ms: 500,
        ..SimulateOptions::of(platform)
    }
}

/// A platform that is being played.
struct Stage {
    platform: Platform,
    url: String,
    key: String,
    server: JoinHandle<std::io::Result<()>>,
}

impl Stage {
    async fn open(platform: Platform, seed: u64, shutdown: &CancellationToken) -> Result<Self, Failed> {
        let options = options(platform, seed);
        let (key, now) = (options.api_key.clone(), WallClock.now().micros());
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Failed::running)?;
        let url = format!("http://{}", listener.local_addr().map_err(Failed::running)?);
        let server = match platform {
            Platform::HCompany => play(Simulator::new(options, now).map_err(Failed::wrong)?, listener, shutdown),
            Platform::Everruns => play(Simulator::everruns(options, now).map_err(Failed::wrong)?, listener, shutdown),
        };
        Ok(Self { platform, url, key, server })
    }

    /// Its part of the configuration.
    fn source(&self) -> String {
        let Self { platform, url, .. } = self;
        let name = platform.name();
        format!(
            "  - name: demo-{name}\n    platform: {name}\n    base_url: {url}\n    api_key: ${{DEMO_KEY_{name}}}\n    \
             poll_interval: 2s\n    requests_per_second: 50\n    start: beginning\n"
        )
    }
}

fn play<W: Site>(
    simulator: Simulator<W>,
    listener: TcpListener,
    shutdown: &CancellationToken,
) -> JoinHandle<std::io::Result<()>> {
    tokio::spawn(serve(listener, Arc::new(simulator), shutdown.clone()))
}

pub(super) async fn run(args: DemoArgs, env: Env<'_>) -> Result<(), Failed> {
    start_logs(args.log)?;
    let shutdown = until_signal()?;
    let mut stages = Vec::new();
    for platform in [Platform::HCompany, Platform::Everruns] {
        stages.push(Stage::open(platform, args.seed, &shutdown).await?);
    }

    let folder = Folder::new()?;
    let overrides = Overrides {
        listen_addresses: args.listen_addresses,
        telemetry_path: None,
        web_config_file: None,
        storage_path: Some(folder.path.clone()),
        ..Overrides::default()
    };
    let file = folder.path.join("demo.yaml");
    let sources: String = stages.iter().map(Stage::source).collect();
    std::fs::write(&file, format!("sources:\n{sources}web: {{ new_series_hold: 5s }}\n")).map_err(Failed::running)?;
    let outside = env;
    let env = |name: &str| {
        // A collector may be given in the environment, as for any program.
        let Some(platform) = name.strip_prefix("DEMO_KEY_") else {
            return outside(name).filter(|_| name.starts_with("OTEL_"));
        };
        stages.iter().find(|stage| stage.platform.name() == platform).map(|stage| stage.key.clone())
    };
    let config = load(Some(&file), &overrides, &env).map_err(Failed::running)?;
    let manner = Manner { once: false, simulated: true };
    let runtime = Runtime::prepare(config, manner, None).await.map_err(failed_to_start)?;

    println!("simulated data: these sessions are made up by platforms simulated here");
    for stage in &stages {
        println!("platform      {} at {url}, its own account at {url}/_truth", stage.platform.name(), url = stage.url);
    }
    for url in runtime.urls() {
        println!("metrics       {url}/metrics");
        println!("landing page  {url}/");
        println!("sessions      agent-session-exporter sessions --web.url {url} --status failed");
    }
    println!("Ctrl-C ends it; nothing is kept");
    // A closed pipe only means that nobody reads.
    let _ = std::io::stdout().flush();

    let outcome = runtime.run(shutdown.clone(), None).await.map_err(Failed::running);
    shutdown.cancel();
    for stage in stages {
        // It ends by itself once told to; how is of no interest any more.
        let _ = stage.server.await;
    }
    outcome
}

/// A folder of our own that goes when we go.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Result<Self, Failed> {
        // Anybody may write there: a name that nobody foresees, and a folder that is not somebody else's already.
        let path = std::env::temp_dir().join(format!("agent-session-exporter-demo-{:016x}", fastrand::u64(..)));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
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
