//! What an operator sees when the store cannot be used, or no longer: on real file systems, with the program as a
//! process. The table in docs/reliability.md is about these.

use std::path::Path;
use std::process::Command;

use agent_session_exporter::journal::FILE_NAME;
use redb::{Database, TableDefinition};

use crate::support::counters::{Lasting, fallen, lasting};
use crate::support::{Exporter, Folder, compare, get, run, scraped, simulate, truth};

/// The value of a series that has no labels.
fn value(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("agent_session_exporter_{name} ")));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

fn until_equal(exporter: &Exporter, platform: &str) -> String {
    exporter.metrics_until(|page| {
        let truth = truth(platform);
        let differences = compare(&scraped(page), &truth, &["turn_failures["]);
        if truth["settled"] == true && differences.is_empty() { Ok(()) } else { Err(format!("{differences:#?}")) }
    })
}

/// Waits until commits fail, and makes sure that nothing that was shown is shown no more.
fn until_commits_fail(exporter: &Exporter, before: &Lasting, says: &str) -> Lasting {
    let page = exporter.metrics_until(|page| {
        let failures = value(page, "journal_commit_failures_total");
        let log = exporter.log();
        if failures >= 2.0 && log.contains(says) {
            Ok(())
        } else {
            Err(format!("{failures} failures, {says:?} is not said"))
        }
    });
    let now = lasting(&page);
    assert_eq!(fallen(before, &now), [""; 0]);
    assert!(get(&format!("{}/-/healthy", exporter.url())).is_some());
    now
}

/// Something goes on all the time, for longer than any of these tests.
const LIVELY: [&str; 4] = ["--sessions=150", "--history=10", "--rate=8", "--speed=40"];

fn limit_files_to(exporter: &Exporter, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let set = Command::new("prlimit")
        .args(["--pid", &exporter.pid().to_string(), &limit])
        .status()
        .expect("util-linux is everywhere");
    assert!(set.success());
}

#[test]
fn a_store_that_is_too_long_for_the_system_is_waited_for_and_nothing_of_it_is_shown() {
    let platform = simulate(&LIVELY);
    let mut exporter = Exporter::watching(&platform.url);
    exporter.stop();
    // The system's way to say that a file has become too long is an error only for who does not want to die of it. The log
    // is written by another process, as it would be cut off as well.
    let log = exporter.folder.join("exporter.log");
    exporter.after(&format!("trap '' XFSZ; exec > >(/bin/cat >> {log}) 2>&1"));
    exporter.restart();
    exporter.metrics_until(|page| if scraped(page).get("sessions") > Some(&12) { Ok(()) } else { Err("slow".into()) });
    let before = lasting(&exporter.metrics());
    // Far less than it has already: nearly every write of a commit is past that.
    limit_files_to(&exporter, "65536");
    let full = until_commits_fail(&exporter, &before, "File too large");
    limit_files_to(&exporter, "unlimited");
    let after = lasting(&until_equal(&exporter, &platform.url));
    assert_eq!(fallen(&full, &after), [""; 0]);
    assert!(exporter.log().contains("the store takes commits again"), "the log says that it is over");
    assert_eq!(exporter.stop(), Some(0));
}

/// A new configuration asks the store who a source was; whoever stops the exporter meanwhile does not wait for that.
#[test]
fn a_reload_that_waits_for_the_store_does_not_hold_up_the_end() {
    let platform = simulate(&LIVELY);
    let mut exporter = Exporter::watching(&platform.url);
    exporter.metrics_until(|page| if scraped(page).get("sessions") > Some(&12) { Ok(()) } else { Err("slow".into()) });
    let before = lasting(&exporter.metrics());
    let file = exporter.folder.path().join("data").join(FILE_NAME);
    let elsewhere = exporter.folder.path().join("elsewhere");
    std::fs::rename(&file, &elsewhere).unwrap();
    until_commits_fail(&exporter, &before, "the state cannot be read back");
    let text = std::fs::read_to_string(&exporter.config).unwrap();
    let added =
        "  - { name: other, platform: hcompany, base_url: \"http://127.0.0.1:1\", api_key: hk-other }\nstorage:";
    std::fs::write(&exporter.config, text.replacen("storage:", added, 1)).unwrap();
    exporter.hang_up();
    // Long enough for it to ask: were it shorter, the test would pass, and say less.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(exporter.stop(), Some(1), "what was read last is not stored");
    std::fs::rename(&elsewhere, &file).unwrap();
    std::fs::write(&exporter.config, text).unwrap();
    exporter.restart();
    until_equal(&exporter, &platform.url);
}

/// A small file system in memory over a folder, while it lasts.
struct Small(String);

impl Small {
    /// `None` where nobody may mount anything.
    fn over(folder: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("the folder is ours");
        let args = ["-t", "tmpfs", "-o", "size=8m", "tmpfs", folder];
        let mounted = Command::new("mount").args(args).output().is_ok_and(|it| it.status.success());
        mounted.then(|| Self(folder.to_owned()))
    }

    /// Takes all the room that there is.
    fn fill(&self) {
        let filler = std::fs::File::create(Path::new(&self.0).join("filler")).expect("a file");
        let error = std::io::copy(&mut std::io::repeat(7), &mut &filler).expect_err("it is small");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        std::fs::remove_file(Path::new(&self.0).join("filler")).expect("it is there");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Whoever has files open there keeps it until then.
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

#[test]
fn a_disk_that_is_full_is_waited_for_also_when_the_log_is_on_it_and_does_not_hold_up_the_end() {
    let platform = simulate(&LIVELY);
    let mut exporter = Exporter::watching(&platform.url);
    exporter.stop();
    let data = exporter.folder.join("data");
    std::fs::remove_dir_all(&data).expect("the folder is ours");
    let Some(small) = Small::over(&data) else {
        eprintln!("nothing can be mounted here: the test with a limit on files stands for this one");
        return;
    };
    exporter.after(&format!("exec >> {data}/log 2>&1"));
    exporter.restart();
    let started = |page: &str| if scraped(page).get("sessions") > Some(&12) { Ok(()) } else { Err("slow".into()) };
    exporter.metrics_until(started);
    let before = lasting(&exporter.metrics());
    small.fill();
    let full = until_commits_fail(&exporter, &before, "");
    small.free();
    let recovered = lasting(&exporter.metrics_until(|page| {
        let now = lasting(page);
        if now.iter().any(|(name, value)| full.get(name).is_some_and(|before| value > before)) {
            Ok(())
        } else {
            Err("nothing is committed".into())
        }
    }));
    assert_eq!(fallen(&full, &recovered), [""; 0]);
    // Full again when it is to end: what is not in the store is read again later, and the exit code says so.
    small.fill();
    until_commits_fail(&exporter, &recovered, "");
    assert!(exporter.stop().is_some(), "it ends by itself");
    small.free();
    exporter.restart();
    let after = lasting(&until_equal(&exporter, &platform.url));
    assert_eq!(fallen(&recovered, &after), [""; 0]);
    // Where there never was any room it is said at once.
    assert_eq!(exporter.stop(), Some(0));
    std::fs::remove_file(Path::new(&data).join(FILE_NAME)).expect("it is there");
    small.fill();
    let env = [("HAI_API_KEY", "hk-simulated"), ("HAI_API_BASE_URL", platform.url.as_str())];
    let output = run(&["serve", "--once", "--storage.path", &data], &env);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
}

#[test]
fn a_store_that_is_removed_while_it_runs_is_noticed_and_not_begun_anew_behind_its_back() {
    let platform = simulate(&LIVELY);
    let mut exporter = Exporter::watching(&platform.url);
    let started = |page: &str| if scraped(page).get("sessions") > Some(&12) { Ok(()) } else { Err("slow".into()) };
    exporter.metrics_until(started);
    let before = lasting(&exporter.metrics());
    let (data, aside) = (exporter.folder.join("data"), exporter.folder.join("aside"));
    // Moved away, and moved back: everything goes on.
    std::fs::rename(&data, &aside).expect("the folder is ours");
    let gone = until_commits_fail(&exporter, &before, "was removed or replaced while it was in use");
    std::fs::rename(&aside, &data).expect("the folder is ours");
    let back = lasting(&exporter.metrics_until(|page| {
        let goes_on = exporter.log().contains("the store takes commits again");
        let rose = lasting(page).iter().any(|(name, value)| gone.get(name).is_some_and(|before| value > before));
        if goes_on && rose { Ok(()) } else { Err("no commit".into()) }
    }));
    assert_eq!(fallen(&gone, &back), [""; 0]);
    // Removed for good: what is shown stays, and that nothing is added shows.
    std::fs::remove_dir_all(&data).expect("the folder is ours");
    let failures = value(&exporter.metrics(), "journal_commit_failures_total");
    let page = exporter.metrics_until(|page| {
        if value(page, "journal_commit_failures_total") > failures + 1.0 { Ok(()) } else { Err("no failure".into()) }
    });
    assert_eq!(fallen(&back, &lasting(&page)), [""; 0]);
    assert!(!Path::new(&data).exists(), "nothing is begun anew while it runs");
    assert_eq!(exporter.stop(), Some(1));
    assert!(exporter.log().contains("stopped while the store was failing"), "and it says so");
    exporter.restart();
    until_equal(&exporter, &platform.url);
}

/// Runs the program as a user who may not write everywhere; from that folder, since not everybody may look into ours.
fn run_as_somebody(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> std::process::Output {
    let program = folder.join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_agent-session-exporter"), &program).expect("the folder is ours");
    let mut command = Command::new(program);
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|it| it.stdout == b"0\n");
    if is_root {
        use std::os::unix::process::CommandExt;
        command.uid(65_534).gid(65_534);
    }
    command.args(args).env_clear().envs(env.iter().copied()).output().expect("the program starts")
}

#[test]
fn a_store_that_may_only_be_read_is_refused_at_the_start() {
    use std::os::unix::fs::PermissionsExt;
    let platform = simulate(&["--history=3", "--sessions=0", "--rate=0.001"]);
    let folder = Folder::new();
    let data = folder.join("data");
    let env = [("HAI_API_KEY", "hk-simulated"), ("HAI_API_BASE_URL", platform.url.as_str())];
    let args = ["serve", "--once", "--storage.path", &data];
    assert_eq!(run(&args, &env).status.code(), Some(0));
    let allow = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    allow(folder.path(), 0o755);
    allow(Path::new(&data), 0o555);
    allow(&Path::new(&data).join(FILE_NAME), 0o444);
    let output = run_as_somebody(folder.path(), &args, &env);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("Permission denied") && said.contains("--storage.path"), "{said}");
    allow(Path::new(&data), 0o755);
}

#[test]
fn a_store_of_a_newer_version_is_refused_at_the_start_and_left_alone() {
    let platform = simulate(&["--history=3", "--sessions=0", "--rate=0.001"]);
    let folder = Folder::new();
    let data = folder.join("data");
    let env = [("HAI_API_KEY", "hk-simulated"), ("HAI_API_BASE_URL", platform.url.as_str())];
    let args = ["serve", "--once", "--storage.path", &data];
    assert_eq!(run(&args, &env).status.code(), Some(0));
    let file = Path::new(&data).join(FILE_NAME);
    let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    let db = Database::open(&file).expect("a redb file");
    let transaction = db.begin_write().expect("a writable file");
    transaction.open_table(meta).expect("the table").insert("format", 99).expect("a row");
    transaction.commit().expect("a writable file");
    drop(db);
    let output = run(&args, &env);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("format 99") && said.contains("run the newer exporter again"), "{said}");
    let db = Database::open(&file).expect("a redb file");
    let kept = redb::ReadableDatabase::begin_read(&db).expect("readable").open_table(meta).expect("the table");
    assert_eq!(kept.get("format").expect("readable").map(|value| value.value()), Some(99));
}
