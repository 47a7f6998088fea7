//! Sessions in the store against the platform's own word on them: equal where all is well, whatever moves meanwhile,
//! and different where something was changed.

use std::time::Duration;

use agent_session_exporter::audit::{Audit, Extent, LeftOut};
use agent_session_exporter::journal::FILE_NAME;
use agent_session_exporter::projection::Session;
use agent_session_exporter::simulator::everruns::World;
use agent_session_exporter::simulator::{Dialect, Platform, SimulateOptions, Site};
use redb::{Database, ReadableTable, TableDefinition};
use tokio::time::Instant;

use crate::support::{Bench, Folder, run, simulate, truth, with_faults};

const SESSIONS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("sessions");

/// Long enough for everything to be over and read.
const ALL: Duration = Duration::from_secs(900);

fn lives(options: SimulateOptions) -> SimulateOptions {
    SimulateOptions { sessions: 25, history: 20, rate: 1.0, speed: 10.0, ..options }
}

fn h() -> Bench {
    Bench::new(lives(SimulateOptions::default()))
}

fn everruns(dialect: Dialect) -> Bench<World> {
    let options = SimulateOptions { dialect, ..lives(SimulateOptions::of(Platform::Everruns)) };
    let mut bench = Bench::everruns(options);
    bench.settings.push(("organization_id", bench.simulator.world().organization()));
    bench
}

/// Everything that could be compared is equal.
async fn is_equal<W: Site>(bench: &Bench<W>, at_least: u64) -> Audit {
    let audit = bench.audit(Extent::All, 1000.0).await;
    assert_eq!((&audit.differences, audit.failures(), audit.differing), (&Vec::new(), 0, 0));
    assert!(audit.equal >= at_least, "{audit:?}");
    audit
}

#[tokio::test(start_paused = true)]
async fn sessions_of_h_are_equal() {
    let bench = h();
    bench.poll_for(ALL).await;
    let audit = is_equal(&bench, 40).await;
    assert_eq!((audit.left_out, audit.without_tokens), (LeftOut::default(), 0), "all have ended");
}

#[tokio::test(start_paused = true)]
async fn sessions_of_everruns_are_equal_on_servers_of_every_age() {
    for dialect in [Dialect::D1, Dialect::D2, Dialect::D3, Dialect::D4] {
        let bench = everruns(dialect);
        bench.poll_for(ALL).await;
        let audit = is_equal(&bench, 25).await;
        assert_eq!((audit.left_out.moved, audit.left_out.unknown), (0, 0), "{dialect:?}: {audit:?}");
    }
    // Where rows do not say when they moved, no session ever counts as resting.
    let bench = everruns(Dialect::D0);
    bench.poll_for(ALL).await;
    assert!(is_equal(&bench, 0).await.left_out.going_on > 25);
}

#[tokio::test(start_paused = true)]
async fn faults_are_asked_through() {
    let mut bench = Bench::new(with_faults(lives(SimulateOptions::default())));
    bench.poll_for(ALL).await;
    is_equal(&bench, 40).await;
    bench.restart();
}

#[tokio::test(start_paused = true)]
async fn what_moves_after_it_was_read_is_left_out_and_counted() {
    // On H those that are taken up again, half a minute after their end, are what has moved.
    let slow = SimulateOptions { speed: 1.0, restart_share: 0.9, ..lives(SimulateOptions::default()) };
    let h = Bench::new(slow);
    h.poll_for(Duration::from_secs(90)).await;
    let everruns = everruns(Dialect::D4);
    everruns.poll_for(Duration::from_secs(30)).await;
    // Nobody polls any more, and the platforms go on.
    tokio::time::sleep(ALL).await;
    for audit in [is_equal(&h, 10).await, is_equal(&everruns, 5).await] {
        assert!(audit.left_out.going_on > 0 && audit.left_out.moved > 0, "{audit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_comparable_is_left_out_and_counted() {
    let mut bench = everruns(Dialect::D4);
    bench.poll_for(ALL).await;
    bench.expire();
    bench.restart();
    let audit = bench.audit(Extent::All, 1000.0).await;
    assert!(audit.left_out.only_known > 25, "{audit:?}");
    assert_eq!((audit.differing, audit.failures()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_sample_is_asked_for_within_the_budget() {
    let bench = h();
    bench.poll_for(ALL).await;
    let began = Instant::now();
    let audit = bench.audit(Extent::Sample(30), 10.0).await;
    assert_eq!(audit.compared(), 30);
    assert!(audit.left_out.not_drawn > 10, "{audit:?}");
    // Ten at once, and then ten a second.
    let took = began.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&took), "{took:?} of virtual time");
}

/// Changes sessions in the store of a bench, each in one way, and tells their ids.
fn change<W: Site>(bench: &mut Bench<W>, changes: &[fn(&mut Session)]) -> Vec<String> {
    let disk = bench.disk.after_power_failure();
    let db = Database::builder().create_with_backend(disk.clone()).expect("a store");
    let transaction = db.begin_write().expect("a writable store");
    let mut ids = Vec::new();
    {
        let mut table = transaction.open_table(SESSIONS).expect("the table");
        let all: Vec<(u32, Session)> = table
            .iter()
            .expect("a readable table")
            .map(|row| row.expect("a row"))
            .map(|(no, record)| (no.value(), postcard::from_bytes(record.value()).expect("a session")))
            .collect();
        let used = all.into_iter().filter(|(_, session)| session.progress.settled && !session.models.is_empty());
        for ((no, mut session), change) in used.zip(changes) {
            change(&mut session);
            ids.push(session.id.to_string());
            table.insert(no, postcard::to_stdvec(&session).expect("bytes").as_slice()).expect("a writable table");
        }
    }
    transaction.commit().expect("a writable store");
    drop(db);
    bench.go_on_with(disk);
    assert_eq!(ids.len(), changes.len());
    ids
}

fn differing(audit: &Audit) -> Vec<(String, String)> {
    audit.differences.iter().map(|it| (it.session.clone(), it.what.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn whatever_was_changed_is_named() {
    let mut bench = h();
    bench.poll_for(ALL).await;
    let ids = change(
        &mut bench,
        &[|it| it.steps += 1, |it| it.models[0].usage.tokens.output -= 1, |it| it.children.push(it.id.clone())],
    );
    let audit = bench.audit(Extent::All, 1000.0).await;
    let found = differing(&audit);
    assert_eq!((audit.differing, found.len()), (3, 3), "{audit:?}");
    for (id, what) in ids.iter().zip(["steps", "output tokens of", "child sessions"]) {
        assert!(found.iter().any(|(session, it)| session == id && it.starts_with(what)), "{what}: {found:?}");
    }

    let mut bench = everruns(Dialect::D4);
    bench.poll_for(ALL).await;
    let ids = change(
        &mut bench,
        &[|it| it.models[0].usage.tokens.input += 9, |it| it.status = agent_session_exporter::domain::Status::Paused],
    );
    let audit = bench.audit(Extent::All, 1000.0).await;
    let found = differing(&audit);
    for (id, what) in ids.iter().zip(["input tokens", "status"]) {
        assert!(found.contains(&(id.clone(), what.to_owned())), "{what}: {found:?}");
    }
    assert_eq!((audit.differing, found.len()), (2, 2), "{audit:?}");
}

#[test]
fn the_command_says_what_it_compared_and_what_it_could_not() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
    let listen = format!("--listen=127.0.0.1:{port}");
    let history = |seed: &str| simulate(&[&listen, "--sessions=0", "--history=30", "--rate=0.001", "--seed", seed]);
    let platform = history("1");
    let (folder, url) = (Folder::new(), platform.url.clone());
    let config = |name: &str, key: &str, url: &str| {
        let sources = format!(
            "sources:\n  - {{name: sim, platform: hcompany, base_url: \"{url}\", api_key: {key}, start: beginning}}\n"
        );
        folder.write(name, &format!("{sources}storage: {{path: {}}}\n", folder.join("data")))
    };
    let right = config("right.yaml", "hk-simulated", &url);
    let wrong_key = config("key.yaml", "hk-wrong", &url);
    let elsewhere = config("elsewhere.yaml", "hk-simulated", "http://127.0.0.1:9");
    let once = run(&["serve", "--once", "--config.file", &right], &[]);
    assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    let verify = |more: &[&str]| {
        let output = run(&[&["verify", "--against-platform"], more].concat(), &[]);
        let [said, complained] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned());
        (output.status.code(), said, complained)
    };
    let sessions = truth(&url)["sessions"].as_u64().expect("a number");

    let (code, said, complained) = verify(&["--config.file", &right, "--all"]);
    assert_eq!(code, Some(0), "{said}{complained}");
    assert!(
        said.contains(&format!("sim: {sessions} sessions are equal to what the platform says, 0 differ")),
        "{said}"
    );
    let (code, said, _) = verify(&["--config.file", &right, "--sample", "7", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let source = &json["platforms"]["sources"][0];
    assert_eq!((code, &source["equal"], &json["store"]["equal"]), (Some(0), &7.into(), &true.into()), "{json}");
    assert_eq!(source["left_out"]["not_drawn"], sessions - 7, "{json}");

    // Nothing differs, but it was not compared either.
    for (config, reason) in [(&wrong_key, "key not accepted"), (&elsewhere, "was another account before")] {
        let (code, said, complained) = verify(&["--config.file", config]);
        assert_eq!(code, Some(2), "{said}{complained}");
        assert!(said.contains(reason), "{said}");
    }
    let (code, said, complained) = verify(&["--config.file", &right, "--sample", "0"]);
    assert!(code == Some(2) && complained.contains("nothing could be compared"), "{said}{complained}");
    assert!(said.contains("sim: nothing could be compared"), "{said}");
    let (code, _, complained) = verify(&["--config.file", &right, "--source", "nobody"]);
    assert!(code == Some(2) && complained.contains("no source nobody"), "{complained}");
    let (code, _, complained) = verify(&["--config.file", &folder.join("nothing.yaml")]);
    assert!(code == Some(2) && complained.contains("cannot read"), "{complained}");

    // Somebody has changed a session: the log and the platform both say so.
    let file = folder.path().join("data").join(FILE_NAME);
    let whole = std::fs::read(&file).expect("the store");
    let db = Database::open(&file).expect("a store");
    let transaction = db.begin_write().expect("a writable store");
    {
        let mut table = transaction.open_table(SESSIONS).expect("the table");
        let record = table.get(0).expect("a readable table").expect("the row").value().to_vec();
        let mut session: Session = postcard::from_bytes(&record).expect("a session");
        session.steps += 1;
        table.insert(0, postcard::to_stdvec(&session).expect("bytes").as_slice()).expect("a writable table");
    }
    transaction.commit().expect("a writable store");
    drop(db);
    let (code, said, complained) = verify(&["--config.file", &right, "--all"]);
    assert_eq!(code, Some(1), "{said}{complained}");
    assert!(said.contains("THE LOG SAYS") && said.contains("THEIRS") && said.contains("1 differ"), "{said}");
    std::fs::write(&file, whole).expect("the store");

    drop(platform);
    let (code, said, _) = verify(&["--config.file", &right, "--sample", "2"]);
    assert!(code == Some(2) && said.contains("2 could not be asked for: no answer: cannot connect"), "{said}");
    let _another = history("2");
    let (code, said, complained) = verify(&["--config.file", &right]);
    assert!(code == Some(2) && complained.contains("is the key that of another account"), "{said}{complained}");
}
