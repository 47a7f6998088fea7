//! The program itself as a process: started, asked over HTTP, killed and started again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up on it; only a broken program ever takes so long.
const PATIENCE: Duration = Duration::from_secs(90);

/// A command with none of our environment in it, but for where `.ci/coverage` wants its counters.
#[expect(clippy::disallowed_methods, reason = "what is measured is not what is tested")]
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-session-exporter"));
    command.args(args).env_clear().stdin(Stdio::null());
    command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
    command
}

/// Runs the program to its end.
pub fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    command(args).envs(env.iter().copied()).output().expect("the program starts")
}

/// A temporary folder for a test.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path below it, as an argument.
    pub fn join(&self, name: &str) -> String {
        self.path().join(name).to_str().expect("temporary folders have plain names").to_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path().join(name), text).expect("the folder is ours");
        self.join(name)
    }
}

/// A running process that does not outlive its test.
pub struct Program {
    child: Child,
    pub url: String,
}

impl Program {
    /// Ends it without a word, as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is ours to kill");
        self.child.wait().expect("it is dead");
    }

    /// Asks it to end and tells how it did.
    pub fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().expect("kill is everywhere");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end when asked");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Most are dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts H, simulated, with these options.
pub fn simulate(options: &[&str]) -> Program {
    simulate_platform("hcompany", options)
}

/// Starts a simulated platform with these options.
pub fn simulate_platform(platform: &str, options: &[&str]) -> Program {
    let mut args = vec!["simulate", "--platform", platform, "--log.level", "error"];
    if !options.iter().any(|option| option.starts_with("--listen")) {
        args.push("--listen=127.0.0.1:0");
    }
    args.extend(options);
    let mut child = command(&args).stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let first = lines.next().expect("it says where it listens").expect("UTF-8");
    let url = first.strip_prefix("listening on ").expect("the first line is a contract").to_owned();
    // Whatever else it says must not fill the pipe.
    std::thread::spawn(move || lines.count());
    Program { child, url }
}

/// An exporter on a folder of its own, that can be killed and started again.
pub struct Exporter {
    pub folder: Folder,
    pub config: String,
    flags: Vec<String>,
    /// The web configuration, if it has one: then it is not for `get` to ask.
    web: Option<String>,
    log: PathBuf,
    program: Option<Program>,
    /// What a shell does before it becomes the exporter.
    prelude: Option<String>,
}

impl Exporter {
    /// Watching one source with this configuration below `sources:`; started at once.
    pub fn start(source: &str) -> Self {
        Self::in_folder(Folder::new(), source, None)
    }

    /// The same in a folder that has a web configuration of this name.
    pub fn behind(folder: Folder, web: &str, source: &str) -> Self {
        let web = folder.join(web);
        Self::in_folder(folder, source, Some(web))
    }

    fn in_folder(folder: Folder, source: &str, web: Option<String>) -> Self {
        let config = format!(
            "sources:\n{source}\nstorage: {{ path: {} }}\nweb: {{ listen_address: [\"127.0.0.1:0\"], new_series_hold: 0s }}\n",
            folder.join("data")
        );
        let config = folder.write("exporter.yaml", &config);
        let log = folder.path().join("exporter.log");
        let mut exporter = Self { folder, config, flags: Vec::new(), web, log, program: None, prelude: None };
        exporter.restart();
        exporter
    }

    /// The same with these flags, from now on.
    pub fn restart_with(&mut self, flags: &[&str]) {
        self.stop();
        self.flags = flags.iter().copied().map(str::to_owned).collect();
        self.restart();
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.program.as_ref().expect("it is running").child.id()
    }

    /// What `kill -HUP` does.
    pub fn hang_up(&self) {
        let pid = self.program.as_ref().expect("it is running").child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill is everywhere").success());
    }

    /// From now on it is started by a shell that does this first.
    pub fn after(&mut self, prelude: &str) {
        self.prelude = Some(prelude.to_owned());
    }

    /// For a simulated platform at `url`.
    pub fn watching(url: &str) -> Self {
        Self::start(&source(url))
    }

    pub fn restart(&mut self) {
        self.restart_in(&[]);
    }

    /// The same with these variables in its environment.
    pub fn restart_in(&mut self, env: &[(&str, &str)]) {
        self.spawn(env);
        self.until_up();
    }

    /// Starts it, and does not wait until it answers.
    pub fn spawn(&mut self, env: &[(&str, &str)]) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("the folder is ours");
        let _ = std::fs::remove_file(self.url_file());
        let mut args = vec!["serve", "--config.file", &self.config, "--log.level", "trace"];
        if let Some(web) = &self.web {
            args.extend(["--web.config.file", web]);
        }
        args.extend(self.flags.iter().map(String::as_str));
        let mut command = match &self.prelude {
            Some(prelude) => {
                let mut shell = Command::new("bash");
                let script = format!("{prelude}; exec \"$0\" \"$@\"");
                shell.args(["-c", &script, env!("CARGO_BIN_EXE_agent-session-exporter")]).args(args);
                shell.env_clear().stdin(Stdio::null());
                shell
            }
            None => command(&args),
        };
        let child = command
            .envs(env.iter().copied())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        self.program = Some(Program { child, url: String::new() });
    }

    fn url_file(&self) -> PathBuf {
        self.folder.path().join("data/exporter.url")
    }

    /// Waits until it answers.
    pub fn until_up(&mut self) {
        let url_file = self.url_file();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let program = self.program.as_mut().expect("it was started");
            if let Ok(url) = std::fs::read_to_string(&url_file)
                && (self.web.is_some() || get(&format!("{url}/-/healthy")).is_some())
            {
                program.url = url;
                return;
            }
            self.still_runs();
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the exporter does not answer: {}", self.log());
    }

    /// Starts it and ends it without a word as soon as its log says so.
    pub fn kill_when(&mut self, log_says: impl Fn(&str) -> bool) {
        self.spawn(&[]);
        let deadline = Instant::now() + PATIENCE;
        while !log_says(&self.log()) {
            self.still_runs();
            assert!(Instant::now() < deadline, "the exporter does not say so: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.kill();
    }

    fn still_runs(&mut self) {
        let program = self.program.as_mut().expect("it was started");
        if let Some(status) = program.child.try_wait().expect("it is our child") {
            panic!("the exporter ended with {status}: {}", self.log());
        }
    }

    pub fn kill(&mut self) {
        self.program.as_mut().expect("it is running").kill();
    }

    pub fn stop(&mut self) -> Option<i32> {
        self.program.take().expect("it is running").stop()
    }

    pub fn url(&self) -> &str {
        &self.program.as_ref().expect("it is running").url
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn metrics(&self) -> String {
        get(&format!("{}/metrics", self.url())).expect("metrics always answer")
    }

    /// Looks into its log again and again until this stands there so often.
    pub fn log_until(&self, text: &str, times: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let found = log.matches(text).count();
            assert!(found <= times, "{text:?} stands there {found} times: {log}");
            if found == times {
                return log;
            }
            assert!(Instant::now() < deadline, "{text:?} stands there {found} times: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Asks again and again until `wanted` is satisfied with the metrics.
    pub fn metrics_until(&self, wanted: impl Fn(&str) -> Result<(), String>) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = self.metrics();
            match wanted(&page) {
                Ok(()) => return page,
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(200)),
                Err(still) => panic!("{still}"),
            }
        }
    }
}

/// The entry for a simulated platform at `url`.
pub fn source(url: &str) -> String {
    format!(
        "  - name: sim\n    platform: hcompany\n    base_url: {url}\n    api_key: hk-simulated\n    poll_interval: 1s\n    \
         requests_per_second: 500\n    sweep_interval: 60s\n    start: beginning\n"
    )
}

/// The simulator's account.
pub fn truth(url: &str) -> Value {
    let body = get(&format!("{url}/_truth")).expect("the account always answers");
    serde_json::from_str(&body).expect("it is JSON")
}

/// GETs a URL; `None` unless the answer is a success.
pub fn get(url: &str) -> Option<String> {
    let rest = url.strip_prefix("http://").expect("plain HTTP");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut socket = TcpStream::connect(host).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    write!(socket, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "bodies come with their length");
    head.split(' ').nth(1)?.starts_with('2').then(|| body.to_owned())
}
