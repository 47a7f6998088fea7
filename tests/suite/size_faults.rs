//! More than was expected: a session with a million events, ten times as many sessions, more agents than a metric may
//! have. Memory stays bounded, sums stay right, and it is said. The table in docs/reliability.md is about these.

use std::sync::Arc;
use std::time::Duration;

use agent_session_exporter::domain::{Clock, Timestamp};
use agent_session_exporter::engine::{Engine, EngineHandle, Entrant, Keep};
use agent_session_exporter::ingest::access::Access;
use agent_session_exporter::ingest::limiter::Limiter;
use agent_session_exporter::ingest::platforms::{Account, hcompany};
use agent_session_exporter::ingest::poller::{Pass, Poller};
use agent_session_exporter::ingest::schedule::Rhythm;
use agent_session_exporter::ingest::transport::Transport;
use agent_session_exporter::journal::{Archive, Journal};
use agent_session_exporter::projection::{LabelPolicy, Metric, Snapshot};
use agent_session_exporter::simulator::{Platform, SimulateOptions};
use tokio_util::sync::CancellationToken;

use crate::support::endless::{Endless, ID, TOKENS};
use crate::support::memory;
use crate::support::rig::{Rig, SOURCES, Setup, ToEngine};
use crate::support::running::{Seen, SetClock, source_record, sum};
use crate::support::{Folder, Noted, START, asked, compare, scraped_of};

const MEGABYTE: usize = 1 << 20;
/// Of the longest session in `cargo test`, which shows the same as more would; `EVENTS=1000000` makes it longer.
const FEW_EVENTS: u64 = 200_000;

/// One complete pass over a platform of H's kind, into the store in that folder; what is shown then.
async fn one_pass(folder: &Folder, platform: Arc<dyn Transport>, keep: Keep) -> (Pass, Snapshot) {
    let journal = Journal::open(folder.path(), LabelPolicy::default()).expect("a writable folder");
    let clock = SetClock::default();
    clock.set(Timestamp::from_micros(START));
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let (engine, handle, shown) =
        Engine::open(journal, Arc::clone(&clock), Box::new(Seen::default()), keep).expect("a sound store");
    let engine = tokio::spawn(engine.serve_on());
    let pass = poller(&handle, platform, clock).await.run(rhythm(), true, CancellationToken::new()).await;
    drop(handle);
    engine.await.expect("it does not panic").expect("a sound store");
    (pass, Snapshot::clone(&shown.load()))
}

fn rhythm() -> Rhythm {
    let seconds = Duration::from_secs;
    Rhythm { poll: seconds(15), sweep: seconds(3600), limits: None, concurrency: 4 }
}

async fn poller(handle: &EngineHandle, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Poller {
    let platform = &hcompany::DESCRIPTOR;
    let record = source_record("one", platform.name);
    let entrant = Entrant { record, capabilities: platform.capabilities, abandon_turns_after: None, traced: false };
    let attached = handle.attach(entrant).await.expect("the engine is at work");
    let mut account = Account::new(Timestamp::default());
    for setting in platform.settings {
        account.settings.insert(setting.key, setting.default.to_owned());
    }
    Poller {
        source: attached.ix,
        platform: (platform.connect)(account),
        access: Access {
            transport,
            limiter: Limiter::new(100_000.0),
            request_timeout: Duration::from_secs(30),
            clock,
            witness: Arc::<Noted>::default(),
        },
        ledger: Arc::new(ToEngine(handle.clone())),
        recognise: Vec::new(),
        walks: attached.walks,
    }
}

/// In virtual time, and what it held at most.
fn measured<T>(work: impl Future<Output = T>) -> (T, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    memory::most(|| runtime.block_on(work))
}

#[test]
fn a_session_with_a_million_events_is_read_shown_and_taken_away_in_bounded_memory() {
    let folder = Folder::new();
    let events = asked("EVENTS").unwrap_or(FEW_EVENTS);
    let platform = Arc::new(Endless { events });
    let ((pass, shown), reading) = measured(one_pass(&folder, Arc::clone(&platform) as _, Keep::default()));
    assert_eq!((pass.discovered, pass.failures), (true, 0));
    let told = [Metric::EventsIngested, Metric::Steps, Metric::InputTokens, Metric::SessionsFinished];
    let expected = [platform.events, platform.steps(), platform.steps() * TOKENS, 1];
    assert_eq!(told.map(|metric| sum(&shown, metric)), expected);

    let journal = || Journal::open_existing(folder.path(), LabelPolicy::default()).expect("a sound store");
    let ((), loading) = memory::most(|| drop(journal().load(Timestamp::from_micros(START)).expect("a sound store")));
    let (rows, showing) = memory::most(|| {
        let detail = Archive::new(journal()).session(ID).expect("a sound store").expect("it is there");
        assert_eq!(
            detail.timeline.len() as u64 + detail.left_out,
            platform.events + 3,
            "and how it was found, and ended"
        );
        assert!(detail.timeline.last().expect("there are rows").what.contains("ended"));
        serde_json::to_vec(&detail).expect("plain data");
        detail.timeline.len()
    });
    let (_, folding) = memory::most(|| drop(journal().refold().expect("a sound store")));
    let (_, verifying) = memory::most(|| assert!(journal().verify().expect("a sound store").is_good()));
    let (left, leaving) = memory::most(|| {
        let journal = journal();
        let state = journal.load(Timestamp::from_micros(START)).expect("a sound store");
        journal.expire(&state, Timestamp::from_micros(START)).expect("a sound store").sessions.len()
    });
    assert_eq!(left, 1);
    println!(
        "reading {} KB, loading {} KB, {rows} rows of show {} KB, folding anew {} KB, verifying {} KB, taking away {} KB",
        reading >> 10,
        loading >> 10,
        showing >> 10,
        folding >> 10,
        verifying >> 10,
        leaving >> 10
    );
    let bounded = [
        ("reading", reading),
        ("loading", loading),
        ("showing", showing),
        ("folding", folding),
        ("verifying", verifying),
        ("leaving", leaving),
    ];
    for (what, bytes) in bounded {
        assert!(bytes < 16 * MEGABYTE, "{what} takes {bytes} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn more_sessions_and_names_than_there_is_room_for_keep_their_sums_and_little_memory() {
    let lives = |platform| SimulateOptions {
        sessions: 10,
        history: 600,
        rate: 1.0,
        speed: 50.0,
        steps: 2,
        ..SimulateOptions::of(platform)
    };
    let mut rig = Rig::new(Setup {
        platforms: [lives(Platform::HCompany), lives(Platform::Everruns)],
        keep: Keep::default(),
        // Far fewer label sets than there are agents, models and tools.
        policy: LabelPolicy { max_series: 4, ..LabelPolicy::default() },
        rhythm: Rhythm { limits: Some(Duration::from_secs(60)), ..rhythm() },
        requests_per_second: 100.0,
        patience: Duration::from_secs(86_400),
        traces: false,
        batch: 100,
    });
    rig.start().await.expect("a sound disk");
    let sums = ["sessions", "events", "steps", "subagents", "all turn_failures"];
    let mut differences = vec![String::new()];
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let page = rig.page();
        differences = SOURCES
            .into_iter()
            .zip(rig.truths())
            .flat_map(|(source, truth)| compare(&scraped_of(&page, source), &truth, &[]))
            .filter(|difference| sums.iter().any(|sum| difference.starts_with(&format!("{sum}:"))))
            .collect();
        if differences.is_empty() {
            break;
        }
    }
    assert_eq!(differences, [""; 0], "what does not fit into its labels is in the sums");
    let page = rig.page();
    assert!(page.contains(r#"agent="__overflow__""#));
    let told = |name: &str| {
        let name = format!("agent_session_exporter_{name}{{metric=\"agent_steps_total\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok()).expect("it is told")
    };
    assert!(told("series_overflow_total") > 0.0 && told("series_limit") == 4.0 && told("series") <= 4.0);

    let journal = rig.journal().clone();
    let sessions = rig.snapshot().sources.iter().map(|source| source.active + source.settled).sum::<usize>();
    rig.stop().await.expect("a sound disk");
    let before = memory::held();
    let state = journal.load(Timestamp::from_micros(START)).expect("a sound store");
    let each = usize::try_from(memory::held() - before).expect("it holds something") / sessions;
    drop(state);
    println!("{sessions} sessions, {each} bytes of memory for each");
    assert!(sessions > 1200 && each < 400, "{each} bytes for each of {sessions} sessions");
}
