//! Runs the command that prints a key: without a shell, bounded in time and output, and nothing that it says is repeated.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use thiserror::Error;

/// A command that has not ended by then is ended: the exporter waits for it, at the start and when it reloads.
const PATIENCE: Duration = Duration::from_secs(10);
/// What prints more than this prints something else than a key.
const MOST_OUTPUT: u64 = 64 * 1024;
/// How often it is looked whether the command has ended.
const LOOK: Duration = Duration::from_millis(5);
/// How long what was printed may take to arrive after the command and all that it started are gone.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why there is no key. Holds nothing of what the command printed, on either output.
#[derive(Debug, Error)]
pub(super) enum CommandError {
    /// There is no such program, or it may not be run.
    #[error("cannot be run: {0}; name a program and its arguments as a list of words, there is no shell")]
    Start(io::Error),
    /// It said so by its exit code.
    #[error("failed with exit code {0}; run it by hand to see why, its output is not repeated here")]
    Failed(i32),
    /// Somebody ended it.
    #[error("was ended by signal {0}")]
    Ended(i32),
    /// It did not end by itself.
    #[error("had not ended after {} s and was killed", .0.as_secs())]
    TimedOut(Duration),
    /// That is no key.
    #[error("printed more than {} KiB and was killed, it has to print the key and nothing else", MOST_OUTPUT / 1024)]
    TooMuch,
    /// It has ended, and its output has not.
    #[error("left a process behind that keeps its output open; it has to end with all that it starts")]
    LeftOpen,
    /// The system cannot do what is needed.
    #[error("cannot be waited for: {0}")]
    Wait(io::Error),
}

/// What a command prints. It has the exporter's environment, user and working directory, no input, and a process group
/// of its own, of which nothing is left when this returns.
pub(super) fn output(words: &[String]) -> Result<String, CommandError> {
    run(words, PATIENCE)
}

fn run(words: &[String], patience: Duration) -> Result<String, CommandError> {
    let (program, arguments) =
        words.split_first().ok_or_else(|| CommandError::Start(io::ErrorKind::NotFound.into()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(CommandError::Start)?;
    let printed = listen(child.stdout.take().expect("it is piped"));
    let mut said = None;
    let deadline = Instant::now() + patience;
    let outcome = loop {
        match has_ended(&child) {
            Ok(true) => break Ok(()),
            Ok(false) if Instant::now() >= deadline => break Err(CommandError::TimedOut(patience)),
            Ok(false) => {}
            Err(error) => break Err(CommandError::Wait(error)),
        }
        if said.is_some() {
            thread::sleep(LOOK);
            continue;
        }
        match printed.recv_timeout(LOOK) {
            Ok(Printed::TooMuch) => break Err(CommandError::TooMuch),
            Ok(Printed::Whole(text)) => said = Some(text),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK),
        }
    };
    let status = end(&mut child);
    outcome?;
    judge(status.map_err(CommandError::Wait)?)?;
    match said {
        Some(text) => Ok(text),
        None => match printed.recv_timeout(LAST_WORDS) {
            Ok(Printed::Whole(text)) => Ok(text),
            Ok(Printed::TooMuch) => Err(CommandError::TooMuch),
            Err(_) => Err(CommandError::LeftOpen),
        },
    }
}

enum Printed {
    Whole(String),
    TooMuch,
}

/// Reads on a thread of its own: a process that has left the group may keep the pipe open for ever.
fn listen(output: ChildStdout) -> mpsc::Receiver<Printed> {
    let (sender, printed) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is all there is.
        let _ = output.take(MOST_OUTPUT + 1).read_to_end(&mut bytes);
        let said = match bytes.len() as u64 > MOST_OUTPUT {
            true => Printed::TooMuch,
            // What is no text cannot be a key either; whoever judges the key says so.
            false => Printed::Whole(String::from_utf8_lossy(&bytes).into_owned()),
        };
        // Nobody waits for it any more.
        let _ = sender.send(said);
    });
    printed
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Whether it has, without taking note of it: until that is done nobody else can get its number.
fn has_ended(child: &Child) -> io::Result<bool> {
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(pid(child)), how) {
        Ok(status) => Ok(status.is_some()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Kills what is left of the group, and takes note of the end.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    // Nothing is left of it, mostly.
    let _ = kill_process_group(pid(child), Signal::KILL);
    child.wait()
}

fn judge(status: ExitStatus) -> Result<(), CommandError> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(CommandError::Failed(code)),
        (None, signal) => Err(CommandError::Ended(signal.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn refusal(words: &[String]) -> String {
        run(words, PATIENCE).expect_err("refused").to_string()
    }

    /// A file to which a script writes the number of a process that sleeps.
    struct Sleeper(tempfile::TempDir);

    impl Sleeper {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn script(&self, rest: &str) -> Vec<String> {
            sh(&format!("sleep 1000 & echo $! > {}; {rest}", self.file()))
        }

        fn file(&self) -> String {
            self.0.path().join("pid").display().to_string()
        }

        /// Comes back when it is dead; whoever reaps it may take his time.
        fn is_killed(&self) -> bool {
            let pid = std::fs::read_to_string(self.file()).expect("it was started");
            let deadline = Instant::now() + Duration::from_secs(60);
            while Instant::now() < deadline {
                let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
                if state.is_err() || state.is_ok_and(|stat| stat.contains(") Z ")) {
                    return true;
                }
                thread::sleep(Duration::from_millis(5));
            }
            false
        }
    }

    #[test]
    fn what_it_prints_is_the_answer() {
        assert_eq!(run(&["printf", "a b\n%s\n", "$HOME;"].map(str::to_owned), PATIENCE).unwrap(), "a b\n$HOME;\n");
        assert_eq!(run(&sh("cat; echo hidden >&2; printf key"), PATIENCE).unwrap(), "key", "no input, no other output");
        assert_eq!(run(&sh("printf '\\377'"), PATIENCE).unwrap(), "\u{fffd}");
        assert_eq!(run(&sh("exec >&-; printf late 2>/dev/null; exit 0"), PATIENCE).unwrap(), "");
        let exact = usize::try_from(MOST_OUTPUT).unwrap();
        assert_eq!(run(&sh(&format!("head -c {exact} /dev/zero")), PATIENCE).unwrap().len(), exact);
    }

    #[test]
    fn what_went_wrong_is_said_without_what_was_printed() {
        assert_eq!(
            refusal(&sh("echo 5ecret; echo 5ecret >&2; exit 3")),
            "failed with exit code 3; run it by hand to see why, its output is not repeated here"
        );
        assert_eq!(refusal(&sh("printf 5ecret; kill -TERM $$")), "was ended by signal 15");
        let none = ["/nonexistent/5ecret".to_owned()];
        assert!(refusal(&none).starts_with("cannot be run: No such file or directory"));
        assert!(!refusal(&none).contains("5ecret"));
        assert!(refusal(&[]).starts_with("cannot be run"));
    }

    #[test]
    fn who_does_not_end_is_killed() {
        let waits = run(&sh("echo key; sleep 1000"), Duration::from_millis(50));
        assert!(matches!(waits, Err(CommandError::TimedOut(_))), "{waits:?}");
        let silent = run(&sh("exec >&-; sleep 1000"), Duration::from_millis(50));
        assert!(matches!(silent, Err(CommandError::TimedOut(_))), "{silent:?}");
        let said = CommandError::TimedOut(PATIENCE).to_string();
        assert_eq!(said, "had not ended after 10 s and was killed");
    }

    #[test]
    fn who_prints_too_much_is_killed_with_all_that_it_started() {
        let sleeper = Sleeper::new();
        let said = run(&sleeper.script("cat /dev/zero"), PATIENCE);
        assert!(matches!(said, Err(CommandError::TooMuch)), "{said:?}");
        assert!(sleeper.is_killed());
    }

    #[test]
    fn who_has_left_the_group_does_not_hold_up_the_answer_for_ever() {
        let sleeper = Sleeper::new();
        let file = sleeper.file();
        let leaves = format!("setsid sh -c 'echo $$ > {file}; sleep 1000' & until [ -s {file} ]; do :; done; echo key");
        let said = run(&sh(&leaves), PATIENCE);
        let pid = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        // It leads the group that it made.
        kill_process_group(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        assert!(matches!(said, Err(CommandError::LeftOpen)), "{said:?}");
    }

    #[test]
    fn who_leaves_a_process_behind_is_rid_of_it() {
        let sleeper = Sleeper::new();
        assert_eq!(run(&sleeper.script("echo key"), PATIENCE).unwrap(), "key\n");
        assert!(sleeper.is_killed());
    }
}
