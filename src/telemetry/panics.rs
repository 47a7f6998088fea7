//! What is said of a panic: where it happened, and not what it said, as that may be content or a key.
//!
//! A panic is a bug of ours, and its message is made of whatever was at hand: a text that was cut inside a character, an
//! error with the document that it is about. So it is replaced before anybody sees it. What was written out in the code
//! is repeated, as it is the same for everybody.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::PanicHookInfo;

use tokio::task::JoinError;

/// From now on no panic of this process says more than where it happened.
pub fn keep_panics_discreet() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let mut said = format!("thread '{}' panicked at {place}:\n{}\n", thread.name().unwrap_or("?"), said(panic));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            said.push_str(&format!("{trace}\n"));
        }
        // Where standard error is closed nobody reads it.
        let _ = std::io::stderr().write_all(said.as_bytes());
    }));
}

fn said<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    // A message that was put together is a `String`.
    panic
        .payload()
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("(what it said is not repeated, it may be content)")
}

/// How a task ended that did not come to its end, for a log.
pub fn broken_off(error: &JoinError) -> &'static str {
    if error.is_panic() { "it panicked, standard error says where" } else { "it was cancelled" }
}
