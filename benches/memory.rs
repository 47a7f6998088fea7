//! What a settled session takes in memory, what a histogram does, and what the program takes when it has nothing to do.
//!
//! All are resident memory as the system counts it: what the allocator keeps for itself is in it.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agent_session_exporter::domain::{Mark, NameId, SessionNo, SourceIx, Status};
use agent_session_exporter::projection::{Families, Metric, Names, SeriesKey, Session, State};
use support::{NOW, session_id, state};

/// `VmRSS` of a process in bytes.
fn resident(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn settled(number: u64, source: SourceIx, rests: bool) -> Session {
    let mut session = Session::new(session_id(number), source, NameId(7), NOW, NOW);
    session.status = if rests { Status::Idle } else { Status::Completed };
    session.run.ended = !rests;
    session.progress.settled = true;
    session.progress.mark = Some(Mark(number));
    session
}

fn loaded(sessions: u64, rests: bool) -> State {
    let (mut state, source) = state();
    for number in 0..sessions {
        let no = SessionNo(u32::try_from(number).expect("a few million at most"));
        state.restore_settled(no, settled(number, source, rests).head(), NOW);
    }
    state
}

/// Each measurement is a process of its own: memory that was freed before would hide what is taken.
fn per_session(sessions: u64, rests: bool) {
    let before = resident("self").expect("Linux tells of memory");
    let state = loaded(sessions, rests);
    let after = resident("self").expect("Linux tells of memory");
    assert_eq!(state.session_counts(SourceIx(0)).1 as u64, sessions);
    let bytes = after.saturating_sub(before) as f64 / sessions as f64;
    let what = if rests { "sessions at rest" } else { "sessions that have ended" };
    println!("{sessions} {what}: {bytes:.1} bytes each");
}

/// Histogram series of turns that took between a second and half an hour, most of them about a minute.
fn per_histogram(series: u32, observations: u32) {
    let before = resident("self").expect("Linux tells of memory");
    let mut families = Families::new(usize::MAX);
    let mut random = fastrand::Rng::with_seed(1);
    for number in 0..series {
        let key = SeriesKey { source: SourceIx(0), agent: NameId(number + 10), labels: [NameId(2), Names::NONE] };
        families.seed(Metric::TurnDuration, key, NOW);
        for _ in 0..observations {
            // A sum of draws lies mostly in the middle of its range.
            let power = (0..4).map(|_| random.f64()).sum::<f64>() / 4.0;
            families.observe(Metric::TurnDuration, key, (1e6 * 1800f64.powf(power)) as u64, NOW, None);
        }
    }
    let after = resident("self").expect("Linux tells of memory");
    let bytes = after.saturating_sub(before) as f64 / f64::from(series);
    println!("{series} histograms of {observations} observations: {bytes:.0} bytes each");
}

/// A child process that ends with its owner.
struct Program(Child);

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-session-exporter"));
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().expect("the program was built with this benchmark"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already is what was wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, some seconds after it has read a platform of a few sessions on which nothing happens any more.
fn idle() {
    let mut platform =
        Program::start(&["simulate", "--platform=hcompany", "--listen=127.0.0.1:0", "--history=100", "--rate=1e-6"]);
    let mut said = BufReader::new(platform.0.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let url = said.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)).expect("it says where");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("config.yaml");
    let text = format!(
        "sources:\n  - name: quiet\n    platform: hcompany\n    base_url: {url}\n    api_key: hk-simulated\n    \
         start: beginning\n"
    );
    std::fs::write(&config, text).expect("a temporary file");
    let mut exporter = Program::start(&[
        "serve",
        &format!("--config.file={}", config.display()),
        &format!("--storage.path={}", folder.path().join("store").display()),
        "--web.listen-address=127.0.0.1:0",
    ]);
    std::thread::sleep(Duration::from_secs(20));
    assert!(exporter.0.try_wait().is_ok_and(|ended| ended.is_none()), "the exporter runs until it is told to stop");
    let bytes = resident(&exporter.0.id().to_string()).expect("Linux tells of memory");
    println!("idle, one source of 100 sessions: {:.1} MB resident", bytes as f64 / 1e6);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` only asks whether this can be built.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    if let Some(sessions) = arguments.iter().skip_while(|argument| *argument != "--sessions").nth(1) {
        let rests = arguments.iter().any(|argument| argument == "--rests");
        return per_session(sessions.parse().expect("a number of sessions"), rests);
    }
    if let Some(observations) = arguments.iter().skip_while(|argument| *argument != "--histograms").nth(1) {
        return per_histogram(10_000, observations.parse().expect("a number of observations"));
    }
    let this = std::env::current_exe().expect("Linux tells it");
    for observations in ["0", "1", "30", "1000"] {
        let status = Command::new(&this).args(["--histograms", observations]).status();
        assert!(status.is_ok_and(|status| status.success()), "the measurement failed");
    }
    for sessions in [100_000, 300_000, 1_000_000, 2_000_000] {
        for rests in [None, Some("--rests")] {
            let status = Command::new(&this).args(["--sessions", &sessions.to_string()]).args(rests).status();
            assert!(status.is_ok_and(|status| status.success()), "the measurement failed");
        }
    }
    idle();
}
