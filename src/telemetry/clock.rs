//! The wall clock; the only place that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::{Clock, Span, Timestamp};

/// The system's time.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn now(&self) -> Timestamp {
        let epoch = Timestamp::from_micros(0);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => epoch.plus(Span::from(since)),
            Err(before) => epoch.minus(Span::from(before.duration())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_later_than_when_this_was_written() {
        let written = Timestamp::parse("2026-11-01T00:00:00Z").unwrap();
        assert!(WallClock.now() > written);
    }
}
